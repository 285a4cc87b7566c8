"""The supervisor of a node over rows that are kept in memory and a fleet that is told how to behave."""

import asyncio
from itertools import count

import msgspec
import pytest

from actors.cluster.watch import Member, Sign
from engine.core.model.errors import StoreUnavailable
from engine.core.model.hosts import HostState
from engine.core.ports.membership import (
    HostTold,
    NodeNameTaken,
    PlaceState,
    Tenure,
)
from tests.actors.node_desk import LEASE_SECONDS, ME, OTHER, SECRET, Desk, FakeLedger, assignment, place, serving
from tests.actors.test_supervisor import FakeFleet, logged, nodes

pytestmark = pytest.mark.anyio

SECONDS = 10.0
"""Bound on every wait."""


async def test_what_is_assigned_to_this_node_is_launched_once_and_told_to_the_others() -> None:
    """Whatever another node carries is not."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME), place(1, OTHER, told=serving(1)))
    desk = Desk(fleet, ledger)

    await desk.ticks(0.0, 0.5, 1.0)

    assert fleet.done == [("launch", 0, "ray")]
    assert [member.state for member in desk.members()] == [HostState.READY, HostState.READY]
    assert [member.node for member in desk.members()] == [ME, OTHER]
    assert ledger.told[-1].keys() == {0}
    assert ledger.places[0].told == HostTold(state=HostState.READY, pid=100, feed="ray:9000")


async def test_a_place_that_was_given_back_is_carried_at_once_and_another_after_the_lease() -> None:
    """Its owner may answer until then."""
    fleet = FakeFleet(*nodes("ray"))
    ledger = FakeLedger(place(0, ME), place(1, ME, PlaceState.TAKEN), place(2, ME, PlaceState.HELD))
    desk = Desk(fleet, ledger)

    await desk.ticks(10.0)

    assert fleet.tenures == {0: Tenure(), 1: Tenure(0, 1_014.0), 2: Tenure(0, 1_014.0)}


async def test_the_lease_of_a_lost_owner_counts_from_when_its_last_renewal_was_read() -> None:
    """It was silent for all of that time, so it cannot have renewed it since."""
    fleet = FakeFleet(*nodes("ray"))
    ledger = FakeLedger(*(place(number, OTHER, PlaceState.HELD, epoch=5, attached=1) for number in range(3)))
    desk = Desk(fleet, ledger)

    await desk.ticks(10.0, 10.5)
    taken = {"node": ME, "state": PlaceState.TAKEN, "epoch": 6, "told": None}
    ledger.change(0, **taken)
    ledger.change(1, **taken, group_no=1)
    ledger.change(2, **taken, attached=2)
    await desk.ticks(13.5)

    assert fleet.tenures == {0: Tenure(6, 1_014.0), 1: Tenure(6, 1_017.5), 2: Tenure(6, 1_017.5)}


async def test_what_was_read_before_the_database_was_away_says_nothing_of_a_lease() -> None:
    """Its owner may have renewed it where nobody reads any more, if no standby had to confirm that."""
    fleet = FakeFleet(*nodes("ray"))
    ledger = FakeLedger(place(0, OTHER, PlaceState.HELD, epoch=5))
    desk = Desk(fleet, ledger)

    await desk.ticks(10.0)
    ledger.problem = StoreUnavailable("no answer")
    await desk.ticks(10.5)
    ledger.problem, ledger.has_missed = None, True
    ledger.change(0, node=ME, state=PlaceState.TAKEN, epoch=6)
    await desk.ticks(16.0)

    assert fleet.tenures == {0: Tenure(6, 1_020.0)}


async def test_the_lease_of_an_owner_that_was_not_watched_counts_from_when_its_row_was_read_as_taken() -> None:
    """It was fenced before that, however long a launch takes; of one that is still held it counts from the launch."""
    fleet = FakeFleet(*nodes("ray"))
    desk = Desk(fleet, FakeLedger(place(0, ME, PlaceState.TAKEN, epoch=5), place(1, ME, PlaceState.HELD)))

    desk.now = 10.0
    await desk.supervisor.follow()
    desk.now = 12.0
    await desk.supervisor.follow()
    await desk.supervisor.attend()

    assert fleet.tenures == {0: Tenure(5, 1_014.0), 1: Tenure(0, 1_016.0)}


async def test_what_is_waited_for_is_not_kept_until_the_next_beat() -> None:
    """A place that was assigned is launched at once, and what its host tells is told to the others."""
    ledger = FakeLedger(place(0))
    desk = Desk(FakeFleet(*nodes("ray")), ledger, decisions=(assignment(0, ME),), beat_seconds=3_600.0)

    desk.supervisor.start()
    async with asyncio.timeout(SECONDS):
        while ledger.places[0].told is None or ledger.places[0].told.state is not HostState.READY:  # noqa: ASYNC110 - rows
            await asyncio.sleep(0.01)
    await desk.supervisor.stop(timeout_seconds=1.0)

    assert ("assign", 0, ME, PlaceState.FREE) in ledger.done


async def test_hosts_hear_where_all_are_and_what_they_have_in_common() -> None:
    """The epoch of their directory is the version of the rows; those that do not serve will not answer."""
    fleet = FakeFleet(*nodes("ray"))
    ledger = FakeLedger(
        place(0, ME), place(1, OTHER, told=serving(1)), place(2, OTHER, told=HostTold(state=HostState.STARTING))
    )
    desk = Desk(fleet, ledger)

    await desk.ticks(0.0, 0.5, 1.0)
    beat = fleet.beats[-1]

    assert beat.secret == SECRET
    assert beat.directory.epoch == ledger.version - 1, "what was told behind the read comes with the next"
    assert (beat.directory.hosts[1].feed, beat.directory.hosts[1].peers) == ("b:901", "b:701")
    assert beat.directory.hosts[1].certificate == "ab"
    assert beat.down == (2,)


async def test_a_host_that_is_assigned_elsewhere_is_ended_for_good() -> None:
    """It was launched here before."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)
    fleet.done.clear()

    ledger.change(0, node=OTHER, epoch=5, state=PlaceState.TAKEN, told=serving(0))
    await desk.ticks(1.0)
    await desk.ticks(1.5, 2.0)

    assert fleet.done == [("kill", 0, True)]
    assert desk.members()[0].node == OTHER


