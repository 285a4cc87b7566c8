"""Several wardens over one database, while nodes die, hang, are cut off and come back, and the database goes away.

Never is a place taken from a node that lives, unless its host does not; no place is assigned twice at one epoch; each
goes to a least loaded node; and once nothing happens any more, every place that is not drained is on a node that lives.
"""

from dataclasses import dataclass, field

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from actors.cluster.warden import SILENCE_SECONDS, Assignment, Warden
from engine.core.model.hosts import HostState
from engine.core.ports.membership import ClusterRows, HostTold, NodeRow, PlaceRow, PlaceState

BEAT = 0.5
START = 20.0
NAMES = ("a", "b", "c")
PLACES = 4
SETTLED = 130
"""Beats within which all places are where they should be."""
WELL = 4.0
"""Seconds after which whoever watches knows a node that beats."""

names = st.sampled_from(NAMES)
places = st.integers(0, PLACES - 1)


@dataclass
class Machine:
    """A node, as it really is."""

    name: str
    is_running: bool = False
    is_connected: bool = True
    is_supervised: bool = True
    """Its supervisor runs; without it hosts serve on."""
    finds_at: float = 0.0
    """When it finds the database again that was away."""
    warden: Warden | None = None
    up_since: float = 0.0
    """Since when it has beaten without a pause."""
    read_since: float = 0.0
    """Since when its warden has read without a pause."""
    has_missed: bool = False
    """Its last beat failed."""
    late: list[Assignment] = field(default_factory=list)
    """Decided, not done yet."""


