"""SIP as a channel: its sockets, its peers, and what switches ask and tell over HTTP."""

import secrets
import socket
from contextlib import ExitStack, closing

from engine.channels.base import Bound, ChannelContext, HttpEndpoint, Served, Spread, Unserved
from engine.channels.sip.answers import Answering
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.server import SipServer
from engine.channels.sip.settings import SipSettings
from engine.channels.sip.switch_http import SwitchEndpoint
from engine.channels.sockets import bind_sip, bind_tcp, reached_at
from engine.channels.tls import Certificate


class SipChannel:
    """A redirect server for switches."""

    spread = Spread.EVERY_HOST

    def __init__(self, name: str, settings: SipSettings) -> None:
        """Listen as the settings say."""
        self.name = name
        self._settings = settings
        self._peers = Peers.of(settings.sip_peers)

    @property
    def most_connections(self) -> int:
        """How many connections of peers it may have at a time."""
        return self._settings.max_sip_connections if self._listens else 0

    @property
    def _listens(self) -> bool:
        settings = self._settings
        return bool(settings.sip_peers) and (settings.sip_listen is not None or settings.sip_tls_listen is not None)

    def bind(self, stack: ExitStack) -> Bound:
        """Bind the sockets and read the certificate."""
        settings = self._settings
        if not self._listens:
            return Unserved()
        bound = _BoundSip(settings, self._peers)
        if settings.sip_tls_listen is not None:
            bound.certificate = _certificate(settings)
            bound.tls = stack.enter_context(closing(bind_tcp(settings.sip_tls_listen, option="--sip-tls-listen")))
        if settings.sip_listen is not None:
            for one in bind_sip(settings.sip_listen, option="--sip-listen"):
                bound.plain.append(stack.enter_context(closing(one)))
        return bound

    def http(self, context: ChannelContext) -> HttpEndpoint:
        """Make what switches ask and tell over HTTP; with credentials also without any peer."""
        return SwitchEndpoint(
            context.traffic,
            peers=self._peers,
            carriers=self._settings.inbound_carriers,
            authenticate=context.authenticate,
            observer=context.observer,
            meter=context.meter,
            monotonic=context.monotonic,
            public_url=context.public_url,
            max_body_bytes=self._settings.max_inbound_body_bytes,
        )


class _BoundSip:
    def __init__(self, settings: SipSettings, peers: Peers) -> None:
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
            answering=Answering(await _tag_key(context)),
            is_ready=context.is_ready,
            observer=context.observer,
            meter=context.meter,
            clock=context.clock,
            monotonic=context.monotonic,
            deadline_seconds=settings.sip_deadline_seconds,
            most_waiting=settings.most_waiting_events,
        )
        server = SipServer(
            redirector,
            self._peers,
            observer=context.observer,
            clock=context.clock,
            monotonic=context.monotonic,
            most_connections=settings.max_sip_connections,
        )
        await server.open(
            datagrams=self.plain[1:],
            streams=self.plain[:1],
            tls_streams=[] if self.tls is None else [self.tls],
            certificate=self.certificate,
        )
        return server


def _certificate(settings: SipSettings) -> Certificate:
    return Certificate(
        settings.sip_tls_certificate,
        settings.sip_tls_key,
        of="sip",
        authorities=settings.sip_tls_authorities,
    )


async def _tag_key(context: ChannelContext) -> bytes:
    """Return what To tags are made with, the same after a restart: a repeated question gets the same bytes."""
    kept = await context.notes.get(_TAG_KEY)
    if kept is not None:
        return kept
    made = secrets.token_bytes(32)
    context.notes.put(_TAG_KEY, made, context.clock() + _KEPT_SECONDS, lambda _: None)
    return made


_TAG_KEY = b"to-tag-key"
_KEPT_SECONDS = 10 * 365.25 * 86_400