async def test_a_host_that_comes_back_while_its_old_process_is_ended_is_launched_anew() -> None:
    """The old one knows nothing of the other node's lease."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)
    fleet.done.clear()

    ledger.change(0, node=OTHER, state=PlaceState.TAKEN, epoch=2, attached=1)
    desk.now = 1.0
    await desk.supervisor.follow()
    ledger.change(0, node=ME, state=PlaceState.TAKEN, epoch=3)
    await desk.supervisor.follow()
    await desk.supervisor.attend()
    ended = list(fleet.done)
    await desk.ticks(1.5, 2.0)

    assert ended == [("kill", 0, True)]
    assert fleet.done == [("kill", 0, True), ("launch", 0, "ray")]
    assert fleet.tenures[0].not_before > 1_000.0 + LEASE_SECONDS


async def test_a_new_supervisor_takes_running_hosts_as_they_are() -> None:
    """It launches none, and does not tell the others that they are not known."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME), place(1, ME))
    await Desk(fleet, ledger).ticks(0.0, 0.5)
    fleet.done.clear()
    ledger.told.clear()

    await Desk(fleet, ledger).ticks(100.0, 100.5)

    assert fleet.done == []
    assert ledger.told[0] == {}
    assert ledger.told[1].keys() == {0, 1}


async def test_decisions_are_carried_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """By a conditional update; whoever loses does nothing."""
    ledger = FakeLedger(place(0), place(1, OTHER, epoch=7))
    decisions = (
        assignment(0, ME),
        assignment(1, ME, epoch=6),
    )
    fleet = FakeFleet(*nodes("ray"))
    desk = Desk(fleet, ledger, decisions=decisions)

    await desk.ticks(0.0, 0.5)

    assert ledger.done == [("assign", 0, ME, PlaceState.FREE)]
    assert fleet.done == [("launch", 0, "ray")]
    assert len(logged(caplog, "host-0 goes to a")) == 1


async def test_hosts_hear_what_their_supervisor_took_and_when_it_has_read_the_rows() -> None:
    """For their metrics: it has none itself. A place that was free is no loss."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME), place(1, OTHER), place(2))
    lost = msgspec.structs.replace(assignment(1, ME), state=PlaceState.TAKEN)
    desk = Desk(fleet, ledger, decisions=(lost, assignment(2, ME)))

    await desk.ticks(0.0, 0.5)
    before = fleet.beats[-1]
    ledger.problem = StoreUnavailable("no answer")
    await desk.ticks(7.5)

    assert (before.takeovers, before.rows_age_seconds) == (1, 0.0)
    assert (fleet.beats[-1].takeovers, fleet.beats[-1].rows_age_seconds) == (1, 7.0)


async def test_without_the_database_hosts_are_cared_for_and_nothing_is_decided(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hung one is killed; the directory stays; it is said once, and that it is over."""
    fleet = FakeFleet(*nodes("ray"))
    ledger = FakeLedger(place(0, ME), place(1, OTHER, told=serving(1)))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5, 1.0)
    fleet.done.clear()
    directory = fleet.beats[-1].directory

    ledger.problem, fleet.answers[0] = StoreUnavailable("no answer"), Sign.SILENT
    desk.decisions = [assignment(1, ME)]
    await desk.ticks(2.0, 7.0)
    told = desk.supervisor.membership()
    ledger.problem = None
    await desk.supervisor.follow()

    assert fleet.done == [("kill", 0, False)]
    assert fleet.beats[-1].directory == directory
    assert fleet.beats[-1].down == (0,), "the other node is not taken for silent"
    assert "no answer" in told.problem
    assert desk.supervisor.membership().problem == ""
    assert len(logged(caplog, "database")) == 2


