"""Commits that hang, or whose outcome nobody knows: whoever waits is to come again, and what was decided stands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from engine.core.model.errors import Code, MasklineError, answer_to
from engine.core.model.records import Kind, LegStatus
from engine.core.routing.traffic import Decision, Outcome, Reason, ReportOutcome
from tests.actors.hooked_world import INTERCEPT, HookedWorld
from tests.actors.world import ALICE, ALL, BOB, CAROL, N1, N2, World, begun, refused, wanting

pytestmark = pytest.mark.anyio

COME_AGAIN = Decision(Outcome.NOT_READY, Reason.STORE_UNAVAILABLE)


@pytest.fixture
async def hooked(
    tmp_path: Path, host_count: int, turns: Callable[[], int], tables: str | None
) -> AsyncIterator[HookedWorld]:
    """Start hosts with an application behind them, and a session on them."""
    world = HookedWorld(tmp_path / "data", count=host_count, turns=turns, database=tables)
    await world.start()
    await world.furnish(N1, N2)
    yield world
    await world.stop()


async def late(change: Awaitable[object]) -> Code:
    """Return the code that answers a change whose commit is late, on whichever host that is."""
    with pytest.raises(MasklineError) as caught:
        await asyncio.wait_for(change, 20)
    return answer_to(caught.value).code


async def soon(answer: "asyncio.Future[Decision]") -> Decision:
    """Wait for an answer, with a bound."""
    return await asyncio.wait_for(answer, 20)


@pytest.mark.parametrize("kind", list(Kind))
async def test_an_event_whose_commit_is_late_is_to_come_again_and_gets_its_first_answer(
    world: World, kind: Kind
) -> None:
    """Its redelivery meets the commit under way, then what it became; it is decided once."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(kind, ALICE, N1)
    world.store.keep_back()
    waiting = world.deliver(event)
    await world.breathe()

    world.store.be_late()
    first, again = await soon(waiting), await soon(world.deliver(event))
    world.store.let_through()
    await world.settle()
    known = await world.receive(event)

    assert (first, again) == (COME_AGAIN, COME_AGAIN)
    assert (known.outcome, known.to, known.session_sid) == (Outcome.ROUTED, BOB, session.sid)
    assert [one.sid for one in world.store.interactions_since(0.0)] == [known.interaction_sid]


async def test_an_event_that_waits_for_the_commit_of_its_first_delivery_is_not_kept_either(world: World) -> None:
    """It came before the commit was late."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    world.store.keep_back()
    waiting = [world.deliver(event), world.deliver(event), world.deliver(event)]
    await world.breathe()

    world.store.be_late()
    answers = [await soon(one) for one in waiting]
    world.store.let_through()

    assert answers == [COME_AGAIN] * 3
    assert (await world.receive(event)).to == BOB


async def test_an_event_whose_late_commit_fails_is_decided_when_it_comes_again(world: World) -> None:
    """Nothing is kept of what was never committed."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    world.store.keep_back()
    waiting = world.deliver(event)
    await world.breathe()
    world.store.be_late()
    await soon(waiting)
    world.store.let_through(failing=ALL)
    await world.settle()

    known = await world.receive(event)

    assert (known.outcome, world.host.open_calls) == (Outcome.ROUTED, 1)
    assert [one.sid for one in world.store.interactions_since(0.0)] == [known.interaction_sid]


