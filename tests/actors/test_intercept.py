"""The intercept gate (behaviour 9 step 10, 12.3): it blocks, lets go on, rewrites; and only its own event waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from engine.core.model.errors import Code
from engine.core.model.records import Kind, LegStatus, RawText, ServiceOptions
from engine.core.ports.hooks import InterceptVerdict
from engine.core.routing.traffic import Outcome, Reason
from tests.actors.hooked_world import CALLBACK, INTERCEPT, HookedWorld, blocked, replaced
from tests.actors.world import ALICE, BOB, CAROL, N1, N2, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]


@pytest.fixture
async def world(
    tmp_path: Path, host_count: int, turns: Callable[[], int], tables: str | None
) -> AsyncIterator[HookedWorld]:
    """Start a host whose service has a gate and a callback."""
    world = HookedWorld(tmp_path / "data", count=host_count, turns=turns, database=tables)
    await world.start()
    await world.furnish(N1, N2)
    await world.configure(callback=CALLBACK, intercept=INTERCEPT)
    yield world
    await world.stop()


@pytest.mark.parametrize("kind", list(Kind))
async def test_an_event_that_passes_the_gate_is_routed_and_told_of(world: HookedWorld, kind: Kind) -> None:
    """The gate sees no outbound leg; the callback afterwards does."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    decision = await world.receive(world.event(kind, ALICE, N1))

    assert (decision.outcome, decision.to, decision.caller_id) == (Outcome.ROUTED, BOB, N2)
    assert [one.outbound.participant_sid for one in world.hooks.intercepted] == [None]
    assert [one.outbound.participant_sid for one in world.outbox.callbacks()] == [world.participant(session, BOB).sid]
    assert [one.sid for one in world.recorded()] == [decision.interaction_sid]


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_blocked_event_goes_nowhere_and_stays_without_an_outbound_leg(world: HookedWorld, kind: Kind) -> None:
    """403: refused, 80909, no callback; it is an interaction all the same and refreshes the session."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=60)
    world.hooks.gate = blocked()
    world.clock.move(30)

    decision = await world.receive(world.event(kind, ALICE, N1))

    assert (decision.outcome, decision.reason) == (Outcome.REFUSED, Reason.INTERCEPTED)
    assert decision.to == ""
    assert world.observer.codes() == [Code.CONTACT_REJECTED]
    assert world.outbox.entries == []
    assert [one.outbound.participant_sid for one in world.recorded()] == [None]
    assert (await world.look(session)).date_last_interaction == world.clock()


async def test_a_failed_gate_lets_the_event_go_on(world: HookedWorld) -> None:
    """Fail-open: 80908 and routed."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.gate = InterceptVerdict(is_failed=True)

    decision = await world.call(ALICE, N1)

    assert decision.outcome is Outcome.ROUTED
    assert world.observer.codes() == [Code.CALLBACK_FAILED]


async def test_a_failed_gate_blocks_where_the_service_fails_closed(world: HookedWorld) -> None:
    """The option turns a failure into a 403."""
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_fails_closed=True))
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.gate = InterceptVerdict(is_failed=True)

    decision = await world.call(ALICE, N1)

    assert (decision.outcome, decision.reason) == (Outcome.REFUSED, Reason.INTERCEPTED)
    assert world.observer.codes() == [Code.CALLBACK_FAILED, Code.CONTACT_REJECTED]


async def test_others_are_served_while_one_event_waits(world: HookedWorld) -> None:
    """The number's actor is not held up by the gate."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.go_on.clear()
    waiting = world.deliver(world.event(Kind.VOICE, ALICE, N1))
    await world.waits()

    stranger = await world.call(CAROL, N1)

    assert stranger.reason is Reason.NO_SESSION
    assert not waiting.done()

    world.hooks.go_on.set()

    assert (await waiting).outcome is Outcome.ROUTED


async def test_a_redelivery_waits_beside_the_event_and_asks_nothing(world: HookedWorld) -> None:
    """Both get the one answer; one interaction, one question."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.go_on.clear()
    event = world.event(Kind.MESSAGE, ALICE, N1)
    first = world.deliver(event)
    await world.waits()
    second = world.deliver(event)

    world.hooks.go_on.set()

    assert (await first) == (await second)
    assert await world.receive(event) == await first
    assert len(world.hooks.intercepted) == len(world.recorded()) == len(world.outbox.callbacks()) == 1


