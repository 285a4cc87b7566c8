"""Charts of traffic over time, as the shapes that a template draws; pure."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, isfinite, log10
from typing import Final

import msgspec

from engine.core.model.overview import Counts, Minute
from engine.core.routing.traffic import Outcome

WIDTH: Final = 720.0
HEIGHT: Final = 150.0
"""Of what is drawn, in units of the picture."""

_LABELS: Final = 6
_STEPS: Final = (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8, 10)
_GAP: Final = 0.15
"""Share of a bar's room that stays free."""


class Bar(msgspec.Struct, frozen=True):
    """A rectangle; its place and size in units of the picture, from the upper left corner."""

    name: str
    """What it stands for, a style's name too."""
    x: float
    y: float
    width: float
    height: float


class Label(msgspec.Struct, frozen=True):
    """A time below the chart."""

    x: float
    at: int


class Line(msgspec.Struct, frozen=True):
    """One row of the table beside a chart: what was drawn of one span of time."""

    at: int
    values: tuple[float, ...]


class Chart(msgspec.Struct, frozen=True):
    """One chart and its table."""

    top: float
    """The value at the upper edge."""
    names: tuple[str, ...]
    """What the values of each line stand for."""
    bars: tuple[Bar, ...]
    labels: tuple[Label, ...]
    lines: tuple[Line, ...]
    """Those spans that anything is known of, the latest first."""

    @property
    def heads(self) -> list[str]:
        """Return the heads of the table's columns of figures."""
        return [f"{name}#" for name in self.names]


class Span(msgspec.Struct, frozen=True):
    """What a chart covers: `count` spans of `seconds`, the last of which holds `now`."""

    seconds: int
    count: int
    now: float

    @property
    def begins(self) -> int:
        """UTC epoch seconds of its first span."""
        return int(self.now) // self.seconds * self.seconds - (self.count - 1) * self.seconds


def outcomes_chart(spans: Sequence[Minute], span: Span, counts: Callable[[Minute], Counts]) -> Chart:
    """Draw events a second by outcome, one upon the other; `counts` are those of calls or of messages."""
    names = tuple(Outcome)
    values = {one.at: tuple(count / span.seconds for count in counts(one)) for one in spans}
    return _chart(span, names, values, top=max(map(sum, values.values()), default=0.0))


def seconds_chart(spans: Sequence[Minute], span: Span) -> Chart:
    """Draw within which time nearly all answers were written, in seconds; past all bounds is the upper edge."""
    values = {one.at: (one.answered_within,) for one in spans if one.answered_within is not None}
    finite = [value for (value,) in values.values() if isfinite(value)]
    return _chart(span, ("answered",), values, top=max(finite, default=0.0))


def pool_chart(spans: Sequence[Minute], span: Span, service_sid: str) -> Chart:
    """Draw how saturated a pool was, as a share of 1."""
    values = {one.at: (one.pools[service_sid],) for one in spans if service_sid in one.pools}
    return _chart(span, ("saturation",), values, top=1.0)


def _chart(span: Span, names: Sequence[str], values: Mapping[int, tuple[float, ...]], *, top: float) -> Chart:
    highest, room = _round_up(top), WIDTH / span.count
    bars = []
    for at, line in values.items():
        place, y = (at - span.begins) // span.seconds, HEIGHT
        for name, value in zip(names, line, strict=True):
            if value and 0 <= place < span.count:
                height = min(value / highest, 1.0) * HEIGHT
                y -= height
                bars.append(Bar(name, (place + _GAP / 2) * room, y, (1 - _GAP) * room, height))
    every = ceil(span.count / _LABELS)
    labels = [Label((place + 0.5) * room, span.begins + place * span.seconds) for place in range(0, span.count, every)]
    lines = sorted((Line(at, line) for at, line in values.items()), key=lambda one: -one.at)
    return Chart(highest, tuple(names), tuple(bars), tuple(labels), tuple(lines))


def _round_up(value: float) -> float:
    """Return the next of 1, 1.2, 1.5, 2, 3 … above, so that the edge of a chart, and its half, are easily read."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(value))
    return next(step * unit for step in _STEPS if value <= step * unit * (1 + 1e-9))
