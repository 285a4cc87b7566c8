"""The sockets of the SIP channel: datagrams and streams of peers, to the redirector and back.

Strangers get nothing over UDP, not even a refusal, and over TCP and TLS an end of the connection.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from engine.channels.base import Gauge
from engine.channels.sip.answers import answer
from engine.channels.sip.framing import PONG, KeepAlive, Splitter, Unframed
from engine.channels.sip.intake import NO_PEER, Intake
from engine.channels.sip.message import read_message
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.requests import Malformed, Request
from engine.channels.sip.switches import Arrival, Peer
from engine.channels.sip.udp import Datagrams
from engine.channels.tls import Certificate
from engine.channels.tls_listener import TlsListener
from engine.core.model.overview import PeerState
from engine.core.ports.observing import SipObserver, SipProblem
from engine.core.ports.operations import Clock

IDLE_SECONDS = 600.0
"""After which a stream on which nothing was said is closed."""

_BACKLOG = 1024
_CHECK_SECONDS = 10.0
_HANDSHAKE_SECONDS = 10.0


class SipServer:
    """Listens, and keeps the redirector's time."""

    def __init__(
        self,
        redirector: Redirector,
        peers: Peers,
        *,
        observer: SipObserver,
        clock: Clock,
        monotonic: Clock,
        most_connections: int,
    ) -> None:
        """Serve peers from a redirector."""
        self.redirector = redirector
        self.observer = observer
        self.intake = Intake(redirector, peers, observer=observer, monotonic=monotonic, turned=self.keep_time)
        self._clock = clock
        self._monotonic = monotonic
        self.streams: set[Stream] = set()
        self._most_connections = most_connections
        self._datagrams: list[Datagrams] = []
        self._servers: list[asyncio.Server | TlsListener] = []
        self._certificate: Certificate | None = None
        self._checks: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._will_look = False
        self._calm = asyncio.Event()
        """Set when somebody may have become the last whom a stop awaits."""
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        """What the timer is set to."""

    async def open(
        self,
        *,
        datagrams: Iterable[socket.socket] = (),
        streams: Iterable[socket.socket] = (),
        tls_streams: Iterable[socket.socket] = (),
        certificate: Certificate | None = None,
    ) -> None:
        """Take messages on bound sockets from now on; TLS needs a certificate."""
        loop = asyncio.get_running_loop()
        self._certificate = certificate
        self._datagrams += [Datagrams(self.intake, bound, loop) for bound in datagrams]
        for bound in streams:
            self._servers.append(await loop.create_server(self._make, sock=bound, backlog=_BACKLOG))
        if certificate is not None:
            self._servers += [self._over_tls(bound, certificate) for bound in tls_streams]
        self._check()

    def _make(self) -> "Stream":
        return Stream(self)

    def _over_tls(self, bound: socket.socket, certificate: Certificate) -> TlsListener:
        return TlsListener(
            bound,
            certificate,
            make=self._make,
            room=lambda: self._most_connections - len(self.streams),
            crowded=lambda: self.observer.sip_dropped(SipProblem.TOO_MANY_CONNECTIONS),
            handshake_seconds=_HANDSHAKE_SECONDS,
            backlog=_BACKLOG,
        )

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """What metrics show of it."""
        return (
            Gauge("sip_connections", "Open connections of SIP peers", lambda: len(self.streams)),
            Gauge("sip_waiting_calls", "INVITEs without an answer or its ACK", lambda: self.redirector.waiting),
        )

    @property
    def peer_states(self) -> tuple[PeerState, ...]:
        """When and where each peer was last heard, and strangers, if there were any."""
        found = [self._state_of(name, role="switch") for name in self.intake.peers.names]
        if self.intake.strangers:
            found.append(self._state_of(NO_PEER, role="stranger", refused=self.intake.strangers))
        return tuple(found)

    def _state_of(self, name: str, *, role: str, refused: int = 0) -> PeerState:
        address, at = self.intake.heard.get(name, ("", None))
        heard_at = None if at is None else self._clock() - (self._monotonic() - at)
        problem = "" if at is not None else "it has asked nothing yet"
        return PeerState(
            protocol="sip", name=name, role=role, problem=problem, address=address, heard_at=heard_at, refused=refused
        )

    def stop_accepting(self) -> None:
        """Have whoever asks from now on told to ask elsewhere; connections and datagrams are taken as before."""
        self._is_stopping = True
        self.redirector.stop()

    async def stop(self, grace_seconds: float) -> None:
        """Answer what was taken, and tell the switches that look whether this server lives that it does not; close."""
        self.stop_accepting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while self.redirector.undecided or self.redirector.untold:
                    self._calm.clear()
                    await self._calm.wait()
        await self.close()

    async def close(self) -> None:
        """Take nothing more; what waits for a decision is left to the peers' timers."""
        for timer in (self._timer, self._checks):
            if timer is not None:
                timer.cancel()
        while self._datagrams:
            self._datagrams.pop().close()
        for server in self._servers:
            server.close()
        for stream in tuple(self.streams):
            stream.end()

    def admit(self, stream: "Stream", peer: Peer | None) -> bool:
        """Tell whether a connection may stay."""
        if peer is None:
            self.intake.stranger(stream.host)
            return False
        if len(self.streams) >= self._most_connections:
            self.observer.sip_dropped(SipProblem.TOO_MANY_CONNECTIONS)
            return False
        self.streams.add(stream)
        return True

    def replied(self) -> None:
        """Look at the time once more in this turn: what was answered may have to be answered again."""
        if not self._will_look:
            self._will_look = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._will_look = False
        self.keep_time()

    def keep_time(self) -> None:
        """Tell what a turn came to, and have the redirector woken when it asks for it."""
        self.redirector.tell()
        if self._is_stopping:
            self._calm.set()
        due = self.redirector.next_timer()
        if due is None or (self._due is not None and self._due <= due):  # the timer that is set will look again
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        wait = max(0.0, due - self._monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait, self._wake)

    def _check(self) -> None:
        if self._certificate is not None:
            self._certificate.renew()
        self._checks = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._check)

    def _wake(self) -> None:
        self._timer = self._due = None
        self.redirector.wake()
        self.keep_time()


