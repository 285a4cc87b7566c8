"""The feed as a channel: its socket, its certificate and who may speak on it."""

import socket
from contextlib import ExitStack, closing

from engine.channels.base import Bound, ChannelContext, Served, Spread
from engine.channels.feed.server import FeedServer
from engine.channels.feed.settings import FeedSettings
from engine.channels.sockets import bind_tcp, reached_at
from engine.channels.tls import Certificate


class FeedChannel:
    """The feed, on a listener of its own."""

    spread = Spread.EVERY_HOST

    def __init__(self, name: str, settings: FeedSettings) -> None:
        """Listen as the settings say."""
        self.name = name
        self._settings = settings

    @property
    def most_connections(self) -> int:
        """How many connections of clients it may have at a time."""
        return 0 if self._settings.feed_listen is None else self._settings.max_feed_connections

    def bind(self, stack: ExitStack) -> Bound:
        """Bind the socket and read the certificate."""
        settings = self._settings
        if settings.feed_listen is None:
            return _BoundFeed(settings)
        certificate = None
        if settings.feed_tls_certificate:
            certificate = Certificate(settings.feed_tls_certificate, settings.feed_tls_key)
        bound = stack.enter_context(closing(bind_tcp(settings.feed_listen, option="--feed-listen")))
        return _BoundFeed(settings, bound, certificate)


class _BoundFeed:
    def __init__(
        self, settings: FeedSettings, bound: socket.socket | None = None, certificate: Certificate | None = None
    ) -> None:
        self._settings = settings
        self._bound = bound
        self._certificate = certificate

    @property
    def address(self) -> str:
        """host:port; empty where there is no feed."""
        return "" if self._bound is None else str(reached_at(self._bound))

    async def serve(self, context: ChannelContext) -> Served:
        """Accept connections from now on."""
        server = FeedServer(
            context.traffic,
            authenticate=context.authenticate,
            carriers=self._settings.inbound_carriers,
            directory=context.directory,
            observer=context.observer,
            meter=context.meter,
            monotonic=context.monotonic,
            settings=self._settings,
            lease=context.lease,
        )
        if self._bound is not None:
            await server.open(self._bound, certificate=self._certificate)
        return server
