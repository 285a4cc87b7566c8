"""Answers what other hosts ask over sockets; whoever does not prove that it is of the cluster is not listened to.

`engine.cluster.peer_wire` is what travels, `engine.cluster.peer_sockets` the other end.
"""

import asyncio
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from typing import Any, Final

from engine.channels.sockets import ListenAddress
from engine.cluster.peer_connection import MOST_UNDER_WAY, MOST_WAITING_BYTES, PeerConnection, watch
from engine.cluster.peer_identity import PeerIdentity
from engine.cluster.peer_wire import (
    CHALLENGE_BYTES,
    MOST_MESSAGE_BYTES,
    BadPeer,
    Frame,
    Kind,
    challenge_message,
    demand_secret,
    read_proof,
)

MOST_STRANGERS: Final = 64
"""Connections at a time that have proven nothing; for one more the oldest of them is closed."""
MOST_ADMITTED: Final = 256
"""Connections of hosts: four of each, of which three are of processes that are gone."""
PROOF_SECONDS: Final = 5.0
"""How long a connection may prove nothing."""

_BACKLOG: Final = 1024
_WARNING_SECONDS: Final = 10.0

_log = logging.getLogger("maskline.cluster")

Answer = Callable[[int, bytes], Awaitable[bytes | None]]
"""Answers what a place asks; None while nothing is answered here."""


class Rejection(StrEnum):
    """Why a connection was closed before a host was admitted on it; closed."""

    NO_PEER = "no-peer"
    """What came was not what peers send, or it was closed from there."""
    NO_SECRET = "no-secret"  # noqa: S105 - a label
    """The proof was wrong."""
    TOO_LATE = "too-late"
    """No proof in time."""
    CROWDED = "crowded"
    """There were too many that had proven nothing."""
    FULL = "full"
    """There were too many connections of hosts."""


class PeerServer:
    """Listens for other hosts."""

    def __init__(
        self,
        me: int,
        answer: Answer,
        *,
        secret: bytes,
        identity: PeerIdentity,
        timeout_seconds: float,
        proof_seconds: float = PROOF_SECONDS,
    ) -> None:
        """Answer for the host at place `me` whoever has the cluster's secret.

        `timeout_seconds` is how long a host waits for an answer: a connection that takes nothing for so long is ended.
        """
        demand_secret(secret)
        self.me = me
        self.answer = answer
        self.secret = secret
        self.identity = identity
        self.proof_seconds = proof_seconds
        self.rejected: Counter[Rejection] = Counter()
        """Connections that were closed before a host was admitted."""
        self._timeout = timeout_seconds
        self._strangers: dict[_Served, None] = {}
        self._admitted: set[_Served] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._bound: ListenAddress | None = None
        self._warned_at = -_WARNING_SECONDS

    @property
    def connections(self) -> int:
        """Count the connections of hosts."""
        return len(self._admitted)

    @property
    def bound(self) -> ListenAddress | None:
        """Where it listens, with the port that was chosen; None before `open` and after `close`."""
        return self._bound

    async def open(self, bound: socket.socket) -> None:
        """Listen on a bound TCP socket from now on."""
        watch(bound, timeout_seconds=self._timeout)
        self._bound = ListenAddress(*bound.getsockname()[:2])
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Served(self), sock=bound, backlog=_BACKLOG
        )

    async def close(self) -> None:
        """Listen no more, and answer no more; what is being carried out is given up."""
        self._bound = None
        if self._server is not None:
            self._server.close()
        for connection in (*self._strangers, *self._admitted):
            connection.end()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what connections tell -----------------------------------------------------------------------------------

    def arrived(self, connection: "_Served") -> None:
        """Make room for a connection that has proven nothing yet."""
        self._strangers[connection] = None
        if len(self._strangers) > MOST_STRANGERS:
            next(iter(self._strangers)).reject(Rejection.CROWDED)

    def admit(self, connection: "_Served") -> bool:
        """Count a connection among those of hosts; False when there is no room."""
        if len(self._admitted) >= MOST_ADMITTED:
            return False
        self._strangers.pop(connection, None)
        self._admitted.add(connection)
        return True

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry something out, whatever becomes of the connection that it came on."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def left(self, connection: "_Served", rejection: Rejection | None, where: object) -> None:
        """Forget a connection."""
        self._strangers.pop(connection, None)
        self._admitted.discard(connection)
        if rejection is None:
            return
        self.rejected[rejection] += 1
        now = asyncio.get_running_loop().time()
        if now >= self._warned_at + _WARNING_SECONDS:
            self._warned_at = now
            _log.warning("a connection from %s to the port for other hosts was closed: %s", where, rejection)


