"""What every channel is, and what only some can do: the contract between channels and the composition root.

A channel is a folder beside this module: a protocol by which traffic enters and leaves. It is configured, then bound
(sockets, before anything else of the engine is opened), then served, then stopped. What it parses, verifies and renders
is its own; `tests/channels/contract.py` says what must be true of every one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from enum import Enum, auto
from typing import Protocol, runtime_checkable

import msgspec

from engine.core.model.hosts import HostDirectory
from engine.core.model.overview import PeerState
from engine.core.model.records import Account, Address, LegStatus, RawText
from engine.core.ports.notes import Notes
from engine.core.ports.observing import FeedObserver, Observer, SipObserver, SmppObserver, TrafficMeter
from engine.core.ports.operations import Clock, FeedPlane
from engine.core.ports.store import Lease
from engine.outbound.client import Client
from engine.outbound.delivery import Delivery, Ending


class Spread(Enum):
    """Which hosts of a cluster a channel runs on; closed."""

    EVERY_HOST = auto()
    """All: they share its sockets, or each has its own."""
    ONE_HOST = auto()
    """The one that its name places it on: what it connects to allows no second one."""


class ChannelObserver(Observer, FeedObserver, SipObserver, SmppObserver, Protocol):
    """Where channels tell what is countable."""


class ChannelContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine offers a channel that is served."""

    traffic: FeedPlane
    """Takes calls, messages and reports of legs; answers questions; knows who owns a number, and with which tokens."""
    authenticate: Callable[[str, str], Account | None]
    """Checks account SID and token, or API key and secret, in constant time."""
    observer: ChannelObserver
    meter: TrafficMeter
    """Is told what passes through this channel."""
    notes: Notes
    """What this channel keeps across restarts, on this host."""
    client: Client
    """Makes requests of its own."""
    directory: Callable[[], HostDirectory]
    """Tells who the hosts of the cluster are."""
    is_ready: Callable[[], bool]
    """Tells whether events are decided; until then the peer is to try again."""
    lease: Lease | None = None
    """Asked before what was decided leaves, where that may be a while later."""
    clock: Clock
    sure_clock: Clock
    """The time that has surely come: for what cannot be undone, as giving something up."""
    monotonic: Clock
    """Measures durations."""
    public_url: str
    """Scheme, host and path prefix at which peers reach the shared HTTP port; no slash at the end."""


class Gauge(msgspec.Struct, frozen=True):
    """A value that metrics show."""

    name: str
    meaning: str
    read: Callable[[], float]
    is_trouble: bool = False
    """Whether any value but 0 is for somebody on call to see; its meaning then follows the value: n of these."""


class Served(Protocol):
    """A channel that takes traffic."""

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """What metrics show of it."""

    def stop_accepting(self) -> None:
        """Take no new connections."""

    async def stop(self, grace_seconds: float) -> None:
        """Answer what was taken within the grace, then close."""


@runtime_checkable
class HasPeerStates(Protocol):
    """A served channel of peers that are configured, and may be there or not."""

    @property
    def peer_states(self) -> tuple[PeerState, ...]:
        """How they fare."""


class Bound(Protocol):
    """A channel whose sockets are bound."""

    @property
    def address(self) -> str:
        """host:port at which peers reach it; empty = it has no socket of its own."""

    async def serve(self, context: ChannelContext) -> Served:
        """Take traffic from now on, and send."""


class Channel(Protocol):
    """A channel as the settings have it."""

    @property
    def name(self) -> str:
        """What routes, metrics and logs call it; one channel each."""

    @property
    def spread(self) -> Spread:
        """Which hosts it runs on."""

    @property
    def most_connections(self) -> int:
        """How many connections of peers it may have at a time."""

    def bind(self, stack: ExitStack) -> Bound:
        """Bind its sockets, which the stack closes; nothing else of the engine is open yet.

        Raises:
            MasklineError: a socket cannot be bound, or a certificate cannot be read.
        """


class Unserved:
    """What a channel has that listens nowhere by itself: it is its own bound and served form."""

    address = ""
    gauges: tuple[Gauge, ...] = ()
    most_connections = 0

    def bind(self, stack: ExitStack) -> Bound:
        """Have no socket."""
        del stack
        return self

    async def serve(self, context: ChannelContext) -> Served:
        """Take nothing."""
        del context
        return self

    def stop_accepting(self) -> None:
        """Take nothing all the same."""

    async def stop(self, grace_seconds: float) -> None:
        """Have nothing to end."""


