"""What arrives on proxy numbers, and the closed set of ways it can end."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol, Self

import msgspec

from engine.core.model.errors import Code
from engine.core.model.records import Address, Kind, LegStatus, Mode, RawText

_VOICE = Kind.VOICE  # a member is found tenfold faster here than in its class (3.11)


MAX_MEDIA = 10
"""Media of one message, as on the platform; more are left out."""

ANONYMOUS = "anonymous"
"""The sender of a call or message whose platform says nothing at all there."""


class InboundEvent(msgspec.Struct, frozen=True, gc=False):
    """A call or message that reached a proxy number."""

    kind: Kind
    """Call or message."""
    sender: Address
    """From, as the platform sent it."""
    proxy: Address
    """To: the number reached."""
    resource_sid: str
    """CallSid or MessageSid; the key of redelivery."""
    body: str = ""
    """Text of a message."""
    media: tuple[str, ...] = ()
    """URLs of a message's media."""
    form: Mapping[str, str] | None = None
    """All that the platform sent, for an out-of-session hook (behaviour 12.4)."""
    account_sid: str | None = None
    """Whose numbers it may reach, others are unknown to it; None = all: who sends it is told by other means."""
    media_left_out: int = 0
    """How many media of a message came beyond `MAX_MEDIA`."""
    raw: RawText | None = None
    """The text of a message as it came, where somebody may take it so."""
    valid_until: float | None = None
    """After which a message is not to be sent on, UTC epoch seconds."""

    @property
    def is_call(self) -> bool:
        """Tell a call from a message."""
        return self.kind is _VOICE


class Question(Protocol):
    """What is asked to be resolved, nothing being recorded."""

    @property
    def is_call(self) -> bool:
        """Tell a call from a message."""

    @property
    def sender(self) -> Address:
        """From, as it came."""

    @property
    def proxy(self) -> Address:
        """To: the number reached."""

    @property
    def body(self) -> str:
        """Text of a message."""


class LegReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The platform tells the state of a leg."""

    kind: Kind
    """Whether it is a leg of a call or of a message."""
    account_sid: str | None
    """Whose platform account reports; None = a carrier of the operator's, which sends for every account."""
    interaction_sid: str | None
    """KI… from our own status URL; None when only the platform's SID is known."""
    is_outbound: bool
    """Which leg."""
    resource_sid: str
    """CA… / SM… of the leg reported; empty when the carrier refused to make one, or where the interaction is enough."""
    status: LegStatus
    """Its state."""
    proxy: Address | None = None
    """The number that the inbound leg reached; None = the platform does not say."""
    duration_seconds: int | None = None
    """Length of a finished call."""
    problem: str = ""
    """Why it failed, in the carrier's words; no phone numbers."""
    numbers: tuple[str, ...] = ()
    """How the proxy numbers begin that the reporter carries, others are unknown to it; empty = all."""
    entry_sid: str | None = None
    """EF… of the outbox entry that is delivered with it: both are committed as one."""

    @property
    def is_vague(self) -> bool:
        """Tell whether it names neither its interaction nor the number reached: a SID alone may be of several calls."""
        return self.interaction_sid is None and self.proxy is None


class Outcome(StrEnum):
    """How an event ended; closed."""

    ROUTED = "routed"
    ANSWERED = "answered"
    """The application's own TwiML is the answer, or nothing is to be done any more."""
    REFUSED = "refused"
    """A call is rejected before it is answered, a message is dropped."""
    NOT_READY = "not-ready"
    """The number is being rebuilt or the store cannot commit: try again."""
    UNKNOWN_NUMBER = "unknown-number"
    """The number reached is in no pool: not ours to answer."""


