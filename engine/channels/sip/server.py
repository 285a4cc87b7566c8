"""The sockets of the SIP channel: datagrams and streams of peers, to the redirector and back.

Strangers get nothing over UDP, not even a refusal, and over TCP and TLS an end of the connection. The datagrams of one
readable burst are read, decided and answered together.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from engine.channels.base import Gauge
from engine.channels.log_limit import LogLimit
from engine.channels.sip.answers import answer
from engine.channels.sip.datagrams import MAX_DATAGRAM_BYTES, Batches, Datagram, source_of
from engine.channels.sip.framing import PONG, KeepAlive, Splitter, Unframed
from engine.channels.sip.message import read_message
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.requests import Malformed, Request
from engine.channels.sip.switches import Arrival, Peer, Reply
from engine.channels.tls import Certificate
from engine.channels.tls_listener import TlsListener
from engine.core.model.overview import PeerState
from engine.core.ports.observing import SipObserver, SipProblem
from engine.core.ports.operations import Clock

_log = logging.getLogger("maskline.sip")

MOST_UNSENT = 4_096
"""Answers that wait for room in the socket; peers ask again for the others."""

IDLE_SECONDS = 600.0
"""After which a stream on which nothing was said is closed."""

_NO_PEER = ""
_MOST_SOURCES = 4_096
"""Addresses and ports of peers whose peer is known without a search."""
_BACKLOG = 1024
_CHECK_SECONDS = 10.0
_HANDSHAKE_SECONDS = 10.0
_BUFFER_BYTES = 4 * 1024 * 1024


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
        self.peers = peers
        self.observer = observer
        self.monotonic = monotonic
        self._clock = clock
        self._heard: dict[str, tuple[str, float]] = {}
        """By name of a peer where it was last heard from, and when by the monotonic clock; of strangers by none."""
        self._strangers = 0
        self.streams: set[Stream] = set()
        self._most_connections = most_connections
        self._datagrams: list[Datagrams] = []
        self._servers: list[asyncio.Server | TlsListener] = []
        self._certificate: Certificate | None = None
        self._checks: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._will_look = False
        self._log_limit = LogLimit(monotonic)
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
        self._datagrams += [Datagrams(self, bound, loop) for bound in datagrams]
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
        found = [self._state_of(name, role="switch") for name in self.peers.names]
        if self._strangers:
            found.append(self._state_of(_NO_PEER, role="stranger", refused=self._strangers))
        return tuple(found)

    def _state_of(self, name: str, *, role: str, refused: int = 0) -> PeerState:
        address, at = self._heard.get(name, ("", None))
        heard_at = None if at is None else self._clock() - (self.monotonic() - at)
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
            self.stranger(stream.host)
            return False
        if len(self.streams) >= self._most_connections:
            self.observer.sip_dropped(SipProblem.TOO_MANY_CONNECTIONS)
            return False
        self.streams.add(stream)
        return True

    def take(self, data: bytes, arrival: Arrival) -> None:
        """Hand a message of a peer on, unless it asks too much."""
        now = self.monotonic()
        self._heard[arrival.peer.name] = (arrival.source[0], now)
        try:
            if self.peers.may_ask(arrival.peer, now=now):
                self.redirector.take(data, arrival)
            else:
                self.observer.sip_dropped(SipProblem.TOO_MANY_REQUESTS)
                self.redirector.send_elsewhere(data, arrival)
        except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged, and the peer's timers go on
            _log.exception("A SIP message could not be answered")
            self.observer.sip_dropped(SipProblem.INTERNAL_ERROR)

    def stranger(self, host: str) -> None:
        """Count a message or connection of no peer; one a minute is logged."""
        self.observer.sip_dropped(SipProblem.STRANGER)
        self._strangers += 1
        self._heard[_NO_PEER] = (host, self.monotonic())
        if self._log_limit.may_log("stranger"):
            _log.warning("%s speaks SIP to us and is in the networks of no [sip_peers]: it gets no answer", host)

    def replied(self) -> None:
        """Look at the time once more in this turn: what was answered may have to be answered again."""
        if not self._will_look:
            self._will_look = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._will_look = False
        self.keep_time()

    def keep_time(self) -> None:
        """Have the redirector woken when it asks for it."""
        if self._is_stopping:
            self._calm.set()
        due = self.redirector.next_timer()
        if due is None or (self._due is not None and self._due <= due):  # the timer that is set will look again
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        wait = max(0.0, due - self.monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait, self._wake)

    def _check(self) -> None:
        if self._certificate is not None:
            self._certificate.renew()
        self._checks = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._check)

    def _wake(self) -> None:
        self._timer = self._due = None
        self.redirector.wake()
        self.keep_time()


class Datagrams:
    """One UDP socket."""

    def __init__(self, server: SipServer, bound: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Read a bound socket."""
        self._server = server
        self._socket = bound
        self._loop = loop
        self._unsent: list[Datagram] = []
        self._is_full = self._will_send = False
        """The socket had no room for an answer; what is unsent will be sent in this turn."""
        self._sources: dict[bytes, tuple[Peer, tuple[str, int], Reply]] = {}
        bound.setblocking(False)  # noqa: FBT003 - takes no name
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        self._batches = Batches(bound)
        loop.add_reader(bound, self._read)

    def close(self) -> None:
        """Read no more; send what there is room for."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._is_full = True
        while self._unsent and (count := self._batches.send(self._unsent)):
            del self._unsent[:count]
        self._socket.close()

    def _read(self) -> None:
        self._will_send = True
        for data, name in self._batches.receive():
            found = self._sources.get(name) or self._find(name)
            if found is not None:
                peer, source, reply = found
                self._server.take(data, Arrival(peer, source, is_reliable=False, reply=reply, octets=len(data)))
        self._send()

    def _find(self, name: bytes) -> tuple[Peer, tuple[str, int], Reply] | None:
        source = source_of(name)
        peer = self._server.peers.find(source[0])
        if peer is None:
            self._server.stranger(source[0])
            return None
        if len(self._sources) >= _MOST_SOURCES:
            self._sources.clear()
        found = self._sources[name] = (peer, source, partial(self._reply, name))
        return found

    def _reply(self, name: bytes, data: bytes) -> None:
        if len(data) > MAX_DATAGRAM_BYTES or len(self._unsent) >= MOST_UNSENT:
            return
        self._unsent.append((data, name))
        if not self._will_send:
            self._will_send = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send the answers of this turn together, and look at the time: they may have to be sent again."""
        self._will_send = False
        if not self._is_full:
            self._write()
        self._server.keep_time()

    def _write(self) -> None:
        while self._unsent and (count := self._batches.send(self._unsent)):
            del self._unsent[:count]
        is_full = bool(self._unsent)
        if is_full != self._is_full:
            self._is_full = is_full
            if is_full:
                self._loop.add_writer(self._socket, self._write)
            else:
                self._loop.remove_writer(self._socket)


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
        self._peer = self._server.peers.find_named(host, _names_in(transport.get_extra_info("peercert")))
        if not self._server.admit(self, self._peer):
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what is whole now."""
        if self._peer is None or self._splitter.is_broken:
            return
        self._wait()
        arrival = Arrival(self._peer, self._source, is_reliable=True, reply=self._write)
        for piece in self._splitter.feed(data):
            if isinstance(piece, KeepAlive):
                self._write(PONG)
            elif isinstance(piece, Unframed):
                self._refuse(piece.message)
            else:
                self._server.take(piece, arrival)
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

    def _refuse(self, message: bytes) -> None:
        """Answer what has no end that can be told, as far as it can be answered, and close."""
        self._server.observer.sip_dropped(SipProblem.UNFRAMED)
        found = read_message(message)
        if isinstance(found, Request):  # all is well but that no length tells its end
            found = Malformed(400, "Bad Content-Length", found.method, found.echo)
        if isinstance(found, Malformed) and found.method != b"ACK":
            self._write(answer(found.echo, found.status, self._source, reason=found.reason))
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
