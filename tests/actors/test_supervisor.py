"""The supervisor over a fleet that is told how to behave."""

import asyncio

import pytest

from actors.supervisor import Order, Supervisor
from actors.watch import (
    Beat,
    ClusterRecord,
    HostReport,
    HostState,
    Member,
    Node,
    Patience,
    Placed,
    Sign,
    empty_record,
)

pytestmark = pytest.mark.anyio


class FakeFleet:
    """Hosts that answer what they are told to."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.answers: dict[int, HostReport | Sign] = {}
        self.beats: list[Beat] = []
        self.done: list[tuple[object, ...]] = []
        self.searches = 0

    async def node_names(self) -> frozenset[str]:
        """Name the nodes."""
        return frozenset(node.name for node in self.nodes)

    async def search(self) -> tuple[Node, ...]:
        """Return the nodes."""
        self.searches += 1
        return self.nodes

    async def launch(self, place: int, node: str) -> None:
        """Start a host, which is ready at once."""
        self.done.append(("launch", place, node))
        self.answers[place] = report(place, node)

    async def beat(self, place: int, beat: Beat) -> HostReport | Sign:
        """Answer as told; a host that was never launched is gone."""
        self.beats.append(beat)
        return self.answers.get(place, Sign.GONE)

    async def order(self, place: int, order: Order, *, timeout_seconds: float) -> bool:
        """Note it."""
        self.done.append((order.verb, place))
        return True

    async def kill(self, place: int, *, for_good: bool) -> None:
        """Note it."""
        self.done.append(("kill", place, for_good))


def report(place: int, node: str, state: HostState = HostState.READY) -> HostReport:
    return HostReport(
        place=place, state=state, pid=100 + place, node=node, node_address=node, feed=f"{node}:{9000 + place}"
    )


class Desk:
    """A supervisor with a clock that is set by hand, and what it saved."""

    def __init__(self, fleet: FakeFleet, record: ClusterRecord | None = None, *, hosts: int = 2) -> None:
        self.now = 0.0
        self.saved: list[ClusterRecord] = []
        self.supervisor = Supervisor(
            fleet,
            record=record or empty_record(hosts),
            patience=Patience(silence_seconds=5.0, start_seconds=60.0),
            clock=lambda: self.now,
            save=self.save,
        )

    def save(self, record: ClusterRecord, members: tuple[Member, ...]) -> None:
        """Keep the record."""
        self.saved.append(record)

    def states(self) -> list[HostState]:
        """Tell how the hosts fare."""
        return [member.state for member in self.supervisor.membership().members]

    async def ticks(self, *times: float) -> None:
        """Let the supervisor look at these times."""
        for self.now in times:
            await self.supervisor.tick()


def nodes(*names: str) -> tuple[Node, ...]:
    return tuple(Node(name, name, frozenset()) for name in names)


async def test_new_hosts_are_spread_over_the_nodes() -> None:
    """Each is launched once, noted before, and in the directory when it has answered."""
    fleet = FakeFleet(*nodes("a", "b"))
    desk = Desk(fleet)

    await desk.ticks(0.0, 0.5, 1.0)

    assert fleet.done == [("launch", 0, "a"), ("launch", 1, "b")]
    assert desk.states() == [HostState.READY, HostState.READY]
    assert desk.saved[0].placed == {0: Placed("a", has_files=False)}
    assert desk.saved[-1].placed == {0: Placed("a", has_files=True), 1: Placed("b", has_files=True)}
    assert desk.saved[-1].directory.epoch == desk.supervisor.membership().epoch == 1
    assert fleet.beats[-1].directory.hosts[1].feed == "b:9001"


async def test_a_supervisor_that_starts_anew_takes_running_hosts_as_they_are() -> None:
    """It launches nothing, tells nobody that a host is down, and keeps the epoch."""
    fleet = FakeFleet(*nodes("a"))
    first = Desk(fleet)
    await first.ticks(0.0, 0.5)
    fleet.done.clear()
    fleet.beats.clear()

    second = Desk(fleet, first.saved[-1])
    await second.ticks(100.0)

    assert fleet.done == []
    assert fleet.beats[0].down == ()
    assert second.states() == [HostState.READY, HostState.READY]
    assert second.supervisor.membership().epoch == first.supervisor.membership().epoch


async def test_a_hung_host_is_killed_once_and_others_hear_that_it_is_down() -> None:
    """At the first missed beat it counts as down, past the patience it is killed."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 1.0)
    fleet.done.clear()
    fleet.answers[1] = Sign.SILENT

    await desk.ticks(2.0, 3.0)
    heard_down = fleet.beats[-1].down
    await desk.ticks(6.0, 7.0)

    assert heard_down == (1,)
    assert fleet.done == [("kill", 1, False)]
    assert desk.states() == [HostState.READY, HostState.DOWN]


async def test_a_host_whose_node_is_lost_waits_for_a_node_with_its_files() -> None:
    """It is not started empty elsewhere; when its node comes back under another name, it is started there."""
    fleet = FakeFleet(*nodes("a", "b"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 1.0)
    fleet.done.clear()
    fleet.nodes, fleet.answers[1] = (Node("a", "a", frozenset({0})),), Sign.GONE

    await desk.ticks(20.0, 20.5, 21.0)
    lost = desk.supervisor.membership().members[1]
    searched = fleet.searches
    fleet.nodes = (*fleet.nodes, Node("b2", "b", frozenset({1})))
    await desk.ticks(21.5, 22.0)

    assert (lost.state, searched) == (HostState.UNPLACED, 2)
    assert "which were on b" in lost.problem
    assert fleet.done == [("launch", 1, "b2")]
    assert desk.states() == [HostState.READY, HostState.READY]


async def test_a_host_that_failed_is_left_alone_until_it_is_told() -> None:
    """It is not killed, not placed anew; `revive` has it try again."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 1.0)
    fleet.done.clear()
    fleet.answers[0] = report(0, "a", HostState.FAILED)

    await desk.ticks(2.0, 100.0, 1000.0)
    before = list(fleet.done)
    await desk.supervisor.revive()

    assert before == []
    assert fleet.done == [("start", 0)]


async def test_a_stop_stops_every_host_and_then_ends_it_for_good() -> None:
    """Nothing is placed anew meanwhile."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet)
    desk.supervisor.start()
    await asyncio.sleep(0)
    await desk.ticks(0.0, 1.0)
    fleet.done.clear()

    await desk.supervisor.stop(timeout_seconds=1.0)
    fleet.answers.clear()
    await desk.ticks(2.0)

    assert sorted(fleet.done, key=str) == [("kill", 0, True), ("kill", 1, True), ("stop", 0), ("stop", 1)]


async def test_a_record_that_cannot_be_written_is_tried_again() -> None:
    """A full disk does not stop the watch."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet)
    full = True
    save = desk.save

    def failing(record: ClusterRecord, members: tuple[Member, ...]) -> None:
        if full:
            raise OSError(28, "No space left on device")
        save(record, members)

    desk.supervisor = Supervisor(
        fleet, record=empty_record(2), patience=Patience(5.0, 60.0), clock=lambda: desk.now, save=failing
    )

    await desk.ticks(0.0, 1.0)
    unsaved = list(desk.saved)
    full = False
    await desk.ticks(2.0)

    assert unsaved == []
    assert desk.saved[-1].directory.epoch == 1