async def test_a_session_that_closes_meanwhile_routes_nothing(world: HookedWorld) -> None:
    """If in doubt, do not route."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.go_on.clear()
    waiting = world.deliver(world.event(Kind.VOICE, ALICE, N1))
    await world.waits()
    await world.close(session)

    world.hooks.go_on.set()
    decision = await waiting

    assert (decision.outcome, decision.to) == (Outcome.REFUSED, "")
    assert world.outbox.entries == []


@pytest.mark.parametrize("kind", list(Kind))
async def test_who_meets_no_session_any_more_hears_what_strangers_hear(world: HookedWorld, kind: Kind) -> None:
    """The service's own document, where it has one."""
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(no_session_twiml="<A/>"))
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.go_on.clear()
    waiting = world.deliver(world.event(kind, ALICE, N1))
    await world.waits()
    await world.close(session)

    world.hooks.go_on.set()
    decision = await waiting

    assert (decision.outcome, decision.twiml) == (Outcome.ANSWERED, "<A/>")


async def test_a_partner_replaced_meanwhile_is_not_reached(world: HookedWorld) -> None:
    """The call was for Bob; Carol, who replaced him, does not get it."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.go_on.clear()
    waiting = world.deliver(world.event(Kind.VOICE, ALICE, N1))
    await world.waits()
    await world.leave(session, BOB)
    await world.join(session, wanting(CAROL, N2))

    world.hooks.go_on.set()

    assert (await waiting).outcome is Outcome.REFUSED


async def test_a_gate_may_rewrite_a_message_only_where_the_service_lets_it(world: HookedWorld) -> None:
    """The replaced text is what is sent; what came is what is recorded."""
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_may_rewrite=True))
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.gate = replaced(InterceptVerdict(), "my number is ...")

    decision = await world.text(ALICE, N1, "my number is 555")

    assert decision.body == "my number is ..."
    assert [one.body for one in world.recorded()] == ["my number is 555"]


@pytest.mark.parametrize("is_rewritten", [False, True])
async def test_a_text_goes_on_as_it_came_unless_it_is_rewritten(world: HookedWorld, *, is_rewritten: bool) -> None:
    """Its octets would say the old one; until when it may be sent is true of either."""
    world.carriers.name = "main"
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_may_rewrite=True))
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    if is_rewritten:
        world.hooks.gate = replaced(InterceptVerdict(), "my number is ...")
    raw = RawText("gsm", 0, b"my number is 555")
    event = world.event(Kind.MESSAGE, ALICE, N1, body="my number is 555")

    await world.receive(msgspec.structs.replace(event, raw=raw, valid_until=2e9))

    (sent,) = world.outbox.messages()
    assert (sent.raw, sent.valid_until) == (None if is_rewritten else raw, 2e9)


async def test_a_rewritten_message_stays_rewritten_after_a_restart(world: HookedWorld) -> None:
    """Its redelivery asks the gate again, for the one interaction; what came is never sent in its place."""
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_may_rewrite=True))
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.gate = replaced(InterceptVerdict(), "my number is ...")
    event = world.event(Kind.MESSAGE, ALICE, N1, body="my number is 555")
    first = await world.receive(event)

    await world.restart()
    again = await world.receive(event)

    assert again == first
    assert again.body == "my number is ..."
    assert len(world.recorded()) == 1


async def test_a_message_that_no_gate_was_asked_about_is_answered_again_as_it_was(world: HookedWorld) -> None:
    """Also where the service has got a gate meanwhile that would send another text, and the session is closed."""
    await world.configure()
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1, body="my number is 555")
    first = await world.receive(event)

    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_may_rewrite=True))
    world.hooks.gate = replaced(InterceptVerdict(), "my number is ...")
    again = await world.receive(event)
    await world.close(session)

    assert (await world.receive(event), again) == (first, first)
    assert len(world.recorded()) == 1


async def test_a_redelivered_message_that_a_carrier_of_ours_sends_asks_no_gate_again(world: HookedWorld) -> None:
    """The carrier has the text that the gate let pass; another answer of the gate would change nothing."""
    world.carriers.name = "main"
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_may_rewrite=True))
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.gate = replaced(InterceptVerdict(), "my number is ...")
    event = world.event(Kind.MESSAGE, ALICE, N1, body="my number is 555")
    first = await world.receive(event)

    await world.restart()
    again = await world.receive(event)

    assert (first.is_sent_by_us, again.is_sent_by_us) == (True, True)
    assert again.interaction_sid == first.interaction_sid
    assert len(world.hooks.intercepted) == 1
    assert [one.body for one in world.outbox.messages()] == ["my number is ..."]


@pytest.mark.parametrize("body", ["", "  \n"])
async def test_a_gate_that_leaves_blanks_blocks_a_message(world: HookedWorld, body: str) -> None:
    """No carrier takes an empty one."""
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_may_rewrite=True))
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.gate = replaced(InterceptVerdict(), body)

    assert (await world.text(ALICE, N1, "my number is 555")).reason is Reason.INTERCEPTED


async def test_a_gate_that_empties_a_message_blocks_it(world: HookedWorld) -> None:
    """There is nothing left to send; with media there is."""
    await world.configure(intercept=INTERCEPT, options=ServiceOptions(intercept_may_rewrite=True))
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.hooks.gate = replaced(InterceptVerdict(), "")
    picture = msgspec.structs.replace(world.event(Kind.MESSAGE, ALICE, N1), media=("https://a.b/c.png",))

    bare, with_media = await world.text(ALICE, N1, "my number is 555"), await world.receive(picture)

    assert (bare.outcome, bare.reason) == (Outcome.REFUSED, Reason.INTERCEPTED)
    assert (with_media.outcome, with_media.body) == (Outcome.ROUTED, "")


async def test_a_crash_while_the_gate_is_asked_keeps_the_one_interaction(world: HookedWorld) -> None:
    """The redelivered event goes on with the interaction it had."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    world.hooks.go_on.clear()
    waiting = world.deliver(event)
    await world.waits()
    half = world.recorded()
    world.hooks.gate = blocked()
    world.hooks.go_on.set()
    await waiting
    await world.restart()
    world.hooks.gate = InterceptVerdict()

    decision = await world.receive(event)

    assert decision.outcome is Outcome.ROUTED
    assert [one.sid for one in world.recorded()] == [one.sid for one in half] == [decision.interaction_sid]


