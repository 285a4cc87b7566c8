"""Every channel of the engine, a line a protocol: its ingress in metrics, and how the settings make its channels."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from engine.channels.base import Channel
from engine.channels.carrier_tables import CarriersSettings
from engine.channels.clients import RouteTable
from engine.channels.feed.channel import FeedChannel
from engine.channels.file.channel import FileChannel
from engine.channels.served import Channels
from engine.channels.sip.channel import SipChannel
from engine.channels.smpp.channel import SmppClientChannel, SmppServerChannel
from engine.channels.smpp.dialer import Outbinds
from engine.channels.smpp.settings import SmppSettings
from engine.channels.twiml.channel import TwimlChannel
from engine.channels.twiml.sender import MessagesApiChannel
from engine.core.ports.observing import Ingress
from engine.outbound.settings import CarrierKind
from engine.settings import Settings


class Row(msgspec.Struct, frozen=True):
    """A protocol."""

    protocol: str
    ingress: str
    """What metrics call traffic that enters by it; empty = none does."""
    make: Callable[[Settings], Iterable[Channel]]
    """Makes its channels, as many as the settings have."""


def channels_of(settings: Settings, rows: Iterable[Row]) -> Channels:
    """Make the channels of all protocols, each with the name of its ingress."""
    return Channels([(row.ingress, channel) for row in rows for channel in row.make(settings)])


def _messages_apis(settings: CarriersSettings) -> Iterator[Channel]:
    for one in settings.carriers:
        if one.kind is CarrierKind.MESSAGES_API and one.is_sender:
            yield MessagesApiChannel(one)


def _files(settings: CarriersSettings) -> Iterator[Channel]:
    for one in settings.carriers:
        if one.kind is CarrierKind.FILE and one.is_sender:
            yield FileChannel(one.name, Path(one.path))


def _smpp(settings: SmppSettings) -> Iterator[Channel]:
    routes = RouteTable(settings.carrier_routes)
    sends_from = lambda proxy: routes.sender_for(proxy) is not None  # noqa: E731 - a name for two uses
    bound, outbinds = [peer for peer in settings.smpp_peers if not peer.is_esme], Outbinds()
    yield SmppServerChannel(settings, bound, sends_from=sends_from, outbinds=outbinds)
    for peer in settings.smpp_peers:
        if peer.is_esme:
            yield SmppClientChannel(peer, sends_from=sends_from, outbinds=outbinds)


CHANNELS = (
    Row("twiml", Ingress.HTTP, lambda settings: [TwimlChannel("twiml", settings)]),
    Row("feed", Ingress.FEED, lambda settings: [FeedChannel("feed", settings)]),
    Row("sip", Ingress.SIP, lambda settings: [SipChannel("sip", settings)]),
    Row("smpp", Ingress.SMPP, _smpp),
    Row("messages-api", "", _messages_apis),
    Row("file", "", _files),
)
"""All protocols; what is first here is bound and served first."""
