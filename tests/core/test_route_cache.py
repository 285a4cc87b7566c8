"""Flat tables of integers, compiled and interpreted: a map as any other, and numbers packed into integers."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from engine.core.numbers.e164 import canonical
from engine.core.routing import route_cache

ALICE, BOB, P1, P2 = "+12125552001", "+12125552002", "+16465550001", "+16465550002"
A1, A2 = "AC" + "1" * 32, "AC" + "2" * 32

numbers = st.from_regex(r"\A\+[0-9]{1,15}\Z")
others = (
    st.text(max_size=18) | st.from_regex(r"\A\+[0-9]{16,17}\Z") | st.sampled_from(["", "+", "12345", "+12a", "+1 2"])
)
keys = st.integers(-(2**63), 2**63 - 1) | st.integers(1, 40)
steps = st.lists(st.tuples(st.booleans(), keys), max_size=150)


class Teller:
    """Tells of sessions, or does not."""

    is_ready = False


@given(steps)
def test_a_flat_table_is_a_map(steps: list[tuple[bool, int]]) -> None:
    """Whatever is put in and taken out, in whatever order; 0 is no key."""
    table, model = route_cache.FlatTable(), dict[int, tuple[int, int, int]]()

    for place, (is_put, key) in enumerate(steps):
        if is_put:
            table.put(key, place, -place, key)
            model[key] = (place, -place, key)
        else:
            table.drop(key)
            model.pop(key, None)
        model.pop(0, None)

        assert len(table) == len(model)

    for key in {key for _, key in steps}:
        at = table.find(key)
        assert (None if at < 0 else tuple(table.words[at + 1 + value] for value in range(3))) == model.get(key)
    assert table.is_whole


def test_a_table_shrinks_when_it_is_emptied() -> None:
    """Memory that a busy day took is given back."""
    table = route_cache.FlatTable()
    for key in range(1, 10_001):
        table.put(key, 1, 2, 3)
    widest = len(table.words)

    for key in range(1, 10_001):
        table.drop(key)

    assert widest <= 4 * 4 * 10_000
    assert len(table.words) <= 64


def test_what_would_lie_too_far_away_is_left_out_and_the_table_says_so() -> None:
    """A tenant that chose its numbers for that makes nobody search for long."""
    table, spread = route_cache.FlatTable(), route_cache._spread
    crowd = [key for key in range(1, 200_000) if spread(key) & 127 == 5]

    for key in crowd[:64]:
        table.put(key, 1, 2, 3)

    assert table.is_whole
    table.put(crowd[64], 1, 2, 3)
    assert (table.is_whole, table.find(crowd[64])) == (False, -1)
    assert table.find(crowd[63]) >= 0


@given(numbers)
def test_numbers_are_packed_without_loss(number: str) -> None:
    """From the integer the number can be read; no two share one."""
    packed = route_cache.pack(number)

    digits = (packed >> 60) & 15
    assert f"+{packed & (2**60 - 1):0{digits}x}" == number
    assert -(2**63) <= packed < 2**63


@given(others)
def test_what_is_no_number_is_not_packed(text: str) -> None:
    """Short codes, names, too many digits, digits of other scripts."""
    is_number = text.startswith("+") and text[1:].isascii() and text[1:].isdigit() and len(text) <= 16

    assert (route_cache.pack(text) != 0) is is_number


@given(numbers | st.from_regex(r"\A\+5[24]1?9?[0-9]{10}\Z"))
def test_only_numbers_that_stay_as_they_are_are_surely_canonical(number: str) -> None:
    """A stranger must not be one of ours who is written otherwise."""
    if route_cache.is_surely_canonical(route_cache.pack(number)):
        assert canonical(number) == number


def test_a_number_has_the_cached_routes_that_it_was_opened_with() -> None:
    """None after it was closed, new ones when it is opened again, and others' stay."""
    index = route_cache.RouteCache()
    first, second = index.open(P1, A1), index.open(P2, A2)
    assert first is not None
    route_cache.put_route(first, ALICE, BOB, P2, 100)

    def tables() -> list[object]:
        places = [index.numbers.find(route_cache.pack(proxy)) for proxy in (P1, P2)]
        return [None if at < 0 else index.tables[index.numbers.words[at + 1]] for at in places]

    assert tables() == [first, second]
    index.close(P1)
    index.close(P1)
    assert tables() == [None, second]
    again = index.open(P1, A1)
    assert tables() == [again, second]
    assert again is not None
    assert (len(first), len(again), len(index.tables)) == (1, 0, 2)
    assert index.open("12345", A1) is None


def test_who_is_ready_is_told_with_the_time() -> None:
    """One bit a source, whatever numbers it tells of; more than have a bit go without cached routes."""
    index, sources = route_cache.RouteCache(), [Teller() for _ in range(63)]

    opened = [index.open(f"+1646555{place:04d}", A1, source) for place, source in enumerate(sources)]
    index.open(P1, A1, sources[2])
    index.open(P2, A1)
    sources[0].is_ready = sources[2].is_ready = sources[61].is_ready = True

    assert index.at(7.9).ready == 1 | 1 << 2 | 1 << 61
    assert index.now == 7
    bits = [index.numbers.words[index.numbers.find(route_cache.pack(proxy)) + 3] for proxy in (P1, P2)]
    assert bits == [1 << 2, 0]
    assert [place for place, table in enumerate(opened) if table is None] == [62]


def test_accounts_are_told_apart() -> None:
    """The same one is the same integer, all of them are none of these."""
    index = route_cache.RouteCache()

    told = [index.account(one) for one in (A1, A2, A1, None)]

    assert told == [0, 1, 0, route_cache.ANY_ACCOUNT]


def test_stale_cached_routes_are_there_but_no_good() -> None:
    """Their owners are no strangers."""
    table = route_cache.FlatTable()
    for place, who in zip(count(1), (ALICE, BOB), strict=False):
        route_cache.put_route(table, who, P1, P2, place)

    table.invalidate_all()

    ends = [table.words[table.find(route_cache.pack(who)) + 3] for who in (ALICE, BOB)]
    assert ends == [route_cache.STALE] * 2
