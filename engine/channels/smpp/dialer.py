"""Binds to one peer and stays bound: connects, and again after a wait that depends on why the last connection ended."""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine.channels.base import ChannelContext
from engine.channels.smpp.connection import Connection
from engine.channels.smpp.links import Links
from engine.channels.smpp.pdu import Bind, Command, Status, write_bind
from engine.channels.smpp.peers import BindAs, SmppPeer
from engine.channels.smpp.session import End, Ended, Role, Session, Timing
from engine.channels.tls import BadCertificate
from engine.core.ports.observing import SmppCount

_log = logging.getLogger("maskline.smpp")

Draw = Callable[[float, float], float]
"""Draws a number between two."""


class Backoff:
    """How long to wait before the next try; sans-IO."""

    def __init__(self, *, draw: Draw = random.uniform) -> None:
        """Begin with no wait behind."""
        self._draw = draw
        self._tries = 0

    def wait(self, ended: Ended | None, *, lasted_seconds: float) -> float:
        """Return the seconds to wait; `ended` is None where there was no connection."""
        if lasted_seconds >= _LASTED_SECONDS:
            self._tries = 0
        if ended is not None and ended.why is End.UNBOUND and not self._tries:
            self._tries = 1
            return 0.0
        if ended is not None and ended.why is End.REFUSED:
            if ended.status in _LOCKED:
                return self._draw(_LONGEST_SECONDS, 1.5 * _LONGEST_SECONDS)
            if ended.status == Status.ALREADY_BOUND:
                return _ALREADY_BOUND_SECONDS
        longest = min(2.0**self._tries, _LONGEST_SECONDS)
        self._tries += 1
        return self._draw(longest / 2, longest)


class Outbinds:
    """The peers of this process to whom we bind and who may ask for it, over a connection of their own.

    Nothing is sent over that one: who it is, is not known, and where we connect to stands in the settings.
    """

    def __init__(self) -> None:
        """Expect nobody yet."""
        self._expected: list[tuple[SmppPeer, Callable[[], None]]] = []

    def expect(self, peer: SmppPeer, connect: Callable[[], None]) -> None:
        """Call `connect` when a peer asks."""
        self._expected.append((peer, connect))

    def came(self, address: str) -> bool:
        """Take that somebody asks; tells whether it may be a peer."""
        found = [connect for peer, connect in self._expected if peer.may_come_from(address)]
        for connect in found:
            connect()
        return bool(found)


class Dialer:
    """The connections of one peer to whom we bind."""

    def __init__(
        self, links: Links, context: ChannelContext, *, timing: Timing, tls: ssl.SSLContext | None, outbinds: Outbinds
    ) -> None:
        """Begin with `start`; with `tls` over that."""
        self._links = links
        self._peer = links.peer
        self._monotonic = context.monotonic
        self._count = context.observer.smpp
        self._timing = timing
        self._tls = tls
        self._asked = asyncio.Event()
        if self._peer.outbind:
            outbinds.expect(self._peer, self._connect_now)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Connect and stay connected."""
        kinds = [Command.BIND_TRANSCEIVER]
        if self._peer.bind is BindAs.PAIR:
            kinds = [Command.BIND_TRANSMITTER, Command.BIND_RECEIVER]
        for kind in kinds * self._peer.connections:
            self._tasks.append(asyncio.create_task(self._keep_bound(kind), name="smpp-dialer"))

    def stop_accepting(self) -> None:
        """Connect no more; what is connected stays."""
        for task in self._tasks:
            task.cancel()

    async def stopped(self) -> None:
        """Wait until nothing is tried any more."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_bound(self, kind: Command) -> None:
        backoff = Backoff()
        while True:
            began = self._monotonic()
            ended = await self._once(kind)
            seconds = backoff.wait(ended, lasted_seconds=self._monotonic() - began)
            if ended is not None and ended.status in _LOCKED:
                await asyncio.sleep(seconds)  # whoever asks for it
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._asked.wait()

    def _connect_now(self) -> None:
        """End the waits between connections."""
        self._asked.set()
        self._asked.clear()

    async def _once(self, kind: Command) -> Ended | None:
        """Connect, bind, and return why that was over; None where there was no connection."""
        peer, loop = self._peer, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timing.bind):
                _, connection = await loop.create_connection(
                    self._connection,  # type: ignore[type-var] # it has the methods of a protocol
                    peer.host,
                    peer.at_port,
                    ssl=self._tls,
                    server_hostname=peer.host if self._tls else None,
                )
        except OSError as problem:  # a time-out is one
            self._failed(SmppCount.NOT_CONNECTED, f"cannot connect: {str(problem) or 'no answer in time'}")
            return None
        bind = Bind(system_id=peer.system_id, password=peer.password)
        _ = connection.ask(kind, write_bind(bind))
        try:
            ended = await asyncio.shield(connection.ended)
        except asyncio.CancelledError:
            if connection not in self._links.connections:
                connection.abort()
            raise
        if ended.why is End.REFUSED:
            self._failed(SmppCount.BIND_REFUSED, f"the bind was refused with status 0x{ended.status:02x}")
        elif ended.why is not End.UNBOUND:
            self._failed(SmppCount.CONNECTION_LOST, f"the connection ended: {ended.why.value}")
        return ended

    def _connection(self) -> Connection:
        session = Session(Role.ESME, window=self._peer.window, timing=self._timing, now=self._monotonic())
        return Connection(session, self._links, monotonic=self._monotonic)

    def _failed(self, count: SmppCount, problem: str) -> None:
        self._count(count)
        if problem != self._links.problem:
            _log.warning("SMPP peer %s: %s", self._peer.name, problem)
        self._links.problem = problem


def tls_of(peer: SmppPeer) -> ssl.SSLContext | None:
    """Return what connects to a peer over TLS, its name checked; None where it speaks in clear. Raises BadCertificate.

    The files of the peer's table are read: authorities, else the system's, and a certificate of ours.
    """
    if not peer.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=_path(peer.tls_ca))
        if peer.tls_certificate:
            context.load_cert_chain(Path(peer.tls_certificate).expanduser(), _path(peer.tls_key))
    except OSError as problem:  # an SSLError is one
        files = " ".join(filter(None, (peer.tls_ca, peer.tls_certificate, peer.tls_key)))
        raise BadCertificate(f"smpp_peers.{peer.name}: cannot use {files}: {problem}") from problem
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _path(file: str) -> str | None:
    return str(Path(file).expanduser()) if file else None


_LONGEST_SECONDS: Final = 60.0
_ALREADY_BOUND_SECONDS: Final = 10.0
_LASTED_SECONDS: Final = 10.0
_LOCKED: Final = frozenset({Status.BIND_FAILED, Status.WRONG_PASSWORD, Status.UNKNOWN_SYSTEM_ID})
"""Peers lock accounts that try these often."""
