"""Out of session (behaviour 13): TwiML, a session made to order, nothing, an error."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from engine.core.model.errors import Code
from engine.core.model.records import Kind, Mode, ServiceOptions
from engine.core.model.requests import ParticipantRequest
from engine.core.ports.hooks import InterceptVerdict, OutOfSessionVerdict
from engine.core.routing.traffic import Outcome, Reason, SessionWanted
from tests.actors.hooked_world import CALLBACK, INTERCEPT, OUT_OF_SESSION, HookedWorld
from tests.actors.world import ALICE, BOB, CAROL, N1, N2, N3, QUIET, wanting

pytestmark = pytest.mark.anyio

MOST_WAITING = 500
"""Events that may wait for hooks at once."""


@pytest.fixture
async def world(
    tmp_path: Path, host_count: int, turns: Callable[[], int], tables: str | None
) -> AsyncIterator[HookedWorld]:
    """Start a host whose service has all three hooks."""
    world = HookedWorld(tmp_path / "data", count=host_count, turns=turns, database=tables)
    world.settings = replace(QUIET, most_waiting_events=MOST_WAITING)
    await world.start()
    await world.furnish(N1, N2)
    await world.configure(callback=CALLBACK, intercept=INTERCEPT, out_of_session=OUT_OF_SESSION)
    yield world
    await world.stop()


@pytest.mark.parametrize("kind", list(Kind))
async def test_twiml_is_passed_on_and_nothing_recorded(world: HookedWorld, kind: Kind) -> None:
    """The application's document is the answer; no interaction, no event."""
    decision = await world.receive(world.event(kind, CAROL, N1))

    assert (decision.outcome, decision.reason) == (Outcome.ANSWERED, Reason.OUT_OF_SESSION)
    assert decision.twiml == "<Response><Say>Hello</Say></Response>"
    assert world.recorded() == []
    assert world.observer.codes() == []


async def test_a_stranger_has_no_context(world: HookedWorld) -> None:
    """Nothing is known of them."""
    await world.call(CAROL, N1)

    (case,) = world.hooks.cases
    assert (case.session, case.inbound, case.outbound) == (None, None, None)
    assert case.service_sid == world.service_sid


async def test_a_closed_session_comes_with_its_context(world: HookedWorld) -> None:
    """The last session that paired them, and both participants."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.close(session)

    await world.call(ALICE, N1)

    (case,) = world.hooks.cases
    assert case.session is not None
    assert case.session.sid == session.sid
    assert case.inbound is not None
    assert case.outbound is not None
    assert (case.inbound.identifier, case.outbound.identifier) == (ALICE, BOB)


async def test_an_expired_session_is_told_as_such_and_asked_about(world: HookedWorld) -> None:
    """80904, then the hook with context."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=60)
    world.clock.move(61)

    decision = await world.call(ALICE, N1)

    assert decision.reason is Reason.OUT_OF_SESSION
    assert world.observer.codes() == [Code.SESSION_EXPIRED]
    assert world.hooks.cases[0].session is not None


async def test_an_erased_session_leaves_no_context(world: HookedWorld) -> None:
    """Deleted: as unknown."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.delete(session)

    await world.call(ALICE, N1)

    assert world.hooks.cases[0].session is None


async def test_stop_words_wrong_modes_and_missing_partners_are_not_asked_about(world: HookedWorld) -> None:
    """Behaviour 9: no webhook for these."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2), mode=Mode.MESSAGE_ONLY)
    await world.session(wanting(CAROL, N1))

    await world.text(ALICE, N1, "stop")
    await world.call(ALICE, N1)
    await world.call(CAROL, N1)

    assert world.hooks.cases == []
    assert world.hooks.intercepted == []
    assert world.observer.codes() == [Code.STOP_WORD, Code.CALL_TO_MESSAGE_ONLY, Code.NO_PARTNER]


