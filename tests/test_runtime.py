"""The mint and the randomness behind it."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.core.sids import SidKind, is_sid
from engine.runtime import COUNTER_END, OrderedMint, RandomBits, pick


@given(st.lists(st.integers(min_value=1, max_value=2**40), min_size=1, max_size=50))
def test_later_sids_sort_after_earlier_ones_whatever_the_clock_does(milliseconds: list[int]) -> None:
    """A clock that stands still or jumps back never breaks the order."""
    ticks = iter(milliseconds)
    mint = OrderedMint(now=lambda: next(ticks) / 1000)

    sids = [mint(SidKind.SESSION) for _ in milliseconds]

    assert all(is_sid(sid, SidKind.SESSION) for sid in sids)
    assert all(earlier < later for earlier, later in pairwise(sids))


def test_a_millisecond_that_is_full_borrows_the_next() -> None:
    """The counter carries into the clock instead of wrapping."""
    mint = OrderedMint(now=lambda: 1.0, bits=lambda: 0)

    sids = [mint(SidKind.CALL) for _ in range(COUNTER_END + 1)]

    assert sids[-2] == "CA" + f"{1000:012x}" + "ffff" + "0" * 16
    assert sids[-1] == "CA" + f"{1001:012x}" + "0000" + "0" * 16


def test_random_bits_are_used_once_and_fetched_in_bulk() -> None:
    """One look at the source serves a thousand SIDs, and no two get the same bits."""
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return b"".join((len(asked) * 10_000 + number).to_bytes(8) for number in range(size // 8))

    bits = RandomBits(source)

    drawn = {bits() for _ in range(1025)}

    assert asked == [8192, 8192]
    assert len(drawn) == 1025


def test_the_last_tie_is_broken_by_an_index_in_range() -> None:
    """What is picked can be looked up."""
    assert {pick(2) for _ in range(100)} <= {0, 1}
