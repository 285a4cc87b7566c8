"""What is read: lists in pages, walks at start, and the questions of selection and retention."""

import inspect

import msgspec
import pytest

from engine.core.model.changes import (
    AccountSaved,
    InteractionErased,
    InteractionRecorded,
    NumberReleased,
    NumberSaved,
    ParticipantAdded,
    ParticipantRemoved,
    ServiceErased,
    ServiceSaved,
    SessionChanged,
    SessionCreated,
    SessionErased,
)
from engine.core.model.records import Kind, LegStatus, SessionStatus
from engine.core.model.sids import SidKind, pack
from engine.core.ports.lists import Page, PageCursor
from engine.core.ports.store import Store
from engine.core.sessions.bindings import endpoint_of
from storage.postgres.store import PostgresStore
from storage.sqlite import SqliteStore
from tests.storage.material import (
    SERVICE_SID,
    START,
    account,
    interaction,
    interactions_since,
    new_sid,
    number,
    participant,
    service,
    session,
)
from tests.storage.stores import AnyStore

pytestmark = pytest.mark.anyio


def reopened(session_sid: str, at: float) -> SessionChanged:
    return SessionChanged(session_sid=session_sid, at=at, status=SessionStatus.IN_PROGRESS, date_ended=None)


def closed(session_sid: str, at: float) -> SessionChanged:
    return SessionChanged(session_sid=session_sid, at=at, status=SessionStatus.CLOSED, date_ended=at)


async def test_sessions_come_newest_first_in_pages(store: AnyStore) -> None:
    """Forward and back again over the same pages, each knowing whether more lies either way."""
    made = [session() for _ in range(5)]
    other = session(service_sid=new_sid(SidKind.SERVICE))
    await store.write([SessionCreated(one, ()) for one in [*made, other]])
    newest_first = tuple(reversed(made))

    first = await store.sessions_page(SERVICE_SID, PageCursor(limit=2))
    second = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, after=first.records[-1].sid))
    third = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, after=second.records[-1].sid))
    back = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, before=third.records[0].sid))
    start = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, before=back.records[0].sid))

    assert first == Page(newest_first[:2], has_next=True, has_previous=False)
    assert second == Page(newest_first[2:4], has_next=True, has_previous=True)
    assert third == Page(newest_first[4:], has_next=False, has_previous=True)
    assert back == second
    assert start == first


async def test_a_page_past_the_end_is_empty(store: AnyStore) -> None:
    """And says that something came before it, as long as something did."""
    made = session()
    await store.write([SessionCreated(made, ())])

    past = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, after=made.sid))
    ahead = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, before=made.sid))
    await store.write([SessionErased(made.sid)])
    gone = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, after=made.sid))

    assert past == Page((), has_next=False, has_previous=True)
    assert ahead == Page((), has_next=True, has_previous=False)
    assert gone == Page((), has_next=False, has_previous=False)


async def test_pages_hold_still_while_records_come_and_go(store: AnyStore) -> None:
    """A cursor names a place, not a count; the record it names may be gone."""
    made = [session() for _ in range(4)]
    await store.write([SessionCreated(one, ()) for one in made])

    first = await store.sessions_page(SERVICE_SID, PageCursor(limit=2))
    await store.write([SessionErased(made[2].sid), SessionCreated(session(), ())])
    second = await store.sessions_page(SERVICE_SID, PageCursor(limit=2, after=first.records[-1].sid))

    assert second == Page((made[1], made[0]), has_next=False, has_previous=True)


async def test_participants_come_newest_first_in_pages_and_oldest_first_at_once(store: AnyStore) -> None:
    """The removed ones too."""
    made, other = session(), session()
    people = [participant(made), participant(made, identifier="+15005550002")]
    third = participant(made, identifier="whatsapp:+15005550003")
    removed = msgspec.structs.replace(people[0], date_deleted=START + 3, date_updated=START + 3)

    await store.write([SessionCreated(made, tuple(people)), SessionCreated(other, (participant(other),))])
    await store.write([ParticipantRemoved(people[0].sid, made.sid, START + 3), ParticipantAdded(third)])

    assert await store.participants(made.sid) == (removed, people[1], third)
    page = await store.participants_page(made.sid, PageCursor(limit=2))
    assert page == Page((third, people[1]), has_next=True, has_previous=False)
    rest = await store.participants_page(made.sid, PageCursor(limit=2, after=people[1].sid))
    assert rest == Page((removed,), has_next=False, has_previous=True)


async def test_interactions_come_oldest_first(store: AnyStore) -> None:
    """As conversations are read; those of other sessions are elsewhere."""
    made, other = session(), session()
    passed = [interaction(made, kind=Kind.MESSAGE) for _ in range(3)]
    await store.write([SessionCreated(made, ()), SessionCreated(other, ()), InteractionRecorded(interaction(other))])
    await store.write([InteractionRecorded(one) for one in passed])

    first = await store.interactions_page(made.sid, PageCursor(limit=2))
    second = await store.interactions_page(made.sid, PageCursor(limit=2, after=passed[1].sid))
    back = await store.interactions_page(made.sid, PageCursor(limit=2, before=passed[2].sid))
    await store.write([InteractionErased(passed[0].sid)])

    assert first == back == Page(tuple(passed[:2]), has_next=True, has_previous=False)
    assert second == Page((passed[2],), has_next=False, has_previous=True)
    assert await store.interaction(passed[0].sid) is None