@pytest.mark.parametrize(
    ("kind", "mode", "body", "reason"),
    [
        (Kind.MESSAGE, Mode.VOICE_AND_MESSAGE, "stop", Reason.STOP_WORD),
        (Kind.MESSAGE, Mode.VOICE_ONLY, "hi", Reason.MESSAGE_TO_VOICE_ONLY),
        (Kind.VOICE, Mode.MESSAGE_ONLY, "", Reason.CALL_TO_MESSAGE_ONLY),
        (Kind.VOICE, Mode.VOICE_AND_MESSAGE, "", Reason.NO_PARTNER),
    ],
)
async def test_nor_are_they_asked_about_where_the_event_had_to_be_decided_anew(
    world: HookedWorld, *, kind: Kind, mode: Mode, body: str, reason: Reason
) -> None:
    """It quotes the SID of another sender's event, whose session is over."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    known = world.event(kind, ALICE, N1)
    await world.receive(known)
    await world.close(session)
    await world.session(wanting(CAROL, N1), *([] if reason is Reason.NO_PARTNER else [wanting(BOB, N2)]), mode=mode)
    world.observer.codes()

    decision = await world.receive(msgspec.structs.replace(known, sender=CAROL, body=body))

    assert decision.reason is reason
    assert world.hooks.cases == []
    assert world.observer.codes() == [decision.code]


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_session_made_to_order_routes_the_event_that_made_it(world: HookedWorld, kind: Kind) -> None:
    """The caller keeps the number they reached; the event goes through gate and callbacks as in session."""
    world.hooks.outside = OutOfSessionVerdict(wanted=SessionWanted(identifier=BOB, unique_name="order-77"))

    decision = await world.receive(world.event(kind, CAROL, N1, body="hello"))

    session = await world.control.session(world.account.sid, world.service_sid, "order-77")
    assert (decision.outcome, decision.to) == (Outcome.ROUTED, BOB)
    assert world.proxy(session, CAROL) == N1
    assert decision.caller_id == world.proxy(session, BOB)
    assert session.ttl_seconds == 0
    assert len(world.hooks.intercepted) == len(world.outbox.callbacks()) == len(world.recorded()) == 1


async def test_the_number_reached_may_be_reserved(world: HookedWorld) -> None:
    """A published number is the caller's; the seller gets an unreserved one."""
    await world.pool(N3, is_reserved=True)
    world.hooks.outside = OutOfSessionVerdict(wanted=SessionWanted(identifier=BOB))

    decision = await world.call(CAROL, N3)

    assert decision.outcome is Outcome.ROUTED
    assert decision.caller_id in {N1, N2}


async def test_many_first_calls_to_one_published_number_get_a_session_each(world: HookedWorld) -> None:
    """Nobody shares; the seller never has one number twice; whoever finds none free is refused."""
    await world.pool(N3, is_reserved=True)
    world.hooks.outside = OutOfSessionVerdict(wanted=SessionWanted(identifier=BOB))
    callers = [f"+1212555{index:04d}" for index in range(3001, 3031)]

    decisions = await asyncio.gather(*(world.call(caller, N3) for caller in callers))

    routed = [one for one in decisions if one.outcome is Outcome.ROUTED]
    refused = [one for one in decisions if one.outcome is Outcome.REFUSED]
    assert {one.caller_id for one in routed} == {N1, N2}
    assert len(routed) == 2
    assert {(one.reason, one.code) for one in refused} == {(Reason.AUTO_CREATE_FAILED, Code.NO_UNUSED_PROXY)}


async def test_two_events_of_one_stranger_share_the_session_made(world: HookedWorld) -> None:
    """A call and a text at once: the second finds the session of the first."""
    world.hooks.outside = OutOfSessionVerdict(wanted=SessionWanted(identifier=BOB))
    world.hooks.go_on.clear()
    call = world.deliver(world.event(Kind.VOICE, CAROL, N1))
    text = world.deliver(world.event(Kind.MESSAGE, CAROL, N1))
    await world.waits()

    world.hooks.go_on.set()
    decisions = [await call, await text]

    assert [one.outcome for one in decisions] == [Outcome.ROUTED, Outcome.ROUTED]
    assert len({one.session_sid for one in decisions}) == 1


async def test_a_session_that_cannot_be_made_is_an_event_and_a_refusal(world: HookedWorld) -> None:
    """A bad identifier: 80404 in the debugger, the call is refused."""
    world.hooks.outside = OutOfSessionVerdict(wanted=SessionWanted(identifier="+1555"))

    decision = await world.call(CAROL, N1)

    assert (decision.outcome, decision.reason) == (Outcome.REFUSED, Reason.AUTO_CREATE_FAILED)
    assert world.observer.codes() == [Code.IDENTIFIER_INVALID]


async def test_a_hook_that_fails_refuses_the_event(world: HookedWorld) -> None:
    """No 2xx: 80913."""
    world.hooks.outside = OutOfSessionVerdict(code=Code.OUT_OF_SESSION_CALLBACK_FAILED)

    decision = await world.text(CAROL, N1)

    assert (decision.outcome, decision.reason) == (Outcome.REFUSED, Reason.OUT_OF_SESSION_FAILED)
    assert world.observer.codes() == [Code.OUT_OF_SESSION_CALLBACK_FAILED]