class Stream(asyncio.Protocol):
    """One connection over TCP or TLS."""

    _transport: asyncio.Transport

    def __init__(self, server: SipServer) -> None:
        """Serve a connection."""
        self._server = server
        self._splitter = Splitter()
        self._peer: Peer | None = None
        self._source = ("", 0)
        self._idle: asyncio.TimerHandle | None = None

    @property
    def host(self) -> str:
        """Address that it comes from."""
        return self._source[0]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as asyncio's own do
        """Let a peer in, and nobody else."""
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self._source = (host, port)
        self._peer = self._server.intake.peers.find_named(host, _names_in(transport.get_extra_info("peercert")))
        if not self._server.admit(self, self._peer):
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what is whole now."""
        if self._peer is None or self._splitter.is_broken:
            return
        self._wait()
        intake = self._server.intake
        now = intake.monotonic()
        arrival = Arrival(self._peer, self._source, is_reliable=True, reply=self._write)
        intake.hear(arrival, now=now)
        for piece in self._splitter.feed(data):
            if isinstance(piece, KeepAlive):
                self._write(PONG)
            elif isinstance(piece, Unframed):
                self._refuse(piece.message, arrival)
            else:
                intake.take(piece, arrival, now=now)
        self._server.keep_time()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not take its answers."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        """Forget the connection."""
        self._server.streams.discard(self)
        if self._idle is not None:
            self._idle.cancel()

    def end(self) -> None:
        """Close when what was written has left."""
        self._transport.close()

    def _refuse(self, message: bytes, arrival: Arrival) -> None:
        """Answer what has no end that can be told, as far as it can be answered, and close."""
        self._server.observer.sip_dropped(SipProblem.UNFRAMED)
        found = read_message(message)
        if isinstance(found, Request):  # all is well but that no length tells its end
            found = Malformed(400, "Bad Content-Length", found.method, found.echo)
        if isinstance(found, Malformed) and found.method != b"ACK":
            self._write(answer(found.echo, found.status, arrival.seen, reason=found.reason))
        self.end()

    def _write(self, data: bytes) -> None:
        self._server.replied()
        if not self._transport.is_closing():
            self._transport.write(data)

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.end)


def _names_in(certificate: Mapping[str, Any] | None) -> list[str]:
    """Return the names that a client's certificate is for, as `ssl` tells of one that was verified."""
    return [value for _, value in (certificate or {}).get("subjectAltName", ())]
