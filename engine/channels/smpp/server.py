"""Where peers bind to us: the listeners, and who may come in."""

import asyncio
import hmac
import logging
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from engine.channels.base import ChannelContext
from engine.channels.log_limit import LogLimit
from engine.channels.smpp.connection import Connection
from engine.channels.smpp.dialer import Outbinds
from engine.channels.smpp.links import Links
from engine.channels.smpp.pdu import Bind, Status, Tag
from engine.channels.smpp.session import BindAsked, Event, OutbindAsked, Role, Session, Timing
from engine.channels.tls import Certificate
from engine.channels.tls_listener import TlsListener
from engine.core.ports.observing import SmppCount

_log = logging.getLogger("maskline.smpp")

_BACKLOG = 256
_CHECK_SECONDS = 1.0
_SYSTEM_ID = b"maskline\0"
_VERSION: Final = Tag.SC_INTERFACE_VERSION.to_bytes(2) + b"\0\1\x34"
_LEAST_VERSION = 0x34


class SmppServer:
    """Accepts connections until they are bound, and hands each to its peer."""

    def __init__(
        self,
        peers: Sequence[Links],
        context: ChannelContext,
        *,
        timing: Timing,
        most_connections: int,
        outbinds: Outbinds,
    ) -> None:
        """Let these peers in."""
        self._by_system_id: Mapping[str, Links] = {links.peer.system_id: links for links in peers}
        self._monotonic = context.monotonic
        self._count = context.observer.smpp
        self._timing = timing
        self._most_connections = most_connections
        self._outbinds = outbinds
        self._servers: list[asyncio.Server | TlsListener] = []
        self._certificate: Certificate | None = None
        self._check: asyncio.TimerHandle | None = None
        self._connections: dict[Connection, None] = {}
        """The open ones, the oldest first."""
        self._log_limit = LogLimit(context.monotonic)

    @property
    def connections(self) -> int:
        """Count the open connections, bound or not."""
        return len(self._connections)

    async def open(self, bound: socket.socket, *, certificate: Certificate | None = None) -> None:
        """Accept connections on a bound socket from now on; over TLS where there is a certificate."""
        if certificate is None:
            loop, make = asyncio.get_running_loop(), partial(self._connection, is_tls=False)
            self._servers.append(await loop.create_server(make, sock=bound, backlog=_BACKLOG))
            return
        listener = TlsListener(
            bound,
            certificate,
            make=partial(self._connection, is_tls=True),
            room=lambda: self._most_connections - len(self._connections),
            crowded=lambda: self._count(SmppCount.TOO_MANY_CONNECTIONS),
            handshake_seconds=self._timing.bind,
            backlog=_BACKLOG,
        )
        self._servers.append(listener)
        self._certificate = certificate
        self._renew()

    def stop_accepting(self) -> None:
        """Take no new connections."""
        if self._check is not None:
            self._check.cancel()
        for server in self._servers:
            server.close()

    def close(self) -> None:
        """End what is not bound."""
        for connection in tuple(self._connections):
            connection.abort()

    def _connection(self, *, is_tls: bool) -> asyncio.Protocol:
        session = Session(Role.SMSC, window=1, timing=self._timing, now=self._monotonic())
        stranger = _Stranger(self, is_tls=is_tls)
        return Connection(session, stranger, monotonic=self._monotonic, came=self._came)  # type: ignore[return-value] # it has the methods of one

    def _came(self, connection: Connection) -> None:
        """Take a connection that is open; one too many ends that which has been there longest without a bind."""
        self._connections[connection] = None
        connection.ended.add_done_callback(lambda _: self._connections.pop(connection, None))
        if len(self._connections) > self._most_connections:
            excess = next(one for one in self._connections if isinstance(one.owner, _Stranger))
            del self._connections[excess]
            self._count(SmppCount.TOO_MANY_CONNECTIONS)
            self._say(excess, "is closed, not being bound: max_smpp_connections are open")
            excess.abort()

    def asked(self, connection: Connection, asked: BindAsked, *, is_tls: bool) -> None:
        """Let a peer in, or not."""
        links = self._by_system_id.get(asked.bind.system_id)
        problem = self._problem(links, asked.bind, connection, is_tls=is_tls)
        if links is None or problem is not None:
            status = problem or Status.WRONG_PASSWORD
            self._count(SmppCount.BIND_REFUSED)
            self._say(connection, f"was refused a bind, with status 0x{status:02x}")
            for event in connection.session.refuse_bind(status):
                connection.hand_on(event)
            return
        version = _VERSION if asked.bind.interface_version >= _LEAST_VERSION else b""
        early = connection.session.accept_bind(_SYSTEM_ID + version, window=links.peer.window)
        connection.owner = links
        links.bound(connection)
        for event in early:
            connection.hand_on(event)

    def asked_to_bind(self, connection: Connection) -> None:
        """Have a peer connected to that asks for it; this connection is over."""
        if not self._outbinds.came(connection.peer_address):
            self._count(SmppCount.BIND_REFUSED)
            self._say(connection, "sent an outbind that was not expected")
        connection.close()

    def _say(self, connection: Connection, what: str) -> None:
        """Log what was done about somebody who may be anybody, once a minute."""
        if self._log_limit.may_log((connection.peer_address, what)):
            _log.warning("The SMPP connection from %s %s", connection.peer_address or "a socket", what)

    def _problem(self, links: Links | None, bind: Bind, connection: Connection, *, is_tls: bool) -> Status | None:
        """Return why a bind is refused; who knows no password learns nothing else."""
        password = "" if links is None else links.peer.password
        is_right = hmac.compare_digest(password.encode(), bind.password.encode("latin-1", "replace"))
        if links is None or not is_right or not password:
            return Status.WRONG_PASSWORD
        peer = links.peer
        if not peer.may_come_from(connection.peer_address) or (peer.tls and not is_tls):
            return Status.BIND_FAILED
        return Status.ALREADY_BOUND if len(links.connections) >= peer.connections * _BINDS_EACH else None

    def _renew(self) -> None:
        if self._certificate is not None:
            self._certificate.renew()
            self._check = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._renew)


class _Stranger:
    """Owns a connection until it is bound."""

    def __init__(self, server: SmppServer, *, is_tls: bool) -> None:
        self._server = server
        self._is_tls = is_tls

    def happened(self, connection: Connection, event: Event) -> None:
        if isinstance(event, BindAsked):
            self._server.asked(connection, event, is_tls=self._is_tls)
        elif isinstance(event, OutbindAsked):
            self._server.asked_to_bind(connection)


_BINDS_EACH = 2
"""A transmitter and a receiver count as one connection."""
