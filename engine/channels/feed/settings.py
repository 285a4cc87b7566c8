"""Where the feed listens, for whom, and what one connection may take up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from engine.channels.carrier_tables import CarriersSettings
from engine.channels.feed.events import MAX_EVENTS
from engine.channels.feed.frames import Limits
from engine.channels.sockets import ListenAddress
from engine.core.model.settings import PORT_EACH, Fixed, Misfit, Positive, Seconds


@dataclass(frozen=True, kw_only=True)
class FeedSettings(CarriersSettings):
    """What the feed reads."""

    feed_listen: Annotated[ListenAddress | None, PORT_EACH] = None
    """host:port of the feed for carriers; empty = no feed, port 0 picks a free one."""
    feed_tls_certificate: str = ""
    """PEM file of the feed's certificate chain, with feed_tls_key; read again when it changes; empty = in clear."""
    feed_tls_key: str = ""
    """PEM file of the key of that certificate."""
    max_feed_frame_bytes: Positive = 1_048_576
    """Largest frame of the feed, in bytes."""
    feed_window_frames: Positive = 64
    """Frames of one feed connection that wait for their answer; past them no more are read from it."""
    feed_window_bytes: Positive = 4_194_304
    """The same, in bytes of all those frames."""
    max_feed_connections: Positive = 1000
    """Connections of the feed at a time; more are closed with an error."""
    feed_hello_timeout_seconds: Seconds = 10.0
    """Seconds that a connection of the feed may take to say hello."""
    most_deferred_events: Fixed[int] = 10_000
    """Events of a connection that wait for hooks or other hosts, past which no more frames are read."""
    check_seconds: Fixed[float] = 1.0
    """How often credentials of open connections are looked at again, which a revoked key ends, and the certificate."""

    @property
    def feed_limits(self) -> Limits:
        """What a client is told."""
        return Limits(self.max_feed_frame_bytes, MAX_EVENTS, self.feed_window_frames, self.feed_window_bytes)

    def misfits(self) -> Iterator[Misfit]:
        """Find a certificate without its key."""
        yield from super().misfits()
        yield from self._certificate_misfits("feed_tls")
