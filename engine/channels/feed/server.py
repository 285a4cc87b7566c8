"""The listener of the feed: a socket, the connections on it, and who may speak on them."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from engine.channels.base import Gauge
from engine.channels.carriers import Carriers
from engine.channels.feed.connection import Admitted, FeedConnection, FeedParts
from engine.channels.feed.frames import Hello, Refused
from engine.channels.feed.settings import FeedSettings
from engine.channels.tls import Certificate
from engine.channels.tls_listener import TlsListener
from engine.core.model.hosts import HostDirectory
from engine.core.model.records import Account
from engine.core.ports.observing import FeedObserver, FeedProblem, TrafficMeter
from engine.core.ports.operations import Clock, FeedPlane
from engine.core.ports.store import Lease

_BACKLOG = 1024
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 60, 15, 4

Authenticate = Callable[[str, str], Account | None]
"""Checks account SID and token, or API key and secret, in constant time."""


class FeedServer:
    """Accepts connections and ends them in order."""

    def __init__(
        self,
        plane: FeedPlane,
        *,
        authenticate: Authenticate,
        carriers: Carriers,
        directory: Callable[[], HostDirectory],
        observer: FeedObserver,
        meter: TrafficMeter,
        monotonic: Clock,
        settings: FeedSettings,
        lease: Lease | None = None,
    ) -> None:
        """Feed a data plane; a carrier, known by its AccountSid and a key, speaks for every account."""
        self._authenticate = authenticate
        self._carriers = carriers
        self._connections: set[FeedConnection] = set()
        self._rejected: set[FeedConnection] = set()  # of these, those that are told that there is no room
        self._parts = FeedParts(
            plane, self._admit, directory, observer, meter, monotonic, settings, self._opened, self._closed, lease
        )
        self._is_quiet = asyncio.Event()
        self._server: asyncio.Server | TlsListener | None = None
        self._certificate: Certificate | None = None
        self._checks: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Count the open connections, without those that are rejected."""
        return len(self._connections) - len(self._rejected)

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """What metrics show of it."""
        return (Gauge("feed_connections", "Open connections of the feed", lambda: self.connections),)

    async def open(self, bound: socket.socket, *, certificate: Certificate | None = None) -> None:
        """Accept connections on a bound socket from now on; over TLS where there is a certificate."""
        _keep_alive(bound)
        self._certificate = certificate
        if certificate is None:
            self._server = await asyncio.get_running_loop().create_server(self._make, sock=bound, backlog=_BACKLOG)
        else:
            self._server = TlsListener(
                bound,
                certificate,
                make=self._make,
                room=lambda: self._parts.settings.max_feed_connections - self.connections,
                crowded=lambda: self._parts.observer.feed_refused(FeedProblem.TOO_MANY_CONNECTIONS),
                handshake_seconds=self._parts.settings.feed_hello_timeout_seconds,
                backlog=_BACKLOG,
            )
        self._check()

    def stop_accepting(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    async def stop(self, grace_seconds: float) -> None:
        """Take no more, answer what was taken within the grace, then close."""
        if self._checks is not None:
            self._checks.cancel()
        self.stop_accepting()
        for connection in tuple(self._connections):
            connection.finish()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_quiet.wait(), grace_seconds)
        for connection in tuple(self._connections):
            connection.abort()

    def _make(self) -> FeedConnection:
        return FeedConnection(self._parts)

    def _admit(self, hello: Hello) -> Admitted:
        carrier = self._carriers.get(hello.key)
        if carrier is not None and carrier.has(hello.secret):
            return Admitted(None, carrier if carrier.numbers or carrier.writes_digits else None)
        account = self._authenticate(hello.key, hello.secret)
        if account is None:
            raise Refused(FeedProblem.BAD_CREDENTIALS, "no such key, or its secret is another one")
        return Admitted(account.sid)

    def _opened(self, connection: FeedConnection) -> bool:
        has_room = self.connections < self._parts.settings.max_feed_connections
        self._connections.add(connection)
        if not has_room:
            self._rejected.add(connection)
        self._is_quiet.clear()
        return has_room

    def _closed(self, connection: FeedConnection) -> None:
        self._connections.discard(connection)
        self._rejected.discard(connection)
        if not self._connections:
            self._is_quiet.set()

    def _check(self) -> None:
        if self._certificate is not None:
            self._certificate.renew()
        for connection in tuple(self._connections):
            connection.check()
        self._checks = asyncio.get_running_loop().call_later(self._parts.settings.check_seconds, self._check)


def _keep_alive(bound: socket.socket) -> None:
    """Have the system look whether idle peers are still there; accepted sockets inherit it."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _IDLE_SECONDS), ("TCP_KEEPINTVL", _PROBE_SECONDS), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, option):  # not everywhere
            bound.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