async def test_a_node_that_may_not_take_part_says_so_and_launches_nothing() -> None:
    """Its operator has to change something."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    ledger.problem = NodeNameTaken("another machine is node a")
    desk = Desk(fleet, ledger)

    await desk.ticks(0.0, 0.5)
    told = desk.supervisor.membership()

    assert (told.is_refused, told.problem) == (True, "another machine is node a")
    assert fleet.done == []


async def test_hosts_of_a_silent_node_are_unreachable() -> None:
    """Their addresses are kept, and that they will not answer is told."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME), place(1, OTHER, told=serving(1)))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 3.0)
    before = desk.members()[1].state

    await desk.ticks(3.5)
    member = desk.members()[1]

    assert before is HostState.READY
    assert (member.state, member.problem) == (
        HostState.UNREACHABLE,
        "node b has shown no life for 4 seconds",
    )
    assert 1 in fleet.beats[-1].down


async def test_a_drained_host_stops_in_order_is_given_back_and_not_launched_again() -> None:
    """Undrained, it is for whoever it is assigned to."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)
    fleet.done.clear()

    draining = asyncio.create_task(desk.supervisor.order(0, "drain", timeout_seconds=SECONDS))
    await settled(desk, lambda: desk.members()[0].state is HostState.DRAINED)
    was_drained = await draining
    was_undrained = await desk.supervisor.order(0, "undrain", timeout_seconds=SECONDS)

    assert (was_drained, was_undrained) == (True, True)
    assert fleet.done == [("stop", 0), ("kill", 0, True)]
    assert ledger.done == [("give back", 0)]
    assert not ledger.places[0].is_drained


async def test_a_host_of_another_node_is_drained_by_that_one() -> None:
    """The rows carry the wish; the order is done when nobody carries it."""
    ledger = FakeLedger(place(0, OTHER, told=serving(0)))
    desk = Desk(FakeFleet(*nodes("ray")), ledger)
    await desk.ticks(0.0)

    draining = asyncio.create_task(desk.supervisor.order(0, "drain", timeout_seconds=SECONDS))
    await settled(desk, lambda: ledger.places[0].is_drained)
    is_early = draining.done()
    ledger.change(0, node=None)
    await settled(desk, draining.done)

    assert not is_early
    assert draining.result()


async def test_a_host_is_moved_when_it_has_stopped_in_order() -> None:
    """The other node need not wait for a lease."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)
    fleet.done.clear()

    moving = asyncio.create_task(desk.supervisor.move(0, OTHER, timeout_seconds=SECONDS))
    await settled(desk, moving.done)

    assert moving.result()
    assert fleet.done == [("stop", 0), ("kill", 0, True)]
    assert ledger.done == [("give back", 0)]
    assert ledger.places[0] == place(0, OTHER, epoch=1)


async def test_a_move_that_takes_too_long_leaves_the_host_where_it_is() -> None:
    """Its node has not given it back, and need not any more."""
    ledger = FakeLedger(place(0, OTHER, told=serving(0)))
    desk = Desk(FakeFleet(*nodes("ray")), ledger)
    await desk.ticks(0.0)

    was_moved = await desk.supervisor.move(0, ME, timeout_seconds=0.05)

    assert not was_moved
    assert ledger.places[0] == place(0, OTHER, told=serving(0))


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_move_in_whose_middle_the_database_goes_away_takes_no_host_out(
    is_begun: bool,  # noqa: FBT001 - a column
) -> None:
    """Whether it was noted or not: the host serves on, and moves when the database is back if that was noted."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)

    ledger.problem = None if is_begun else StoreUnavailable("no answer")
    moving = asyncio.create_task(desk.supervisor.move(0, OTHER, timeout_seconds=0.05))
    while ledger.places[0].moves_to is None and not moving.done():  # noqa: ASYNC110 - rows
        await asyncio.sleep(0)
    ledger.problem = StoreUnavailable("no answer")
    was_moved = await moving
    during = ledger.places[0]
    ledger.problem = None
    await settled(desk, lambda: not is_begun or ledger.places[0].node == OTHER)

    assert not was_moved
    assert (during.node, during.is_drained) == (ME, False)
    assert ledger.places[0].node == (OTHER if is_begun else ME)
    assert not ledger.places[0].is_drained


async def test_a_drained_host_is_not_moved() -> None:
    """Nobody is to carry it."""
    ledger = FakeLedger(place(0, is_drained=True), place(1, OTHER, is_drained=True))
    desk = Desk(FakeFleet(*nodes("ray")), ledger)
    await desk.ticks(0.0)

    moved = [await desk.supervisor.move(number, ME, timeout_seconds=SECONDS) for number in (0, 1)]

    assert moved == [False, False]


async def test_a_host_is_not_moved_to_a_node_that_shows_no_life() -> None:
    """It would stand still until it is taken back."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)
    fleet.done.clear()

    was_moved = await desk.supervisor.move(0, "lost", timeout_seconds=SECONDS)

    assert not was_moved
    assert fleet.done == ledger.done == []
    assert desk.supervisor.membership().nodes == (ME, OTHER)


