"""A flood is kept in part, and hides nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.fair_share import MOST_OF_CALLER, FairShare

MOST = 20
KIND = ("AC1", 80902)
FEW = st.integers(0, 30).map(str)


def kept(share: FairShare, *, number: str | None, caller: str | None, at: float = 0.0, times: int = 1_000) -> int:
    """Offer the same event many times; returns how many were kept."""
    return sum(share.takes(KIND, number=number, caller=caller, at=at) for _ in range(times))


def test_a_stranger_who_calls_without_end_is_kept_a_few_times_a_minute() -> None:
    """Then again in the next."""
    share = FairShare(MOST)

    first, rest, later = (sum(kept(share, number="+1", caller="+2", at=at) for at in some) for some in (
        range(1), range(1, 60), range(60, 120),
    ))  # fmt: skip

    assert 0 < first < MOST_OF_CALLER
    assert first + rest == later == MOST_OF_CALLER


@pytest.mark.parametrize("number", ["+1", "+9"])
def test_a_flood_of_one_caller_hides_no_other_on_the_same_number_or_another(number: str) -> None:
    """Nor does the same caller's on another number."""
    share = FairShare(MOST)
    kept(share, number="+1", caller="flooding")

    assert kept(share, number=number, caller="driver", times=1) == 1
    assert kept(share, number="+8", caller="flooding", times=1) == 1


def test_many_strangers_on_one_number_hide_nobody_on_another() -> None:
    """Whatever of a minute is left to them."""
    share = FairShare(MOST)
    flood = sum(kept(share, number="+1", caller=str(caller), times=50) for caller in range(500))

    assert 0 < flood <= MOST // 2
    assert kept(share, number="+9", caller="driver", times=2) == 2


def test_what_names_no_number_has_the_whole_share() -> None:
    """As a callback that failed; each kind has its own."""
    share = FairShare(MOST)

    assert kept(share, number=None, caller=None) == MOST
    assert kept(share, number=None, caller=None, at=0.9) == 0
    assert kept(share, number=None, caller=None, at=1.0) == MOST
    assert share.takes(("AC2", 80902), number=None, caller=None, at=1.0)


@given(st.lists(st.tuples(FEW, FEW, st.floats(0, 3)), max_size=400))
def test_never_more_than_the_share_of_a_kind_and_a_caller(events: list[tuple[str, str, float]]) -> None:
    """Whoever calls whom."""
    share, by_second, by_caller = FairShare(MOST), [0] * 4, dict[tuple[str, str], int]()

    for number, caller, at in sorted(events, key=lambda one: one[2]):
        is_full = share.is_full(KIND, number=number, caller=caller, at=at)
        is_taken = share.takes(KIND, number=number, caller=caller, at=at)
        assert is_taken is not is_full
        if is_taken:
            by_second[int(at)] += 1
            by_caller[number, caller] = by_caller.get((number, caller), 0) + 1

    assert max(by_second) <= MOST
    assert max(by_caller.values(), default=0) <= MOST_OF_CALLER
    assert not events or sum(by_second) > 0
