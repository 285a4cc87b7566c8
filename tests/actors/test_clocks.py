"""Hosts whose clocks differ: they decide as if they did not, to a tenth of a second."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from actors.cluster.offset import TOLERANCE_SECONDS
from engine.core.model.errors import Code
from engine.core.model.placement import owner_of
from engine.core.model.records import ClosedReason, Session
from engine.core.routing.traffic import Outcome, Reason
from tests.actors.model import Pairing
from tests.actors.test_machine import FEWER, IS_DEEP, Machine, PermissiveMachine
from tests.actors.three_hosts import FIRST, HOSTS, SECOND, THIRD, direct, started_anew
from tests.actors.world import ALICE, BOB, CAROL, World, wanting

pytestmark = pytest.mark.anyio

MINUTES = 300.0
"""How far apart the clocks are."""

AHEAD, BEHIND = 1, 2
"""Hosts whose clocks are wrong; that of the coordinator is right, so only differences count."""


async def began(data_dir: Path, skews: Mapping[int, float]) -> World:
    """Start hosts with these clocks and a service that the first coordinates."""
    world = World(data_dir, count=HOSTS, skews=skews)
    await world.start()
    await world.furnish()
    for attempt in range(100):
        service = await world.make_service(f"rides-{attempt}")
        if owner_of(service.sid, HOSTS) == 0:
            world.service_sid = service.sid
            await world.pool(FIRST, SECOND, THIRD)
            return world
    raise AssertionError("no SID of a hundred is the first host's")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Start three hosts, one of which is ahead by minutes and one behind."""
    world = await began(tmp_path / "data", {AHEAD: MINUTES, BEHIND: -MINUTES})
    yield world
    world.mend()
    await world.stop()


async def idle_since(world: World, session: Session) -> float:
    """Tell what the ttl of a session counts from, as its coordinator has it on disk."""
    await world.settle()
    return (await world.look(session)).idle_since


# -- on the whole ------------------------------------------------------------------------------------------------------


class SkewedRules(Machine):
    """Hosts whose clocks differ by minutes, beside the model of hosts whose clocks do not."""

    skews = MappingProxyType({AHEAD: MINUTES, BEHIND: -MINUTES})

    def _reach_end(self, pairing: Pairing, length: float | None) -> None:
        """Let time pass until after the end or before it: to the moment itself, clocks are not known."""
        super()._reach_end(pairing, length or (None if length is None else 2 * TOLERANCE_SECONDS))


class SkewedPermissiveRules(SkewedRules, PermissiveMachine):
    """The same of an account that may pair the same two twice."""


@pytest.mark.timeout(0 if IS_DEEP else 300)
@pytest.mark.parametrize(("machine", "hosts"), [(SkewedPermissiveRules, 2), (SkewedRules, 3)], ids=["two", "three"])
def test_hosts_whose_clocks_differ_do_what_the_model_says(machine: type[Machine], hosts: int) -> None:
    """Whatever is asked, sent, lost and restarted in whatever order."""
    of_hosts = type(f"{machine.__name__}On{hosts}", (machine,), {"hosts": hosts})

    run_state_machine_as_test(of_hosts, settings=FEWER)


skews = st.floats(-600.0, 600.0)
steps = st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.floats(0.3, 12.0)), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ahead=skews, behind=skews, texts=steps, is_fixed=st.booleans())
async def test_an_end_comes_when_its_coordinators_clock_says_so(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    ahead: float,
    behind: float,
    texts: list[tuple[str, float]],
    is_fixed: bool,
) -> None:
    """On whichever host somebody calls or texts, whatever is wrong with its clock: within the tolerance, and once."""
    world = await began(tmp_path_factory.mktemp("hosts"), {AHEAD: ahead, BEHIND: behind})
    endpoints = {ALICE: SECOND, BOB: THIRD}
    try:
        end = world.clock.now + 10.0
        kind = {"date_expiry": end} if is_fixed else {"ttl_seconds": 10}
        session = await world.session(*(wanting(who, proxy) for who, proxy in endpoints.items()), **kind)
        for who, seconds in texts:
            world.clock.move(seconds)
            decision = await world.text(who, endpoints[who])
            if abs(world.clock.now - end) <= 2 * TOLERANCE_SECONDS:
                return
            is_over = world.clock.now > end
            assert decision.outcome is (Outcome.REFUSED if is_over else Outcome.ROUTED)
            if is_over:
                assert decision.reason is Reason.SESSION_EXPIRED
                assert not (await world.look(session)).is_active
                return
            end = end if is_fixed else world.clock.now + 10.0
            assert abs(await idle_since(world, session) - world.clock.now) <= TOLERANCE_SECONDS
    finally:
        await world.stop()