async def test_a_stop_stops_every_host_here_and_leaves() -> None:
    """Hosts of other nodes are theirs; meanwhile the node shows that it lives."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME), place(1, OTHER, told=serving(1)), place(2, ME))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)
    fleet.done.clear()
    desk.decisions = [assignment(1, ME)]

    await desk.supervisor.stop(timeout_seconds=1.0)
    fleet.answers.clear()
    await desk.ticks(2.0)

    assert sorted(fleet.done, key=str) == [("kill", 0, True), ("kill", 2, True), ("stop", 0), ("stop", 2)]
    assert ledger.done == [("leave",)]


async def test_monitoring_hears_of_the_hosts_of_all_nodes_when_one_changes() -> None:
    """And not with every beat."""
    told = HostTold(state=HostState.READY, operations="http://b:91")
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME), place(1, OTHER, told=told))
    desk = Desk(fleet, ledger)

    await desk.ticks(0.0, 0.5, 1.0, 1.5)
    before = len(desk.saved)
    ledger.change(1, told=msgspec.structs.replace(told, operations="http://b:92"))
    await desk.ticks(2.0)

    assert before <= 2
    assert desk.saved[-1][1].operations == "http://b:92"
    last = desk.saved[-1][1].report
    assert last is not None
    assert last.node_address == "10.0.0.b"


async def settled(desk: Desk, holds: object) -> None:
    """Let the supervisor look, and others work between, until something holds."""
    assert callable(holds)
    times = count(1)
    async with asyncio.timeout(SECONDS):
        while not holds():
            await desk.ticks(desk.now + 0.5 * (next(times) > 0))
            await asyncio.sleep(0)


async def test_a_failed_host_of_any_node_is_started_anew_there() -> None:
    """By the order to take it in: its node gives it back for itself."""
    fleet = FakeFleet(*nodes("ray"))
    failed = HostTold(state=HostState.FAILED)
    ledger = FakeLedger(place(0, OTHER, told=failed), place(1, ME, told=failed))
    desk = Desk(fleet, ledger)
    await desk.ticks(0.0, 0.5)
    ledger.change(1, told=failed)
    await desk.supervisor.follow()
    fleet.done.clear()

    ordered = [await desk.supervisor.order(number, "undrain", timeout_seconds=SECONDS) for number in (0, 1)]
    await settled(desk, lambda: ("launch", 1, "ray") in fleet.done)

    assert ordered == [True, True]
    assert ledger.places[0].moves_to == OTHER
    assert fleet.done == [("stop", 1), ("kill", 1, True), ("launch", 1, "ray")]
    assert (ledger.places[1].node, ledger.places[1].epoch) == (ME, 1)


async def test_what_one_loop_cannot_do_is_told_until_it_can() -> None:
    """Whatever the other one does meanwhile."""
    fleet, ledger = FakeFleet(*nodes("ray")), FakeLedger(place(0, ME))
    desk = Desk(fleet, ledger, beat_seconds=0.1)
    supervisor, broken = desk.supervisor, True

    def save(_: tuple[Member, ...]) -> None:
        if broken:
            raise RuntimeError("no list of targets")

    supervisor._save = save
    supervisor.start()
    async with asyncio.timeout(SECONDS):
        while "RuntimeError" not in supervisor.membership().problem:  # noqa: ASYNC110 - told, no event
            await asyncio.sleep(0.01)
        beats = len(ledger.told)
        while len(ledger.told) < beats + 3:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
        told = supervisor.membership().problem
        broken = False
        while supervisor.membership().problem:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
    await supervisor.stop(timeout_seconds=1.0)

    assert "RuntimeError" in told
