"""Group commit: order, atomicity, refusals, and what is seen when."""

import asyncio
import gc
from collections.abc import Callable, Sequence

import msgspec
import pytest

from engine.core.model.changes import (
    Change,
    InteractionErased,
    InteractionRecorded,
    InteractionUpdated,
    NumberSaved,
    ParticipantChanged,
    ParticipantRemoved,
    ServiceSaved,
    SessionChanged,
    SessionCreated,
    SessionErased,
    SessionTouched,
)
from engine.core.model.errors import ChangeRefused, StoreUnavailable
from engine.core.model.records import ClosedReason, Leg, LegStatus, SessionStatus
from engine.core.model.sids import SidKind
from storage.chunk import CHUNK_SESSIONS
from storage.sqlite import SqliteStore
from tests.storage.material import START, Observed, interaction, new_sid, number, participant, service, session
from tests.storage.stores import AnyStore, Records

pytestmark = pytest.mark.anyio

MORE = pytest.mark.parametrize("more", [0, CHUNK_SESSIONS])
"""Sessions beyond two: all that fit into a chunk are read at once, and only then is any of them met."""


async def outcomes(store: AnyStore, *changesets: Sequence[Change]) -> list[StoreUnavailable | None]:
    """Commit several changesets in one turn of the loop and return their outcomes in the order they came."""
    came: list[tuple[int, StoreUnavailable | None]] = []
    all_came = asyncio.Event()

    def done_for(index: int) -> Callable[[StoreUnavailable | None], None]:
        def done(error: StoreUnavailable | None) -> None:
            came.append((index, error))
            if len(came) == len(changesets):
                all_came.set()

        return done

    for index, changes in enumerate(changesets):
        store.commit(changes, done_for(index))
    await all_came.wait()
    assert [index for index, _ in came] == list(range(len(changesets)))
    return [error for _, error in came]


async def test_what_is_committed_is_read(store: AnyStore) -> None:
    """A point read that follows a commit sees it."""
    made = session()
    people = participant(made), participant(made, identifier="+15005550002")

    await store.write([SessionCreated(made, people)])

    assert await store.session(made.sid) == made
    assert await store.participants(made.sid) == people


async def test_one_turn_of_the_loop_is_one_transaction(store: AnyStore, observer: Observed) -> None:
    """What a turn decides shares one wait for the disk."""
    await outcomes(store, *([SessionCreated(session(), ())] for _ in range(200)))

    assert len(observer.commits) <= 2
    assert sum(changes for changes, _ in observer.commits) == 200


async def test_the_wait_for_the_disk_is_told_apart(store: AnyStore, observer: Observed) -> None:
    """It is a part of the commit's length."""
    await outcomes(store, *([SessionCreated(session(), ())] for _ in range(50)))

    assert observer.durations
    assert all(0 < sync_seconds < seconds for seconds, sync_seconds in observer.durations)


async def test_an_empty_changeset_is_answered_in_its_turn(store: AnyStore) -> None:
    """Whoever waits for nothing still waits for what was queued before."""
    made = session()
    seen: list[object] = []
    finished = asyncio.Event()

    store.commit([SessionCreated(made, ())], lambda _: seen.append("made"))
    store.commit([], lambda error: seen.append((error, len(seen))))
    store.commit([], lambda _: finished.set())
    await finished.wait()

    assert seen == ["made", (None, 1)]
    assert await store.session(made.sid) == made


async def test_a_duplicate_fails_alone_and_whole(store: AnyStore, observer: Observed) -> None:
    """A changeset that contradicts the store takes nothing of its group with it."""
    first, taken, last = session(unique_name="ride"), session(unique_name="ride"), session()
    beside = session()

    before, refused, after = await outcomes(
        store,
        [SessionCreated(first, ())],
        [SessionCreated(beside, ()), SessionCreated(taken, ())],
        [SessionCreated(last, ()), SessionTouched(first.sid, START + 9)],
    )

    assert (before, after) == (None, None)
    assert isinstance(refused, ChangeRefused)
    assert "unique_name" in str(refused)
    assert await store.session(beside.sid) is None
    assert await store.session(taken.sid) is None
    assert await store.session(last.sid) == last
    touched = await store.session(first.sid)
    assert touched is not None
    assert touched.idle_since == START + 9
    assert store.is_writable
    assert all(is_ok for _, is_ok in observer.commits)