# -- one by one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [SECOND, THIRD], ids=["ahead", "behind"])
async def test_a_ttl_runs_as_long_as_it_should_on_any_clock(world: World, number: str) -> None:
    """A host that is ahead does not take it for over, one that is behind not for open."""
    session = await world.session(wanting(ALICE, number), wanting(BOB, FIRST), ttl_seconds=10)

    world.clock.move(8)
    early = await world.text(ALICE, number)
    world.clock.move(8)
    later = await world.text(ALICE, number)
    world.clock.move(10.5)
    late = await world.text(ALICE, number)

    assert (early.outcome, later.outcome) == (Outcome.ROUTED, Outcome.ROUTED)
    assert late.code is Code.SESSION_EXPIRED
    assert (await world.look(session)).closed_reason == ClosedReason.TTL


@pytest.mark.parametrize("number", [SECOND, THIRD], ids=["ahead", "behind"])
async def test_a_fixed_end_is_that_of_the_coordinators_clock(world: World, number: str) -> None:
    """And is told so to whoever explains it."""
    end = world.clock.now + 100
    session = await world.session(wanting(ALICE, number), wanting(BOB, FIRST), date_expiry=end)

    told = await world.control.explain(proxy=number, sender=ALICE)
    world.clock.move(99)
    early = await world.text(ALICE, number)
    world.clock.move(2)
    late = await world.text(ALICE, number)

    assert told.expires_at == end
    assert early.outcome is Outcome.ROUTED
    assert late.code is Code.SESSION_EXPIRED
    assert (await world.look(session)).closed_reason == ClosedReason.DATE_EXPIRY


@pytest.mark.parametrize("number", [SECOND, THIRD], ids=["ahead", "behind"])
async def test_what_passes_restarts_a_ttl_at_the_time_that_it_passed(world: World, number: str) -> None:
    """Neither minutes later, which would lengthen it, nor earlier; also as the number's host tells after a restart."""
    session = await world.session(wanting(ALICE, number), wanting(BOB, FIRST), ttl_seconds=60)
    world.clock.move(8)
    passed = world.clock.now
    await world.text(ALICE, number)
    world.clock.move(1)
    told = await idle_since(world, session)

    await started_anew(world, owner_of(number, HOSTS))

    assert told == passed
    assert await idle_since(world, session) == passed


@pytest.mark.parametrize("by", [MINUTES, -MINUTES])
@pytest.mark.parametrize("fixed", [None, 60.0], ids=["ttl", "fixed end"])
async def test_a_clock_that_is_set_under_way_ends_nothing(world: World, by: float, fixed: float | None) -> None:
    """Neither before the other host has measured it anew, nor after."""
    end = None if fixed is None else world.clock.now + fixed
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, FIRST), ttl_seconds=60, date_expiry=end)
    world.skews[AHEAD] += by
    world.clock.move(20)

    at_once = await direct(world, AHEAD, ALICE, SECOND)
    await world.settle()  # it is measured
    await world.settle()  # it is told
    world.clock.move(20)
    soon = await direct(world, AHEAD, ALICE, SECOND)
    world.clock.move(61)
    late = await world.text(ALICE, SECOND)

    assert (at_once, soon) == (Outcome.ROUTED, Outcome.ROUTED)
    assert late.code is Code.SESSION_EXPIRED
    assert not (await world.look(session)).is_active


@pytest.mark.parametrize("ttl_seconds", [60, 3600])
async def test_a_ttl_that_was_restarted_as_a_clock_was_set_is_not_lengthened(world: World, ttl_seconds: int) -> None:
    """What has passed by the new time has not passed later than now, whether its end was asked about or not."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD), ttl_seconds=ttl_seconds)
    world.skews[AHEAD] += MINUTES
    await direct(world, AHEAD, ALICE, SECOND)
    await world.settle()
    await world.settle()
    told = await idle_since(world, session)

    world.clock.move(ttl_seconds + 1)

    assert told == world.clock.now - ttl_seconds - 1
    assert (await world.text(ALICE, SECOND)).code is Code.SESSION_EXPIRED


async def test_hosts_tell_how_far_the_clocks_of_the_others_are_ahead(world: World) -> None:
    """Each as seen by its own."""
    await world.session(wanting(CAROL, SECOND), wanting(BOB, THIRD))
    await world.settle()

    assert world.hosts[0].clock_offsets() == {"host-0": 0.0, "host-1": MINUTES, "host-2": -MINUTES}
    assert world.hosts[AHEAD].clock_offsets() == {"host-0": -MINUTES, "host-1": 0.0, "host-2": -2 * MINUTES}
