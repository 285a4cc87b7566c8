"""A host of a cluster, as its process runs it: the same composition as the embedded engine, told what to do by others.

Never raises what would end its process: a host that cannot start says why in its report, and waits to be told.
"""

import asyncio
import logging
import os
import time
from contextlib import AsyncExitStack, closing
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

import msgspec

from actors.cluster.fleet import Order
from actors.cluster.hosted import HostPlacement
from actors.cluster.watch import BEAT_SECONDS, Beat, HostReport, empty_record
from engine.app import RunningEngine, running_engine
from engine.channels.sockets import CannotListen, bind_tcp
from engine.cluster.notes import HOST_NOTE, HostNote, read_note, write_note
from engine.cluster.peer_identity import PeerIdentity
from engine.cluster.peer_server import PeerServer
from engine.cluster.peer_sockets import SocketPeers
from engine.cluster.plan import host_settings, reached_at
from engine.core.model.errors import MasklineError
from engine.core.model.hosts import HostDirectory, HostState
from engine.core.ports.observing import NodeFigures
from engine.runtime import clock
from engine.settings import LogFormat, Settings, flag
from engine.telemetry.logs import ROOT, configure_logs
from storage.sqlite.datadir import PRIVATE_DIRECTORY
from storage.sqlite.errors import DataDirBusy
from storage.sqlite.layout import claim, demand_database

HOST_LOG: Final = "host.log"
SUPERVISOR_LOG: Final = "supervisor.log"

MOST_ATTEMPTS: Final = 5
"""Processes that may end while they start, one after the other; then the host waits to be told."""

_PREDECESSOR_SECONDS: Final = 10.0
"""How long a process that was killed may still hold the file or a port."""
_DOWN_BEATS: Final = 3
"""Beats for which the supervisor's word holds that a host is down."""
_LOG_BYTES: Final = 10_000_000
_LOG_FILES: Final = 5

_log = logging.getLogger(f"{ROOT}.cluster")