async def test_messages_pushed_to_a_participant_are_a_list_of_their_own(store: AnyStore) -> None:
    """What a partner wrote is not in it."""
    made = session()
    alice, bob = participant(made), participant(made, identifier="+15005550002")
    pushed = [interaction(made, kind=Kind.MESSAGE, receiver=bob) for _ in range(3)]
    to_alice = interaction(made, kind=Kind.MESSAGE, receiver=alice)
    relayed = interaction(made, kind=Kind.MESSAGE, sender=alice, receiver=bob)
    await store.write([SessionCreated(made, (alice, bob))])
    await store.write([InteractionRecorded(one) for one in [*pushed[:2], relayed, to_alice, pushed[2]]])

    page = await store.interactions_page(made.sid, PageCursor(limit=2), sent_to=bob.sid)
    rest = await store.interactions_page(made.sid, PageCursor(limit=2, after=pushed[1].sid), sent_to=bob.sid)

    assert page == Page(tuple(pushed[:2]), has_next=True, has_previous=False)
    assert rest == Page((pushed[2],), has_next=False, has_previous=True)


async def test_active_sessions_come_in_the_order_of_activation(store: AnyStore) -> None:
    """One that was re-opened comes after those made before that; removed participants are left out."""
    first, second, third, shut = (session(at=START + n) for n in range(4))
    alice, bob = participant(first), participant(first, identifier="+15005550002")
    await store.write([SessionCreated(first, (alice, bob))])
    await store.write([SessionCreated(one, ()) for one in (second, third, shut)])

    await store.write([closed(second.sid, START + 5), closed(shut.sid, START + 5)])
    await store.write([reopened(second.sid, START + 6), ParticipantRemoved(alice.sid, first.sid, START + 7)])
    await store.write([reopened(first.sid, START + 8)])

    walked = [(made.sid, made.endpoints) for made in store.active_sessions()]
    assert walked == [(first.sid, (endpoint_of(bob),)), (third.sid, ()), (second.sid, ())]


async def test_what_passed_since_a_time_and_open_calls_come_oldest_first(store: AnyStore) -> None:
    """The bounds of redelivery and of leg reports after a restart."""
    made = session()
    alice = participant(made)
    early = interaction(made, sender=alice, at=START)
    ended = interaction(made, sender=alice, status=LegStatus.COMPLETED, at=START + 1)
    message = interaction(made, sender=alice, kind=Kind.MESSAGE, at=START + 2)
    late = interaction(made, sender=alice, status=LegStatus.IN_PROGRESS, at=START + 3)

    await store.write([SessionCreated(made, (alice,))])
    pushed = interaction(made, kind=Kind.MESSAGE, receiver=alice, at=START + 2)
    await store.write([InteractionRecorded(one) for one in (early, ended, message, pushed, late)])

    assert [one for some in store.passed_since(START + 1) for one in some] == [
        (one.proxy, one.kind, one.inbound.resource_sid, pack(one.sid)) for one in (ended, message, late)
    ]
    assert list(store.passed_elsewhere_since(START)) == []
    assert list(store.open_calls()) == [early, late]


async def test_history_tells_what_identifiers_held(store: AnyStore) -> None:
    """Each proxy number with when it was last given, and the newest session for a pair, closed or not."""
    older, newer, foreign = session(), session(), session(service_sid=new_sid(SidKind.SERVICE))
    held = [
        participant(older, proxy="+15105550001", at=START),
        participant(newer, proxy="+15105550001", at=START + 9),
        participant(older, proxy="51055", at=START + 4),
        participant(foreign, proxy="+15105550003"),
    ]
    identifier = held[0].identifier
    other = participant(older, identifier="+15005550002", proxy="+15105550002", at=START + 3)
    await store.write([SessionCreated(one, ()) for one in (older, newer, foreign)])
    await store.write([*map(ParticipantAdded, (*held, other)), ParticipantRemoved(held[1].sid, newer.sid, START + 10)])
    await store.write([closed(newer.sid, START + 10)])

    last = await store.last_session_of(SERVICE_SID, identifier, "+15105550001")

    assert await store.proxies_held_before(SERVICE_SID, [identifier, "+15005559999", other.identifier]) == {
        identifier: {"+15105550001": START + 9, "51055": START + 4},
        other.identifier: {"+15105550002": START + 3},
    }
    assert last is not None
    assert last.sid == newer.sid
    assert await store.last_session_of(SERVICE_SID, identifier, "51055") == older
    assert await store.last_session_of(SERVICE_SID, identifier, "+51055") is None
    assert await store.proxies_held_before(SERVICE_SID, ["+15005559999"]) == {}