async def test_a_hook_that_says_nothing_leaves_the_event_to_the_application(world: HookedWorld) -> None:
    """2xx and neither TwiML nor JSON: nothing more is done; 80905."""
    world.hooks.outside = OutOfSessionVerdict(code=Code.UNKNOWN_SCENARIO)

    decision = await world.text(CAROL, N1)

    assert (decision.outcome, decision.reason, decision.twiml) == (Outcome.ANSWERED, Reason.LEFT_TO_APPLICATION, "")
    assert world.observer.codes() == [Code.UNKNOWN_SCENARIO]


async def test_the_application_may_write_to_the_service_while_its_hook_is_outstanding(world: HookedWorld) -> None:
    """The handler adds the sender over REST, pushes the first text, answers 204; the text is not sent twice."""
    session = await world.session(wanting(BOB, N1))
    world.hooks.outside = OutOfSessionVerdict(code=Code.UNKNOWN_SCENARIO)
    world.hooks.go_on.clear()
    waiting = world.deliver(world.event(Kind.MESSAGE, CAROL, N1, body="is it free?"))
    await world.waits()

    await world.join(session, ParticipantRequest(identifier=CAROL, proxy_identifier=N1))
    bob = world.participant(session, BOB).sid
    await world.control.send_message(
        world.account.sid, world.service_sid, session.sid, bob, body="is it free?", media=()
    )
    world.hooks.go_on.set()

    assert (await waiting).outcome is Outcome.ANSWERED
    assert [one.body for one in world.recorded()] == ["is it free?"]
    assert (await world.text(CAROL, N1)).to == BOB


async def test_too_many_waiting_events_are_told_to_come_again(world: HookedWorld) -> None:
    """Memory stays bounded; one account alone may take half of it."""
    world.hooks.go_on.clear()
    most = MOST_WAITING // 2
    waiting = [world.deliver(world.event(Kind.VOICE, CAROL, N1)) for _ in range(most)]
    await world.breathe()

    decision = await world.call(CAROL, N1)

    assert (decision.outcome, decision.reason) == (Outcome.NOT_READY, Reason.BUSY)
    assert world.host.waiting_events == most

    room: list[int] = []
    waiting[0].add_done_callback(lambda _: room.append(most - world.host.waiting_events))
    world.hooks.go_on.set()
    await asyncio.gather(*waiting)

    assert room[0] > 0
    assert world.host.waiting_events == 0


async def test_there_is_always_room_for_the_events_of_another_account(world: HookedWorld) -> None:
    """Whatever waits for the slow hooks of some: each may hold what it leaves free, and a gate still decides."""
    numbers = [f"+141534901{n:02d}" for n in range(8)]
    world.hooks.go_on.clear()
    waiting = []
    for number in (N1, *numbers[:4:2]):
        waiting += [world.deliver(world.event(Kind.VOICE, CAROL, number)) for _ in range(MOST_WAITING)]
        await world.breathe()
        own = numbers[:2] if number == N1 else numbers[numbers.index(number) + 2 :][:2]
        await world.furnish(*own)
        await world.configure(callback=CALLBACK, intercept=INTERCEPT, out_of_session=OUT_OF_SESSION)
    held = world.host.waiting_events
    world.hooks.gate = InterceptVerdict(is_blocked=True)
    session = await world.session(wanting(ALICE, numbers[4]), wanting(BOB, numbers[5]))
    asked = world.deliver(world.event(Kind.MESSAGE, ALICE, numbers[4]))
    await world.waits()
    world.hooks.go_on.set()
    told = await asyncio.gather(*waiting)

    assert session.sid == (await asked).session_sid
    assert (await asked).reason is Reason.INTERCEPTED
    assert 0 < held < world.count * MOST_WAITING
    assert sum(one.reason is Reason.BUSY for one in told) == 3 * MOST_WAITING - held


@pytest.mark.parametrize("kind", list(Kind))
async def test_fall_back_twiml_answers_where_the_service_has_it(world: HookedWorld, kind: Kind) -> None:
    """Per-service texts for no session, closed and no partner, instead of a bare refusal."""
    options = ServiceOptions(no_session_twiml="<A/>", closed_twiml="<B/>", no_partner_twiml="<C/>")
    await world.configure(options=options)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=60)
    await world.session(wanting(CAROL, N1))
    world.clock.move(61)

    expired = await world.receive(world.event(kind, ALICE, N1))
    alone = await world.receive(world.event(kind, CAROL, N1))
    stranger = await world.receive(world.event(kind, CAROL, N2))

    assert [one.twiml for one in (stranger, expired, alone)] == ["<A/>", "<B/>", "<C/>"]
    assert {one.outcome for one in (stranger, expired, alone)} == {Outcome.ANSWERED}
