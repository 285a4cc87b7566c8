"""What tests of three hosts ask of their world."""

import asyncio

from engine.core.model.placement import Placement, owner_of
from engine.core.model.records import Address, Kind, LegStatus, Service
from engine.core.routing.traffic import Decision, InboundEvent, Outcome, ReportOutcome
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import World

HOSTS = 3


def number_of(host: int, nth: int = 0) -> Address:
    """Return a proxy number that a host owns, with files and with a database."""
    by_shard = Placement(HOSTS, by_shard=True)
    numbers = (f"+1646555{line:04}" for line in range(10_000))
    owned = (number for number in numbers if owner_of(number, HOSTS) == host == by_shard(number))
    return next(number for place, number in enumerate(owned) if place == nth)


FIRST, SECOND, THIRD = (number_of(host) for host in range(HOSTS))
"""A proxy number of each host."""


async def coordinated_by(world: World, host: int) -> Service:
    """Give the world a service that this host coordinates, with a number of each host."""
    for _ in range(100):
        world.clock.move(0.001)
        service = await world.make_service(f"rides-{world.clock.now}")
        if world.place(service.sid) == host:
            world.service_sid = service.sid
            await world.pool(FIRST, SECOND, THIRD)
            return service
    raise AssertionError("no SID of a hundred is this host's")


async def silenced(world: World, host: int) -> None:
    """Cut a host off, and wait until nobody routes for it or hears from it."""
    for other in range(HOSTS):
        if other != host:
            world.cut(host, other)
    await world.outlast_leases()


async def outcomes(world: World, sender: Address, proxy: Address) -> set[Outcome]:
    """Let somebody text a number through each host; return what became of it."""
    decisions = [await world.text(sender, proxy) for _ in range(HOSTS)]
    return {decision.outcome for decision in decisions}


async def direct(world: World, host: int, sender: Address, proxy: Address) -> Outcome:
    """Let an event arrive at a certain host."""
    return (await arrived(world, host, world.event(Kind.MESSAGE, sender, proxy))).outcome


async def arrived(world: World, host: int, event: InboundEvent) -> Decision:
    """Let this event arrive there."""
    answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    world.hosts[host].traffic.receive(event, answer.set_result)
    return await asyncio.wait_for(answer, WAIT_SECONDS)


async def stopped(world: World, host: int) -> None:
    """Stop one host and let its directory go; the others hear nothing of it."""
    await world.hosts[host].stop()
    await world.stores[host].close()


async def started_anew(world: World, host: int) -> None:
    """Stop a host and start it, and wait until all have heard of each other."""
    await stopped(world, host)
    await world.start_host(host)
    world.renew()
    await world.joined()


async def outbound_leg_ended(world: World, decision: Decision) -> list[ReportOutcome | None]:
    """Report the states of a call's outbound leg, one after the other, each to another host."""
    return [
        await world.report(
            status, resource_sid="CA" + "9" * 32, interaction_sid=decision.interaction_sid, is_outbound=True
        )
        for status in (LegStatus.RINGING, LegStatus.IN_PROGRESS, LegStatus.COMPLETED)
    ]
