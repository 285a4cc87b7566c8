"""SMPP as channels: one for each peer to whom we bind, and one for all that bind to us."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

from engine.channels.base import (
    Bound,
    ChannelContext,
    Gauge,
    OutMessage,
    OutReceipt,
    SendsMessages,
    Sent,
    Served,
    Spread,
)
from engine.channels.smpp.awaiting import stop, sweep
from engine.channels.smpp.deciding import SendsFrom
from engine.channels.smpp.dialer import Dialer, Outbinds, tls_of
from engine.channels.smpp.inbound import Inbound
from engine.channels.smpp.links import Links
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.receipt_sender import ReceiptSender
from engine.channels.smpp.sender import Sender
from engine.channels.smpp.server import SmppServer
from engine.channels.smpp.session import Timing
from engine.channels.smpp.settings import SmppSettings
from engine.channels.sockets import bind_tcp, reached_at
from engine.channels.tls import Certificate
from engine.core.model.overview import PeerState
from engine.outbound.delivery import Delivery, Ending


class PeerSender:
    """Sends to one peer while its channel is served here."""

    def __init__(self, peer: SmppPeer) -> None:
        """Have no connection yet."""
        self.window = peer.connections * peer.window
        self.sender: Sender | None = None

    async def send(self, message: OutMessage) -> Sent:
        """Try once."""
        if self.sender is None:
            return Sent(error="the peer's connections are not served here", may_retry=True)
        return await self.sender.send(message)

    def begin(self, message: OutMessage, ending: Ending[Sent]) -> bool:
        """Begin a try, where it needs no task."""
        return self.sender is not None and self.sender.begin(message, ending)

    async def tell(self, receipt: OutReceipt) -> Delivery:
        """Have it on disk that the peer is to be told."""
        if self.sender is None:
            return Delivery(error="the peer's connections are not served here", may_retry=True)
        return await self.sender.tell(receipt)


class SmppClientChannel(PeerSender):
    """One peer to whom we bind."""

    spread = Spread.ONE_HOST
    most_connections = 0

    def __init__(
        self, peer: SmppPeer, *, sends_from: SendsFrom, outbinds: Outbinds | None = None, timing: Timing | None = None
    ) -> None:
        """Bind as the peer's table says; `outbinds` is the listener's, where the peer may ask for it."""
        super().__init__(peer)
        self.name = peer.name
        self._peer = peer
        self._outbinds = outbinds or Outbinds()
        self._tls: ssl.SSLContext | None = None
        self._sends_from = sends_from
        self._timing = timing or Timing()

    def bind(self, stack: ExitStack) -> Bound:
        """Read the files of the peer's certificates; have no socket that listens."""
        del stack
        self._tls = tls_of(self._peer)
        return self

    @property
    def address(self) -> str:
        """Nothing: nobody connects to us."""
        return ""

    async def serve(self, context: ChannelContext) -> Served:
        """Connect from now on."""
        links = await _links_of(self._peer, context, self._sends_from)
        self.sender = Sender(links, context)
        dialer = Dialer(links, context, timing=self._timing, tls=self._tls, outbinds=self._outbinds)
        dialer.start()
        return _ServedClient(links, dialer)