async def test_retention_finds_the_longest_closed_first(store: AnyStore) -> None:
    """A session that was re-opened counts from its next close."""
    made = [session(at=START + n) for n in range(4)]
    await store.write([SessionCreated(one, ()) for one in made])
    await store.write([closed(one.sid, START + 10 - n) for n, one in enumerate(made[:3])])
    await store.write([reopened(made[1].sid, START + 20)])

    assert await store.sessions_closed_before(START + 11, limit=9) == (made[2].sid, made[0].sid)
    assert await store.sessions_closed_before(START + 11, limit=1) == (made[2].sid,)
    assert await store.sessions_closed_before(START + 10, limit=9) == (made[2].sid,)


async def test_erasing_a_session_takes_all_that_hangs_on_it(store: AnyStore) -> None:
    """And nothing of its neighbours."""
    made, neighbour = session(), session()
    alice, bob = participant(made), participant(neighbour, identifier="+15005550002")
    call, other_call = interaction(made, sender=alice), interaction(neighbour, sender=bob)
    await store.write([SessionCreated(made, (alice,)), SessionCreated(neighbour, (bob,))])
    await store.write([InteractionRecorded(call), InteractionRecorded(other_call)])

    await store.write([SessionErased(made.sid)])

    assert await store.session(made.sid) is None
    assert await store.participants(made.sid) == ()
    assert await store.interaction(call.sid) is None
    assert await store.proxies_held_before(SERVICE_SID, [alice.identifier]) == {}
    assert await store.session(neighbour.sid) == neighbour
    assert await store.participants(neighbour.sid) == (bob,)
    assert list(store.open_calls()) == [other_call]


async def test_erasing_a_service_frees_its_numbers(store: AnyStore) -> None:
    """They stay owned; sessions, participants and interactions go."""
    other = service(new_sid(SidKind.SERVICE), unique_name="other")
    pooled, elsewhere = number("+15105550001"), number("+15105550002", service_sid=other.sid)
    made, kept = session(), session(service_sid=other.sid)
    call = interaction(made)
    await store.write([AccountSaved(account()), ServiceSaved(service()), ServiceSaved(other)])
    await store.write([NumberSaved(pooled), NumberSaved(elsewhere), InteractionRecorded(call)])
    await store.write([SessionCreated(made, (participant(made),)), SessionCreated(kept, ())])

    await store.write([ServiceErased(SERVICE_SID, START + 1)])

    freed = msgspec.structs.replace(
        pooled, service_sid=None, is_reserved=False, date_pooled=None, date_pool_updated=None
    )
    assert (await store.held_registry()).registry.numbers == (freed, elsewhere)
    assert (await store.held_registry()).registry.services == (other,)
    assert await store.session(made.sid) is None
    assert await store.participants(made.sid) == ()
    assert await store.interaction(call.sid) is None
    assert interactions_since(store, 0.0) == []
    assert [one.sid for one in store.active_sessions()] == [kept.sid]


async def test_saving_again_replaces_and_releasing_removes(store: AnyStore) -> None:
    """The registry holds the latest of each."""
    first = number("+15105550001")
    renamed = msgspec.structs.replace(first, friendly_name="Front desk", service_sid=None)
    await store.write([NumberSaved(first), NumberSaved(renamed), AccountSaved(account())])
    strict = msgspec.structs.replace(account(), allow_participant_conflict=True)
    await store.write([AccountSaved(strict)])

    before = (await store.held_registry()).registry
    await store.write([NumberReleased(first.sid)])

    assert before.numbers == (renamed,)
    assert before.accounts == (strict,)
    assert (await store.held_registry()).registry.numbers == ()


async def test_what_is_not_there_is_none(store: AnyStore) -> None:
    """Also for a text that is no SID at all."""
    for sid in (new_sid(SidKind.SESSION), "ride-7", "KC" + "0" * 32, ""):
        assert await store.session(sid) is None
        assert await store.participants(sid) == ()
        assert await store.interaction(sid) is None
        assert (await store.sessions_page(sid, PageCursor(limit=1))).records == ()
        assert await store.session_sid_by_name(sid, "ride") is None


async def test_what_can_be_nowhere_is_not_there(store: AnyStore) -> None:
    """Not every store takes a NUL in a text; whoever asks for one finds nothing."""
    await store.write([SessionCreated(session(unique_name="ride"), ())])

    assert await store.session_sid_by_name(SERVICE_SID, "ride\0") is None
    assert await store.last_session_of(SERVICE_SID, "+1415\0", "+12125550100") is None
    assert await store.proxies_held_before(SERVICE_SID, ["+1415\0"]) == {}


@pytest.mark.parametrize("kind", [SqliteStore, PostgresStore])
def test_every_method_of_the_port_is_carried_out(kind: type[AnyStore]) -> None:
    """Most are filled in by their names; what is missing would answer None."""
    declared = [name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")]

    assert len(declared) > 30
    assert [name for name in declared if getattr(kind, name) is getattr(Store, name)] == []
