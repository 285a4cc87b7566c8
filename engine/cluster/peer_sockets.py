"""Asks of other hosts over our own sockets: one connection to each, opened when something is asked of it.

`engine.cluster.peer_wire` is what travels on it, `engine.cluster.peer_server` the other end.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

from actors.cluster.watch import BEAT_SECONDS
from engine.channels.sockets import ListenAddress
from engine.cluster.peer_connection import MOST_UNDER_WAY, MOST_WAITING_BYTES, PeerConnection, watch
from engine.cluster.peer_identity import asking_context
from engine.cluster.peer_wire import (
    MOST_MESSAGE_BYTES,
    BadPeer,
    Frame,
    Kind,
    demand_secret,
    proof_message,
    read_challenge,
)
from engine.core.model.errors import PeerUnavailable
from engine.core.model.hosts import HostAddress, HostDirectory, Peers
from engine.core.model.placement import host_name

_PAUSE_SECONDS: Final = 0.1
"""After a connection that did not come about; whatever is asked meanwhile has the same answer."""
_CONNECT_SECONDS: Final = 2.0
"""The system takes connections for a process that is busy; whoever takes none may be reached again in a moment."""
_LOOK_SECONDS: Final = 0.25
"""How often, while asks are under way, it is looked whether the directory still leads there."""
_NUMBERS: Final = 2**32
_HEARD_SECONDS: Final = 2 * BEAT_SECONDS
"""How long a host that has asked is taken to be up: the word of the supervisor that follows may be of before it."""

FindHosts = Callable[[], HostDirectory]


class _Terms(NamedTuple):
    """What all connections of a host have in common."""

    me: int
    secret: bytes
    directory: FindHosts
    timeout_seconds: float
    context: ssl.SSLContext


class SocketPeers:
    """`engine.core.model.hosts.Peers` over sockets, without retries; to be used on one event loop."""

    def __init__(self, me: int, *, secret: bytes, directory: FindHosts, timeout_seconds: float) -> None:
        """Speak for the host at place `me` to those of the directory, which is looked at with each ask.

        `secret` is the cluster's; an ask that gets no answer ends after `timeout_seconds`. Raises ValueError for a
        secret that is none.
        """
        demand_secret(secret)
        self.me = me
        """The place of this host."""
        self._terms = _Terms(me, secret, directory, timeout_seconds, asking_context())
        self._links: dict[int, _Link] = {}
        self._down: frozenset[int] = frozenset()
        self._down_until = 0.0
        self._heard_until: dict[int, float] = {}

    @property
    def count(self) -> int:
        """How many hosts there are."""
        return len(self._terms.directory().hosts)

    async def ask(self, host: int, message: bytes) -> bytes:
        """Have a host answer a message; raises PeerUnavailable."""
        if host in self._down and self._heard_until.get(host, 0.0) < time.monotonic() < self._down_until:
            raise PeerUnavailable(f"{host_name(host)} is down")
        return await self._link(host).ask(message)

    def expect_down(self, places: tuple[int, ...], *, seconds: float) -> None:
        """Answer for hosts that are known to be down, for so long, without asking them."""
        self._down = frozenset(places) - {self.me}
        self._down_until = time.monotonic() + seconds

    def heard(self, place: int) -> None:
        """Note that a host has just asked something: it is up, whatever was said of it before that."""
        self._heard_until[place] = time.monotonic() + _HEARD_SECONDS

    def close(self) -> None:
        """End all connections; what is under way fails."""
        for link in self._links.values():
            link.end()
        self._links.clear()

    def _link(self, host: int) -> "_Link":
        link = self._links.get(host)
        if link is None or not link.is_current or link.may_be_replaced:
            if link is not None:
                link.end(_moved())
            link = self._links[host] = _Link(self._terms, host)
        return link


class _Link(PeerConnection):
    """A connection to one process of a host, until it breaks or the directory leads to another one."""

    def __init__(self, terms: _Terms, host: int) -> None:
        super().__init__(terms.context, is_server=False)
        self._terms = terms
        self._host = host
        self._name = host_name(host)
        self._address = self._told_address()
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._deadlines: deque[tuple[float, int]] = deque()
        self._numbers = count(1)
        self._waiting: list[tuple[int, bytes]] = []
        self._waiting_bytes = 0
        self._admitted = asyncio.Event()
        self._is_greeted = False
        self._over_at = 0.0
        self._problem = ""
        self._timer: asyncio.TimerHandle | None = None
        self._opening = self._loop.create_task(self._open())

    @property
    def is_current(self) -> bool:
        """Whether this leads to where the directory says that the host is."""
        own, told = self._address, self._told_address()
        return own is told or (own.peers == told.peers and own.certificate == told.certificate)

    @property
    def may_be_replaced(self) -> bool:
        """Whether it is over; one that never came about is kept for a while, so that not every ask tries again."""
        pause = 0.0 if self._admitted.is_set() else _PAUSE_SECONDS
        return self.is_over and self._loop.time() >= self._over_at + pause

    def ask(self, message: bytes) -> "asyncio.Future[bytes]":
        """Send a message; the future is its answer, or PeerUnavailable in time."""
        if self.is_over:
            raise PeerUnavailable(self._problem)
        if len(message) > MOST_MESSAGE_BYTES:
            raise PeerUnavailable(f"{self._name} cannot be asked in {len(message)} bytes")
        if len(self._asked) >= MOST_UNDER_WAY or self._waiting_bytes > MOST_WAITING_BYTES:
            raise PeerUnavailable(f"{self._name} is not reached (too much waits for it)")
        number = next(self._numbers) % _NUMBERS
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._asked[number] = answer
        self._deadlines.append((self._loop.time() + self._terms.timeout_seconds, number))
        if self._timer is None:
            self._look()
        if self.is_write_paused or not self._admitted.is_set():
            self._waiting.append((number, message))
            self._waiting_bytes += len(message)
        else:
            self._put(number, Kind.ASK, message)
        return answer

    def _told_address(self) -> HostAddress:
        return self._terms.directory().hosts[self._host]

    # -- opening -------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        timeout = self._terms.timeout_seconds
        try:
            if not self._address.certificate:
                raise BadPeer("the directory does not tell where it is")
            host, port = ListenAddress.parse(self._address.peers)
            async with asyncio.timeout(timeout):
                async with asyncio.timeout(_CONNECT_SECONDS):
                    transport, _ = await self._loop.create_connection(lambda: self, host, port)
                watch(transport.get_extra_info("socket"), timeout_seconds=timeout)
                await self._admitted.wait()
        except (OSError, ValueError) as problem:  # TimeoutError is one
            self.end(problem)

    def _secured(self) -> None:
        if self._pipe.peer_certificate().hex() != self._address.certificate:
            raise BadPeer("it shows another certificate than the directory tells")

    def _take(self, frame: Frame) -> None:
        if self._admitted.is_set():
            self._take_answer(frame)
        elif frame.kind == Kind.REFUSED:
            raise BadPeer(frame.message.decode("utf-8", "replace"))
        elif not self._is_greeted and frame.kind == Kind.CHALLENGE:
            self._is_greeted = True
            shown, secret = self._pipe.peer_certificate(), self._terms.secret
            challenge = read_challenge(frame.message)
            proof = proof_message(secret, challenge, shown, source=self._terms.me, target=self._host)
            self._put(0, Kind.PROOF, proof)
        elif self._is_greeted and frame.kind == Kind.ADMITTED:
            self._reader.limit = MOST_MESSAGE_BYTES
            self._admitted.set()
            self._send_waiting()
        else:
            raise BadPeer(f"it greets with a frame of kind {frame.kind}")

    # -- asking --------------------------------------------------------------------------------------------------

    def _send_waiting(self) -> None:
        """Send what waits, but for what nobody waits for any more."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for number, message in waiting:
            if number in self._asked:
                self._put(number, Kind.ASK, message)

    def resume_writing(self) -> None:
        """Send what waits."""
        super().resume_writing()
        if self._admitted.is_set():
            self._send_waiting()

    def _take_answer(self, frame: Frame) -> None:
        answer = self._asked.pop(frame.number, None)  # None: it came too late
        if answer is None or answer.done():
            return
        if frame.kind == Kind.ANSWER:
            answer.set_result(frame.message)
        elif frame.kind == Kind.NOT_RUNNING:
            answer.set_exception(PeerUnavailable(f"{self._name} does not run"))
        elif frame.kind == Kind.FAILED:
            answer.set_exception(PeerUnavailable(f"{self._name} is not reached (its answer failed; its log says why)"))
        else:
            self._asked[frame.number] = answer
            raise BadPeer(f"it answers with a frame of kind {frame.kind}")

    def _look(self) -> None:
        """Give up what has waited too long, and all when the host is elsewhere; look again while something waits."""
        self._timer = None
        if self.is_over:
            return
        if not self.is_current:
            self.end(_moved())
            return
        now, deadlines = self._loop.time(), self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1] not in self._asked):
            answer = self._asked.pop(deadlines.popleft()[1], None)
            if answer is not None and not answer.done():
                seconds = self._terms.timeout_seconds
                answer.set_exception(PeerUnavailable(f"{self._name} did not answer within {seconds:g} seconds"))
        if deadlines:
            self._timer = self._loop.call_at(min(deadlines[0][0], now + _LOOK_SECONDS), self._look)

    def _ended(self, problem: Exception | None) -> None:
        why = str(problem) if isinstance(problem, BadPeer) else type(problem or ConnectionResetError()).__name__
        self._problem = f"{self._name} is not reached ({why})"
        self._over_at = self._loop.time()
        self._opening.cancel()
        if self._timer is not None:
            self._timer.cancel()
        asked, self._asked = self._asked, {}
        self._waiting.clear()
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(PeerUnavailable(self._problem))


def _moved() -> BadPeer:
    return BadPeer("it has moved")


_PEERS: type[Peers] = SocketPeers
"""Checked: they satisfy their port."""