async def test_nothing_new_is_decided_while_a_commit_is_late(world: World) -> None:
    """It is told to come again at once, and leaves nothing behind; a refusal, which changes nothing, is answered."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.store.keep_back()
    world.store.be_late()

    meanwhile = await soon(world.deliver(world.event(Kind.VOICE, ALICE, N1)))
    refusal = await soon(world.deliver(world.event(Kind.VOICE, CAROL, N1)))
    world.store.let_through()
    await world.settle()

    assert (meanwhile, refusal.reason) == (COME_AGAIN, Reason.NO_SESSION)
    assert (world.store.interactions_since(0.0), world.host.open_calls) == ([], 0)
    assert (await world.call(ALICE, N1)).to == BOB


@pytest.mark.parametrize("is_kept", [True, False], ids=["is kept", "fails"])
async def test_a_report_whose_commit_is_late_is_to_come_again(world: World, *, is_kept: bool) -> None:
    """So is the same once more while that goes on: it is not known yet whether it repeats what is on disk."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    routed = await world.receive(event)

    def told() -> "asyncio.Future[ReportOutcome | None]":
        return world.tell_report(LegStatus.COMPLETED, event.resource_sid, routed.interaction_sid, is_outbound=False)

    world.store.keep_back()
    first = told()
    await world.breathe()
    waiting = told()
    await world.breathe()
    assert not waiting.done()

    world.store.be_late()
    again = told()
    outcomes = [await asyncio.wait_for(one, 20) for one in (first, waiting, again)]
    world.store.let_through(failing=() if is_kept else ALL)
    await world.settle()
    known = await asyncio.wait_for(told(), 20)

    assert outcomes == [None, None, None]
    assert known is (ReportOutcome.REPEATED if is_kept else ReportOutcome.RECORDED)
    assert world.host.open_calls == 0


async def test_a_change_whose_commit_is_late_is_answered_as_not_known(world: World) -> None:
    """It goes on: what it makes is there in the end, and nobody else gets the pair meanwhile."""
    world.store.keep_back()
    (creating,) = await begun(world.session(wanting(ALICE, N1), wanting(BOB, N2)))
    await world.breathe()

    world.store.be_late()
    codes = [await late(creating), await late(world.session(wanting(ALICE, N2), wanting(CAROL, N1)))]
    world.store.let_through()
    await world.settle()

    assert codes == [Code.UNAVAILABLE, Code.UNAVAILABLE]
    assert await refused(world.session(wanting(ALICE, N1), wanting(CAROL, N1))) is Code.PROXY_IDENTIFIER_IN_USE
    assert (await world.call(ALICE, N1)).to == BOB


async def test_a_change_that_waits_behind_a_late_one_is_answered_too(world: World) -> None:
    """Nothing of it has reached the store."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.store.keep_back()
    closing, updating = await begun(world.close(session), world.update(session, ttl_seconds=5))
    await world.breathe()

    world.store.be_late()
    codes = [await late(one) for one in (closing, updating)]
    world.store.let_through()
    await world.settle()

    assert codes == [Code.UNAVAILABLE, Code.UNAVAILABLE]
    assert not (await world.look(session)).is_active


async def test_an_event_waits_for_its_hook_while_another_commit_is_late(hooked: HookedWorld) -> None:
    """A hook may take longer than a commit; only then it is seen whether the store is well."""
    await hooked.session(wanting(ALICE, N1), wanting(BOB, N2))
    await hooked.configure(intercept=INTERCEPT)
    hooked.hooks.go_on.clear()
    waiting = hooked.deliver(hooked.event(Kind.VOICE, ALICE, N1))
    await hooked.waits()
    hooked.store.keep_back()
    hooked.store.be_late()
    await asyncio.sleep(2 * hooked.host.all[0].parts.context.settings.late_look_seconds)
    was_told = waiting.done()
    hooked.store.let_through()

    hooked.hooks.go_on.set()

    assert not was_told
    assert (await soon(waiting)).to == BOB


async def test_an_event_with_a_hook_whose_commit_is_late_is_to_come_again(hooked: HookedWorld) -> None:
    """The first one, before the gate is asked, and the second one; its redelivery waits for what the first comes to."""
    await hooked.session(wanting(ALICE, N1), wanting(BOB, N2))
    await hooked.configure(intercept=INTERCEPT)
    hooked.hooks.go_on.clear()
    event = hooked.event(Kind.VOICE, ALICE, N1)
    hooked.store.keep_back()
    waiting = hooked.deliver(event)
    await hooked.breathe()
    hooked.store.be_late()
    first, again = await soon(waiting), await soon(hooked.deliver(event))
    hooked.store.let_through()
    await hooked.waits()
    repeated = hooked.deliver(event)
    await hooked.breathe()

    hooked.hooks.go_on.set()

    assert (first, again) == (COME_AGAIN, COME_AGAIN)
    assert (await soon(repeated)).to == BOB
    assert len(hooked.recorded()) == 1
