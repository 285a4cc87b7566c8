"""Sessions are found by name and by what is known of a participant's number."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest

from engine.core.model.changes import InteractionRecorded, ParticipantRemoved, SessionCreated
from engine.core.model.records import Interaction, Session
from engine.core.model.sids import SidKind, ordered_sid, pack
from engine.core.sessions.search import FoundInteractions, InteractionSought, SessionSought, joined, read_search
from storage.search import BRIEF_SECONDS, NEWEST_PARTICIPANTS, OutOfTime, find_sessions
from storage.sqlite.reader import SQLITE
from tests.storage.material import ACCOUNT_SID, SERVICE_SID, START, interaction, new_sid, participant, session
from tests.storage.stores import AnyStore

pytestmark = pytest.mark.anyio

ALICE, BOB, CAROL = "+14155550110", "+14155550111", "whatsapp:+14155550119"

ENOUGH_SECONDS = 60.0
"""What a search may take on a machine that is busy: a test that wants less says so."""


@pytest.fixture
def store(store: AnyStore) -> AnyStore:
    """Search for as long as it takes."""
    store.search_seconds = ENOUGH_SECONDS
    return store


async def made(store: AnyStore, *identifiers: str, name: str | None = None, service: str = SERVICE_SID) -> Session:
    """Make a session of these people."""
    one = session(unique_name=name, service_sid=service)
    people = tuple(participant(one, identifier=identifier) for identifier in identifiers)
    await store.write([SessionCreated(one, people)])
    return one


async def found(store: AnyStore, text: str, *, most: int = 10) -> list[str]:
    """Search as somebody types, who has time."""
    sought = read_search(text)
    assert sought is not None
    sought = msgspec.structs.replace(sought, is_thorough=True)
    return [one.session.sid for one in (await store.find_sessions((SERVICE_SID,), sought, most=most)).sessions]


async def test_a_session_is_found_by_all_that_is_known_of_it(store: AnyStore) -> None:
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
    assert await found(store, "ride 1\0") == []


async def test_only_the_named_services_are_searched(store: AnyStore) -> None:
    """Others may be another account's."""
    other = new_sid(SidKind.SERVICE)
    await made(store, ALICE, service=other, name="ride 1")

    assert await found(store, ALICE) == await found(store, "ride 1") == await found(store, "0110") == []


async def test_people_who_were_removed_are_found_too(store: AnyStore) -> None:
    """They are shown as removed."""
    one = session()
    person = participant(one, identifier=ALICE)
    await store.write([SessionCreated(one, (person,))])
    await store.write([ParticipantRemoved(session_sid=one.sid, participant_sid=person.sid, at=START + 1)])

    assert await found(store, ALICE) == [one.sid]


async def test_the_last_four_digits_are_those_of_any_address(store: AnyStore) -> None:
    """Of numbers, with zeros in front too, and of what is no number; nothing else fits."""
    fitting = ("+14155550012", "+12125540012", "whatsapp:+14155550012")
    people = (*fitting, "+14155551012", "+14155550120", "whatsapp:+14155551012", "+1200120013")
    one = session()
    await store.write([SessionCreated(one, tuple(participant(one, identifier=who) for who in people))])
    others = [session() for _ in people]
    for other, who in zip(others, people, strict=True):
        await store.write([SessionCreated(other, (participant(other, identifier=who),))])

    found = await store.find_sessions((SERVICE_SID,), SessionSought(name="", ending="0012", is_thorough=True), most=99)

    expected = {one.sid, *(other.sid for other, who in zip(others, people, strict=True) if who in fitting)}
    assert {each.session.sid for each in found.sessions} == expected


async def test_more_than_are_wanted_are_cut(store: AnyStore) -> None:
    """The newest stay, and it is said."""
    sids = [(await made(store, ALICE)).sid for _ in range(3)]

    some = await store.find_sessions((SERVICE_SID,), SessionSought(name="", whole=ALICE), most=2)

    assert [one.session.sid for one in some.sessions] == [sids[2], sids[1]]
    assert some.is_cut
    assert [person.identifier for person in some.sessions[0].participants] == [ALICE]


async def test_a_search_without_time_says_that_it_was_cut(store: AnyStore) -> None:
    """What was not looked at is not said to be absent."""
    for _ in range(40):
        one = session()
        people = tuple(participant(one, identifier=f"+1415555{place:04}") for place in range(500))
        await store.write([SessionCreated(one, people)])

    store.search_seconds = -1.0
    found = await store.find_sessions((SERVICE_SID,), SessionSought(name="", ending="9999"), most=9)

    assert found.is_cut