class Wardens(RuleBasedStateMachine):
    """The model is the database and the truth about the machines."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.is_away = False
        self.machines = {name: Machine(name) for name in NAMES}
        self.places = [PlaceRow(place=place) for place in range(PLACES)]
        self.nodes: dict[str, NodeRow] = {}
        self.moved_at: dict[int | str, float] = {}
        self.starting: dict[int, int] = {}
        self.hanging: set[int] = set()
        self.broken: set[tuple[int, str]] = set()
        self.failed: set[int] = set()
        """Places of hosts that did not start somewhere: not every node is as good as another for them."""
        self.assigned: set[tuple[int, int]] = set()

    # -- what happens

    @initialize()
    def begin(self) -> None:
        """Start all nodes and let hosts serve."""
        for name in NAMES:
            self.start(name)
        self.pass_time(30, set(), set())

    @rule(name=names)
    def start(self, name: str) -> None:
        """Start a node, or start it anew."""
        machine = self.machines[name]
        if machine.is_running or self.is_away or not machine.is_connected:
            return
        machine.is_running = machine.is_supervised = True
        machine.warden = Warden(name, start_seconds=START)
        machine.up_since = machine.read_since = self.now
        machine.has_missed = False
        self.nodes[name] = NodeRow(name, 0, "192.0.2.1")
        self.moved_at[name] = self.now

    @rule(name=names)
    def kill(self, name: str) -> None:
        """Lose a machine with all hosts on it."""
        machine = self.machines[name]
        machine.is_running = False
        machine.late.clear()

    @rule(name=names)
    def leave(self, name: str) -> None:
        """Stop a node in order: its places are free."""
        machine = self.machines[name]
        if not machine.is_running or not machine.is_connected or self.is_away:
            return
        self.kill(name)
        for row in self.places:
            if row.node == name:
                self._change(row.place, node=None, told=None, state=PlaceState.FREE)
        del self.nodes[name]

    @rule(name=names, is_connected=st.booleans())
    def connect(self, name: str, is_connected: bool) -> None:  # noqa: FBT001
        """Cut a node off from the database, or let it in again."""
        self.machines[name].is_connected = is_connected

    @rule(name=names, is_supervised=st.booleans())
    def supervise(self, name: str, is_supervised: bool) -> None:  # noqa: FBT001
        """Lose the supervisor of a node without its hosts, or have another one."""
        self.machines[name].is_supervised = is_supervised

    @rule(seconds=st.integers(1, 30), finding=st.lists(st.floats(0, 1), min_size=len(NAMES), max_size=len(NAMES)))
    def lose_database(self, seconds: int, finding: list[float]) -> None:
        """Have nobody reach the database for a while; then each finds it again some time later.

        That is the sooner the longer it was away, since they have given up their connections by then.
        """
        longest = max(4.0, 9.0 - seconds)
        self.is_away = True
        self.pass_time(int(seconds / BEAT), set(), set())
        self.is_away = False
        for machine, later in zip(self.machines.values(), finding, strict=True):
            machine.finds_at = self.now + later * longest

    @rule(place=places, hangs=st.booleans())
    def hang(self, place: int, hangs: bool) -> None:  # noqa: FBT001
        """Stop a host without its node, or let it go on."""
        (self.hanging.add if hangs else self.hanging.discard)(place)

    @rule(place=places, name=names, is_broken=st.booleans())
    def break_start(self, place: int, name: str, is_broken: bool) -> None:  # noqa: FBT001
        """Have a host not start on a node."""
        (self.broken.add if is_broken else self.broken.discard)((place, name))

    @rule(place=places, is_drained=st.booleans())
    def drain(self, place: int, is_drained: bool) -> None:  # noqa: FBT001
        """Take a place out, or in."""
        self._change(place, is_drained=is_drained)

    @rule(beats=st.integers(1, 50), blind=st.sets(names, max_size=2), late=st.sets(names))
    def pass_time(self, beats: int, blind: set[str], late: set[str]) -> None:
        """Let time pass, in which some do not get to read, and some act on what they have read a beat ago."""
        for _ in range(beats):
            self._tick(blind, late)

    # -- what must hold

    @rule()
    def settle(self) -> None:
        """Once nothing happens any more every place is served, if a node is up."""
        self.is_away = False
        self.hanging.clear()
        self.broken.clear()
        for machine in self.machines.values():
            machine.is_connected = machine.is_supervised = True
        for _ in range(SETTLED):
            self._tick(set(), set())
        up = {machine.name for machine in self.machines.values() if machine.is_running}
        for row in self.places:
            assert row.is_drained or not up or row.node in up, (row, up)

    # -- how it goes

    def _tick(self, blind: set[str], late: set[str]) -> None:
        self.now += BEAT
        if self.is_away:
            for machine in self.machines.values():
                machine.up_since = machine.read_since = self.now
                machine.has_missed = True
            self._excuse(*self.moved_at)
            return
        for machine in self.machines.values():
            if machine.is_running and self.now < machine.finds_at:
                self._excuse(machine.name, *(row.place for row in self.places if row.node == machine.name))
        for machine in self.machines.values():
            self._live(machine)
        for machine in self.machines.values():
            if not self._reads(machine) or machine.name in blind:
                machine.read_since = self.now
                machine.has_missed = machine.has_missed or not self._reaches(machine)
                continue
            assert machine.warden is not None
            decided = machine.warden.decide(self._rows(has_missed=machine.has_missed), self.now)
            machine.has_missed = False
            self._check(machine, decided)
            due, machine.late = machine.late, []
            if machine.name in late:
                machine.late = list(decided)
            else:
                due.extend(decided)
            for one in due:
                self._assign(one)

    def _excuse(self, *keys: int | str) -> None:
        """Count as no silence of theirs that the database was away."""
        for key in keys:
            self.moved_at[key] = self.moved_at.get(key, 0.0) + BEAT

    def _reaches(self, machine: Machine) -> bool:
        return machine.is_running and machine.is_connected and not self.is_away and self.now >= machine.finds_at

    def _reads(self, machine: Machine) -> bool:
        return self._reaches(machine) and machine.is_supervised

    def _live(self, machine: Machine) -> None:
        if not self._reaches(machine):
            machine.up_since = self.now
            return
        if machine.is_supervised:
            node = self.nodes[machine.name]
            self.nodes[machine.name] = NodeRow(node.name, node.beat + 1, node.address)
            self.moved_at[machine.name] = self.now
        else:
            machine.up_since = self.now
        for row in self.places:
            if row.node == machine.name and not row.is_drained:
                self._serve(row)

    def _serve(self, row: PlaceRow) -> None:
        """Let a host start, which takes some beats, and then commit."""
        if (row.place, row.node) in self.broken and row.state is not PlaceState.HELD:
            self.failed.add(row.place)
            self._change(row.place, told=HostTold(state=HostState.FAILED))
        elif row.place in self.hanging:
            return
        elif row.state is PlaceState.HELD and row.attached:
            self._change(row.place, group_no=row.group_no + 1)
        elif self.starting.setdefault(row.place, 4) > 0:
            self.starting[row.place] -= 1
        else:
            ready = HostTold(state=HostState.READY)
            self._change(row.place, epoch=row.epoch + 1, attached=1, state=PlaceState.HELD, told=ready)

    def _change(self, place: int, **values: object) -> None:
        before = self.places[place]
        self.places[place] = msgspec.structs.replace(before, **values)
        if values.keys() & {"epoch", "attached", "group_no"}:
            self.moved_at[place] = self.now

    def _rows(self, *, has_missed: bool) -> ClusterRows:
        nodes = tuple(self.nodes[name] for name in sorted(self.nodes))
        return ClusterRows(1, bytes(32), tuple(self.places), nodes, has_missed)

    def _check(self, machine: Machine, decided: tuple[Assignment, ...]) -> None:
        load = {name: sum(row.node == name and not row.is_drained for row in self.places) for name in NAMES}
        for one in decided:
            row = self.places[one.place]
            assert not row.is_drained
            assert one.epoch == row.epoch
            assert self._may_be_assigned(row), (row, one)
            if one.state is PlaceState.FREE:
                assert row.state is PlaceState.FREE
        for one in decided:  # they count no more where they are now
            where = self.places[one.place].node
            if where is not None:
                load[where] = load.get(where, 0) - 1
        if self.now - machine.read_since < WELL:
            return
        up = [name for name in NAMES if self._is_well(self.machines[name])]
        for one in decided:
            others = [load[name] for name in up if name != self.places[one.place].node]
            if others and one.place not in self.failed:
                assert load[one.node] <= min(others), (one, load)
            load[one.node] += 1

    def _is_well(self, machine: Machine) -> bool:
        return self._reads(machine) and self.now - machine.up_since >= WELL

    def _may_be_assigned(self, row: PlaceRow) -> bool:
        silent = self.now - self.moved_at.get(row.place, 0.0)
        if row.node is None or row.node not in self.nodes:
            return row.state is PlaceState.FREE or silent >= SILENCE_SECONDS
        if self.now - self.moved_at[row.node] >= SILENCE_SECONDS:
            return silent >= SILENCE_SECONDS
        has_failed = row.told is not None and row.told.state is HostState.FAILED
        return silent >= START or (has_failed and (row.state is PlaceState.FREE or silent >= SILENCE_SECONDS))

    def _assign(self, one: Assignment) -> None:
        row = self.places[one.place]
        is_free = one.state is not PlaceState.FREE or row.state is PlaceState.FREE
        if row.epoch != one.epoch or row.is_drained or not is_free:
            return
        assert (one.place, one.epoch) not in self.assigned
        self.assigned.add((one.place, one.epoch))
        self.starting.pop(one.place, None)
        self._change(one.place, epoch=row.epoch + 1, attached=0, node=one.node, state=one.state, told=None)


TestWardens = Wardens.TestCase
TestWardens.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
