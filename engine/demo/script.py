"""One line of the recorded traffic: a carrier's webhook and what must become of it."""

from enum import StrEnum

import msgspec

from engine.core.ports.observing import Rejection
from engine.core.routing.traffic import Outcome, Reason, ReportOutcome


class Door(StrEnum):
    """The path that a webhook is posted to."""

    VOICE = "voice"
    MESSAGE = "message"
    STATUS = "status"


class Signature(StrEnum):
    """How a webhook is signed."""

    RIGHT = "right"
    WRONG = "wrong"
    MISSING = "missing"


class Routed(msgspec.Struct, frozen=True, tag="routed"):
    """The partner is reached."""

    to: str
    """The partner's real number as dialled."""
    caller_id: str
    """The proxy number the partner sees."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nobody is reached."""

    reason: Reason
    """Why not."""


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """The application's own document, or the service's, is the answer."""

    reason: Reason
    """Whose, and why."""
    verbs: tuple[str, ...] = ()
    """What it makes the carrier do."""


class TurnedAway(msgspec.Struct, frozen=True, tag="turned-away"):
    """The request is refused at the door."""

    problem: Rejection
    """What is wrong with it."""


class Reported(msgspec.Struct, frozen=True, tag="reported"):
    """A leg's state is taken."""

    outcome: ReportOutcome
    """What becomes of it."""


Expected = Routed | Refused | Answered | TurnedAway | Reported


class Webhook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line."""

    id: str
    """Its name among the lines."""
    lane: str
    """Webhooks of one lane are played in order, the lanes side by side."""
    door: Door
    """Where it goes."""
    account: str
    """Whose carrier sends it: signs it and fills its AccountSid."""
    form: dict[str, str]
    """The fields as the carrier names them; `AccountSid` is filled in when it is played."""
    expect: Expected
    """What must become of it."""
    story: str
    """The same in a few words."""
    signature: Signature = Signature.RIGHT
    """How it is signed."""
    leg_of: str | None = None
    """A status: the earlier line whose answer names the address to report to."""
    waits_for_end_of: str | None = None
    """The session that must have expired before this is played."""


def outcome_of(expected: Expected) -> tuple[str, str]:
    """Name an ending by outcome and reason, as the table shows it."""
    match expected:
        case Routed():
            return Outcome.ROUTED.value, Reason.IN_SESSION.value
        case Refused(reason=reason):
            return Outcome.REFUSED.value, reason.value
        case Answered(reason=reason):
            return Outcome.ANSWERED.value, reason.value
        case TurnedAway(problem=problem):
            return "turned away", problem.value
        case Reported(outcome=outcome):
            return "leg report", outcome.value
