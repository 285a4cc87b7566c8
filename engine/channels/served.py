"""The channels of one engine: bound, served and stopped together."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack

import msgspec

from engine.channels.base import (
    AnswersWebhooks,
    Bound,
    Channel,
    ChannelContext,
    Gauge,
    HasPeerStates,
    HasSenders,
    HasWindow,
    HttpEndpoint,
    Reply,
    SendsMessages,
    Served,
    Spread,
    Webhook,
)
from engine.core.model.overview import PeerState

ContextFor = Callable[[Channel, str], ChannelContext]
"""Makes the context of a channel that enters by an ingress."""


class Endpoints:
    """Several endpoints on one port, each at its own paths."""

    def __init__(self, endpoints: Sequence[HttpEndpoint]) -> None:
        """Join them; ValueError where two have one path."""
        self.paths = {given: path for one in endpoints for given, path in one.paths.items()}
        """Path of a request to the path that its endpoint knows."""
        if len(self.paths) != sum(len(one.paths) for one in endpoints):
            raise ValueError("two channels answer at one path")
        self.max_body_bytes = max(one.max_body_bytes for one in endpoints)
        """Largest body of any."""
        self.meter = endpoints[0].meter
        """Is told what passes on the port."""
        self.monotonic = endpoints[0].monotonic
        """Measures durations."""
        self._answers = {path: one.answer for one in endpoints for path in one.paths.values()}

    def answer(self, webhook: Webhook, reply: Reply) -> None:
        """Have one request answered by whose path it has."""
        self._answers[webhook.path](webhook, reply)


class Channels:
    """The channels that the settings ask for."""

    def __init__(self, channels: Iterable[tuple[str, Channel]]) -> None:
        """Take them as they are configured, each with the name of its ingress."""
        self._channels = tuple(channels)
        self._bound: list[tuple[str, Channel, Bound]] = []
        self._served: list[Served] = []

    @property
    def most_connections(self) -> int:
        """How many connections of peers they may have at a time."""
        return sum(channel.most_connections for _, channel in self._channels)

    @property
    def senders(self) -> Mapping[str, SendsMessages]:
        """Those through which messages leave here, by name; known once the channels are bound."""
        found: dict[str, SendsMessages] = {}
        for _, channel, _ in self._bound:
            found |= _senders_of(channel)
        return found

    @property
    def senders_elsewhere(self) -> Mapping[str, str]:
        """Those through which messages leave on another host: the name of their channel, by their own."""
        return {name: channel.name for _, channel in self._elsewhere for name in _senders_of(channel)}

    @property
    def _elsewhere(self) -> list[tuple[str, Channel]]:
        here = {channel.name for _, channel, _ in self._bound}
        return [one for one in self._channels if one[1].name not in here]

    @property
    def windows(self) -> Mapping[str, int]:
        """How many messages at a time a sender takes, by its name, where it bounds that; those of other hosts too."""
        named = [one for _, channel in self._channels for one in _senders_of(channel).items()]
        return {name: sender.window for name, sender in named if isinstance(sender, HasWindow)}

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where peers reach those that have sockets of their own: host:port by name."""
        return {channel.name: bound.address for _, channel, bound in self._bound if bound.address}

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """What metrics show of those that are served; what several channels of a protocol show is added up."""
        by_name: dict[str, list[Gauge]] = {}
        for served in self._served:
            for gauge in served.gauges:
                by_name.setdefault(gauge.name, []).append(gauge)
        return tuple(map(_sum, by_name.values()))

    def troubles(self) -> Mapping[str, int]:
        """Tell what somebody on call has to know: how many, by what the gauge means."""
        read = {gauge.meaning: int(gauge.read()) for gauge in self.gauges if gauge.is_trouble}
        return {meaning: count for meaning, count in read.items() if count}

    @property
    def peer_states(self) -> tuple[PeerState, ...]:
        """How the peers fare of those that are served here; of those on another host only that they are there."""
        here = [peer for served in self._served if isinstance(served, HasPeerStates) for peer in served.peer_states]
        away = [
            PeerState(protocol=ingress, name=name, problem=_AWAY)
            for ingress, channel in self._elsewhere
            for name in _senders_of(channel)
        ]
        return (*here, *away)

    def bind(self, stack: ExitStack, *, is_ours: Callable[[str], bool]) -> None:
        """Bind the sockets of all that run here; one that runs on one host does where its name `is_ours`.

        Raises:
            MasklineError: a socket cannot be bound, or a certificate cannot be read.
        """
        for ingress, channel in self._channels:
            if channel.spread is Spread.EVERY_HOST or is_ours(channel.name):
                self._bound.append((ingress, channel, channel.bind(stack)))

    def endpoint(self, context: ContextFor) -> HttpEndpoint | None:
        """Return what answers webhooks on the shared HTTP port: the endpoints of all channels that have paths there.

        What the port measures of them all counts for the first.
        """
        made = [one.http(context(one, ingress)) for ingress, one, _ in self._bound if isinstance(one, AnswersWebhooks)]
        return made[0] if len(made) == 1 else Endpoints(made) if made else None

    async def serve(self, context: ContextFor) -> None:
        """Take traffic on all from now on."""
        for ingress, channel, bound in self._bound:
            self._served.append(await bound.serve(context(channel, ingress)))

    async def stop(self, grace_seconds: float) -> None:
        """Take no new connections on any, answer what was taken within the grace, then close."""
        for served in self._served:
            served.stop_accepting()
        await asyncio.gather(*(served.stop(grace_seconds) for served in self._served))


_AWAY = "its connections are on another host"


def _senders_of(channel: Channel) -> Mapping[str, SendsMessages]:
    if isinstance(channel, SendsMessages):
        return {channel.name: channel}
    return channel.senders if isinstance(channel, HasSenders) else {}


def _sum(gauges: list[Gauge]) -> Gauge:
    first = gauges[0]
    if not gauges[1:]:
        return first
    return msgspec.structs.replace(first, read=lambda: sum(gauge.read() for gauge in gauges))
