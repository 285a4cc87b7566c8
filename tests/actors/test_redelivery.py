"""A carrier that sends the same call or message again gets the same answer; nothing new is made (design 3, rule 6)."""

from pathlib import Path

import msgspec
import pytest

from actors.parts import HostSettings
from actors.recents import Recents
from engine.core.errors import Code
from engine.core.ports import PageCursor
from engine.core.records import Kind
from engine.core.traffic import Decision, InboundEvent, Outcome, Reason
from tests.actors.world import ALICE, ALL, BOB, CAROL, N1, N2, START, World, wanting

pytestmark = pytest.mark.anyio

PAGE = PageCursor(limit=50)


async def recorded(world: World, session_sid: str) -> int:
    return len((await world.store.interactions_page(session_sid, PAGE)).records)


@pytest.mark.parametrize("kind", list(Kind))
async def test_the_same_answer_and_no_second_interaction(world: World, kind: Kind) -> None:
    """However often it comes, also with the other spelling of the sender."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(kind, ALICE, N1)
    first = await world.receive(event)

    again = [await world.receive(event) for _ in range(3)]
    respelt = await world.receive(msgspec.structs.replace(event, sender=" " + ALICE[1:]))

    assert {*again, respelt} == {first}
    assert await recorded(world, session.sid) == 1


async def test_a_redelivery_restarts_no_idle_clock(world: World) -> None:
    """It is the same interaction."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=10)
    event = world.event(Kind.MESSAGE, ALICE, N1)
    await world.receive(event)
    world.clock.move(9)

    await world.receive(event)
    world.clock.move(1)
    await world.host.sweep()

    assert not (await world.look(session)).is_active


async def test_a_redelivery_waits_for_the_commit_of_the_first(world: World) -> None:
    """No answer leaves before what it answers is on disk."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    world.store.keep_back()

    first, second = world.deliver(event), world.deliver(event)
    await world.breathe()

    assert not first.done()
    assert not second.done()
    world.store.let_through()
    assert await first == await second
    assert await recorded(world, session.sid) == 1


async def test_a_redelivery_of_what_could_not_be_kept_is_decided_anew(world: World) -> None:
    """Both are told to come again; the third finds the store well."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    world.store.keep_back()
    first, second = world.deliver(event), world.deliver(event)
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


async def test_a_redelivery_after_the_session_closed_gets_the_answer_it_missed(world: World) -> None:
    """Before and after a restart, also when the sender was removed meanwhile; a new event is refused."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    first = await world.receive(event)
    await world.leave(session, ALICE)
    await world.close(session)

    before = await world.receive(event)
    await world.restart()

    assert await world.receive(event) == before == first
    assert (await world.call(ALICE, N1)).reason is Reason.NO_SESSION


async def test_a_refusal_is_the_same_again(world: World) -> None:
    """Even when a session would let it pass by now; the debugger is told once."""
    event = world.event(Kind.VOICE, ALICE, N1)
    first = await world.receive(event)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    assert await world.receive(event) == first
    assert first.code is Code.NO_ACTIVE_SESSION
    assert world.observer.codes() == [Code.NO_ACTIVE_SESSION]


async def test_the_same_sid_from_somebody_else_is_no_redelivery(world: World) -> None:
    """Sender and number must be the same: nobody reaches a partner by quoting a SID."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    await world.receive(event)

    stranger = await world.receive(msgspec.structs.replace(event, sender=CAROL))
    elsewhere = await world.receive(msgspec.structs.replace(event, proxy=N2))
    partner = await world.receive(msgspec.structs.replace(event, sender=BOB, proxy=N2))

    assert (stranger.outcome, elsewhere.outcome) == (Outcome.REFUSED, Outcome.REFUSED)
    assert partner.to == ALICE
    assert await recorded(world, session.sid) == 2


async def test_an_answer_that_was_erased_is_given_no_more(world: World) -> None:
    """Deleting a session or a single interaction ends its answers, before and after a restart alike."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    kept, erased = world.event(Kind.MESSAGE, ALICE, N1), world.event(Kind.MESSAGE, BOB, N2)
    await world.receive(kept)
    await world.receive(erased)
    await world.delete(session)

    before = [(await world.receive(event)).outcome for event in (kept, erased)]
    await world.restart()
    after = [(await world.receive(event)).outcome for event in (kept, erased)]

    assert before == after == [Outcome.REFUSED, Outcome.REFUSED]


async def test_a_pushed_message_is_nobodys_redelivery(world: World) -> None:
    """It has no SID of a carrier; a restart does not confuse it with an event."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    alice = world.seat(session, ALICE).sid
    await world.control.send_message(world.account.sid, world.service_sid, session.sid, alice, body="Hi", media=())
    await world.restart()

    decision = await world.receive(InboundEvent(Kind.MESSAGE, ALICE, N1, "", "Hi"))

    assert decision.to == BOB


async def test_many_answers_are_read_back_without_a_question_each(tmp_path: Path) -> None:
    """At the start, the participants of a session are read at most once, however many interactions it has."""
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

    assert world.store.participants_read <= 1
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


def event_of(sid: str) -> InboundEvent:
    return InboundEvent(Kind.VOICE, ALICE, N1, sid)


DECISION = Decision(Outcome.REFUSED, Reason.NO_SESSION)


def test_an_answer_is_known_for_the_whole_window() -> None:
    """And forgotten once two windows have passed."""
    recents = Recents(window_seconds=100)
    recents.remember(event_of("CA1"), DECISION, now=START)
    for second in range(10, 110, 10):
        recents.remember(event_of(f"CA{second}"), DECISION, now=START + second)

    assert recents.find(event_of("CA1")) is DECISION
    recents.remember(event_of("CB1"), DECISION, now=START + 101)
    assert recents.find(event_of("CA100")) is DECISION
    recents.remember(event_of("CB2"), DECISION, now=START + 202)
    recents.remember(event_of("CB3"), DECISION, now=START + 303)

    assert recents.find(event_of("CA100")) is None


def test_what_was_silent_for_long_is_dropped_whole() -> None:
    """The first event after a long silence finds nothing old."""
    recents = Recents(window_seconds=100)
    recents.remember(event_of("CA1"), DECISION, now=START)

    recents.remember(event_of("CA2"), DECISION, now=START + 1000)

    assert recents.find(event_of("CA1")) is None
    assert recents.find(event_of("CA2")) is DECISION


def test_a_capacity_keeps_the_latest() -> None:
    """At least the last so many of the window, at most twice that."""
    recents = Recents(window_seconds=100, capacity=10)

    for index in range(1000):
        recents.remember(event_of(f"CA{index}"), DECISION, now=START)

    known = [index for index in range(1000) if recents.find(event_of(f"CA{index}")) is not None]
    assert known[-10:] == list(range(990, 1000))
    assert len(known) <= 20
