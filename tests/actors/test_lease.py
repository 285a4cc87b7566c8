"""The lease of a host on its place: once another process may be that host, this one answers "not ready" alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from engine.core.model.errors import PeerUnavailable
from engine.core.model.records import Kind, LegStatus
from engine.core.routing.decide import REBUILDING, STORE_DOWN
from engine.core.routing.traffic import Decision, Outcome, Reason, ReportOutcome
from tests.actors.hooked_world import INTERCEPT, OUT_OF_SESSION, HookedWorld
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import ALICE, BOB, CAROL, N1, N2, World, wanting

pytestmark = pytest.mark.anyio

LEASE = 4.0


class LeasedWorld(HookedWorld):
    """Hosts whose places others may take."""

    lease_seconds = LEASE

    def renew_leases(self) -> None:
        """Have every host hear that its place is still its own."""
        for store in self.stores.values():
            store.lease_until = self.steady() + LEASE


@pytest.fixture
async def leased(tmp_path: Path, host_count: int, turns: Callable[[], int]) -> AsyncIterator[LeasedWorld]:
    """Start hosts with a session on them."""
    world = LeasedWorld(tmp_path / "data", count=host_count, turns=turns)
    await world.start()
    await world.furnish(N1, N2)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    yield world
    world.renew_leases()
    await world.stop()


async def everything(world: World) -> list[object]:
    """Ask a host all that a channel may ask it of its own number; return what it says."""
    owner = next(host for host in world.hosts.values() if host.parts.directory.find(N1) is not None)
    event, stranger = (
        world.event(Kind.VOICE, ALICE, N1),
        world.event(Kind.MESSAGE, CAROL, N1),
    )
    said: list[object] = [owner.traffic.resolve(event)]
    resolved = owner.traffic.resolve_all([event, stranger], account_sid=None)
    said += resolved.decisions if resolved is not None else ()
    for one in (event, stranger):
        decided: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        owner.traffic.receive(one, decided.set_result)
        said.append(await asyncio.wait_for(decided, WAIT_SECONDS))
    said.append(await world.report(LegStatus.COMPLETED, resource_sid="CA" + "f" * 32))
    return said


async def test_without_its_lease_a_host_answers_not_ready_to_whatever_is_asked(
    leased: LeasedWorld,
) -> None:
    """Questions, alone and in bulk, what it would route and what it would refuse, and reports; renewed, it goes on."""
    before = await everything(leased)
    leased.steady.move(LEASE)
    without = await everything(leased)
    has_cache = [host.traffic.route_cache() is not None for host in leased.hosts.values()]
    leased.renew_leases()
    after = await everything(leased)

    outcomes = [
        Outcome.ROUTED,
        Outcome.ROUTED,
        Outcome.REFUSED,
        Outcome.ROUTED,
        Outcome.REFUSED,
    ]
    for said in (before, after):
        assert [getattr(one, "outcome", one) for one in said] == [
            *outcomes,
            ReportOutcome.NOT_FOUND,
        ]
    assert without == [STORE_DOWN] * 5 + [None]
    assert not any(has_cache)
    assert all(host.traffic.route_cache() is not None for host in leased.hosts.values())


async def test_a_redelivery_gets_its_first_answer_only_under_a_lease(
    leased: LeasedWorld,
) -> None:
    """Of a routed call as of a refused one."""
    routed, refused = (
        leased.event(Kind.VOICE, ALICE, N1),
        leased.event(Kind.VOICE, CAROL, N1),
    )
    first = [await leased.receive(event) for event in (routed, refused)]

    leased.steady.move(LEASE)
    without = [(await leased.receive(event)).outcome for event in (routed, refused)]
    leased.renew_leases()
    again = [await leased.receive(event) for event in (routed, refused)]

    assert without == [Outcome.NOT_READY] * 2
    assert again == first


async def test_a_commit_that_outlasts_the_lease_is_told_when_it_comes_again(
    leased: LeasedWorld,
) -> None:
    """It is committed, and decided once."""
    event = leased.event(Kind.VOICE, ALICE, N1)
    leased.store.keep_back()
    waiting = leased.deliver(event)
    await leased.breathe()

    leased.steady.move(LEASE)
    leased.store.let_through()
    first = await asyncio.wait_for(waiting, WAIT_SECONDS)
    leased.renew_leases()
    again = await leased.receive(event)

    assert (first.outcome, again.outcome, again.to) == (
        Outcome.NOT_READY,
        Outcome.ROUTED,
        BOB,
    )
    assert [one.sid for one in leased.store.interactions_since(0.0)] == [again.interaction_sid]


@pytest.mark.parametrize("sender", [ALICE, CAROL])
async def test_what_a_hook_decides_is_told_under_a_lease_alone(leased: LeasedWorld, sender: str) -> None:
    """The application may take longer than the lease, with a call in session as with one out of it."""
    await leased.configure(intercept=INTERCEPT, out_of_session=OUT_OF_SESSION)
    leased.hooks.go_on.clear()
    waiting = leased.deliver(leased.event(Kind.VOICE, sender, N1))
    await asyncio.wait_for(leased.hooks.asked.wait(), WAIT_SECONDS)

    leased.steady.move(LEASE)
    leased.hooks.go_on.set()

    assert (await asyncio.wait_for(waiting, WAIT_SECONDS)).outcome is Outcome.NOT_READY


async def test_a_host_without_its_lease_is_not_ready_and_says_why(
    leased: LeasedWorld,
) -> None:
    """So do those who ask for it: REST, channels, the operator."""
    hosts = leased.hosts.values()
    leased.steady.move(LEASE)

    assert not any(host.is_ready or host.is_answering for host in hosts)
    assert all(host.is_loaded for host in hosts)
    assert {host._problem() for host in hosts} == {"its lease on its place in the database has run out"}


async def test_a_host_whose_place_is_taken_neither_asks_nor_answers_another_one(
    tmp_path: Path,
) -> None:
    """What it would say of bindings, and of sessions of its own, is its successor's to say."""
    world = LeasedWorld(tmp_path / "data", count=2)
    await world.start()
    await world.furnish(N1, N2)
    world.stores[0].lease_until = world.steady()
    gone, other = world.hosts[0].parts, world.hosts[1].parts
    assert gone.rpc is not None
    assert other.rpc is not None
    assert other.node is not None

    for source, asked in ((other.rpc, 0), (gone.rpc, 1)):
        with pytest.raises(PeerUnavailable, match="may have taken the place"):
            await source.ask(asked, type(other.local).explain, proxy=N1, sender=ALICE)
    async with asyncio.timeout(WAIT_SECONDS):
        while gone.publishers[1].is_up:  # noqa: ASYNC110 - publishers tell nobody
            await asyncio.sleep(0.01)

    world.renew_leases()
    await world.joined()
    await world.stop()


async def test_nothing_is_answered_before_a_predecessors_lease_has_run_out(tmp_path: Path, host_count: int) -> None:
    """All is loaded meanwhile, and hosts hear of each other."""
    world = LeasedWorld(tmp_path / "data", count=host_count)
    await world.start()
    await world.furnish(N1, N2)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.stop()
    world.hosts.clear()

    world.not_before = world.steady() + LEASE
    world.lease_seconds = 2 * LEASE
    starting = asyncio.create_task(world.start())
    async with asyncio.timeout(WAIT_SECONDS):
        while sum(host.bindings for host in world.hosts.values()) < 2:  # noqa: ASYNC110 - hosts tell nobody when
            await asyncio.sleep(0.01)
    owner = next(host for host in world.hosts.values() if host.parts.directory.find(N1) is not None)
    early = owner.traffic.resolve(world.event(Kind.VOICE, ALICE, N1))
    world.steady.move(LEASE)
    await asyncio.wait_for(starting, WAIT_SECONDS)

    assert early == REBUILDING == Decision(Outcome.NOT_READY, Reason.REBUILDING)
    assert (await world.call(ALICE, N1)).to == BOB
    await world.stop()
