"""Cached routes of a host: whatever changes, they lead where a full look finds; `test_machine.py` tries all of it."""

import pytest

from engine.core.model.records import Kind
from engine.core.model.requests import ServiceRequest
from engine.core.routing.traffic import Outcome
from tests.actors.route_cache_check import check_cached_routes
from tests.actors.world import ALICE, BOB, CAROL, N1, N2, World, wanting

pytestmark = pytest.mark.anyio

MEXICAN, AS_CARRIERS_WRITE = "+525512345678", "+5215512345678"
FOREIGN = "AC" + "f" * 32


def checked(world: World, *, account_sid: str | None = None) -> int:
    """Hold every host's cached routes against a full look; return how many questions had one."""
    senders, proxies = (ALICE, BOB, CAROL, MEXICAN, AS_CARRIERS_WRITE), (N1, N2, "+16465559999")
    return sum(check_cached_routes(host, senders, proxies, account_sid=account_sid) for host in world.hosts.values())


async def test_partners_and_strangers_have_cached_routes_once_they_were_looked_up(world: World) -> None:
    """On both numbers, calls and messages; Mexicans, who may be written otherwise, only as partners."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    asked_of_two_numbers = 2 * 2 * len((ALICE, BOB, CAROL))
    assert checked(world) == checked(world, account_sid=world.account.sid) == asked_of_two_numbers
    assert checked(world, account_sid=FOREIGN) == 0


async def test_what_the_rules_of_a_number_change_is_looked_up_again(world: World) -> None:
    """How partners in Mexico are dialled, here and back."""
    await world.session(wanting(ALICE, N1), wanting(MEXICAN, N1))
    before = checked(world)

    for is_old in (True, False):
        request = ServiceRequest(inserts_mexican_one=is_old)
        await world.control.update_service(world.account.sid, world.service_sid, request)
        checked(world)

    assert checked(world) == before


async def test_a_number_that_leaves_its_pool_takes_its_cached_routes_with_it(world: World) -> None:
    """It is unknown, and knows nobody of before when it comes back."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N1))
    before = checked(world)
    await world.close(session)

    sid = await world.number_sid(N1)
    await world.control.remove_from_pool(world.account.sid, world.service_sid, sid)
    without = checked(world)
    await world.pool(N1)

    assert without < checked(world)
    assert (await world.call(ALICE, N1)).to == ""
    await world.session(wanting(ALICE, N1), wanting(BOB, N1))
    assert checked(world) == before


async def test_a_failed_commit_does_not_lengthen_a_cached_route(world: World) -> None:
    """A call that was never acknowledged keeps no session open."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N1), ttl_seconds=60)
    world.clock.move(50)
    world.store.keep_back()
    calling = world.deliver(world.event(Kind.VOICE, ALICE, N1))
    await world.breathe()
    meanwhile = checked(world)
    world.store.let_through(failing={0})
    decision = await calling

    world.clock.move(20)

    assert decision.outcome is Outcome.NOT_READY
    assert checked(world) < meanwhile


async def test_a_limit_that_is_shortened_counts_at_once(world: World) -> None:
    """The cached routes that were kept before it was are no good."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=600)
    had = checked(world)

    await world.update(session, ttl_seconds=5)
    world.clock.move(10)

    assert checked(world) < had


async def test_a_host_that_hears_too_little_reads_none_of_whom_it_does_not_hear(world: World) -> None:
    """A full look says "not ready" of their numbers, and of its own what it did before."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    had = checked(world)
    for host in world.hosts:
        for other in world.hosts:
            if host != other:
                world.cut(host, other)

    await world.outlast_leases()

    assert (checked(world) == had) is (world.count == 1)
