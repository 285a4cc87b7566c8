"""Whether a wall clock can be believed, told by another that only counts on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.clocks import STEP_SECONDS, ClockGuard

HOUR, YEAR = 3600.0, 365 * 86_400.0
NOW = 1_700_000_000.0


def guarded(*steps: tuple[float, float]) -> tuple[ClockGuard, float]:
    """Let time pass: by how much each clock moves from look to look; returns what came out last."""
    wall, steady, sure = NOW, 50.0, NOW
    guard = ClockGuard(wall=wall, steady=steady)
    for wall_moves, steady_moves in steps:
        wall, steady = wall + wall_moves, steady + steady_moves
        sure = guard.look(wall=wall, steady=steady)
    return guard, sure - NOW


def test_while_both_agree_the_wall_clock_is_sure() -> None:
    """However long it is between two looks: a process that was stopped for a day slept by both."""
    guard, sure = guarded((0.25, 0.25), (86_400.0, 86_400.0), (0.25, 0.25))

    assert (guard.ahead_seconds, sure) == (0.0, 86_400.5)


@pytest.mark.parametrize("jump", [STEP_SECONDS + 1, HOUR, YEAR])
def test_a_jump_ahead_is_not_believed(jump: float) -> None:
    """The time that has surely come goes on as if there had been none."""
    guard, sure = guarded((0.25, 0.25), (jump + 0.25, 0.25), (10.0, 10.0))

    assert guard.ahead_seconds == pytest.approx(jump)
    assert sure == pytest.approx(10.5)


def test_a_jump_ahead_and_back_leaves_nothing_behind() -> None:
    """From then on the wall clock is believed as before."""
    guard, sure = guarded((YEAR, 0.25), (10.0, 10.0), (-YEAR + 1.0, 1.0), (5.0, 5.0))

    assert guard.ahead_seconds == 0.0
    assert sure == pytest.approx(16.0, abs=STEP_SECONDS)


def test_a_jump_back_is_told_and_taken_as_it_is() -> None:
    """Nothing can be erased too early by a clock that is behind."""
    guard, sure = guarded((-HOUR, 0.25))

    assert guard.ahead_seconds == pytest.approx(-HOUR - 0.25)
    assert sure == -HOUR


def test_a_clock_that_is_slewed_is_followed_for_good() -> None:
    """A time server corrects by half a millisecond a second: 43 seconds in a day are no jump."""
    guard, sure = guarded(*[(0.25 * 1.0005, 0.25)] * 400_000)

    assert guard.ahead_seconds == 0.0
    assert sure == pytest.approx(100_050.0)


@given(
    st.lists(
        st.tuples(st.one_of(st.floats(0, 5), st.floats(-2 * YEAR, 2 * YEAR)), st.floats(0, 60)), min_size=1, max_size=30
    )
)
def test_what_is_sure_is_never_ahead_of_the_wall_clock_nor_of_what_has_passed(steps: list[tuple[float, float]]) -> None:
    """Whatever the wall clock does: no session lives shorter than by the clock that counts on, but for small steps."""
    guard = ClockGuard(wall=NOW, steady=0.0)
    wall, steady, small = NOW, 0.0, 0.0
    for wall_moves, steady_moves in steps:
        wall, steady = wall + wall_moves, steady + steady_moves
        small += STEP_SECONDS

        sure = guard.look(wall=wall, steady=steady)

        assert sure <= wall
        assert sure <= NOW + steady + small + 1e-3