async def test_a_value_that_cannot_be_stored_fails_alone(store: AnyStore) -> None:
    """Half a surrogate pair is no text: the writer answers and lives on."""
    made, malformed = session(), session(unique_name="\ud800")

    refused, kept = await outcomes(store, [SessionCreated(malformed, ())], [SessionCreated(made, ())])

    assert isinstance(refused, ChangeRefused)
    assert kept is None
    assert await store.session(made.sid) == made


@pytest.mark.parametrize("kind", ["session", "service", "number", "interaction"])
async def test_what_must_be_unique_is(store: AnyStore, kind: str) -> None:
    """Names within their owner, addresses and SIDs everywhere."""
    made, call = session(unique_name="ride"), interaction(session())
    again: dict[str, tuple[Change, Change]] = {
        "session": (SessionCreated(made, ()), SessionCreated(session(unique_name="ride"), ())),
        "service": (ServiceSaved(service()), ServiceSaved(service(new_sid(SidKind.SERVICE)))),
        "number": (NumberSaved(number("+15105550001")), NumberSaved(number("+15105550001", service_sid=None))),
        "interaction": (InteractionRecorded(call), InteractionRecorded(call)),
    }
    first, second = again[kind]

    await store.write([first])

    with pytest.raises(ChangeRefused, match="UNIQUE"):
        await store.write([second])


async def test_a_name_is_free_once_its_session_is_erased(store: AnyStore) -> None:
    """Also within one group; a closed session keeps its name."""
    first, second, third = (session(unique_name="ride") for _ in range(3))
    elsewhere = session(unique_name="ride", service_sid=new_sid(SidKind.SERVICE))

    await store.write([SessionCreated(first, ()), SessionCreated(elsewhere, ())])
    errors = await outcomes(store, [SessionErased(first.sid)], [SessionCreated(second, ())])
    await store.write([SessionChanged(session_sid=second.sid, at=START, status=SessionStatus.CLOSED)])

    assert errors == [None, None]
    assert await store.session_sid_by_name(second.service_sid, "ride") == second.sid
    with pytest.raises(ChangeRefused):
        await store.write([SessionCreated(third, ())])


async def test_traffic_and_control_keep_their_order_in_one_group(store: AnyStore) -> None:
    """Gathering by table changes no outcome: a touch before a close counts, one after it does not."""
    made = session(at=START)
    call = interaction(made, sender=participant(made))
    ended = msgspec.structs.replace(call.inbound, status=LegStatus.COMPLETED)

    await outcomes(
        store,
        [SessionCreated(made, ())],
        [InteractionRecorded(call), SessionTouched(made.sid, START + 5)],
        [SessionTouched(made.sid, START + 3)],
        [
            SessionChanged(
                session_sid=made.sid,
                at=START + 6,
                status=SessionStatus.CLOSED,
                closed_reason=ClosedReason.API,
                date_ended=START + 6,
            )
        ],
        [SessionTouched(made.sid, START + 7)],
        [InteractionUpdated(interaction_sid=call.sid, inbound=ended, outbound=Leg(), duration_seconds=4, at=START + 8)],
    )

    assert await store.session(made.sid) == msgspec.structs.replace(
        made,
        status=SessionStatus.CLOSED,
        closed_reason="api",
        idle_since=START + 5,
        date_started=START + 5,
        date_last_interaction=START + 5,
        date_ended=START + 6,
        date_updated=START + 6,
    )
    updated = await store.interaction(call.sid)
    assert updated is not None
    assert (updated.inbound, updated.duration_seconds, updated.date_updated) == (ended, 4, START + 8)
    assert list(store.open_calls()) == []