class Reason(StrEnum):
    """Why it ended so; closed. All that is to be known of a reason stands in its line."""

    outcome: Outcome
    """The one outcome that it belongs to."""
    why: str
    """In words, as `maskline explain` tells it."""
    is_foreseen: bool
    """Whether a question meets it too: no hook is asked for that, and nothing committed."""
    slot: int
    """Its place among all reasons, for counts in a list."""

    def __new__(cls, word: str, outcome: Outcome, why: str, is_foreseen: bool) -> Self:  # noqa: FBT001 - read in rows
        """Make one of its line."""
        one = str.__new__(cls, word)
        one._value_ = word
        one.outcome, one.why, one.is_foreseen, one.slot = outcome, why, is_foreseen, len(cls.__members__)
        return one

    IN_SESSION = "in-session", Outcome.ROUTED, "both are in an active session", True
    STOP_WORD = "stop-word", Outcome.REFUSED, "the message is an opt-out word", True
    NO_SESSION = "no-session", Outcome.REFUSED, "no active session pairs this sender with this number", True
    SESSION_EXPIRED = "session-expired", Outcome.REFUSED, "the session that pairs them has expired", True
    NO_PARTNER = "no-partner", Outcome.REFUSED, "the session has no second participant", True
    CALL_TO_MESSAGE_ONLY = "call-to-message-only", Outcome.REFUSED, "the session lets messages pass only", True
    MESSAGE_TO_VOICE_ONLY = "message-to-voice-only", Outcome.REFUSED, "the session lets calls pass only", True
    ACCOUNT_DISABLED = "account-disabled", Outcome.REFUSED, "the operator has disabled the account of the number", True
    EMPTY_MESSAGE = "empty-message", Outcome.REFUSED, "the message has neither text nor media", False
    INTERCEPTED = "intercepted", Outcome.REFUSED, "the intercept hook blocked it", False
    OUT_OF_SESSION = "out-of-session", Outcome.ANSWERED, "the out-of-session hook answered with TwiML", False
    LEFT_TO_APPLICATION = "left-to-application", Outcome.ANSWERED, "the out-of-session hook left nothing to do", False
    OUT_OF_SESSION_FAILED = "out-of-session-failed", Outcome.REFUSED, "the out-of-session hook failed", False
    AUTO_CREATE_FAILED = (
        "auto-create-failed",
        Outcome.REFUSED,
        "the session that the hook asked for could not be made",
        False,
    )
    FALL_BACK = "fall-back", Outcome.ANSWERED, "the service's own TwiML answers", False
    NOT_IN_POOL = "not-in-pool", Outcome.UNKNOWN_NUMBER, "the number is in no service's pool", True
    REBUILDING = "rebuilding", Outcome.NOT_READY, "the number is being rebuilt", True
    STORE_UNAVAILABLE = "store-unavailable", Outcome.NOT_READY, "the store cannot commit", False
    BUSY = "busy", Outcome.NOT_READY, "too many events wait for hooks", False


ENDINGS = {outcome: tuple(one for one in Reason if one.outcome is outcome) for outcome in Outcome}
"""Which reasons an outcome can have."""


class Decision(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What becomes of an event; the feed has these fields in this order, new ones at the end."""

    outcome: Outcome
    reason: Reason
    to: Address = ""
    """Routed: the partner's real number in the form to dial (country prefix digits inserted)."""
    caller_id: Address = ""
    """Routed: the partner's own proxy number, shown to the partner."""
    is_sent_by_us: bool = False
    """Routed message: a carrier of ours sends it; the answer asks the platform for nothing."""
    body: str | None = None
    """Routed message: the text that replaces the one that came."""
    twiml: str = ""
    """Answered: the document to pass on; empty = do nothing."""
    session_sid: str = ""
    """The session met, also when it refuses the event."""
    interaction_sid: str = ""
    """Routed: KI… of what was recorded."""
    inbound_participant_sid: str = ""
    """Routed: KP… of who calls or writes."""
    outbound_participant_sid: str = ""
    """Routed: KP… of who is reached."""
    code: Code | None = None
    """Debugger event that it raises."""


class ReportOutcome(StrEnum):
    """What became of a leg report; closed."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    """The leg was already in that state, or has gone past it."""
    NOT_OPEN = "not-open"
    """80906: the leg had already ended in another way."""
    NOT_FOUND = "not-found"
    """80907: no interaction with that leg."""
    AMBIGUOUS = "ambiguous"
    """Several calls have that SID, and the report does not say the number reached."""
    UNKNOWN_STATUS = "unknown-status"
    """The platform says a word that we do not know; nothing changes."""
    NEVER_TOLD = "never-told"
    """No report: a call whose end nobody has told has ended by the settings."""


AnswerReport = Callable[[ReportOutcome | None], None]
"""Takes what became of a report; None: it could not be taken, and is to be made again."""


class SessionWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The session that an out-of-session hook asks for (behaviour 13.1)."""

    identifier: str
    """participantIdentifier: the second participant."""
    proxy_identifier: str | None = None
    """participantProxyIdentifier."""
    unique_name: str | None = None
    mode: Mode | None = None
    """None = to be guessed."""
    ttl_seconds: int | None = None
    date_expiry: float | None = None


__all__ = [
    "Decision",
    "InboundEvent",
    "Kind",
    "LegReport",
    "Outcome",
    "Question",
    "Reason",
    "ReportOutcome",
    "SessionWanted",
]
