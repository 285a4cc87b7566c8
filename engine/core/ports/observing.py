"""What can be observed of the engine: closed sets of names, and the ports where the adapters tell what passes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from engine.core.model.errors import Code
from engine.core.model.exchanges import WebhookExchange
from engine.core.model.records import DebuggerEvent, Kind
from engine.core.routing.resolved import Resolved
from engine.core.routing.traffic import Reason, ReportOutcome


class Ingress(StrEnum):
    """Where an event came in; closed."""

    HTTP = "http"
    FEED = "feed"
    SIP = "sip"
    """A switch's SIP, and what it asks and tells over HTTP."""
    SMPP = "smpp"


class SessionOperation(StrEnum):
    """What was done to a session or its participants; closed."""

    CREATE = "create"
    UPDATE = "update"
    CLOSE = "close"
    """An update that asks for Status=closed."""
    REOPEN = "reopen"
    """An update that asks for Status=in-progress."""
    DELETE = "delete"
    EXPIRE = "expire"
    ADD_PARTICIPANT = "add-participant"
    UPDATE_PARTICIPANT = "update-participant"
    REMOVE_PARTICIPANT = "remove-participant"
    SEND_MESSAGE = "send-message"


class OperationEnd(StrEnum):
    """What an operation came to; closed."""

    DONE = "done"
    REFUSED = "refused"
    """By a rule; the request was at fault."""
    UNAVAILABLE = "unavailable"
    """The store, or another host, did not take it."""
    FAILED = "failed"
    """An error of ours."""


class ClusterView(msgspec.Struct, frozen=True):
    """The hosts of a cluster, as one of them sees them."""

    epoch: int
    """Grows with every change of an address."""
    hosts: Mapping[str, bool]
    """Whether each answers, by its name in `engine.core.model.placement`."""
    clock_offsets: Mapping[str, float]
    """How far the clocks of the others are ahead of that of the one that sees, seconds, as far as it was measured."""


class NodeFigures(msgspec.Struct, frozen=True):
    """What a host of a cluster on a database knows of its machine's part in it."""

    takeovers: int = 0
    """Hosts that its supervisor has taken from machines that were lost, since that began."""
    rows_age_seconds: float = 0.0
    """Since its supervisor has read the rows of the cluster."""
    rejected: int = 0
    """Connections to the port for other hosts that were closed before a host was admitted."""


