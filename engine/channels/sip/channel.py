"""SIP as a channel: its sockets, its peers, and what switches ask and tell over HTTP."""

import secrets
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from engine.channels.base import Bound, ChannelContext, HttpEndpoint, Served, Spread, Unserved
from engine.channels.carriers import Carriers
from engine.channels.sip.answers import Answering
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.server import SipServer
from engine.channels.sip.settings import SipPeerSettings
from engine.channels.sip.switch_http import SwitchEndpoint
from engine.channels.sockets import ListenAddress, bind_sip, bind_tcp, reached_at
from engine.channels.tls import Certificate


class SipChannelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the SIP channel listens, and for whom."""

    listen: ListenAddress | None = None
    """Over UDP and TCP; None = nowhere."""
    tls_listen: ListenAddress | None = None
    """Over TLS; None = nowhere."""
    certificate: str = ""
    """PEM file of the certificate chain."""
    key: str = ""
    """PEM file of its key."""
    authorities: str = ""
    """PEM file of who signs the certificates of peers; empty = peers show none."""
    peers: tuple[SipPeerSettings, ...] = ()
    """Who may ask; without any, nothing listens."""
    deadline_seconds: float = 2.0
    """How long an INVITE may wait for its decision."""
    most_waiting: int = 10_000
    """INVITEs that may wait at a time."""
    most_connections: int = 1_000
    """Connections of peers at a time."""
    carriers: Carriers = {}
    """The operator's carriers: they ask and tell over HTTP for every account."""
    max_body_bytes: int = 65_536
    """Largest question or report over HTTP."""


class SipChannel:
    """A redirect server for switches."""

    spread = Spread.EVERY_HOST

    def __init__(self, name: str, settings: SipChannelSettings) -> None:
        """Listen as the settings say."""
        self.name = name
        self._settings = settings
        self._peers = Peers.of(settings.peers)

    @property
    def most_connections(self) -> int:
        """How many connections of peers it may have at a time."""
        return self._settings.most_connections if self._listens else 0

    @property
    def _listens(self) -> bool:
        settings = self._settings
        return bool(settings.peers) and (settings.listen is not None or settings.tls_listen is not None)

    def bind(self, stack: ExitStack) -> Bound:
        """Bind the sockets and read the certificate."""
        settings = self._settings
        if not self._listens:
            return Unserved()
        bound = _BoundSip(settings, self._peers)
        if settings.tls_listen is not None:
            bound.certificate = _certificate(settings)
            bound.tls = stack.enter_context(closing(bind_tcp(settings.tls_listen, option="--sip-tls-listen")))
        if settings.listen is not None:
            for one in bind_sip(settings.listen, option="--sip-listen"):
                bound.plain.append(stack.enter_context(closing(one)))
        return bound

    def http(self, context: ChannelContext) -> HttpEndpoint:
        """Make what switches ask and tell over HTTP; with credentials also without any peer."""
        return SwitchEndpoint(
            context.traffic,
            peers=self._peers,
            carriers=self._settings.carriers,
            authenticate=context.authenticate,
            observer=context.observer,
            meter=context.meter,
            monotonic=context.monotonic,
            public_url=context.public_url,
            max_body_bytes=self._settings.max_body_bytes,
        )


class _BoundSip:
    def __init__(self, settings: SipChannelSettings, peers: Peers) -> None:
        self._settings = settings
        self._peers = peers
        self.plain: list[socket.socket] = []
        """TCP and UDP; empty where only TLS is spoken."""
        self.tls: socket.socket | None = None
        self.certificate: Certificate | None = None

    @property
    def address(self) -> str:
        """host:port over UDP and TCP, or over TLS where nothing else is spoken."""
        first = self.plain[0] if self.plain else self.tls
        return "" if first is None else str(reached_at(first))

    async def serve(self, context: ChannelContext) -> Served:
        """Take messages from now on."""
        settings = self._settings
        redirector = Redirector(
            context.traffic,
            answering=Answering(_tag_key(context)),
            is_ready=context.is_ready,
            observer=context.observer,
            meter=context.meter,
            monotonic=context.monotonic,
            deadline_seconds=settings.deadline_seconds,
            most_waiting=settings.most_waiting,
        )
        server = SipServer(
            redirector,
            self._peers,
            observer=context.observer,
            monotonic=context.monotonic,
            most_connections=settings.most_connections,
        )
        await server.open(
            datagrams=self.plain[1:],
            streams=self.plain[:1],
            tls_streams=[] if self.tls is None else [self.tls],
            certificate=self.certificate,
        )
        return server


def _certificate(settings: SipChannelSettings) -> Certificate:
    return Certificate(
        Path(settings.certificate).expanduser(),
        Path(settings.key).expanduser(),
        of="sip",
        authorities=Path(settings.authorities).expanduser() if settings.authorities else None,
    )


def _tag_key(context: ChannelContext) -> bytes:
    """Return what To tags are made with, the same after a restart: a repeated question gets the same bytes."""
    kept = context.notes.get(_TAG_KEY)
    if kept is not None:
        return kept
    made = secrets.token_bytes(32)
    context.notes.put(_TAG_KEY, made, context.clock() + _KEPT_SECONDS, lambda _: None)
    return made


_TAG_KEY = b"to-tag-key"
_KEPT_SECONDS = 10 * 365.25 * 86_400