class HostedEngine:
    """One host; `report` tells how far it came."""

    def __init__(self, settings: Settings, placement: HostPlacement, *, data_dir: Path) -> None:
        """Take the cluster's settings and its data directory on this node; nothing is opened before `start`."""
        self._settings = settings
        self._own = host_settings(settings, placement.place, data_dir)
        self._placement = placement
        self._peers: SocketPeers | None = None
        self._server: PeerServer | None = None
        self._data_dir = data_dir
        self._note = HostNote()
        self._state = HostState.STARTING
        self._problem = ""
        self._engine: RunningEngine | None = None
        self._leaving = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to start."""
        self._state, self._problem, self._leaving = HostState.STARTING, "", asyncio.Event()
        self._running = asyncio.create_task(self._run(self._leaving), name="engine")

    @property
    def directory(self) -> HostDirectory:
        """The hosts, as far as this one has heard."""
        known = self._note.directory
        if known is None or len(known.hosts) != self._settings.hosts:
            known = empty_record(self._settings.hosts).directory
        return msgspec.structs.replace(known, me=self._placement.place)

    async def ask(self, source: int, message: bytes) -> bytes | None:
        """Carry out what another host asks; None while this one does not run."""
        if self._peers is not None:
            self._peers.heard(source)
        return None if self._engine is None else await self._engine.host.answer(source, message)

    def report(self, beat: Beat) -> HostReport:
        """Take the supervisor's word and tell how this host fares."""
        if self._peers is not None:
            self._peers.expect_down(beat.down, seconds=_DOWN_BEATS * BEAT_SECONDS)
        if beat.directory.epoch > self.directory.epoch:
            self._take(beat.directory)
        report = HostReport(
            place=self._placement.place,
            state=self._state,
            pid=os.getpid(),
            node=self._placement.node,
            node_address=self._placement.node_address,
            incarnation=self._note.incarnation,
            restarts=self._note.restarts,
            epoch=self.directory.epoch,
            clock=clock(),
            problem=self._problem,
        )
        if self._server is not None and self._server.bound is not None:
            report = msgspec.structs.replace(
                report,
                peers=str(reached_at(self._server.bound, self._placement.node_address)),
                certificate=self._server.identity.certificate,
            )
        return report if self._engine is None else self._with_engine(report, self._engine)

    def _take(self, directory: HostDirectory) -> None:
        self._noted(directory=directory)

    def _with_engine(self, report: HostReport, engine: RunningEngine) -> HostReport:
        state, problem = report.state, report.problem
        if state is HostState.READY and not engine.host.is_ready:
            state = HostState.WAITING
            if not engine.host.is_loaded:
                problem = "its numbers are not rebuilt"
            else:
                problem = "its commits are refused" if engine.host.is_leased else "its lease has run out"
        elif state is HostState.READY:
            problem = engine.host.limits
        feed, operations = self._own.feed_listen, self._own.operations_listen
        return msgspec.structs.replace(
            report,
            state=state,
            problem=problem,
            feed=str(reached_at(feed, self._placement.node_address)) if feed else "",
            http=f"http://{reached_at(self._own.listen, self._placement.node_address)}",
            operations=f"http://{reached_at(operations, self._placement.node_address)}" if operations else "",
            rebuilding=engine.host.rebuilding_numbers,
            bindings=engine.host.bindings,
            sessions=engine.host.active_sessions,
        )

    async def order(self, order: Order) -> None:
        """Do as told; returns when it is done."""
        match order.verb:
            case "drain":
                self._noted(is_drained=True)
                await self._stop()
                self._state = HostState.DRAINED
            case "stop":
                await self._stop()
            case _ if self._running is None or self._running.done():
                self._noted(is_drained=False, attempts=0)
                self.start()

    async def _stop(self) -> None:
        self._leaving.set()
        if self._running is not None:
            await self._running

    async def _run(self, leaving: asyncio.Event) -> None:
        try:
            await self._serve(leaving)
        except MasklineError as problem:
            self._failed(str(problem))
        except Exception as problem:  # noqa: BLE001 - the loop of an actor: logged, and told to the operator
            _log.exception("The host cannot start")
            self._failed(f"an unforeseen error, see {self._own.data_dir / HOST_LOG}: {type(problem).__name__}")
        finally:
            self._engine = None

    async def _serve(self, leaving: asyncio.Event) -> None:
        self._make_directory()
        log_to_file(self._own.data_dir / HOST_LOG, self._settings)
        self._begin_note()
        if self._note.is_drained:
            self._state = HostState.DRAINED
            return
        if self._note.attempts > MOST_ATTEMPTS:
            self._failed(f"its process ended {MOST_ATTEMPTS} times while it started; see {HOST_LOG} in its directory")
            return
        async with AsyncExitStack() as stack:
            self._engine = await self._entered(stack, leaving)
            if self._engine is None:
                return
            self._state, self._problem = HostState.READY, ""
            self._noted(attempts=0, has_database=True)
            _log.info("host %d runs, process %d", self._placement.place, os.getpid())
            await leaving.wait()
            self._state = HostState.STOPPING

    def _make_directory(self) -> None:
        claim(self._data_dir, self._settings.hosts)
        self._own.data_dir.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)

    async def _entered(self, stack: AsyncExitStack, leaving: asyncio.Event) -> RunningEngine | None:
        """Start the engine, with patience for what may pass; None when told to stop before it runs."""
        since = time.monotonic()
        while not leaving.is_set():
            try:
                async with AsyncExitStack() as trying:
                    engine = await self._tried(trying)
                    await stack.enter_async_context(trying.pop_all())
                    return engine
            except MasklineError as problem:
                pause = self._pause_after(problem, since)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        return None

    async def _tried(self, stack: AsyncExitStack) -> RunningEngine | None:
        demand_database(self._own.data_dir, was_made=self._note.has_database)
        secret = self._settings.peers_secret.encode()
        engine = await self._among_peers(stack, secret, PeerIdentity.of_place(secret, self._placement.place))
        claim(self._data_dir, self._settings.hosts)
        return engine

    async def _among_peers(self, stack: AsyncExitStack, secret: bytes, identity: PeerIdentity) -> RunningEngine:
        """Start the engine, which asks other hosts and answers them."""
        me, seconds = self._placement.place, self._settings.peer_timeout_seconds
        peers = SocketPeers(me, secret=secret, directory=lambda: self.directory, timeout_seconds=seconds)
        self._peers = stack.enter_context(closing(peers))
        server = PeerServer(me, self.ask, secret=secret, identity=identity, timeout_seconds=seconds)
        self._server = server
        stack.push_async_callback(server.close)
        assert self._own.peers_listen is not None  # noqa: S101 - the plan has chosen one
        await server.open(bind_tcp(self._own.peers_listen, option=flag("peers_listen")))
        engine = running_engine(
            self._own, peers=peers, directory=lambda: self.directory, tenure=self._placement.tenure, node=self._figures
        )
        return await stack.enter_async_context(engine)

    def _figures(self) -> NodeFigures:
        return NodeFigures(rejected=0 if self._server is None else self._server.rejected.total())

    def _pause_after(self, problem: MasklineError, since: float) -> float | None:
        """Tell when to try again; None: not at all. A process of this host that was killed may hold its file yet."""
        may_pass = isinstance(problem, DataDirBusy | CannotListen) and time.monotonic() < since + _PREDECESSOR_SECONDS
        return BEAT_SECONDS / 5 if may_pass else None

    def _failed(self, problem: str) -> None:
        _log.error("%s", problem)
        self._state, self._problem = HostState.FAILED, problem

    def _begin_note(self) -> None:
        note = read_note(self._note_path, HostNote) or HostNote()
        is_restart = note.placing == self._placement.placing
        self._note = note
        self._noted(
            incarnation=note.incarnation + 1,
            placing=self._placement.placing,
            restarts=note.restarts + 1 if is_restart else 0,
            attempts=note.attempts + 1 if is_restart else 1,
        )

    def _noted(self, **changes: object) -> None:
        self._note = msgspec.structs.replace(self._note, **changes)
        try:
            write_note(self._note_path, self._note)
        except OSError as failure:
            _log.warning("The note of this host cannot be written: %s", failure.strerror)

    @property
    def _note_path(self) -> Path:
        return self._own.data_dir / HOST_NOTE


def log_to_file(path: Path, settings: Settings) -> None:
    """Send the log of this process to a file that is turned over when it is full; raises OSError."""
    for earlier in logging.getLogger().handlers:
        if isinstance(earlier, RotatingFileHandler):
            earlier.close()
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8")
    configure_logs(as_json=settings.log_format is LogFormat.JSON, level=settings.log_level, handler=handler)
