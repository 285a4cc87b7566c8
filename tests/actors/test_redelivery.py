"""A carrier that sends the same call or message again gets the same answer; nothing new is made."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from actors.kernel.settings import HostSettings
from actors.traffic.answers import AnswerCache, Answered, RedeliveryIndex
from engine.core.model.errors import Code
from engine.core.model.records import Kind
from engine.core.ports.lists import PageCursor
from engine.core.routing.event_keys import event_key, key_of
from engine.core.routing.traffic import Decision, InboundEvent, Outcome, Reason
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import ALICE, ALL, BOB, CAROL, N1, N2, START, World, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]

PAGE = PageCursor(limit=50)


Lose = Callable[[World], None]


@pytest.fixture(params=["at hand", "from the record"])
def lose(request: pytest.FixtureRequest) -> Lose:
    """Return what makes hosts forget the very answers they gave, as they do when many others followed; or does not."""
    if request.param == "at hand":
        return lambda _: None

    def forget(world: World) -> None:
        for host in world.hosts.values():
            host.parts.interaction_log.answers = AnswerCache(window_seconds=600.0)

    return forget


async def recorded(world: World, session_sid: str) -> int:
    return len((await world.store.interactions_page(session_sid, PAGE)).records)


@pytest.mark.parametrize("kind", list(Kind))
async def test_the_same_answer_and_no_second_interaction(world: World, kind: Kind, lose: Lose) -> None:
    """However often it comes, also with the other spelling of the sender."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(kind, ALICE, N1)
    first = await world.receive(event)
    lose(world)

    again = [await world.receive(event) for _ in range(3)]
    respelt = await world.receive(msgspec.structs.replace(event, sender=" " + ALICE[1:]))

    assert {*again, respelt} == {first}
    assert await recorded(world, session.sid) == 1


async def test_a_redelivery_restarts_no_idle_clock(world: World, lose: Lose) -> None:
    """It is the same interaction."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=10)
    event = world.event(Kind.MESSAGE, ALICE, N1)
    await world.receive(event)
    lose(world)
    world.clock.move(9)

    await world.receive(event)
    world.clock.move(1)
    await world.host.sweep()

    assert not (await world.look(session)).is_active


async def test_a_redelivery_waits_for_the_commit_of_the_first(world: World, lose: Lose) -> None:
    """No answer leaves before what it answers is on disk."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    world.store.keep_back()

    first = world.deliver(event)
    await world.breathe()
    lose(world)
    second = world.deliver(event)
    await world.breathe()

    assert not first.done()
    assert not second.done()
    world.store.let_through()
    assert await first == await second
    assert await recorded(world, session.sid) == 1


@pytest.mark.parametrize("host_count", [1])
async def test_a_redelivery_waits_for_that_commit_also_when_the_sender_is_leaving(world: World, lose: Lose) -> None:
    """Whoever has been withdrawn is read from the records, where what passed may not be yet."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    world.store.keep_back()
    first = world.deliver(event)
    leaving = asyncio.create_task(world.leave(session, ALICE))
    await world.breathe()
    lose(world)
    second = world.deliver(event)
    await world.breathe()

    assert not second.done()
    world.store.let_through()
    await leaving
    assert await first == await second
    assert await recorded(world, session.sid) == 1


async def test_a_redelivery_of_what_could_not_be_kept_is_decided_anew(world: World, lose: Lose) -> None:
    """Both are told to come again; the third finds the store well."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    world.store.keep_back()
    first = world.deliver(event)
    await world.breathe()
    lose(world)
    second = world.deliver(event)
    await world.breathe()
    world.store.let_through(failing=ALL)

    outcomes = [(await first).outcome, (await second).outcome]
    third = await world.receive(event)

    assert outcomes == [Outcome.NOT_READY, Outcome.NOT_READY]
    assert third.outcome is Outcome.ROUTED
    assert await recorded(world, session.sid) == 1


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_redelivery_after_a_restart(world: World, kind: Kind) -> None:
    """What was answered is read back from disk."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(kind, ALICE, N1)
    first = await world.receive(event)
    await world.restart()

    assert await world.receive(event) == first
    assert await recorded(world, session.sid) == 1


async def test_a_redelivery_after_the_session_closed_gets_the_answer_it_missed(world: World, lose: Lose) -> None:
    """Before and after a restart, also when the sender was removed meanwhile; a new event is refused."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    first = await world.receive(event)
    await world.leave(session, ALICE)
    lose(world)
    left = await world.receive(event)
    await world.close(session)
    lose(world)

    before = await world.receive(event)
    await world.restart()

    assert await world.receive(event) == before == left == first
    assert (await world.call(ALICE, N1)).reason is Reason.NO_SESSION


