"""Who is met on a number: the newest session in permissive mode (behaviour 7), and what is told of an expired one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.errors import Code
from engine.core.model.records import Kind
from engine.core.model.sids import SidKind
from engine.core.routing.route_cache import FlatTable, pack
from engine.core.routing.traffic import Outcome, Reason
from engine.core.sessions.bindings import MOST_RECENTLY_EXPIRED, ActiveSession, Bindings
from tests.core.pairings import ALICE, BOB, CAROL, P1, P2, arrival, bound, couple, endpoint, new_sid, pairing, ruled

BOTH_KINDS = pytest.mark.parametrize("kind", [Kind.VOICE, Kind.MESSAGE])


def test_the_newest_session_is_met_and_the_one_before_it_again() -> None:
    """Behaviour 7, permissive: newest wins; when it ends, the one before routes again."""
    first, second, third = couple(), pairing(endpoint(ALICE, P1), endpoint(CAROL, P2)), couple()
    bindings = bound(first, second, third)

    met = [bindings.find(ALICE)]
    bindings.unbind(ALICE, third)
    met.append(bindings.find(ALICE))
    bindings.unbind(ALICE, second)
    met.append(bindings.find(ALICE))
    bindings.unbind(ALICE, first)
    met.append(bindings.find(ALICE))

    assert met == [third, second, first, None]


def test_a_session_beneath_may_end_first() -> None:
    """Ending a shadowed session leaves the newest met."""
    first, second = couple(), couple()
    bindings = bound(first, second)

    bindings.unbind(ALICE, first)

    assert bindings.find(ALICE) is second
    bindings.unbind(ALICE, second)
    assert bindings.find(ALICE) is None
    assert len(bindings) == 0


def test_the_order_of_activation_counts_not_that_of_binding() -> None:
    """Who joins an older session later, or is bound again after a failure, still meets the newest one."""
    first, second, third = couple(), couple(), couple()
    first.activation, second.activation, third.activation = 1, 2, 3
    bindings = bound(third, first, second)

    met = [bindings.find(ALICE)]
    for ended in (third, second):
        bindings.unbind(ALICE, ended)
        met.append(bindings.find(ALICE))

    assert met == [third, second, first]


@given(st.lists(st.integers(0, 5), max_size=30))
def test_bindings_are_a_stack_with_holes(steps: list[int]) -> None:
    """Whatever begins and ends, the newest of those that go on is met."""
    sessions = [couple() for _ in range(6)]
    bindings, model = Bindings(), list[ActiveSession]()

    for step in steps:
        session = sessions[step]
        if session in model:
            bindings.unbind(ALICE, session)
            model.remove(session)
        else:
            bindings.bind(ALICE, session)
            model.append(session)

        assert bindings.find(ALICE) is (model[-1] if model else None)
        assert len(bindings) == bool(model)


def test_unbinding_what_is_not_bound_is_loud() -> None:
    """A binding that ends twice is our bug."""
    session = couple()
    bindings = bound(session)
    bindings.unbind(ALICE, session)

    with pytest.raises((KeyError, ValueError)):
        bindings.unbind(ALICE, session)


@BOTH_KINDS
def test_who_met_a_session_that_expired_is_told_so(kind: Kind) -> None:
    """80904 also after the sweep closed it, whatever the kind."""
    session = couple()
    bindings = bound(session)
    bindings.unbind(ALICE, session)
    bindings.remember_expired(ALICE, session.sid)

    decision = ruled(bindings, arrival(kind, ALICE)).decision

    assert (decision.outcome, decision.code) == (Outcome.REFUSED, Code.SESSION_EXPIRED)
    assert decision.session_sid == session.sid
    assert ruled(bindings, arrival(kind, CAROL)).decision.reason is Reason.NO_SESSION


def test_whoever_meets_something_has_a_cached_route_and_nobody_else() -> None:
    """Also while it is only remembered that a session expired; those who were forgotten take no memory."""
    route_cache, session = FlatTable(), couple()
    bindings = Bindings(route_cache)
    bindings.start_caching()
    bindings.bind(ALICE, session)
    counts = [len(route_cache)]

    bindings.unbind(ALICE, session)
    counts.append(len(route_cache))
    bindings.remember_expired(ALICE, session.sid)
    counts.append(len(route_cache))
    for place in range(MOST_RECENTLY_EXPIRED):
        bindings.remember_expired(f"+1646555{place:04d}", session.sid)
    counts.append(len(route_cache))
    bindings.forget_expired("+16465550000", session.sid)
    counts.append(len(route_cache))

    assert counts == [1, 0, 1, MOST_RECENTLY_EXPIRED, MOST_RECENTLY_EXPIRED - 1]


def test_a_number_has_no_cached_routes_before_anything_is_asked() -> None:
    """Nobody is taken for a stranger by them until then; all who meet anything have one from then on."""
    route_cache, session = FlatTable(), couple()
    bindings = Bindings(route_cache)
    bindings.bind(ALICE, session)
    bindings.bind(BOB, session)
    bindings.unbind(BOB, session)
    bindings.remember_expired(BOB, session.sid)
    before = len(route_cache), route_cache.is_whole

    bindings.start_caching()
    bindings.bind(CAROL, session)
    bindings.start_caching()

    assert before == (0, False)
    assert (len(route_cache), route_cache.is_whole, route_cache.find(pack("+16465550000"))) == (3, True, -1)
    assert min(route_cache.find(pack(one)) for one in (ALICE, BOB, CAROL)) >= 0


def test_a_new_session_replaces_an_expired_one() -> None:
    """Once bound again, and after that session ends, the old expiry is history."""
    bindings = Bindings()
    bindings.remember_expired(ALICE, new_sid(SidKind.SESSION))
    session = couple()

    bindings.bind(ALICE, session)
    bindings.unbind(ALICE, session)

    assert bindings.recently_expired(ALICE) is None


def test_a_bound_identifier_does_not_count_as_expired() -> None:
    """A permissive session beneath the expired one is met as before."""
    bindings = bound(couple())

    bindings.remember_expired(ALICE, new_sid(SidKind.SESSION))

    assert bindings.recently_expired(ALICE) is None


def test_only_the_session_named_is_forgotten() -> None:
    """Erasing an older session leaves the newer one's expiry known."""
    bindings = Bindings()
    older, newer = new_sid(SidKind.SESSION), new_sid(SidKind.SESSION)
    bindings.remember_expired(ALICE, newer)

    bindings.forget_expired(ALICE, older)
    assert bindings.recently_expired(ALICE) == newer
    bindings.forget_expired(ALICE, newer)

    assert bindings.recently_expired(ALICE) is None


def test_a_number_remembers_only_so_many_expired_sessions() -> None:
    """The oldest are forgotten, so that memory is bounded."""
    bindings = Bindings()

    for index in range(MOST_RECENTLY_EXPIRED + 1):
        bindings.remember_expired(f"+1212555{index:04d}", new_sid(SidKind.SESSION))

    assert bindings.recently_expired("+12125550000") is None
    assert bindings.recently_expired("+12125550001") is not None
    assert bindings.recently_expired(f"+1212555{MOST_RECENTLY_EXPIRED:04d}") is not None
