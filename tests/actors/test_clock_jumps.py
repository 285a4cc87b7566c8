"""A wall clock that jumps ahead: what is past its end by it does not route, and nothing is closed or erased."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.core.model.records import Session, SessionStatus
from engine.core.routing.traffic import Outcome, Reason
from engine.runtime import SureClock
from tests.actors.test_clocks import began
from tests.actors.three_hosts import FIRST, SECOND, THIRD, direct
from tests.actors.world import ALICE, BOB, CAROL, DAVE, DAY, FakeClock, World, wanting

pytestmark = pytest.mark.anyio

HOUR = 3600.0


@pytest.fixture
async def steady(world: World) -> FakeClock:
    """Have the hosts compare their clock with this one."""
    steady = FakeClock()
    world.sure_clock = SureClock(world.clock, steady)
    await world.restart()
    return steady


def passes(world: World, steady: FakeClock, seconds: float) -> None:
    """Let time pass for both clocks."""
    world.clock.move(seconds)
    steady.move(seconds)


async def status(world: World, session: Session) -> SessionStatus:
    return (await world.control.session(world.account.sid, world.service_sid, session.sid)).status


async def test_a_session_is_not_closed_by_a_jump_and_routes_again_after_it(world: World, steady: FakeClock) -> None:
    """While the clock is wrong it does not route: in doubt, nobody is connected; a request does not close it either."""
    made = await world.session(ALICE, BOB, ttl_seconds=int(HOUR))
    proxy = world.proxy(made, ALICE)
    world.clock.move(2 * HOUR)

    meanwhile = await world.call(ALICE, proxy)
    await world.host.sweep()
    kept = await status(world, made)
    world.clock.move(-2 * HOUR)
    await world.host.sweep()
    afterwards = await world.call(ALICE, proxy)

    assert (meanwhile.outcome, meanwhile.reason) == (Outcome.REFUSED, Reason.SESSION_EXPIRED)
    assert kept is SessionStatus.OPEN
    assert afterwards.outcome is Outcome.ROUTED


async def test_a_session_is_closed_when_its_end_has_surely_come(world: World, steady: FakeClock) -> None:
    """By the clock that counts on, however long the other stays wrong."""
    made = await world.session(ALICE, BOB, ttl_seconds=int(HOUR))
    world.clock.move(365 * DAY)
    await world.host.sweep()
    passes(world, steady, HOUR - 10)
    await world.host.sweep()
    kept = await status(world, made)

    passes(world, steady, 20)
    await world.host.sweep()

    assert (kept, await status(world, made)) == (SessionStatus.OPEN, SessionStatus.CLOSED)


async def test_nothing_is_erased_by_a_jump(world: World, steady: FakeClock) -> None:
    """Sessions, debugger events: what is past its retention by both clocks is erased, and nothing else."""
    old, young = await world.session(ALICE, BOB), await world.session(CAROL, DAVE)
    await world.close(old)
    passes(world, steady, world.settings.retention_seconds - DAY)
    await world.close(young)
    world.clock.move(3650 * DAY)

    await world.host.erase_old()
    kept = [await status(world, one) for one in (old, young)]
    passes(world, steady, 2 * DAY)
    await world.host.erase_old()

    assert kept == [SessionStatus.CLOSED] * 2
    with pytest.raises(Exception, match="not found"):
        await status(world, old)
    assert await status(world, young) is SessionStatus.CLOSED


# -- with touches that the coordinator has not heard of ----------------------------------------------------------------


@pytest.fixture
async def spread(tmp_path: Path) -> AsyncIterator[World]:
    """Start three hosts, each with a number of one service, which compare their clock with one that counts on."""
    world = await began(tmp_path / "data", {})
    yield world
    await world.stop()


async def test_what_passed_elsewhere_is_heard_before_a_jump_ends_a_session(spread: World) -> None:
    """It is not over by the clock that has jumped either, for it restarted its ttl."""
    steady = FakeClock()
    spread.sure_clock = SureClock(spread.clock, steady)
    await spread.restart()
    await spread.session(wanting(ALICE, SECOND), wanting(BOB, THIRD), ttl_seconds=60)
    passes(spread, steady, 50)
    await direct(spread, 1, ALICE, SECOND)
    spread.clock.move(20)

    assert await direct(spread, 2, BOB, THIRD) is Outcome.ROUTED


async def test_what_passed_elsewhere_keeps_a_session_from_being_closed_after_a_jump(spread: World) -> None:
    """Its end has surely come by what its coordinator knows, and not by what that hears as it closes it."""
    steady = FakeClock()
    spread.sure_clock = SureClock(spread.clock, steady)
    await spread.restart()
    made = await spread.session(wanting(ALICE, SECOND), wanting(BOB, FIRST), ttl_seconds=60)
    passes(spread, steady, 50)
    await direct(spread, 1, ALICE, SECOND)
    passes(spread, steady, 20)
    spread.clock.move(300)

    meanwhile = await direct(spread, 0, BOB, FIRST)
    kept = await status(spread, made)
    spread.clock.move(-300)

    assert (meanwhile, kept) == (Outcome.REFUSED, SessionStatus.IN_PROGRESS)
    assert await direct(spread, 0, BOB, FIRST) is Outcome.ROUTED
