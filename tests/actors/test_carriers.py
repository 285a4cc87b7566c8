"""Reports of a carrier that carries some numbers only: calls and messages of others are unknown to it."""

import asyncio

import pytest

from engine.core.model.records import Interaction, Kind, LegStatus
from engine.core.routing.traffic import Decision, LegReport, ReportOutcome
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import ALICE, BOB, N1, N2, World, wanting

pytestmark = pytest.mark.anyio

OUTBOUND_SID = "CA" + "e" * 32


async def paired(world: World) -> None:
    """Let Alice reach Bob at N1, and Bob Alice at N2."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))


async def routed(world: World, sender: str, proxy: str, kind: Kind = Kind.VOICE) -> Decision:
    return await world.receive(world.event(kind, sender, proxy, resource_sid="1001"))


async def report(
    world: World,
    *numbers: str,
    kind: Kind = Kind.VOICE,
    interaction_sid: str | None = None,
    is_outbound: bool = False,
    proxy: str | None = None,
) -> ReportOutcome | None:
    """Report the end of a leg as a carrier of the operator's that carries these numbers."""
    told = LegReport(
        kind=kind,
        account_sid=None,
        interaction_sid=interaction_sid,
        is_outbound=is_outbound,
        resource_sid=OUTBOUND_SID if is_outbound else "1001",
        status=LegStatus.FAILED,
        proxy=proxy,
        numbers=numbers,
    )
    return await asyncio.wait_for(world.tell(told), WAIT_SECONDS)


def interaction(world: World, decision: Decision) -> Interaction:
    found = world.store.interaction(decision.interaction_sid)
    assert found is not None
    return found


@pytest.mark.parametrize("is_outbound", [False, True])
@pytest.mark.parametrize("proxy", [None, N1, N2])
async def test_a_call_to_a_number_of_another_carrier_is_not_found(
    world: World, *, is_outbound: bool, proxy: str | None
) -> None:
    """Though its interaction is named, and whatever number the report pretends."""
    await paired(world)
    decision = await routed(world, ALICE, N1)
    before = interaction(world, decision)

    by_ours = await report(world, N2, interaction_sid=decision.interaction_sid, is_outbound=is_outbound, proxy=proxy)
    by_platform = await report(world, N2, is_outbound=is_outbound, proxy=proxy)

    assert (by_ours, by_platform) == (ReportOutcome.NOT_FOUND, ReportOutcome.NOT_FOUND)
    assert interaction(world, decision) == before
    assert world.host.open_calls == 1
    assert world.observer.codes() == []


@pytest.mark.parametrize("numbers", [(N1,), (N2, N1[:5]), ()])
@pytest.mark.parametrize("way", ["interaction", "number", "sid"])
async def test_a_call_to_a_number_of_the_carriers_own_is_found(
    world: World, way: str, numbers: tuple[str, ...]
) -> None:
    """By our SID, by the number, or by the platform's SID alone; a carrier of all numbers finds all."""
    await paired(world)
    decision = await routed(world, ALICE, N1)

    outcome = await report(
        world,
        *numbers,
        interaction_sid=decision.interaction_sid if way == "interaction" else None,
        proxy=N1 if way == "number" else None,
    )

    assert outcome is ReportOutcome.RECORDED
    assert interaction(world, decision).inbound.status is LegStatus.FAILED


async def test_of_calls_that_share_a_sid_a_carrier_knows_its_own(world: World) -> None:
    """Two carriers count alike: to each of them the SID alone is clear, to one of both it is not."""
    await paired(world)
    first = await routed(world, ALICE, N1)
    second = await routed(world, BOB, N2)

    of_both = await report(world, N1, N2)
    of_second = await report(world, N2)
    again = await report(world, N2)

    assert (of_both, of_second, again) == (ReportOutcome.AMBIGUOUS, ReportOutcome.RECORDED, ReportOutcome.REPEATED)
    assert interaction(world, first).inbound.status is not LegStatus.FAILED
    assert interaction(world, second).inbound.status is LegStatus.FAILED


async def test_a_message_may_leave_by_another_carrier_than_it_came_by(world: World) -> None:
    """Who sends it has its interaction from us; the leg that came in is not its affair."""
    await paired(world)
    decision = await routed(world, ALICE, N1, Kind.MESSAGE)
    ours = decision.interaction_sid

    inbound = await report(world, N2, kind=Kind.MESSAGE, interaction_sid=ours)
    unnamed = await report(world, N2, kind=Kind.MESSAGE, proxy=N1)
    outbound = await report(world, N2, kind=Kind.MESSAGE, interaction_sid=ours, is_outbound=True)

    assert (inbound, unnamed, outbound) == (ReportOutcome.NOT_FOUND, ReportOutcome.NOT_FOUND, ReportOutcome.RECORDED)
    kept = interaction(world, decision)
    assert (kept.inbound.status, kept.outbound.status) == (LegStatus.RECEIVED, LegStatus.FAILED)
