"""Who holds which proxy number: every hold is let go once (behaviour 6.1, 7)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.pools.holdings import Holdings

ALICE, BOB = "+12125550101", "+12125550102"
N1, N2 = "+16465550001", "+16465550002"


def test_a_stranger_holds_nothing() -> None:
    """Nobody holds a number before a session pairs them."""
    assert Holdings().of(ALICE) == ()


def test_a_number_is_held_until_it_is_let_go() -> None:
    """Letting go of one number leaves the others held."""
    holdings = Holdings()
    holdings.hold(ALICE, N1)
    holdings.hold(ALICE, N2)

    holdings.let_go(ALICE, N1)

    assert holdings.of(ALICE) == (N2,)


def test_people_hold_the_same_number_independently() -> None:
    """Distinct people may share a number without bound."""
    holdings = Holdings()
    holdings.hold(ALICE, N1)
    holdings.hold(BOB, N1)

    holdings.let_go(ALICE, N1)

    assert (holdings.of(ALICE), holdings.of(BOB)) == ((), (N1,))


def test_a_pair_held_twice_is_held_until_both_end() -> None:
    """Permissive mode: the same pair may be active twice."""
    holdings = Holdings()
    holdings.hold(ALICE, N1)
    holdings.hold(ALICE, N1)

    assert holdings.of(ALICE) == (N1, N1)
    holdings.let_go(ALICE, N1)

    assert holdings.of(ALICE) == (N1,)


@pytest.mark.parametrize("proxy", [N1, N2])
def test_what_is_not_held_cannot_be_let_go(proxy: str) -> None:
    """A pair that ends twice is our bug, and loud."""
    holdings = Holdings()
    holdings.hold(BOB, N1)
    holdings.hold(ALICE, N2)
    holdings.let_go(ALICE, N2)

    with pytest.raises((KeyError, ValueError)):
        holdings.let_go(ALICE if proxy == N2 else BOB, N2)


@given(steps=st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.sampled_from([N1, N2]), st.booleans()), max_size=40))
def test_holdings_are_a_count_of_pairs(steps: list[tuple[str, str, bool]]) -> None:
    """Whatever the order, what is held is what was held and not let go."""
    holdings = Holdings()
    model: Counter[tuple[str, str]] = Counter()

    for identifier, proxy, is_hold in steps:
        if is_hold:
            holdings.hold(identifier, proxy)
            model[identifier, proxy] += 1
        elif model[identifier, proxy]:
            holdings.let_go(identifier, proxy)
            model[identifier, proxy] -= 1

    assert Counter(holdings.pairs()) == +model
    assert holdings.most_held == max(len(holdings.of(ALICE)), len(holdings.of(BOB)))
    for identifier in (ALICE, BOB):
        assert Counter(holdings.of(identifier)) == +Counter(
            {proxy: count for (person, proxy), count in model.items() if person == identifier}
        )
