"""Who owns what in a cluster."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.placement import Placement, host_name, owner_of

EXAMPLE = [2, 1, 2, 0]

NUMBERS = tuple(f"+1415555{line:04}" for line in range(4_000))

keys = st.text(min_size=1, max_size=40)


def test_a_single_host_owns_everything() -> None:
    """Then there is nothing to choose."""
    assert {owner_of(number, 1) for number in NUMBERS[:100]} == {0}


def test_a_client_in_another_language_can_follow_this_example() -> None:
    """The document of the feed shows these; SHA-256 of "NAME/KEY", first eight bytes, the largest wins."""
    assert host_name(1) == "host-1"
    assert [owner_of(number, 3) for number in ("+14155550100", "+14155550101", "+14155550102", "20500")] == EXAMPLE


def test_hosts_own_about_as_much_each() -> None:
    """A tenth more or less."""
    shares = Counter(owner_of(number, 4) for number in NUMBERS)

    assert all(900 <= share <= 1_100 for share in shares.values())


@given(key=keys, hosts=st.integers(1, 8))
def test_one_host_more_moves_only_what_it_owns_itself(key: str, hosts: int) -> None:
    """Nothing moves between those that were there before."""
    assert owner_of(key, hosts + 1) in {owner_of(key, hosts), hosts}


@given(st.lists(keys, max_size=20))
def test_what_is_remembered_is_what_is_computed(asked: list[str]) -> None:
    """Also after everything was forgotten."""
    placement = Placement(3, capacity=5)

    assert [placement(key) for key in asked] == [owner_of(key, 3) for key in asked]