class _Served(PeerConnection):
    """A connection of another host, or of a stranger."""

    def __init__(self, server: PeerServer) -> None:
        super().__init__(server.identity.context, is_server=True)
        self._server = server
        self._challenge = secrets.token_bytes(CHALLENGE_BYTES)
        self._source: int | None = None
        self._rejection: Rejection | None = Rejection.NO_PEER
        self._where: object = "nowhere"
        self._under_way = 0
        self._under_way_bytes = 0
        self._is_read_paused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a proof, not for long."""
        self._where = (transport.get_extra_info("peername") or ("nowhere",))[0]
        self._timer = self._loop.call_later(self._server.proof_seconds, self.reject, Rejection.TOO_LATE)
        self._server.arrived(self)
        super().connection_made(transport)

    def reject(self, rejection: Rejection, why: str = "") -> None:
        """Close it; say why to who is no stranger."""
        self._rejection = rejection
        if why:
            self._put(0, Kind.REFUSED, why.encode())
            self._close()
        else:
            self.end()

    def _ended(self, problem: Exception | None) -> None:
        del problem
        if self._timer is not None:
            self._timer.cancel()
        self._server.left(self, self._rejection, self._where)

    # -- admitting -----------------------------------------------------------------------------------------------

    def _secured(self) -> None:
        self._put(0, Kind.CHALLENGE, challenge_message(self._challenge))

    def _take(self, frame: Frame) -> None:
        if self._source is None:
            self._admit(frame)
        elif frame.kind != Kind.ASK:
            raise BadPeer(f"it asks with a frame of kind {frame.kind}")
        else:
            self._begin(self._source, frame)

    def _admit(self, frame: Frame) -> None:
        server = self._server
        if frame.kind != Kind.PROOF:
            raise BadPeer(f"it begins with a frame of kind {frame.kind}")
        try:
            source = read_proof(frame.message, server.secret, self._challenge, server.identity.digest, target=server.me)
        except BadPeer:
            self.reject(Rejection.NO_SECRET, "it does not accept that this host has the cluster's secret")
            return
        if not server.admit(self):
            self.reject(Rejection.FULL, "it has too many connections")
            return
        self._source, self._rejection = source, None
        self._reader.limit = MOST_MESSAGE_BYTES
        if self._timer is not None:
            self._timer.cancel()
        self._put(0, Kind.ADMITTED)

    # -- answering -----------------------------------------------------------------------------------------------

    def _begin(self, source: int, frame: Frame) -> None:
        self._under_way += 1
        self._under_way_bytes += len(frame.message)
        self._server.spawn(self._answer(source, frame.number, frame.message))
        self._regulate()

    async def _answer(self, source: int, number: int, message: bytes) -> None:
        answer: bytes | None = b""
        kind = Kind.FAILED
        try:
            answer = await self._server.answer(source, message)
        except Exception:  # noqa: BLE001 - the boundary of a listener: logged and answered
            _log.exception("What host-%d asked could not be answered", source)
        else:
            kind = Kind.NOT_RUNNING if answer is None else Kind.ANSWER
        if answer is not None and len(answer) > MOST_MESSAGE_BYTES:
            _log.error("An answer to host-%d has %d bytes, which is too much", source, len(answer))
            answer, kind = b"", Kind.FAILED
        self._under_way -= 1
        self._under_way_bytes -= len(message)
        self._put(number, kind, answer or b"")
        self._regulate()

    # -- back-pressure -------------------------------------------------------------------------------------------

    def _regulate(self) -> None:
        """Read no more while too much is being answered, or the other end does not read its answers."""
        if self.is_over or self._transport is None:
            return
        is_full = (
            self.is_write_paused or self._under_way >= MOST_UNDER_WAY or self._under_way_bytes > MOST_WAITING_BYTES
        )
        if is_full and not self._is_read_paused:
            self._is_read_paused = True
            self._transport.pause_reading()
        elif self._is_read_paused and not is_full:
            self._is_read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Read no more."""
        super().pause_writing()
        self._regulate()

    def resume_writing(self) -> None:
        """Read again."""
        super().resume_writing()
        self._regulate()