async def test_a_refusal_is_the_same_again(world: World) -> None:
    """Even when a session would let it pass by now; the debugger is told once."""
    event = world.event(Kind.VOICE, ALICE, N1)
    first = await world.receive(event)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    assert await world.receive(event) == first
    assert first.code is Code.NO_ACTIVE_SESSION
    assert world.observer.codes() == [Code.NO_ACTIVE_SESSION]


async def test_the_same_sid_from_somebody_else_is_no_redelivery(world: World, lose: Lose) -> None:
    """Sender and number must be the same: nobody reaches a partner by quoting a SID."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    await world.receive(event)
    lose(world)

    stranger = await world.receive(msgspec.structs.replace(event, sender=CAROL))
    elsewhere = await world.receive(msgspec.structs.replace(event, proxy=N2))
    partner = await world.receive(msgspec.structs.replace(event, sender=BOB, proxy=N2))

    assert (stranger.outcome, elsewhere.outcome) == (Outcome.REFUSED, Outcome.REFUSED)
    assert partner.to == ALICE
    assert await recorded(world, session.sid) == 2


async def test_the_same_sid_from_somebody_else_after_the_session_is_over(world: World, lose: Lose) -> None:
    """A stranger is refused as ever, once; who has a session there by now is routed in it."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    await world.receive(event)
    await world.close(session)
    lose(world)
    quoting = msgspec.structs.replace(event, sender=CAROL)
    world.observer.codes()

    stranger = await world.receive(quoting)
    told = world.observer.codes()
    another = await world.session(wanting(CAROL, N1), wanting(BOB, N2))
    world.clock.move(700)
    routed = await world.receive(msgspec.structs.replace(quoting, resource_sid="CAother"))
    lose(world)
    again = await world.receive(msgspec.structs.replace(quoting, resource_sid="CAother"))

    assert (stranger.reason, told) == (Reason.NO_SESSION, [Code.NO_ACTIVE_SESSION])
    assert routed == again
    assert (routed.session_sid, routed.to) == (another.sid, BOB)


@pytest.mark.parametrize("host_count", [1])
@pytest.mark.parametrize("is_over", [False, True], ids=["the session is open", "the session is over"])
@pytest.mark.parametrize("sender", [ALICE, CAROL], ids=["its sender", "somebody else"])
async def test_a_known_sid_is_answered_before_what_comes_after_it_settles(
    world: World, lose: Lose, sender: str, *, is_over: bool
) -> None:
    """A frame of the feed leaves when its commits are done: no answer that waits for nothing else misses it."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    await world.receive(event)
    if is_over:
        await world.close(session)
    lose(world)
    await world.session(wanting(CAROL, N1), wanting(BOB, N1))
    (host,) = world.host.all
    told: list[Outcome | str] = []
    settled = asyncio.Event()

    def settle() -> None:
        told.append("settled")
        settled.set()

    host.traffic.receive(msgspec.structs.replace(event, sender=sender), lambda decision: told.append(decision.outcome))
    host.traffic.settle(settle)
    async with asyncio.timeout(WAIT_SECONDS):
        await settled.wait()

    assert told == [Outcome.ROUTED, "settled"]


async def test_an_answer_does_not_follow_a_number_into_another_service(world: World) -> None:
    """What the number decided for its service before says nothing of the new one's sessions."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    await world.receive(event)
    await world.close(session)
    await world.control.remove_from_pool(world.account.sid, world.service_sid, await world.number_sid(N1))
    world.service_sid = (await world.make_service("other")).sid
    await world.pool(N1)
    await world.restart()

    assert (await world.receive(event)).reason is Reason.NO_SESSION