class SmppServerChannel:
    """All peers that bind to us."""

    name = "smpp"
    spread = Spread.ONE_HOST

    def __init__(
        self,
        settings: SmppSettings,
        peers: Sequence[SmppPeer],
        *,
        sends_from: SendsFrom,
        outbinds: Outbinds | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Listen as the settings say, for these peers, and for those of `outbinds` who ask us to bind."""
        self.most_connections = settings.max_smpp_connections if settings.smpp_listens else 0
        self._settings = settings
        self._peers = tuple(peers)
        self._outbinds = outbinds or Outbinds()
        self._sends_from = sends_from
        self._timing = timing or Timing()
        self._senders = {peer.name: PeerSender(peer) for peer in peers}

    @property
    def senders(self) -> Mapping[str, SendsMessages]:
        """What sends to each peer, by the peer's name."""
        return self._senders

    def bind(self, stack: ExitStack) -> Bound:
        """Bind the sockets and read the certificate."""
        settings, sockets = self._settings, []
        for listen, option in (
            (settings.smpp_listen, "--smpp-listen"),
            (settings.smpp_tls_listen, "--smpp-tls-listen"),
        ):
            bound = None if listen is None else stack.enter_context(closing(bind_tcp(listen, option=option)))
            sockets.append(bound)
        certificate = None
        if settings.smpp_tls_listen is not None:
            certificate = Certificate(settings.smpp_tls_certificate, settings.smpp_tls_key, of="smpp")
        return _BoundServer(self, sockets[0], sockets[1], certificate)

    async def serve(
        self,
        context: ChannelContext,
        clear: socket.socket | None,
        over_tls: socket.socket | None,
        certificate: Certificate | None,
    ) -> Served:
        """Accept connections on bound sockets."""
        peers = [await _links_of(peer, context, self._sends_from) for peer in self._peers]
        for links in peers:
            self._senders[links.peer.name].sender = Sender(links, context)
        server = SmppServer(
            peers,
            context,
            timing=self._timing,
            most_connections=self.most_connections,
            outbinds=self._outbinds,
        )
        if clear is not None:
            await server.open(clear)
        if over_tls is not None:
            await server.open(over_tls, certificate=certificate)
        receipts = [ReceiptSender(links, context) for links in peers]
        return _ServedServer(peers, server, receipts)


async def _links_of(peer: SmppPeer, context: ChannelContext, sends_from: SendsFrom) -> Links:
    inbound = Inbound(peer, context, sends_from=sends_from)
    await inbound.load()
    sweeping = asyncio.create_task(sweep(inbound, peer.name), name="smpp-sweep")
    return Links(peer, context, inbound, sweeping=sweeping)


class _BoundServer:
    def __init__(
        self,
        channel: SmppServerChannel,
        clear: socket.socket | None,
        over_tls: socket.socket | None,
        certificate: Certificate | None,
    ) -> None:
        self._channel = channel
        self._clear = clear
        self._over_tls = over_tls
        self._certificate = certificate

    @property
    def address(self) -> str:
        """host:port, that in clear where there are two."""
        bound = self._clear or self._over_tls
        return "" if bound is None else str(reached_at(bound))

    async def serve(self, context: ChannelContext) -> Served:
        """Accept connections from now on."""
        return await self._channel.serve(context, self._clear, self._over_tls, self._certificate)


class _ServedPeers:
    """What metrics show of peers, and how they are stopped."""

    def __init__(self, peers: Sequence[Links]) -> None:
        self._peers = peers

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        def total(read: Callable[[Links], float]) -> Callable[[], float]:
            return lambda: sum(map(read, self._peers))

        return (
            Gauge(
                "smpp_bound_connections",
                "Connections of SMPP peers that are bound",
                total(lambda one: len(one.connections)),
            ),
            Gauge("smpp_peers", "SMPP peers that are configured", lambda: len(self._peers)),
            Gauge(
                "smpp_unbound_peers",
                "SMPP peers to whom nothing can be sent",
                total(lambda one: not one.may_send),
                is_trouble=True,
            ),
            Gauge("smpp_slowed_peers", "SMPP peers that asked to be sent less", total(lambda one: one.pace.is_slowed)),
            Gauge(
                "smpp_waiting_parts",
                "Parts of long messages that wait for others",
                total(lambda one: one.inbound.waiting_parts),
            ),
            Gauge(
                "smpp_waiting_receipts",
                "Receipts that wait for the response to their message",
                total(lambda one: one.inbound.receipts.unmatched),
            ),
            Gauge(
                "smpp_owed_receipts",
                "Receipts that peers asked for and have not taken yet",
                total(lambda one: one.inbound.owed.waiting),
            ),
        )

    @property
    def peer_states(self) -> tuple[PeerState, ...]:
        return tuple(_state_of(links) for links in self._peers)

    def stop_accepting(self) -> None:
        for links in self._peers:
            links.stop_accepting()

    async def stop(self, grace_seconds: float) -> None:
        await asyncio.gather(*(stop(links, grace_seconds) for links in self._peers))


def _state_of(links: Links) -> PeerState:
    return PeerState(
        protocol="smpp",
        name=links.peer.name,
        role=links.peer.role.value,
        bound_connections=len(links.connections),
        can_send=links.may_send,
        is_slowed=links.pace.is_slowed,
        waiting_parts=links.inbound.waiting_parts,
        problem="" if links.may_send else links.problem,
    )


class _ServedClient(_ServedPeers):
    def __init__(self, links: Links, dialer: Dialer) -> None:
        super().__init__((links,))
        self._dialer = dialer

    def stop_accepting(self) -> None:
        self._dialer.stop_accepting()
        super().stop_accepting()

    async def stop(self, grace_seconds: float) -> None:
        await super().stop(grace_seconds)
        await self._dialer.stopped()


class _ServedServer(_ServedPeers):
    def __init__(self, peers: Sequence[Links], server: SmppServer, receipts: Sequence[ReceiptSender]) -> None:
        super().__init__(peers)
        self._server = server
        self._receipts = receipts

    def stop_accepting(self) -> None:
        self._server.stop_accepting()
        for one in self._receipts:
            one.stop()
        super().stop_accepting()

    async def stop(self, grace_seconds: float) -> None:
        await super().stop(grace_seconds)
        self._server.close()
