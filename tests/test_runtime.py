"""The mint and the randomness behind it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.sids import SidKind, is_sid
from engine.runtime import COUNTER_END, OrderedIdFactory, RandomDigits, SureClock, choose, steady


@given(st.lists(st.integers(min_value=1, max_value=2**40), min_size=1, max_size=50))
def test_later_sids_sort_after_earlier_ones_whatever_the_clock_does(milliseconds: list[int]) -> None:
    """A clock that stands still or jumps back never breaks the order."""
    ticks = iter(milliseconds)
    new_sid = OrderedIdFactory(now=lambda: next(ticks) / 1000)

    sids = [new_sid(SidKind.SESSION) for _ in milliseconds]

    assert all(is_sid(sid, SidKind.SESSION) for sid in sids)
    assert all(earlier < later for earlier, later in pairwise(sids))


def test_a_millisecond_that_is_full_borrows_the_next() -> None:
    """The counter carries into the clock instead of wrapping."""
    new_sid = OrderedIdFactory(now=lambda: 1.0, random_digits=lambda: "0" * 16)

    sids = [new_sid(SidKind.CALL) for _ in range(COUNTER_END + 1)]

    assert sids[-2] == "CA" + f"{1000:012x}" + "ffff" + "0" * 16
    assert sids[-1] == "CA" + f"{1001:012x}" + "0000" + "0" * 16


def test_random_digits_are_used_once_and_fetched_in_bulk() -> None:
    """One look at the source serves a thousand SIDs, and no two get the same digits."""
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return b"".join((len(asked) * 10_000 + number).to_bytes(8) for number in range(size // 8))

    digits = RandomDigits(source)

    drawn = {digits() for _ in range(1025)}

    assert asked == [8192, 8192]
    assert len(drawn) == 1025
    assert {len(one) for one in drawn} == {16}


def test_the_last_tie_is_broken_by_an_index_in_range() -> None:
    """What is picked can be looked up."""
    assert {choose(2) for _ in range(100)} <= {0, 1}


class Clocks:
    """A wall clock and one that counts on, in the test's hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 10.0
        self.sure = SureClock(lambda: self.wall, lambda: self.steady)

    def look(self, *, jump: float = 0.0) -> float:
        """Let a second pass, and the wall clock jump."""
        self.wall += 1 + jump
        self.steady += 1
        return self.sure()


def test_a_clock_that_jumps_is_logged_once_and_once_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """Looks in between say nothing more; the gauge reads what is left of the jump."""
    clocks = Clocks()

    before = clocks.look()
    away = [clocks.look(jump=7200.0), clocks.look(), clocks.look()]
    ahead = clocks.sure.ahead_seconds
    back = clocks.look(jump=-7200.0)

    assert (before, away, ahead, back) == (1_000_001.0, [1_000_002.0, 1_000_003.0, 1_000_004.0], 7200.0, 1_000_005.0)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "jumped ahead by 7200.0 seconds" in caplog.text


def test_the_steady_clock_counts_on() -> None:
    """It is not the wall clock."""
    assert steady() <= steady()
