"""Who holds which proxy number: every hold is let go once (behaviour 6.1, 7)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.pools.binding_index import BindingIndex

ALICE, BOB = "+12125550101", "+12125550102"
N1, N2 = "+16465550001", "+16465550002"


def test_a_stranger_holds_nothing() -> None:
    """Nobody holds a number before a session pairs them."""
    assert BindingIndex().proxies_of(ALICE) == ()


def test_a_number_is_held_until_it_is_let_go() -> None:
    """Letting go of one number leaves the others held."""
    bindings = BindingIndex()
    bindings.add(ALICE, N1)
    bindings.add(ALICE, N2)

    bindings.remove(ALICE, N1)

    assert bindings.proxies_of(ALICE) == (N2,)


def test_people_hold_the_same_number_independently() -> None:
    """Distinct people may share a number without bound."""
    bindings = BindingIndex()
    bindings.add(ALICE, N1)
    bindings.add(BOB, N1)

    bindings.remove(ALICE, N1)

    assert (bindings.proxies_of(ALICE), bindings.proxies_of(BOB)) == ((), (N1,))


def test_a_pair_held_twice_is_held_until_both_end() -> None:
    """Permissive mode: the same pair may be active twice."""
    bindings = BindingIndex()
    bindings.add(ALICE, N1)
    bindings.add(ALICE, N1)

    assert bindings.proxies_of(ALICE) == (N1, N1)
    bindings.remove(ALICE, N1)

    assert bindings.proxies_of(ALICE) == (N1,)


@pytest.mark.parametrize("proxy", [N1, N2])
def test_what_is_not_held_cannot_be_let_go(proxy: str) -> None:
    """A pair that ends twice is our bug, and loud."""
    bindings = BindingIndex()
    bindings.add(BOB, N1)
    bindings.add(ALICE, N2)
    bindings.remove(ALICE, N2)

    with pytest.raises((KeyError, ValueError)):
        bindings.remove(ALICE if proxy == N2 else BOB, N2)


@given(steps=st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.sampled_from([N1, N2]), st.booleans()), max_size=40))
def test_the_index_counts_bindings(steps: list[tuple[str, str, bool]]) -> None:
    """Whatever the order, what is held is what was held and not let go."""
    bindings = BindingIndex()
    model: Counter[tuple[str, str]] = Counter()

    for identifier, proxy, is_hold in steps:
        if is_hold:
            bindings.add(identifier, proxy)
            model[identifier, proxy] += 1
        elif model[identifier, proxy]:
            bindings.remove(identifier, proxy)
            model[identifier, proxy] -= 1

    assert Counter(bindings.items()) == +model
    assert bindings.most_held == max(len(bindings.proxies_of(ALICE)), len(bindings.proxies_of(BOB)))
    for identifier in (ALICE, BOB):
        assert Counter(bindings.proxies_of(identifier)) == +Counter(
            {proxy: count for (person, proxy), count in model.items() if person == identifier}
        )
