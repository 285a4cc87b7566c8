"""The queue of sessions that will end: everything is looked at in time, and what ended early takes no room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.kernel.expiry import FEWEST_STALE, ExpiryQueue
from engine.core.model.records import Mode
from engine.core.sessions.bindings import ActiveSession
from tests.actors.world import ALICE, BOB, DAY, START, World

LONG = 30 * DAY


def session(*, sid: str = "KC", ttl_seconds: int = 60, date_expiry: float | None = None) -> ActiveSession:
    return ActiveSession(
        sid, "KS", "AC", Mode.VOICE_ONLY, (), START, ttl_seconds=ttl_seconds, date_expiry=date_expiry, is_bound=True
    )


def test_sessions_are_due_from_their_end_on_soonest_first() -> None:
    """Each once; those without an end never."""
    queue = ExpiryQueue()
    late, soon, never = session(ttl_seconds=60), session(ttl_seconds=30), session(ttl_seconds=0)
    for one in (late, soon, never):
        queue.watch(one)

    assert list(queue.due(START + 29.9)) == []
    assert list(queue.due(START + 60)) == [soon, late]
    assert list(queue.due(START + DAY)) == []


def test_a_session_that_was_touched_is_looked_at_again() -> None:
    """Traffic moves the end without asking the queue."""
    queue, one = ExpiryQueue(), session()
    queue.watch(one)
    one.touch(START + 50)

    assert list(queue.due(START + 60)) == []
    assert list(queue.due(START + 110)) == [one]


def test_an_end_that_moved_nearer_is_met() -> None:
    """The entry of before counts no more."""
    queue, one = ExpiryQueue(), session()
    queue.watch(one)
    one.ttl_seconds = 10
    queue.watch(one)

    assert list(queue.due(START + 10)) == [one]
    assert list(queue.due(START + 60)) == []


def test_what_does_not_route_is_passed_over() -> None:
    """It is being closed already."""
    queue, one = ExpiryQueue(), session()
    queue.watch(one)
    one.is_bound = False

    assert list(queue.due(START + 60)) == []


def test_what_is_forgotten_takes_no_room() -> None:
    """Sessions that end long before their limits do not pile up until those."""
    queue = ExpiryQueue()
    lasting = [session(ttl_seconds=int(LONG)) for _ in range(10)]
    for one in lasting:
        queue.watch(one)

    for _ in range(5_000):
        brief = session(ttl_seconds=int(LONG))
        queue.watch(brief)
        queue.forget(brief)

    assert len(queue) <= len(lasting) + FEWEST_STALE + 1
    assert len(list(queue.due(START + LONG))) == 10


def test_moving_an_end_over_and_over_takes_no_room() -> None:
    """An application may move DateExpiry nearer every few seconds."""
    queue, one = ExpiryQueue(), session(date_expiry=START + LONG)

    for step in range(5_000):
        one.date_expiry = START + LONG - step
        queue.watch(one)

    assert len(queue) <= FEWEST_STALE + 2
    assert list(queue.due(START + LONG)) == [one]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["watch", "forget", "again", "due"]), st.integers(1, 50)),
        max_size=60,
    )
)
def test_nothing_that_is_watched_is_missed(steps: list[tuple[int, str, int]]) -> None:
    """Whatever is watched, moved and forgotten: what has ended and was not forgotten is told, and once."""
    queue, now = ExpiryQueue(), START
    sessions = [session(sid=f"KC{number}", ttl_seconds=0) for number in range(5)]
    watched: set[int] = set()

    for which, what, seconds in steps:
        one = sessions[which]
        if what == "watch":
            one.date_expiry = now + seconds
            queue.watch(one)
            watched.add(which)
        elif what == "forget":
            queue.forget(one)
            watched.discard(which)
        elif what == "again" and which in watched:
            one.date_expiry = now + seconds
            queue.look_again(one, at=now + seconds)
        elif what == "due":
            now += seconds
            told = [sessions.index(each) for each in queue.due(now)]
            ended = {number for number in watched if sessions[number].is_expired(now)}
            assert sorted(told) == sorted(ended)
            watched -= ended


@pytest.mark.anyio
async def test_a_host_watches_no_session_that_was_closed_deleted_or_went_with_its_service(world: World) -> None:
    """Sessions of a month that last a minute are forgotten after the minute."""
    for _ in range(2):
        for end in (world.close, world.delete):
            await end(await world.session(ALICE, BOB, ttl_seconds=int(LONG)))
    await world.session(ALICE, BOB, ttl_seconds=int(LONG))
    await world.control.delete_service(world.account.sid, world.service_sid)

    queues = [host.parts.expiries for host in world.hosts.values()]

    assert sum(queue._stale for queue in queues) == sum(map(len, queues)) == 5
