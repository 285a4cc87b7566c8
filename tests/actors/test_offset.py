"""How far another clock is ahead: within half of a round trip, whatever the clocks and the network do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cluster.offset import ClockOffset, Reading
from tests.actors.world import START

seconds = st.floats(0.0, 2.0)
skews = st.floats(-600.0, 600.0)


def measured(
    known: ClockOffset, skew: float, *, at: float = 0.0, out: float = 0.0, back: float = 0.0, set_by: float = 0.0
) -> None:
    """Have a message go out and back at a time; meanwhile our clock may be set."""
    asked, answered = Reading(START + at, at), Reading(START + at + out + back + set_by, at + out + back)
    known.measure(START + at + out + skew, asked, answered)


@given(skew=skews, ways=st.lists(st.tuples(seconds, seconds), min_size=1, max_size=10))
def test_an_offset_is_known_to_half_of_the_quickest_round_trip(skew: float, ways: list[tuple[float, float]]) -> None:
    """However unlike the ways out and back are."""
    known = ClockOffset()

    for at, (out, back) in enumerate(ways):
        measured(known, skew, at=at * 5.0, out=out, back=back)

    quickest = min(out + back for out, back in ways)
    assert known.seconds == pytest.approx(skew, abs=quickest / 2 + 0.01)


@given(before=skews, after=skews, out=st.floats(0.0, 0.05), back=st.floats(0.0, 0.05))
def test_a_clock_that_was_set_is_known_after_one_round_trip(
    before: float, after: float, out: float, back: float
) -> None:
    """To what that round trip tells; a step smaller than it may pass unseen."""
    known = ClockOffset()
    measured(known, before)

    measured(known, after, at=1.0, out=out, back=back)

    assert known.seconds == pytest.approx(after, abs=out + back + 0.001)


def test_a_round_trip_about_which_our_own_clock_was_set_tells_nothing() -> None:
    """What was known before stays."""
    known = ClockOffset()

    measured(known, 5.0, set_by=60.0)
    before = known.seconds
    measured(known, 5.0)
    measured(known, 5.0, at=1.0, set_by=-60.0)

    assert before is None
    assert known.seconds == 5.0
