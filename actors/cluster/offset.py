"""How far another machine's clock is ahead of this one's, as round trips bound it.

Whoever answers says what its clock read between the asking and the answer, so the offset is known to half the time that
the round trip took (RFC 5905, section 8). No time of one machine is compared with one of another without it.
"""

from typing import Final, NamedTuple

from engine.core.ports.operations import Clock

TOLERANCE_SECONDS: Final = 0.1
"""How far a known offset may be from the one that is gone by; times are translated anew where it is further."""

WARNING_SECONDS: Final = 1.0
"""From which on the operator is told."""

_STEP_SECONDS: Final = 0.25
"""How much two clocks of this machine may differ about a round trip; more, and one of them was set meanwhile."""

_DRIFT: Final = 1e-4
"""Seconds a second by which an offset that was measured may have changed since."""


def is_apart(one: float | None, other: float | None) -> bool:
    """Tell whether two offsets differ by more than is tolerated; one that is not known is as far as 0."""
    return abs((one or 0.0) - (other or 0.0)) > TOLERANCE_SECONDS


class Reading(NamedTuple):
    """What the clocks of this machine read at one time."""

    wall: float
    """UTC epoch seconds; it may be set."""
    monotonic: float
    """Seconds of a clock that only runs forward."""

    @classmethod
    def of(cls, clock: Clock, monotonic: Clock) -> "Reading":
        """Read both."""
        return cls(clock(), monotonic())


class ClockOffset:
    """The offset of one other machine's clock."""

    def __init__(self) -> None:
        """Know nothing."""
        self.seconds: float | None = None
        """How far its clock is ahead of ours; None until it was measured."""
        self._error = 0.0
        self._measured_at = 0.0

    def measure(self, theirs: float, asked: Reading, answered: Reading) -> None:
        """Take what the other clock read between two readings of ours.

        A quicker round trip than the one that is gone by is believed rather than that, and so is any that contradicts
        it: then a clock was set.
        """
        took = answered.wall - asked.wall
        if abs(took - (answered.monotonic - asked.monotonic)) > _STEP_SECONDS:
            return
        seen, error = theirs - (asked.wall + took / 2), abs(took) / 2
        known = self._error + _DRIFT * (answered.monotonic - self._measured_at)
        if self.seconds is None or error <= known or abs(seen - self.seconds) > error + known:
            self.seconds, self._error, self._measured_at = seen, error, answered.monotonic
