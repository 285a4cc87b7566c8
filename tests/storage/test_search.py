"""Sessions are found by name and by what is known of a participant's number."""

from pathlib import Path

import pytest

from engine.core.model.changes import ParticipantRemoved, SessionCreated
from engine.core.model.records import Session
from engine.core.model.sids import SidKind
from engine.core.sessions.search import SessionSought, read_search
from storage.sqlite import SqliteStore
from storage.sqlite.search import find_sessions
from tests.storage.material import SERVICE_SID, START, new_sid, participant, session

pytestmark = pytest.mark.anyio

ALICE, BOB, CAROL = "+14155550110", "+14155550111", "whatsapp:+14155550119"


async def made(store: SqliteStore, *identifiers: str, name: str | None = None, service: str = SERVICE_SID) -> Session:
    """Make a session of these people."""
    one = session(unique_name=name, service_sid=service)
    people = tuple(participant(one, identifier=identifier) for identifier in identifiers)
    await store.write([SessionCreated(one, people)])
    return one


async def found(store: SqliteStore, text: str, *, most: int = 10) -> list[str]:
    """Search as somebody types."""
    sought = read_search(text)
    assert sought is not None
    return [one.session.sid for one in (await store.find_sessions((SERVICE_SID,), sought, most=most)).sessions]


async def test_a_session_is_found_by_all_that_is_known_of_it(store: SqliteStore) -> None:
    """Name, whole number however it is written, masked number, last four digits; newest first."""
    first = (await made(store, ALICE, BOB, name="ride 1")).sid
    second = (await made(store, ALICE, CAROL)).sid

    assert await found(store, " ride 1 ") == [first]
    assert await found(store, ALICE) == await found(store, "1 (415) 555-0110") == [second, first]
    assert await found(store, BOB) == [first]
    assert await found(store, "+14155550119") == await found(store, CAROL) == [second]
    assert await found(store, "+1415555XXXX") == await found(store, "0110") == [second, first]
    assert await found(store, "0119") == [second]
    assert await found(store, "+1415556XXXX") == await found(store, "9999") == await found(store, "ride") == []


async def test_only_the_named_services_are_searched(store: SqliteStore) -> None:
    """Others may be another account's."""
    other = new_sid(SidKind.SERVICE)
    await made(store, ALICE, service=other, name="ride 1")

    assert await found(store, ALICE) == await found(store, "ride 1") == await found(store, "0110") == []


async def test_people_who_were_removed_are_found_too(store: SqliteStore) -> None:
    """They are shown as removed."""
    one = session()
    person = participant(one, identifier=ALICE)
    await store.write([SessionCreated(one, (person,))])
    await store.write([ParticipantRemoved(session_sid=one.sid, participant_sid=person.sid, at=START + 1)])

    assert await found(store, ALICE) == [one.sid]


async def test_more_than_are_wanted_are_cut(store: SqliteStore) -> None:
    """The newest stay, and it is said."""
    sids = [(await made(store, ALICE)).sid for _ in range(3)]

    some = await store.find_sessions((SERVICE_SID,), SessionSought(name="", whole=ALICE), most=2)

    assert [one.session.sid for one in some.sessions] == [sids[2], sids[1]]
    assert some.is_cut
    assert [person.identifier for person in some.sessions[0].participants] == [ALICE]


async def test_a_search_without_time_says_that_it_was_cut(store: SqliteStore, tmp_path: Path) -> None:
    """What was not looked at is not said to be absent."""
    for _ in range(40):
        one = session()
        people = tuple(participant(one, identifier=f"+1415555{place:04}") for place in range(500))
        await store.write([SessionCreated(one, people)])

    found = find_sessions(
        tmp_path / "data" / "maskline.db", (SERVICE_SID,), SessionSought(name="", ending="9999"), most=9, seconds=-1.0
    )

    assert found.is_cut
