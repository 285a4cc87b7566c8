"""A node's supervisor with all that a test has to turn: rows in memory, a clock, decisions, and what it saved."""

from collections.abc import Mapping, Sequence

import msgspec

from actors.cluster.node_supervisor import NodeSupervisor
from actors.cluster.warden import Assignment
from actors.cluster.watch import BEAT_SECONDS, Member, Patience
from engine.core.model.errors import MasklineError
from engine.core.model.hosts import HostState
from engine.core.ports.membership import ClusterRows, HostTold, NodeRow, PlaceRow, PlaceState
from tests.actors.test_supervisor import FakeFleet

ME, OTHER = "a", "b"
LEASE_SECONDS = 4.0
SECRET = b"s" * 32


class FakeLedger:
    """The rows of two nodes, in memory; `problem` is what every call raises."""

    def __init__(self, *places: PlaceRow) -> None:
        self.places = list(places)
        self.nodes = {ME: 0, OTHER: 0}
        self.version = 1
        self.problem: MasklineError | None = None
        self.has_missed = False
        self.told: list[Mapping[int, HostTold]] = []
        self.done: list[tuple[object, ...]] = []

    async def join(self) -> "FakeLedger":
        """Take part."""
        self._demand()
        return self

    def change(self, place: int, **changes: object) -> None:
        """Change a row as some node does."""
        self.places[place] = msgspec.structs.replace(self.places[place], **changes)
        self.version += 1

    async def beat(self, told: Mapping[int, HostTold]) -> ClusterRows:
        """Read the rows, then write what is told."""
        self._demand()
        self.nodes[ME] += 1
        rows = ClusterRows(
            self.version,
            SECRET,
            tuple(self.places),
            tuple(NodeRow(name, beat, f"10.0.0.{name}") for name, beat in sorted(self.nodes.items())),
            self.has_missed,
        )
        self.told.append(told)
        for place, one in told.items():
            if self.places[place].node == ME and self.places[place].told != one:
                self.change(place, told=one)
        return rows

    async def assign(self, place: int, *, epoch: int, node: str, state: PlaceState) -> bool:
        """Assign."""
        self._demand()
        row = self.places[place]
        if row.epoch != epoch or row.is_drained:
            return False
        self.done.append(("assign", place, node, state))
        self.change(place, epoch=epoch + 1, node=node, state=state, told=None)
        return True

    async def set_drained(self, place: int, is_drained: bool) -> None:  # noqa: FBT001 - the port's
        """Note it."""
        self._demand()
        self.change(place, is_drained=is_drained)

    async def move(self, place: int, node: str, to: str) -> bool:
        """Note where it is to go."""
        self._demand()
        row = self.places[place]
        if row.node != node or row.is_drained:
            return False
        self.change(place, moves_to=to)
        return True

    async def stay(self, place: int, to: str) -> None:
        """Forget it."""
        self._demand()
        if self.places[place].moves_to == to:
            self.change(place, moves_to=None)

    async def give_back(self, place: int) -> None:
        """Assign to the node that it moves to, or to nobody."""
        self._demand()
        row = self.places[place]
        self.done.append(("give back", place))
        if row.moves_to is None:
            self.change(place, node=None, told=None)
        else:
            state = PlaceState.FREE if row.state is PlaceState.FREE else PlaceState.TAKEN
            self.change(place, node=row.moves_to, moves_to=None, epoch=row.epoch + 1, state=state, told=None)

    async def leave(self) -> None:
        """Give all back."""
        self._demand()
        self.done.append(("leave",))

    def _demand(self) -> None:
        if self.problem is not None:
            raise self.problem


class Desk:
    """A supervisor with clocks that are set by hand, and what it saved."""

    def __init__(
        self,
        fleet: FakeFleet,
        ledger: FakeLedger,
        *,
        decisions: Sequence[Assignment] = (),
        now: float = 0.0,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self.now = now
        fleet.wall = lambda: 1_800_000_000.0 + self.now
        self.decisions = list(decisions)
        self.saved: list[tuple[Member, ...]] = []
        self.supervisor = NodeSupervisor(
            fleet,
            ledger.join,
            node=ME,
            hosts=len(ledger.places),
            decide=self.decide,
            patience=Patience(silence_seconds=5.0, start_seconds=60.0),
            lease_seconds=LEASE_SECONDS,
            clock=lambda: self.now,
            steady=lambda: 1_000.0 + self.now,
            wall=fleet.wall,
            save=self.saved.append,
            beat_seconds=beat_seconds,
        )

    def decide(self, rows: ClusterRows, now: float) -> Sequence[Assignment]:
        """Decide what the test has, once."""
        del rows, now
        decided, self.decisions = self.decisions, []
        return decided

    def members(self) -> tuple[Member, ...]:
        """Tell how the hosts fare."""
        return self.supervisor.membership().members

    async def ticks(self, *times: float) -> None:
        """Let the supervisor look at these times."""
        for self.now in times:
            await self.supervisor.tick()


def place(number: int, node: str | None = None, state: PlaceState = PlaceState.FREE, **more: object) -> PlaceRow:
    row = PlaceRow(place=number, node=node, state=state)
    return msgspec.structs.replace(row, **more)


def assignment(number: int, node: str, *, epoch: int = 0) -> Assignment:
    return Assignment(place=number, epoch=epoch, node=node, state=PlaceState.FREE, reason="it is free")


def serving(number: int, node: str = OTHER) -> HostTold:
    return HostTold(
        state=HostState.READY, pid=900 + number, feed=f"{node}:90{number}", peers=f"{node}:70{number}", certificate="ab"
    )
