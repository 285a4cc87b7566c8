"""The feed as a channel: its socket, its certificate and who may speak on it."""

import socket
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from engine.channels.base import Bound, ChannelContext, Served, Spread
from engine.channels.carriers import Carriers
from engine.channels.feed.connection import FeedSettings
from engine.channels.feed.server import FeedServer
from engine.channels.sockets import ListenAddress, bind_tcp, reached_at
from engine.channels.tls import Certificate


class FeedChannelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the feed listens, and for whom."""

    listen: ListenAddress | None
    """None = nowhere."""
    certificate: str = ""
    """PEM file of the certificate chain; empty = in clear."""
    key: str = ""
    """PEM file of its key."""
    carriers: Carriers = {}
    """The operator's carriers: they speak for every account."""
    connections: FeedSettings = FeedSettings()


class FeedChannel:
    """The feed, on a listener of its own."""

    spread = Spread.EVERY_HOST

    def __init__(self, name: str, settings: FeedChannelSettings) -> None:
        """Listen as the settings say."""
        self.name = name
        self._settings = settings

    @property
    def most_connections(self) -> int:
        """How many connections of clients it may have at a time."""
        return 0 if self._settings.listen is None else self._settings.connections.most_connections

    def bind(self, stack: ExitStack) -> Bound:
        """Bind the socket and read the certificate."""
        settings = self._settings
        if settings.listen is None:
            return _BoundFeed(settings)
        certificate = None
        if settings.certificate:
            certificate = Certificate(Path(settings.certificate).expanduser(), Path(settings.key).expanduser())
        bound = stack.enter_context(closing(bind_tcp(settings.listen, option="--feed-listen")))
        return _BoundFeed(settings, bound, certificate)


class _BoundFeed:
    def __init__(
        self, settings: FeedChannelSettings, bound: socket.socket | None = None, certificate: Certificate | None = None
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
            carriers=self._settings.carriers,
            directory=context.directory,
            observer=context.observer,
            meter=context.meter,
            monotonic=context.monotonic,
            settings=self._settings.connections,
        )
        if self._bound is not None:
            await server.open(self._bound, certificate=self._certificate)
        return server
