"""How fast counters of hosts move: the difference between what is read now and what was read some seconds before."""

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from engine.core.model.overview import HostStatus
from engine.core.model.records import Kind
from engine.core.routing.traffic import Outcome, Reason

WINDOW_SECONDS = 10.0
"""What a rate is averaged over, once readings reach back that far."""

OLDEST_SECONDS = 30.0
"""A reading that is older tells nothing of how things move now."""

Ending = tuple[Kind, Outcome, Reason]


class TrafficLine(msgspec.Struct, frozen=True):
    """How many events ended in one way, on all hosts."""

    kind: Kind
    outcome: Outcome
    reason: Reason
    count: int
    per_second: float | None
    """None: nothing to compare with yet."""


class _Reading(msgspec.Struct, frozen=True):
    at: float
    counts: Mapping[tuple[str, float], Mapping[Ending, int]]
    """By host and when it started, since its counts begin anew then."""


class Rates:
    """Remembers the readings of the last seconds."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._readings: deque[_Reading] = deque()

    def lines(self, hosts: Sequence[HostStatus], *, now: float) -> tuple[TrafficLine, ...]:
        """Take a reading and return all endings that were ever met, the most frequent first; `now` is monotonic."""
        reading = _Reading(now, {(one.name, one.started_at): _counts(one) for one in hosts if one.is_answering})
        before = self._before(now)
        self._readings.append(reading)
        totals: dict[Ending, int] = {}
        gains: dict[Ending, int] = {}
        for host, counts in reading.counts.items():
            known = None if before is None else before.counts.get(host)
            for ending, count in counts.items():
                totals[ending] = totals.get(ending, 0) + count
                if known is not None:
                    gains[ending] = gains.get(ending, 0) + count - known.get(ending, 0)
        seconds = None if before is None else now - before.at
        met = sorted((ending for ending, count in totals.items() if count), key=lambda one: (-totals[one], one))
        return tuple(
            TrafficLine(*ending, totals[ending], gains.get(ending, 0) / seconds if seconds else None) for ending in met
        )

    def _before(self, now: float) -> _Reading | None:
        """Return the reading to compare with, and forget older ones."""
        readings = self._readings
        while readings and now - readings[0].at > OLDEST_SECONDS:
            readings.popleft()
        while len(readings) > 1 and now - readings[1].at >= WINDOW_SECONDS:
            readings.popleft()
        return readings[0] if readings else None


def _counts(host: HostStatus) -> dict[Ending, int]:
    return {(one.kind, one.outcome, one.reason): one.count for one in host.figures.traffic}