class TrafficMeter(Protocol):
    """Where one ingress tells what passes; implemented by `engine.telemetry`, never raises, for one thread.

    An ingress in a hurry adds to `calls` and `messages` itself instead of calling `decided`. Durations are seconds of a
    monotonic clock.
    """

    @property
    def calls(self) -> list[int]:
        """Decisions about calls, by `Reason.slot`."""

    @property
    def messages(self) -> list[int]:
        """Decisions about messages, by `Reason.slot`."""

    def burst(self, events: int) -> None:
        """So many events were read at once; they are in flight until they are answered or lost."""

    def decided(self, kind: Kind, reason: Reason) -> None:
        """One event was decided."""

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Deciding these events took so long, all together."""

    @property
    def resolutions(self) -> list[int]:
        """Decisions for information only, by `Reason.slot`; nothing is recorded of them."""

    def resolved(self, resolved: Resolved, seconds: float) -> None:
        """Questions were decided for information only, in that time all together."""

    def from_cache(self, events: int, strangers: int, seconds: float) -> None:
        """N questions were answered from cached routes in that time, all in session but the strangers."""

    def answered(self, seconds: float, events: int = 1) -> None:
        """N events had their answers written that long after their bytes were read."""

    def lost(self, events: int) -> None:
        """Events in flight whose asker is gone: nobody is answered."""


class Rejection(StrEnum):
    """Why a listener rejected a request before any decision; closed."""

    UNKNOWN_NUMBER = "unknown-number"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad-signature"
    BAD_CREDENTIALS = "bad-credentials"
    """Of a switch that asks or reports over HTTP."""
    TOO_LARGE = "too-large"
    TOO_SLOW = "too-slow"
    """Its head or body did not come in time."""
    NOT_POST = "not-post"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    CLIENT_LEFT = "client-left"
    """In the middle of its request."""


class FeedProblem(StrEnum):
    """What is wrong with a frame of the feed, or with one event in it; closed."""

    FRAME_TOO_LONG = "frame-too-long"
    NOT_MSGPACK = "not-msgpack"
    NOT_AN_ARRAY = "not-an-array"
    """Neither an array of events nor the map of a hello."""
    TOO_MANY_EVENTS = "too-many-events"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    HELLO_EXPECTED = "hello-expected"
    """Events came before the hello, or nothing in time."""
    BAD_HELLO = "bad-hello"
    UNKNOWN_VERSION = "unknown-version"
    BAD_CREDENTIALS = "bad-credentials"
    """Wrong, or revoked since the hello."""
    UNKNOWN_EVENT = "unknown-event"
    MISSING_FIELD = "missing-field"
    BAD_FIELD = "bad-field"
    INTERNAL_ERROR = "internal-error"
    """A bug of ours; its traceback is in the log."""


class FeedObserver(Protocol):
    """Where the feed tells what is countable; implemented by `engine.telemetry`, never raises."""

    def feed_refused(self, problem: FeedProblem) -> None:
        """One frame, event or connection was refused."""


class SipProblem(StrEnum):
    """Why the SIP channel dropped a message or a connection, or could not read it; closed."""

    STRANGER = "stranger"
    """It is of no peer."""
    TOO_MANY_REQUESTS = "too-many-requests"
    """Of that peer, in a second."""
    TOO_MANY_CONNECTIONS = "too-many-connections"
    UNFRAMED = "unframed"
    """Where it ends cannot be told."""
    MALFORMED = "malformed"
    """A request that is answered 400 or 505."""
    RESPONSE = "response"
    """An answer to a request that was never sent."""
    NO_SIP = "no-sip"
    """It cannot be answered: it has no Via, or is no SIP at all."""
    TOO_SHORT = "too-short"
    """A datagram so short that its answer would be twice as long, which serves whoever forges addresses."""
    UNCLEAR_NUMBER = "unclear-number"
    """The number reached can mean none, or more than one, by the rules of the peer."""
    INTERNAL_ERROR = "internal-error"
    """A bug of ours; its traceback is in the log."""


class SipObserver(Protocol):
    """Where the SIP channel tells what is countable; implemented by `engine.telemetry`, never raises."""

    def sip_requested(self, peer: str, method: str, times: int) -> None:
        """N requests of a peer came; `peer` is its name in the settings, `method` a known one or `other`."""

    def sip_repeated(self, peer: str) -> None:
        """One of those was an INVITE that had come before: an answer was lost, or came late."""

    def sip_answered(self, peer: str, status: int, times: int) -> None:
        """N answers were sent; repeated ones count each time."""

    def sip_decided(self, seconds: float, times: int) -> None:
        """N INVITEs got their final answers, each after so many seconds."""

    def sip_dropped(self, problem: SipProblem) -> None:
        """One message or connection was dropped, or could not be read."""

    def debugger(self, event: DebuggerEvent) -> None:
        """Keep a problem that an account is to know of."""


class SmppCount(StrEnum):
    """What is counted of SMPP; closed."""

    BOUND = "bound"
    """A bind was accepted, by us or by them."""
    BIND_REFUSED = "bind-refused"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    """A connection that was not bound was closed for another one."""
    NOT_CONNECTED = "not-connected"
    """A peer could not be reached."""
    CONNECTION_LOST = "connection-lost"
    """Otherwise than by an unbind."""
    PART = "part"
    """Of a long message, kept."""
    PARTS_NOT_WHOLE = "parts-not-whole"
    """A long message went on in pieces, for the others did not come."""
    PARTS_FULL = "parts-full"
    """A part was refused, for too many wait."""
    REDELIVERED = "redelivered"
    """A message came again after its connection had ended."""
    NOT_TEXT = "not-text"
    """Binary data or an indication of waiting messages came."""
    NOT_ROUTED = "not-routed"
    """No carrier route says who would send a message on that came."""
    MALFORMED = "malformed"
    RECEIPT = "receipt"
    """Found its message."""
    RECEIPT_UNMATCHED = "receipt-unmatched"
    RECEIPT_AMBIGUOUS = "receipt-ambiguous"
    RECEIPT_SENT = "receipt-sent"
    """A peer took what became of a message of its own."""
    RECEIPT_REFUSED = "receipt-refused"
    """It refused that for good."""
    RECEIPT_DROPPED = "receipt-dropped"
    """It did not take that in three days."""
    SUBMITTED = "submitted"
    """A peer took a message, or a part of one, of ours."""
    THROTTLED = "throttled"
    """A peer asked to be sent less."""
    REFUSED_FOR_NOW = "refused-for-now"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    """It is unknown whether a peer took a message."""


class SmppObserver(Protocol):
    """Where SMPP tells what is countable; implemented by `engine.telemetry`, never raises."""

    def smpp(self, count: SmppCount, times: int = 1) -> None:
        """Something happened."""


class LoginEnd(StrEnum):
    """What trying to log in to the console came to; closed."""

    IN = "in"
    REFUSED = "refused"
    """Wrong credentials, or a link that is good no more."""
    HELD_BACK = "held-back"
    """Not looked at, because too many have failed."""


class ConsoleObserver(Protocol):
    """Where the console tells what is countable; implemented by `engine.telemetry`, never raises."""

    def console_answered(self, status: int) -> None:
        """One request of the console was answered."""

    def console_login(self, end: LoginEnd) -> None:
        """Somebody tried to log in to the console."""


class Observer(Protocol):
    """Counts everything; implemented by `engine.telemetry`, never raises."""

    def reported(self, outcome: ReportOutcome) -> None:
        """One leg report was taken."""

    def rejected(self, problem: Rejection) -> None:
        """One inbound request was rejected before any decision."""

    def debugger(self, event: DebuggerEvent) -> None:
        """An event for the account's debugger."""

    def only_counted(self, code: Code, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        """Count an event of which nothing more is kept now; False when `debugger` is to hear of it. Callers masked."""

    def committed(self, *, changes: int, seconds: float, sync_seconds: float, is_ok: bool) -> None:
        """One group commit ended; `sync_seconds` of it were spent in making it durable."""

    def requested(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """One REST request had its answer made after so long; `route` is a path template."""

    def operated(self, operation: SessionOperation, end: OperationEnd, code: int | None = None) -> None:
        """One operation on a session ended; REFUSED with the code of the refusal."""

    def expired(self, lag_seconds: float) -> None:
        """One session was closed because its end had come, so long before."""

    def retained(self, *, erased: int, is_up_to_date: bool) -> None:
        """Retention erased n sessions; `is_up_to_date` when none is left that is due."""

    def forwarded(self, events: int, *, is_answered: bool) -> None:
        """Events that arrived here were handed to the host that owns their number, which answered or did not."""


class HookKind(StrEnum):
    """Which webhook was asked to decide; closed."""

    INTERCEPT = "intercept"
    OUT_OF_SESSION = "out-of-session"


class HookEnd(StrEnum):
    """What asking a webhook came to; closed."""

    PASSED = "passed"
    BLOCKED = "blocked"
    REWRITTEN = "rewritten"
    TWIML = "twiml"
    SESSION = "session"
    LEFT = "left"
    """Neither TwiML nor a session: the application sees to it."""
    FAILED = "failed"


class OutboxKind(StrEnum):
    """What kind of entry was delivered; closed, the tags of `OutboxContent`."""

    CALLBACK = "callback"
    MESSAGE = "message"
    ALERT = "alert"
    HANG_UP = "hang-up"
    RECEIPT = "receipt"


class DeliveryEnd(StrEnum):
    """How one try to deliver an entry ended; closed."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It will be tried again."""
    DIED = "died"
    """It was the last try."""


class EgressObserver(Protocol):
    """Where egress tells what is countable; implemented by `engine.telemetry`, never raises."""

    def asked(self, hook: HookKind, end: HookEnd) -> None:
        """One webhook was asked to decide."""

    def delivered(self, kind: OutboxKind, end: DeliveryEnd) -> None:
        """One try to deliver an entry ended."""

    def exchanged(self, exchange: WebhookExchange) -> None:
        """An application was asked or told about a call or message."""

    def debugger(self, event: DebuggerEvent) -> None:
        """An event for the account's debugger."""