class Hurried:
    """A search with time for the newest participants and for nothing else."""

    dialect = SQLITE

    def __init__(self, newest: Session) -> None:
        """Find this session among the newest."""
        self._newest = newest
        self.seconds: list[float] = []

    def hurry(self, seconds: float) -> None:
        """Note how much time is left."""
        self.seconds.append(seconds)

    def timed(self, text: str, values: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        """Fetch what is among the newest."""
        key, service = pack(self._newest.sid), pack(self._newest.service_sid)
        if values == (NEWEST_PARTICIPANTS,):
            return [(key,)]
        if values[0] == key:
            return [(service, key), (b"another account's", b"session")]
        raise OutOfTime

    def fetch(self, text: str, values: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        """Fetch nothing."""
        self.read = (text, values)
        return ()


@pytest.mark.parametrize("is_thorough", [False, True])
async def test_the_last_four_digits_are_looked_for_among_the_newest_first(*, is_thorough: bool) -> None:
    """It is said how far back; without a word of whoever asks, the others get a moment only."""
    newest = session()
    search = Hurried(newest)
    sought = SessionSought(name="0110", ending="0110", is_thorough=is_thorough)

    found = find_sessions(search, (newest.service_sid,), sought, most=9)

    assert found.is_cut
    assert found.looked_back_to == int(newest.sid[2:14], 16) / 1000
    assert search.read[1] == (pack(newest.sid),)
    assert search.seconds == ([] if is_thorough else [BRIEF_SECONDS])


HOUR, DAY = 3_600, 86_400


async def passed(
    store: AnyStore, *, age: float = 0.0, proxy: str = "+15105550001", resource_sid: str | None = None
) -> Interaction:
    """Record a call that came so many seconds before the others."""
    one = session()
    people = (participant(one), participant(one, identifier=BOB))
    call = interaction(one, sender=people[0], receiver=people[1])
    milliseconds = int.from_bytes(bytes.fromhex(call.sid[2:14])) - int(age * 1000)
    sid = ordered_sid(SidKind.INTERACTION, milliseconds=milliseconds, counter=0, random_bits=int(call.sid[-8:], 16))
    call = msgspec.structs.replace(
        call, sid=sid, proxy=proxy, outbound=msgspec.structs.replace(call.outbound, resource_sid=new_sid(SidKind.CALL))
    )
    if resource_sid is not None:
        call = msgspec.structs.replace(call, inbound=msgspec.structs.replace(call.inbound, resource_sid=resource_sid))
    await store.write([SessionCreated(one, people), InteractionRecorded(call)])
    return call


async def test_an_interaction_is_found_by_what_the_carrier_calls_either_leg(store: AnyStore) -> None:
    """However long ago it was; another account's is not found."""
    calls = [await passed(store, age=age) for age in (400 * DAY, 3 * DAY, 3 * HOUR, 0)]

    for call in calls:
        for sid in (call.inbound.resource_sid, call.outbound.resource_sid):
            sought = InteractionSought(resource_sid=sid)
            assert await store.find_interactions(None, sought, most=9) == FoundInteractions((call,))
            assert await store.find_interactions(ACCOUNT_SID, sought, most=9) == FoundInteractions((call,))
            other = await store.find_interactions(new_sid(SidKind.ACCOUNT), sought, most=9)
            assert other == FoundInteractions(())


async def test_interactions_over_a_proxy_number_come_newest_first(store: AnyStore) -> None:
    """No more than are wanted; that there are more is said."""
    calls = [await passed(store, age=age, proxy="+15105550009") for age in (3 * DAY, 2 * HOUR, 1 * HOUR, 0)]
    await passed(store)
    sought = InteractionSought(proxy="+15105550009")

    assert await store.find_interactions(None, sought, most=4) == FoundInteractions(tuple(calls[::-1]))
    assert await store.find_interactions(None, sought, most=3) == FoundInteractions(tuple(calls[:0:-1]), has_more=True)


async def test_a_search_for_interactions_without_time_says_how_far_back_it_came(store: AnyStore) -> None:
    """What was not looked at is not said to be absent."""
    for _ in range(40):
        one = session()
        await store.write([SessionCreated(one, ()), *(InteractionRecorded(interaction(one)) for _ in range(200))])

    store.search_seconds = -1.0
    found = await store.find_interactions(None, InteractionSought(resource_sid="CA1"), most=9)

    assert found.looked_back_to is not None
    assert found.looked_back_to > START


def test_what_several_hosts_found_is_put_together() -> None:
    """The newest of all; looked back as far as the one that came least far."""
    one, two = (interaction(session()) for _ in range(2))

    answers = (FoundInteractions((one,), looked_back_to=5.0), FoundInteractions((two,), looked_back_to=9.0))

    assert joined(answers, most=1, silent=("host-1",)) == FoundInteractions(
        (two,), has_more=True, looked_back_to=9.0, silent=("host-1",)
    )


async def test_a_sid_that_was_found_lately_is_not_looked_for_in_all_that_is_older(store: AnyStore) -> None:
    """Two senders with one SID come within minutes; a walk over millions would find nothing else."""
    calls = [await passed(store, age=age, resource_sid="CA-again") for age in (3 * DAY, 60, 0)]

    found = await store.find_interactions(None, InteractionSought(resource_sid="CA-again"), most=9)

    assert [one.sid for one in found.interactions] == [calls[2].sid, calls[1].sid]


async def test_numbers_that_any_session_has_had_are_told_from_others(store: AnyStore) -> None:
    """Of each service by itself; a session that has ended and somebody who was removed have had theirs too."""
    other = new_sid(SidKind.SERVICE)
    one = session()
    alice, bob = (participant(one, identifier=name, proxy=f"+1510555{name[-4:]}") for name in (ALICE, BOB))
    await store.write([SessionCreated(one, (alice, bob))])
    await store.write([ParticipantRemoved(session_sid=one.sid, participant_sid=bob.sid, at=START + 1)])
    numbers = (alice.proxy_identifier, bob.proxy_identifier, "+15105559999")

    had = await store.numbers_had({SERVICE_SID: numbers, other: numbers, new_sid(SidKind.SERVICE): ()})

    assert [*had.values()] == [frozenset(numbers[:2]), frozenset(), frozenset()]
    assert [*had][:2] == [SERVICE_SID, other]


async def test_numbers_that_there_was_no_time_for_are_not_said_to_be_unused(store: AnyStore) -> None:
    """Their service is left out."""
    for _ in range(40):
        one = session()
        people = tuple(participant(one, identifier=f"+1415555{place:04}") for place in range(500))
        await store.write([SessionCreated(one, people)])

    store.search_seconds = -1.0

    assert await store.numbers_had({SERVICE_SID: ("+15105559999",)}) == {}
