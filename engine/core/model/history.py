"""Traffic by the minute, for a day: what a host notes of its counters, and how notes are added up.

Pure. A minute that nobody counted, since the host did not run, has no note.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import Final

from engine.core.model.overview import NEARLY_ALL, Counts, HostFigures, Minute
from engine.core.model.records import Kind
from engine.core.routing.traffic import Outcome

MINUTE_SECONDS: Final = 60
KEPT_MINUTES: Final = 24 * 60

FILLING_SECONDS: Final = 60 * MINUTE_SECONDS
"""How far back it is looked how fast a pool fills."""


class MinuteCounter:
    """Makes minutes of counters that only grow."""

    def __init__(self) -> None:
        """Know nothing before the first reading."""
        self._at: int | None = None
        self._before = HostFigures()

    def is_due(self, now: float) -> bool:
        """Tell whether a minute has ended since the reading before."""
        return _minute_of(now) != self._at

    def read(self, figures: HostFigures, pools: Mapping[str, float], *, now: float) -> Minute | None:
        """Take the reading that is due; returns the minute that has ended, unless it is the first reading."""
        began, before = self._at, self._before
        self._at, self._before = _minute_of(now), figures
        if began is None:
            return None
        return Minute(
            began,
            _gained(figures, before, Kind.VOICE),
            _gained(figures, before, Kind.MESSAGE),
            _within(figures.answers, before.answers),
            pools,
        )


def _minute_of(at: float) -> int:
    return int(at) // MINUTE_SECONDS * MINUTE_SECONDS


def added_up(minutes: Iterable[Minute], *, seconds: int) -> tuple[Minute, ...]:
    """Add up what began in the same span of so many seconds, of one host or several; returns the spans in order."""
    spans = groupby(sorted(minutes, key=attrgetter("at")), key=lambda one: one.at // seconds * seconds)
    return tuple(_sum(at, tuple(some)) for at, some in spans)


def full_in(minutes: Sequence[Minute], service_sid: str, *, saturation: float) -> float | None:
    """Tell in how many seconds a pool is full if it goes on filling as it did in these minutes; None if it does not.

    `saturation` is that of now: sessions and numbers may have come and gone since the last minute.
    """
    if saturation >= 1:
        return 0.0
    known = [(one.at, one.pools[service_sid]) for one in minutes if service_sid in one.pools]
    if not known:
        return None
    (since, first), (until, _) = known[0], known[-1]
    return (1 - saturation) * (until - since) / (saturation - first) if saturation > first and until > since else None


def _sum(at: int, some: Sequence[Minute]) -> Minute:
    pools: dict[str, float] = {}
    for one in some:
        for service_sid, saturation in one.pools.items():
            pools[service_sid] = max(saturation, pools.get(service_sid, 0.0))
    return Minute(
        at,
        tuple(map(sum, zip_longest(*(one.calls for one in some), fillvalue=0))),
        tuple(map(sum, zip_longest(*(one.messages for one in some), fillvalue=0))),
        max((one.answered_within for one in some if one.answered_within is not None), default=None),
        pools,
    )


def _gained(now: HostFigures, before: HostFigures, kind: Kind) -> Counts:
    gained = dict.fromkeys(Outcome, 0)
    for figures, sign in ((now, 1), (before, -1)):
        for one in figures.traffic:
            if one.kind is kind:
                gained[one.outcome] += sign * one.count
    return tuple(gained.values())


def _within(now: Sequence[tuple[float, int]], before: Sequence[tuple[float, int]]) -> float | None:
    counted = dict(before)
    gained = [(bound, count - counted.get(bound, 0)) for bound, count in now]
    wanted = NEARLY_ALL * sum(count for _, count in gained)
    seen = 0
    for bound, count in gained:
        seen += count
        if count and seen >= wanted:
            return bound
    return None