async def test_a_leg_that_ends_while_the_gate_is_asked_stays_ended(world: HookedWorld) -> None:
    """What the carrier reported meanwhile is not overwritten."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    world.hooks.go_on.clear()
    waiting = world.deliver(event)
    await world.waits()
    await world.report(LegStatus.COMPLETED, resource_sid=event.resource_sid)

    world.hooks.go_on.set()
    await waiting

    (interaction,) = world.recorded()
    assert interaction.inbound.status is LegStatus.COMPLETED
    assert interaction.outbound.participant_sid is not None


async def test_the_store_failing_before_or_after_the_gate_routes_nothing(world: HookedWorld) -> None:
    """Come again: nothing is answered that is not on disk."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.store.is_failing = True

    before = await world.call(ALICE, N1)

    assert (before.outcome, world.hooks.intercepted) == (Outcome.NOT_READY, [])

    world.store.is_failing = False
    world.hooks.go_on.clear()
    waiting = world.deliver(world.event(Kind.VOICE, ALICE, N1))
    await world.waits()
    world.store.is_failing = True
    world.hooks.go_on.set()

    assert (await waiting).outcome is Outcome.NOT_READY
    assert world.outbox.entries == []


async def test_the_gate_gets_no_longer_than_its_own_limit(world: HookedWorld) -> None:
    """Five of the carrier's ten seconds."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    await world.call(ALICE, N1)

    assert world.hooks.timeouts == [5.0]


@pytest.mark.parametrize("turns_before", range(8))
async def test_nothing_is_recorded_of_a_session_that_was_erased_as_its_event_came(
    world: HookedWorld, turns_before: int
) -> None:
    """What is recorded behind the erasure would stay for ever, with its text."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    deleting = asyncio.create_task(world.delete(session))
    for _ in range(turns_before):
        await asyncio.sleep(0)

    await world.text(ALICE, N1)
    await deleting

    assert [store.inner._points.fetch("SELECT 1 FROM interactions", ()) for store in world.store.all] == (
        [[]] * world.count
    )