# -- what only some can do ---------------------------------------------------------------------------------------------


class Webhook(msgspec.Struct):
    """One inbound request as it is read."""

    path: bytes
    """One of those that the endpoint knows."""
    query: bytes = b""
    """What follows the question mark."""
    signature: bytes = b""
    """X-Twilio-Signature."""
    content_type: bytes = b""
    """Content-Type."""
    body: bytes = b""
    is_last: bool = False
    """The client sends no more on its connection."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """All of them, as they came."""
    source: str = ""
    """Address that the connection comes from."""


Reply = Callable[[bytes], None]
"""Takes one whole HTTP response."""


class HttpEndpoint(Protocol):
    """Answers the webhooks of a channel on the shared HTTP port."""

    @property
    def paths(self) -> Mapping[bytes, bytes]:
        """Path of a request, as it may come, to what the webhook's path then is; all else is the REST interface's."""

    @property
    def max_body_bytes(self) -> int:
        """Largest body."""

    @property
    def meter(self) -> TrafficMeter:
        """Is told what passes."""

    @property
    def monotonic(self) -> Clock:
        """Measures durations."""

    def answer(self, webhook: Webhook, reply: Reply) -> None:
        """Answer one webhook, at once or after its commit; `reply` is called once, on the event loop."""


@runtime_checkable
class AnswersWebhooks(Protocol):
    """A channel with paths on the shared HTTP port."""

    def http(self, context: ChannelContext) -> HttpEndpoint:
        """Make what answers there."""


class OutMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be sent."""

    key: str
    """Names it in every try: the idempotency key."""
    account_sid: str
    """On whose behalf."""
    interaction_sid: str
    """KI… whose outbound leg it is; what reports the leg later names it."""
    sender: Address
    """The proxy number it leaves from."""
    to: Address
    """The real number, in the form to dial."""
    body: str
    media: tuple[str, ...] = ()
    """URLs of its media."""
    raw: RawText | None = None
    """The same text as it came."""
    valid_until: float | None = None
    """After which it is not to be sent, UTC epoch seconds."""


class OutHangUp(msgspec.Struct, frozen=True):
    """A running call that is to be ended."""

    key: str
    """Names it in every try: the idempotency key."""
    account_sid: str
    """On whose behalf."""
    call_sid: str
    """CallSid of the inbound leg."""


class OutReceipt(msgspec.Struct, frozen=True, array_like=True):
    """What became of a message that a peer sent us and asked about."""

    key: str
    """Names it in every try: the idempotency key."""
    resource_sid: str
    """MessageSid of the inbound leg."""
    status: LegStatus
    """State of the outbound leg."""
    at: float
    """Since when, UTC epoch seconds."""


OVERDUE = "its validity period was over"
"""The error of a message that is not to be sent any more."""


class Sent(Delivery, frozen=True, kw_only=True):
    """How one try to send a message ended."""

    status: LegStatus | None = None
    """State of the leg as far as the peer told when it took the message; None = it did not tell."""
    resource_sid: str = ""
    """What the peer calls the message; empty = it did not tell."""


@runtime_checkable
class SendsMessages(Protocol):
    """A channel through which messages leave; asked only while it is served."""

    async def send(self, message: OutMessage) -> Sent:
        """Try once; never raises for what the peer does."""


@runtime_checkable
class BeginsToSend(Protocol):
    """A sender that needs no task where all goes well."""

    def begin(self, message: OutMessage, ending: Ending[Sent]) -> bool:
        """Begin a try; False, and nothing was done: `send` is to make it."""


@runtime_checkable
class HasSenders(Protocol):
    """A channel of several peers, through each of which messages leave."""

    @property
    def senders(self) -> Mapping[str, SendsMessages]:
        """What sends, by the name that routes have for it."""


@runtime_checkable
class HasWindow(Protocol):
    """A sender that bounds by itself how many messages are under way at a time."""

    @property
    def window(self) -> int:
        """How many."""


@runtime_checkable
class TakesReceipts(Protocol):
    """A sender whose peer sends us messages too, and may ask what becomes of them; asked only while it is served."""

    async def tell(self, receipt: OutReceipt) -> Delivery:
        """Have it on disk that the peer is to be told; never raises."""


@runtime_checkable
class EndsCalls(Protocol):
    """A channel that can end a running call; asked only while it is served."""

    async def end_call(self, call: OutHangUp) -> Delivery:
        """Try once; a call that has ended already counts as ended."""