async def test_two_sids_of_one_hash_are_told_apart(world: World) -> None:
    """The record says which of them it was."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    known, other = world.event(Kind.MESSAGE, ALICE, N1), world.event(Kind.MESSAGE, ALICE, N1)
    first = await world.receive(known)
    for host in world.hosts.values():
        host.parts.interaction_log.redeliveries.add(
            key_of(other), bytes.fromhex(first.interaction_sid[2:]), now=world.clock()
        )

    second = await world.receive(other)

    assert second.outcome is Outcome.ROUTED
    assert second.interaction_sid != first.interaction_sid


async def test_an_answer_that_was_erased_is_given_no_more(world: World, lose: Lose) -> None:
    """Deleting a session or a single interaction ends its answers, before and after a restart alike."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    kept, erased = world.event(Kind.MESSAGE, ALICE, N1), world.event(Kind.MESSAGE, BOB, N2)
    await world.receive(kept)
    await world.receive(erased)
    await world.delete(session)
    lose(world)

    before = [(await world.receive(event)).outcome for event in (kept, erased)]
    await world.restart()
    after = [(await world.receive(event)).outcome for event in (kept, erased)]

    assert before == after == [Outcome.REFUSED, Outcome.REFUSED]


async def test_a_pushed_message_is_nobodys_redelivery(world: World) -> None:
    """It has no SID of a carrier; a restart does not confuse it with an event."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    alice = world.participant(session, ALICE).sid
    await world.control.send_message(world.account.sid, world.service_sid, session.sid, alice, body="Hi", media=())
    await world.restart()

    decision = await world.receive(InboundEvent(Kind.MESSAGE, ALICE, N1, "", "Hi"))

    assert decision.to == BOB


async def test_many_answers_are_read_back_without_a_question_each(tmp_path: Path) -> None:
    """No session and nobody in it is looked at before an event comes again."""
    world = World(tmp_path / "data")
    await world.start()
    await world.furnish(N1, N2)
    sessions = [await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=5)]
    events = []
    for _ in range(20):
        events.append(world.event(Kind.MESSAGE, ALICE, N1))
        await world.receive(events[-1])
    await world.close(sessions[0])
    sessions.append(await world.session(wanting(ALICE, N1), wanting(BOB, N2)))
    for _ in range(20):
        events.append(world.event(Kind.MESSAGE, BOB, N2))
        await world.receive(events[-1])

    await world.stop()
    await world.start()

    assert world.store.participants_read == 0
    assert [(await world.receive(event)).outcome for event in events] == [Outcome.ROUTED] * 40
    await world.stop()


# -- how much is remembered ------------------------------------------------------------------------------------------


async def test_refusals_are_remembered_up_to_a_number(tmp_path: Path) -> None:
    """The oldest are decided anew: memory is bounded whatever strangers send."""
    world = World(tmp_path / "data", HostSettings(refusals_remembered=5, retention_interval_seconds=3600))
    await world.start()
    await world.furnish(N1)
    events = [world.event(Kind.MESSAGE, ALICE, N1) for _ in range(11)]
    for event in events:
        await world.receive(event)
    world.observer.codes()

    await world.receive(events[-1])
    newest = world.observer.codes()
    await world.receive(events[0])

    assert (newest, world.observer.codes()) == ([], [Code.UNKNOWN_SCENARIO])
    await world.stop()


DECISION = Decision(Outcome.REFUSED, Reason.NO_SESSION)
ANSWERED = Answered(ALICE, "KS1", DECISION)


def found(cache: AnswerCache, key: str) -> Decision | None:
    return cache.find(key, ALICE, "KS1")


def test_an_answer_is_known_for_the_whole_window() -> None:
    """And forgotten once two windows have passed."""
    cache = AnswerCache(window_seconds=100)
    cache.put("CA1", ANSWERED, now=START)
    for second in range(10, 110, 10):
        cache.put(f"CA{second}", ANSWERED, now=START + second)

    assert found(cache, "CA1") is DECISION
    cache.put("CB1", ANSWERED, now=START + 101)
    assert found(cache, "CA100") is DECISION
    cache.put("CB2", ANSWERED, now=START + 202)
    cache.put("CB3", ANSWERED, now=START + 303)

    assert found(cache, "CA100") is None


def test_what_was_silent_for_long_is_dropped_whole() -> None:
    """The first event after a long silence finds nothing old."""
    cache = AnswerCache(window_seconds=100)
    cache.put("CA1", ANSWERED, now=START)

    cache.put("CA2", ANSWERED, now=START + 1000)

    assert found(cache, "CA1") is None
    assert found(cache, "CA2") is DECISION


def test_a_capacity_keeps_the_latest() -> None:
    """At least the last so many of the window, at most twice that."""
    cache = AnswerCache(window_seconds=100, capacity=10)

    for index in range(1000):
        cache.put(f"CA{index}", ANSWERED, now=START)

    known = [index for index in range(1000) if found(cache, f"CA{index}") is not None]
    assert known[-10:] == list(range(990, 1000))
    assert len(known) <= 20


SIXTEEN = bytes(range(16))


def key(call_sid: str) -> str:
    return event_key(N1, Kind.VOICE, call_sid)


def test_what_an_event_became_is_known_for_the_whole_window() -> None:
    """Across generations, and forgotten once two windows have passed."""
    index = RedeliveryIndex(window_seconds=100)
    index.add("CA1", SIXTEEN, now=START)
    for second in range(10, 110, 10):
        index.add(f"CA{second}", SIXTEEN, now=START + second)

    assert index.find("CA1") == [f"KI{SIXTEEN.hex()}"]
    index.add("CB1", SIXTEEN, now=START + 101)
    assert index.find("CA100")
    index.add("CB2", SIXTEEN, now=START + 199)
    assert index.find("CA100")
    index.add("CB3", SIXTEEN, now=START + 202)

    assert not index.find("CA100")
    assert index.find("CB2")


def test_a_full_generation_makes_room_and_drops_nothing_of_the_window() -> None:
    """However many come."""
    index = RedeliveryIndex(window_seconds=100, generation=10)
    for number in range(95):
        index.add(f"CA{number}", number.to_bytes(16), now=START + number / 10)

    found = [index.find(f"CA{number}") for number in range(95)]
    index.remove("CA3", f"KI{3:032x}")

    assert found == [[f"KI{number:032x}"] for number in range(95)]
    assert not index.find("CA3")
    assert index.find("CA94")


def test_what_is_read_back_is_known_for_a_window_from_then_on() -> None:
    """It came before, but nobody knows when."""
    index = RedeliveryIndex(window_seconds=100, generation=10)
    for start in range(0, 40, 10):
        index.fill([(N1, Kind.VOICE, f"CA{number}", SIXTEEN) for number in range(start, start + 10)], now=START)
    index.add(key("CA40"), SIXTEEN, now=START + 99)

    assert all(index.find(key(f"CA{number}")) for number in range(41))
    index.add(key("CA41"), SIXTEEN, now=START + 202)
    assert not index.find(key("CA1"))


def test_of_one_key_the_latest_of_a_generation_are_known() -> None:
    """Only a mistake or a forgery gives several events one key: no more is kept of them than so many."""
    index = RedeliveryIndex(window_seconds=100, generation=10)
    first, *others = (f"KI{number:032x}" for number in range(20))
    index.add("CA1", bytes.fromhex(first[2:]), now=START)
    index.add("CA1", bytes.fromhex(first[2:]), now=START)
    index.add("CA2", SIXTEEN, now=START + 101)
    for other in others:
        index.add("CA1", bytes.fromhex(other[2:]), now=START + 101)

    found = index.find("CA1")
    for sid in found[:-2]:
        index.remove("CA1", sid)

    assert found == [first, *others[-8:]]
    assert index.find("CA1") == others[-2:]


def test_a_generation_never_grows_beyond_its_bound() -> None:
    """A table that grows is copied while all else waits."""
    index = RedeliveryIndex(window_seconds=100, generation=10)
    for number in range(95):
        index.add(key(f"CA{number}"), number.to_bytes(16), now=START)

    sizes = [len(index._young), *(len(generation) for _, generation in index._older)]

    assert max(sizes) == 10
    assert sum(sizes) == 95