async def test_what_comes_before_its_record_has_no_effect(store: AnyStore) -> None:
    """A report or touch of a thing that is made later in the group stays without entry, as it would one by one."""
    made = session()
    call = interaction(made)

    await store.write(
        [
            SessionTouched(made.sid, START + 1),
            SessionCreated(made, ()),
            InteractionUpdated(
                interaction_sid=call.sid, inbound=Leg(), outbound=Leg(), duration_seconds=1, at=START + 1
            ),
            InteractionErased(call.sid),
            InteractionRecorded(call),
        ]
    )

    assert await store.session(made.sid) == made
    assert await store.interaction(call.sid) == call


async def test_a_participant_is_what_it_was_last_changed_to(store: AnyStore) -> None:
    """Also one that came or left in the same group; one that is not there stays away."""
    made = session()
    alice, bob = participant(made), participant(made, identifier="+15005550002")
    moved = msgspec.structs.replace(alice, proxy_identifier="51055", friendly_name="Alice", date_updated=START + 1)
    back = msgspec.structs.replace(bob, identifier="whatsapp:+15005550002", date_updated=START + 3)

    await store.write(
        [
            SessionCreated(made, (alice, bob)),
            ParticipantChanged(moved),
            ParticipantRemoved(bob.sid, made.sid, START + 2),
            ParticipantChanged(back),
            ParticipantChanged(participant(made)),
        ]
    )

    assert await store.participants(made.sid) == (moved, back)
    assert await store.last_session_of(made.service_sid, alice.identifier, "51055") == made
    assert await store.last_session_of(made.service_sid, alice.identifier, alice.proxy_identifier) is None


async def test_a_write_that_is_cancelled_still_commits(store: AnyStore) -> None:
    """Giving up waiting takes nothing back and disturbs nobody."""
    made = session()
    waiting = asyncio.ensure_future(store.write([SessionCreated(made, ())]))
    await asyncio.sleep(0)

    waiting.cancel()
    await store.write([])

    assert await store.session(made.sid) == made


async def test_a_caller_that_fails_keeps_nobody_waiting(store: AnyStore) -> None:
    """The others of its group get their answer; the fault reaches the loop's handler."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def fail(_: StoreUnavailable | None) -> None:
        raise LookupError

    store.commit([SessionCreated(session(), ())], fail)
    await store.write([SessionCreated(session(), ())])

    assert [type(fault) for fault in faults] == [LookupError]


async def test_after_close_nothing_is_taken(store: AnyStore, records: Records) -> None:
    """Closing commits what was queued; what comes later is told so."""
    queued, late = session(), session()
    came: list[object] = []

    store.commit([SessionCreated(queued, ())], came.append)
    await store.close()
    await store.close()

    assert came == [None]
    with pytest.raises(StoreUnavailable, match="shutting down"):
        await store.write([SessionCreated(late, ())])
    again = records.open()
    assert (await again.session(queued.sid), await again.session(late.sid)) == (queued, None)
    await again.close()


@MORE
async def test_a_walk_sees_one_moment(store: AnyStore, more: int) -> None:
    """Sessions made while a walk is under way are not in it, and reads beside it are not held back."""
    first, second, *others = (session() for _ in range(2 + more))
    third = session()
    await store.write([SessionCreated(one, ()) for one in (first, second, *others)])

    walk = store.active_sessions()
    met = [next(walk).sid]
    await store.write([SessionCreated(third, ())])
    beside = await store.session(third.sid)
    met.extend(made.sid for made in walk)

    assert beside == third
    assert met == [first.sid, second.sid, *(one.sid for one in others)]


@pytest.mark.files
# A compiled generator is dropped without being closed; SQLite then closes the connection, and says so from 3.13 on.
@pytest.mark.filterwarnings("ignore:.*finalizing database connection:pytest.PytestUnraisableExceptionWarning")
@MORE
async def test_a_walk_given_up_leaves_nothing_open(store: SqliteStore, more: int) -> None:
    """The log can be tidied after it."""
    await store.write([SessionCreated(session(), ()) for _ in range(2 + more)])

    walk = store.active_sessions()
    next(walk)
    del walk
    gc.collect()
    await store.close()

    assert store.sizes().wal_bytes == 0
