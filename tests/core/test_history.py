"""Counters that grow become minutes; minutes of several hosts are added up; a pool that fills will be full."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.history import MinuteCounter, added_up, full_in
from engine.core.model.overview import HostFigures, Minute, TrafficCount
from engine.core.model.records import Kind
from engine.core.routing.traffic import Outcome, Reason

NONE = (0,) * len(Outcome)


def figures(calls: int = 0, refused: int = 0, messages: int = 0, answers: tuple[int, ...] = (0, 0, 0)) -> HostFigures:
    """Return what was counted since the start."""
    traffic = (
        TrafficCount(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION, calls),
        TrafficCount(Kind.VOICE, Outcome.REFUSED, Reason.NO_SESSION, refused),
        TrafficCount(Kind.VOICE, Outcome.REFUSED, Reason.SESSION_EXPIRED, refused),
        TrafficCount(Kind.MESSAGE, Outcome.ROUTED, Reason.IN_SESSION, messages),
    )
    return HostFigures(traffic=traffic, answers=tuple(zip((0.1, 0.5, math.inf), answers, strict=True)))


def counts(**by_outcome: int) -> tuple[int, ...]:
    """Return counts in the order of the outcomes."""
    return tuple(by_outcome.get(one.name.lower(), 0) for one in Outcome)


def test_a_minute_holds_what_was_gained_in_it() -> None:
    """By outcome, whatever the reason; what was counted before the first reading belongs to no minute."""
    counter = MinuteCounter()
    first = counter.read(figures(calls=5, messages=1), {}, now=59.0)

    minute = counter.read(figures(calls=7, refused=2, messages=1), {"KS1": 0.5}, now=61.0)

    assert first is None
    assert minute == Minute(0, counts(routed=2, refused=4), NONE, None, {"KS1": 0.5})


def test_a_reading_is_due_when_a_minute_has_ended() -> None:
    """And the first at once."""
    counter = MinuteCounter()
    due = [counter.is_due(10.0)]
    counter.read(figures(), {}, now=10.0)

    due += [counter.is_due(now) for now in (10.0, 59.9, 60.0)]

    assert due == [True, False, False, True]


@pytest.mark.parametrize(
    ("answers", "within"),
    [((99, 1, 0), 0.1), ((98, 2, 0), 0.5), ((0, 0, 1), math.inf), ((0, 0, 0), None), ((0, 3, 0), 0.5)],
)
def test_nearly_all_answers_were_written_within(answers: tuple[int, ...], within: float | None) -> None:
    """The bound below which 99 of 100 are; those before the minute do not count."""
    counter = MinuteCounter()
    counter.read(figures(answers=(0, 0, 500)), {}, now=0.0)

    minute = counter.read(figures(answers=(answers[0], answers[1], 500 + answers[2])), {}, now=60.0)

    assert minute is not None
    assert minute.answered_within == within


def test_hosts_and_minutes_are_added_up() -> None:
    """Counts are sums; of durations and saturations the greatest counts; spans come in order."""
    one = Minute(900, counts(routed=1), counts(refused=2), 0.1, {"KS1": 0.2})
    other = Minute(900, counts(routed=10), counts(refused=20), None, {"KS1": 0.9, "KS2": 0.1})
    later = Minute(1740, counts(routed=100), NONE, 0.5, {})
    next_span = Minute(1800, counts(routed=7), NONE)

    spans = added_up([next_span, later, one, other], seconds=900)

    assert spans == (
        Minute(900, counts(routed=111), counts(refused=22), 0.5, {"KS1": 0.9, "KS2": 0.1}),
        Minute(1800, counts(routed=7), NONE, None, {}),
    )


@given(st.lists(st.integers(0, 10_000)), st.sampled_from([60, 900, 3600]))
def test_adding_up_loses_nothing(times: list[int], seconds: int) -> None:
    """However the minutes fall into spans."""
    minutes = [Minute(at, counts(routed=at), NONE) for at in times]

    spans = added_up(minutes, seconds=seconds)

    assert sum(sum(one.calls) for one in spans) == sum(times)
    assert all(one.at % seconds == 0 for one in spans)


@pytest.mark.parametrize(
    ("saturations", "seconds"),
    [
        ([0.2, 0.3, 0.4], 360.0),
        ([0.4, 0.3], None),
        ([0.5, 0.5], None),
        ([0.9, 1.0], 0.0),
        ([0.7], None),
        ([], None),
        ([0.9, 1.0, 0.25], None),
    ],
)
def test_a_pool_is_full_if_it_goes_on_so(saturations: list[float], seconds: float | None) -> None:
    """In a straight line from the first to the last that is known."""
    minutes = [Minute(60 * place, NONE, NONE, None, {"KS1": one}) for place, one in enumerate(saturations)]

    found = full_in([*minutes, Minute(6000, NONE, NONE)], "KS1", saturation=saturations[-1] if saturations else 0.0)

    assert found == (None if seconds is None else pytest.approx(seconds))
