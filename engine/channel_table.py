"""Every channel of the engine, a line a protocol: its ingress in metrics, and how the settings make its channels."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from engine.channels.base import Channel
from engine.channels.carriers import Carrier, Carriers
from engine.channels.clients import RouteTable
from engine.channels.feed.channel import FeedChannel, FeedChannelSettings
from engine.channels.feed.connection import FeedSettings
from engine.channels.file.channel import FileChannel
from engine.channels.served import Channels
from engine.channels.sip.channel import SipChannel, SipChannelSettings
from engine.channels.smpp.channel import SmppClientChannel, SmppListenSettings, SmppServerChannel
from engine.channels.twiml.channel import TwimlChannel
from engine.channels.twiml.sender import MessagesApiChannel
from engine.channels.twiml.webhooks import WebhookSettings
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


def _webhooks(settings: Settings) -> Iterator[Channel]:
    yield TwimlChannel(
        "twiml",
        WebhookSettings(
            public_url=settings.public_url,
            verify_signatures=settings.verify_signatures,
            carriers=_carriers(settings),
            max_body_bytes=settings.max_inbound_body_bytes,
        ),
    )


def _feed(settings: Settings) -> Iterator[Channel]:
    connections = FeedSettings(
        max_frame_bytes=settings.max_feed_frame_bytes,
        window_frames=settings.feed_window_frames,
        window_bytes=settings.feed_window_bytes,
        hello_timeout_seconds=settings.feed_hello_timeout_seconds,
        most_connections=settings.max_feed_connections,
    )
    yield FeedChannel(
        "feed",
        FeedChannelSettings(
            listen=settings.feed_listen,
            certificate=settings.feed_tls_certificate,
            key=settings.feed_tls_key,
            carriers=_carriers(settings),
            connections=connections,
        ),
    )


def _sip(settings: Settings) -> Iterator[Channel]:
    yield SipChannel(
        "sip",
        SipChannelSettings(
            listen=settings.sip_listen,
            tls_listen=settings.sip_tls_listen,
            certificate=settings.sip_tls_certificate,
            key=settings.sip_tls_key,
            authorities=settings.sip_tls_authorities,
            peers=settings.sip_peers,
            deadline_seconds=settings.sip_deadline_seconds,
            most_waiting=settings.most_waiting_events,
            most_connections=settings.max_sip_connections,
            carriers=_carriers(settings),
            max_body_bytes=settings.max_inbound_body_bytes,
        ),
    )


def _messages_apis(settings: Settings) -> Iterator[Channel]:
    for one in settings.carriers:
        if one.kind is CarrierKind.MESSAGES_API and one.is_sender:
            yield MessagesApiChannel(one)


def _files(settings: Settings) -> Iterator[Channel]:
    for one in settings.carriers:
        if one.kind is CarrierKind.FILE and one.is_sender:
            yield FileChannel(one.name, Path(one.path))


def _smpp(settings: Settings) -> Iterator[Channel]:
    routes = RouteTable(settings.carrier_routes)
    sends_from = lambda proxy: routes.sender_for(proxy) is not None  # noqa: E731 - a name for two uses
    listening = SmppListenSettings(
        listen=settings.smpp_listen,
        tls_listen=settings.smpp_tls_listen,
        certificate=settings.smpp_tls_certificate,
        key=settings.smpp_tls_key,
        most_connections=settings.max_smpp_connections,
    )
    bound = [peer for peer in settings.smpp_peers if not peer.is_esme]
    yield SmppServerChannel(listening, bound, sends_from=sends_from)
    for peer in settings.smpp_peers:
        if peer.is_esme:
            yield SmppClientChannel(peer, sends_from=sends_from)


def _carriers(settings: Settings) -> Carriers:
    return {
        one.account_sid: Carrier(
            name=one.name, keys=one.inbound_keys, numbers=one.numbers, writes_digits=one.writes_digits
        )
        for one in settings.carriers
        if one.account_sid and one.inbound_keys
    }


CHANNELS = (
    Row("twiml", Ingress.HTTP, _webhooks),
    Row("feed", Ingress.FEED, _feed),
    Row("sip", Ingress.SIP, _sip),
    Row("smpp", Ingress.SMPP, _smpp),
    Row("messages-api", "", _messages_apis),
    Row("file", "", _files),
)
"""All protocols; what is first here is bound and served first."""
