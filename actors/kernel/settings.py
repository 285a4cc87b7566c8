"""How a host behaves where an operator may choose."""

from dataclasses import dataclass
from enum import StrEnum

from engine.core.model.settings import Fixed, NotNegative, Positive, Seconds, SharedSettings
from engine.core.ports.store import LATE_LOOKS

SECONDS_PER_DAY = 86_400
SECONDS_PER_HOUR = 3_600


class MexicanOne(StrEnum):
    """Which new services insert the "1" after +52 on outbound legs (behaviour 14)."""

    BY_DATE = "by-date"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class HostSettings(SharedSettings):
    """What actors read."""

    every_number_is_ours: bool = True
    """A number added to a pool by PhoneNumber need not be bought first; false asks for an owned one."""
    joins_us_and_canada: bool = False
    """Let numbers of the US serve people of Canada and the other way round."""
    inserts_mexican_one: MexicanOne = MexicanOne.BY_DATE
    """Which new services dial +521 for +52: by-date (those made before 2020-10-05, so none today), always, never."""
    batch_key_hours: Positive = 24
    """Hours for which an item of a batch is known again by its idempotency key."""
    retention_days: Positive = 90
    """Days after which a closed session is erased with its participants and interactions."""
    longest_call_hours: NotNegative = 4
    """Hours after which a call whose end nobody has told has ended, with the status unknown; 0 = never."""
    redelivery_window_seconds: NotNegative = 600
    """Seconds in which a repeated CallSid or MessageSid gets the same answer again."""
    intercept_timeout_seconds: Seconds = 5.0
    """Seconds that an intercept hook may take; past them the event goes on, or is blocked where the service says so."""
    carrier_deadline_seconds: Seconds = 10.0
    """Seconds that a carrier waits for our answer: all hooks of one call or message together take no longer."""
    commit_patience_seconds: Seconds = 2.0
    """Seconds that whoever asks waits for a commit; past them the answer is "not ready", and the commit goes on."""
    alert_retention_days: Positive = 30
    """Days for which debugger events are listed."""
    alerts_per_second: Positive = 20
    """Debugger events of one account and code kept in a second, shared out among numbers; more are only counted."""
    webhook_trail_hours: NotNegative = 24
    """Hours for which the console tells what hooks and callbacks of a call or message came to; 0 = none are kept."""
    webhooks_kept_per_second: Positive = 50
    """Hooks and callbacks of one account that are kept so in a second; the others are only counted."""
    answers_remembered: Fixed[int] = 50_000
    """Routed events whose answers are kept as they are; those of the window before them are made from the records."""
    refusals_remembered: Fixed[int] = 50_000
    """Refused events that are known again when redelivered; the oldest are decided anew."""
    sweep_interval_seconds: Fixed[float] = 0.25
    """How often expired sessions are looked for."""
    retention_interval_seconds: Fixed[float] = 60.0
    """How often sessions past retention are looked for."""

    @property
    def late_look_seconds(self) -> float:
        """How often it is looked who waits for a commit that is late."""
        return self.commit_patience_seconds / LATE_LOOKS

    @property
    def batch_key_seconds(self) -> float:
        """The hours of a batch's key."""
        return float(self.batch_key_hours * SECONDS_PER_HOUR)

    @property
    def retention_seconds(self) -> float:
        """The days of a closed session."""
        return float(self.retention_days * SECONDS_PER_DAY)

    @property
    def longest_call_seconds(self) -> float:
        """The hours of a call; 0 = any."""
        return float(self.longest_call_hours * SECONDS_PER_HOUR)

    @property
    def alert_retention_seconds(self) -> float:
        """The days of a debugger event."""
        return float(self.alert_retention_days * SECONDS_PER_DAY)

    @property
    def webhook_trail_seconds(self) -> float:
        """The hours of a webhook's trail."""
        return float(self.webhook_trail_hours * SECONDS_PER_HOUR)
