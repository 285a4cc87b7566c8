"""The supervisor over a fleet that is told how to behave."""

import asyncio
import logging
from collections.abc import Callable

import msgspec
import pytest

from actors.cluster.fleet import Order
from actors.cluster.processor import Waits
from actors.cluster.supervisor import Supervisor
from actors.cluster.watch import (
    STARVED,
    Beat,
    ClusterRecord,
    HostReport,
    Member,
    Node,
    Patience,
    Placed,
    Sign,
    empty_record,
)
from engine.core.model.hosts import HostState
from engine.core.ports.membership import AT_ONCE, Tenure

pytestmark = pytest.mark.anyio


class FakeFleet:
    """Hosts that answer what they are told to."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.answers: dict[int, HostReport | Sign] = {}
        self.beats: list[Beat] = []
        self.done: list[tuple[object, ...]] = []
        self.searches = 0
        self.can_kill = True
        self.wall: Callable[[], float] = lambda: 0.0
        self.ahead: dict[int, float] = {}
        """How far clocks of hosts are ahead, seconds."""
        self.tenures: dict[int, Tenure] = {}
        """When hosts that were launched may answer at the earliest."""
        self.waited: dict[int, Waits] = {}
        """How long threads of hosts have waited for a processor."""

    async def node_names(self) -> frozenset[str]:
        """Name the nodes."""
        return frozenset(node.name for node in self.nodes)

    async def search(self) -> tuple[Node, ...]:
        """Return the nodes."""
        self.searches += 1
        return self.nodes

    def here(self) -> str:
        """Name the first node."""
        return self.nodes[0].name

    async def launch(self, place: int, node: str, *, tenure: Tenure = AT_ONCE) -> None:
        """Start a host, which is ready at once."""
        self.tenures[place] = tenure
        self.done.append(("launch", place, node))
        self.answers[place] = report(place, node)

    async def beat(self, place: int, beat: Beat) -> HostReport | Sign:
        """Answer as told; a host that was never launched is gone."""
        self.beats.append(beat)
        answer = self.answers.get(place, Sign.GONE)
        if isinstance(answer, Sign):
            return answer
        return msgspec.structs.replace(answer, clock=self.wall() + self.ahead.get(place, 0.0))

    async def order(self, place: int, order: Order, *, timeout_seconds: float) -> bool:
        """Note it."""
        self.done.append((order.verb, place))
        return True

    def waits(self, place: int) -> Waits:
        """Tell it."""
        return self.waited.get(place, {})

    async def kill(self, place: int, *, for_good: bool) -> bool:
        """Note it."""
        self.done.append(("kill", place, for_good))
        if for_good:
            self.answers.pop(place, None)
        return self.can_kill


def logged(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    """Return the warnings that name a host."""
    said = (one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING)
    return [line for line in said if name in line]


def report(place: int, node: str, state: HostState = HostState.READY) -> HostReport:
    return HostReport(
        place=place, state=state, pid=100 + place, node=node, node_address=node, feed=f"{node}:{9000 + place}"
    )


class Desk:
    """A supervisor with a clock that is set by hand, and what it saved."""

    def __init__(
        self,
        fleet: FakeFleet,
        record: ClusterRecord | None = None,
        *,
        hosts: int = 2,
        now: float = 0.0,
        beat_seconds: float = 0.5,
    ) -> None:
        self.now = now
        fleet.wall = self.wall
        self.saved: list[ClusterRecord] = []
        self.supervisor = Supervisor(
            fleet,
            record=record or empty_record(hosts),
            patience=Patience(silence_seconds=5.0, start_seconds=60.0),
            clock=lambda: self.now,
            wall=self.wall,
            save=self.save,
            beat_seconds=beat_seconds,
        )

    def wall(self) -> float:
        """Tell the time of the day."""
        return 1_800_000_000.0 + self.now

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


async def test_where_hosts_are_is_told_at_once() -> None:
    """Not with the next beat, which is an hour away: they wait for it."""
    fleet = FakeFleet(*nodes("a"))
    fleet.answers = {place: report(place, "a") for place in range(2)}
    desk = Desk(fleet, beat_seconds=3600)

    desk.supervisor.start()
    async with asyncio.timeout(30):
        while not fleet.beats or not fleet.beats[-1].directory.hosts[1].feed:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
    await desk.supervisor.stop(timeout_seconds=1)

    assert desk.supervisor.membership().epoch == 1


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


async def test_a_cluster_that_was_stopped_in_order_is_noted_as_such_until_it_starts_again() -> None:
    """It tells the end of a supervisor from the loss of its node."""
    desk = Desk(FakeFleet(*nodes("a")))
    await desk.ticks(0.0, 1.0)
    running = desk.saved[-1]

    await desk.supervisor.stop(timeout_seconds=1.0)
    stopped = desk.saved[-1]
    again = Desk(FakeFleet(*nodes("a")), stopped)
    await again.ticks(2.0)

    assert [one.is_stopped for one in (running, stopped, again.saved[-1])] == [False, True, False]


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
        fleet,
        record=empty_record(2),
        patience=Patience(5.0, 60.0),
        clock=lambda: desk.now,
        wall=lambda: desk.now,
        save=failing,
    )

    await desk.ticks(0.0, 1.0)
    unsaved = list(desk.saved)
    full = False
    await desk.ticks(2.0)

    assert unsaved == []
    assert desk.saved[-1].directory.epoch == 1


async def test_a_host_without_a_node_is_logged_once_with_its_own_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Not with what was wrong with it before, such as that it was killed."""
    fleet = FakeFleet(*nodes("a", "b"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 1.0)
    fleet.answers[1] = Sign.SILENT
    await desk.ticks(7.0)
    fleet.nodes, fleet.answers[1] = (Node("a", "a", frozenset({0})),), Sign.GONE
    caplog.clear()

    await desk.ticks(20.0, 20.5, 31.0, 31.5)

    assert logged(caplog, "host-1") == ["host-1 is unplaced: no node that is up has its files, which were on b"]
    assert desk.supervisor.membership().members[1].problem == "no node that is up has its files, which were on b"


async def test_a_host_that_comes_back_as_another_process_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Once, with both processes, though Ray had started it anew before anybody missed it."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 1.0)
    caplog.clear()
    fleet.answers[1] = msgspec.structs.replace(report(1, "a"), pid=777, incarnation=1)

    await desk.ticks(2.0, 3.0)

    assert logged(caplog, "host-1") == ["host-1 is process 777 now: process 101 of it has ended"]


async def test_a_host_that_could_not_be_killed_is_not_said_to_be_starting() -> None:
    """It is killed again when its patience has run out anew."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 1.0)
    fleet.done.clear()
    fleet.answers[1], fleet.can_kill = Sign.SILENT, False

    await desk.ticks(6.0, 7.0)
    problem = desk.supervisor.membership().members[1].problem
    await desk.ticks(66.0)

    assert problem == "it does not answer, and Ray could not kill it"
    assert fleet.done == [("kill", 1, False)] * 2


async def test_a_new_supervisor_gives_hosts_that_it_has_not_heard_of_the_time_of_a_start() -> None:
    """However long the machine has run: the first beats may be late."""
    fleet = FakeFleet(*nodes("a"))
    fleet.answers = {0: report(0, "a"), 1: Sign.SILENT}
    desk = Desk(fleet, now=1e6)

    await desk.ticks(1e6 + 1.0, 1e6 + 59.0)
    before = list(fleet.done)
    await desk.ticks(1e6 + 61.0)

    assert before == []
    assert fleet.done == [("kill", 1, False)]


async def test_a_host_whose_node_is_cut_off_is_not_killed(caplog: pytest.LogCaptureFixture) -> None:
    """Others hear that it does not answer; joined again, it is as it was, with nothing done to it."""
    fleet = FakeFleet(*nodes("a", "b"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 1.0)
    fleet.done.clear()
    fleet.answers[1] = Sign.CUT_OFF

    await desk.ticks(2.0, 8.0, 14.0)
    cut, down = desk.supervisor.membership().members[1], fleet.beats[-1].down
    fleet.answers[1] = Sign.SILENT
    await desk.ticks(15.0, 20.0, 26.0)
    fleet.answers[1] = report(1, "b")
    await desk.ticks(27.0)

    assert (cut.state, cut.problem) == (HostState.UNREACHABLE, "nothing at b answers; it may serve on there")
    assert down == (1,)
    assert fleet.done == []
    assert desk.states() == [HostState.READY, HostState.READY]
    assert logged(caplog, "host-1") == ["host-1 is unreachable: nothing at b answers; it may serve on there"]


async def test_the_clocks_of_hosts_are_held_against_the_supervisors(caplog: pytest.LogCaptureFixture) -> None:
    """Who is off by more than a second is logged once."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet)
    await desk.ticks(0.0)
    fleet.ahead = {0: 0.25, 1: -90.0}

    await desk.ticks(1.0, 2.0)

    assert [one.clock_offset for one in desk.supervisor.membership().members] == [0.25, -90.0]
    assert logged(caplog, "clock") == ["The clock of host-1 is -90.0 seconds off this machine's"]


async def test_a_host_that_waits_for_a_processor_is_not_killed_for_its_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From when it does not answer on; the operator is told once. One that does not wait hangs, and is killed."""
    fleet = FakeFleet(*nodes("a", "b"))
    desk = Desk(fleet)
    await desk.ticks(0.0, 0.5, 1.0)
    fleet.answers = {0: Sign.SILENT, 1: Sign.SILENT}
    fleet.waited = {0: {7: 100.0, 8: 3.0}, 1: {7: 100.0}}

    await desk.ticks(1.5, 2.0)
    fleet.waited = {0: {7: 100.0, 8: 8.0, 9: 50.0}, 1: {7: 100.1}}
    await desk.ticks(7.0, 7.5)

    assert [done for done in fleet.done if done[0] == "kill"] == [("kill", 1, False)]
    assert desk.states() == [HostState.READY, HostState.DOWN]
    assert logged(caplog, "host-0") == [f"host-0: {STARVED}"]


async def test_a_host_is_not_silent_while_the_supervisor_gets_no_processor() -> None:
    """What it said meanwhile was not heard; what it does not say afterwards counts."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet, hosts=1)
    await desk.ticks(0.0, 0.5)
    fleet.answers = {0: Sign.SILENT}

    desk.supervisor.was_late(29.0)
    await desk.ticks(30.0)
    after_the_pause = desk.states()
    await desk.ticks(35.0)

    assert after_the_pause == [HostState.READY]
    assert desk.states() == [HostState.DOWN]


async def test_what_a_host_waited_before_it_was_heard_again_is_no_excuse() -> None:
    """Each silence is counted by itself."""
    fleet = FakeFleet(*nodes("a"))
    desk = Desk(fleet, hosts=1)
    await desk.ticks(0.0, 0.5)
    fleet.answers, fleet.waited = {0: Sign.SILENT}, {0: {7: 0.0}}
    await desk.ticks(1.0)
    fleet.answers, fleet.waited = {0: report(0, "a")}, {0: {7: 30.0}}
    desk.supervisor.was_late(30.0)
    await desk.ticks(31.0)
    fleet.answers = {0: Sign.SILENT}

    await desk.ticks(32.0, 36.0)

    assert desk.states() == [HostState.DOWN]
