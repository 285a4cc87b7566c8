"""Which place goes to which node: each rule by itself."""

from collections.abc import Iterable

import msgspec
import pytest

from actors.cluster.warden import Assignment, Warden, balancing_moves
from engine.core.model.hosts import HostState
from engine.core.ports.membership import ClusterRows, HostTold, NodeRow, PlaceRow, PlaceState

FREE, HELD, TAKEN = PlaceState.FREE, PlaceState.HELD, PlaceState.TAKEN
BEAT = 0.5
START = 60.0


class World:
    """Rows that change while their owners live, read twice a second by the warden of `a`."""

    def __init__(self, *places: PlaceRow, nodes: Iterable[str] = "ab") -> None:
        self.places = {row.place: row for row in places}
        self.beats = dict.fromkeys(nodes, 1)
        self.silent: set[int | str] = set()
        self.now = 1000.0
        self.warden = Warden("a", start_seconds=START)

    def tick(self) -> tuple[Assignment, ...]:
        """Let half a second pass and decide."""
        self.now += BEAT
        for name in self.beats.keys() - self.silent:
            self.beats[name] += 1
        for place, row in self.places.items():
            if row.state is HELD and place not in self.silent:
                self.change(place, group_no=row.group_no + 1)
        return self.decide()

    def decide(self, *, has_missed: bool = False) -> tuple[Assignment, ...]:
        """Decide without any passing of time."""
        nodes = tuple(NodeRow(name, beat, "192.0.2.1") for name, beat in sorted(self.beats.items()))
        rows = ClusterRows(1, bytes(32), tuple(row for _, row in sorted(self.places.items())), nodes, has_missed)
        return self.warden.decide(rows, self.now)

    def change(self, place: int, **values: object) -> None:
        """Change what a row says."""
        self.places[place] = msgspec.structs.replace(self.places[place], **values)

    def after(self, seconds: float) -> tuple[Assignment, ...]:
        """Decide for so long as nothing is to be done; say what is decided first."""
        for _ in range(int(seconds / BEAT)):
            if decided := self.tick():
                return decided
        return ()


def row(place: int, node: str | None = None, state: PlaceState = FREE, **values: object) -> PlaceRow:
    return msgspec.structs.replace(PlaceRow(place=place, epoch=7, node=node, state=state), **values)


def told(state: HostState) -> HostTold:
    return HostTold(state=state)


def acts(decided: Iterable[Assignment]) -> list[tuple[int, str, PlaceState]]:
    return [(one.place, one.node, one.state) for one in decided]


def test_free_places_are_spread_over_the_nodes_that_are_up() -> None:
    """After a while of watching, in which each node that lives has shown it."""
    world = World(*map(row, range(4)), nodes="abc")
    world.silent = {"c"}

    assert world.after(2.5) == ()
    assert acts(world.after(1)) == [(0, "a", FREE), (1, "b", FREE), (2, "a", FREE), (3, "b", FREE)]


def test_a_decision_names_the_epoch_that_it_is_about() -> None:
    """So that the database refuses it when somebody else was faster; the log can say why it was made."""
    (decided,) = World(row(0)).after(5)

    assert (decided.epoch, decided.reason) == (7, "host-0 is assigned to no node")


def test_the_least_loaded_node_gets_a_place() -> None:
    """What is drained is no load."""
    world = World(row(0, "a", HELD), row(1, "a", HELD), row(2, "b", is_drained=True), row(3, "b", HELD), row(4))

    assert acts(world.after(5)) == [(4, "b", FREE)]


def test_a_drained_place_is_assigned_to_nobody() -> None:
    """Not when it is free, not when its node is lost; but when it is taken in again."""
    world = World(row(0, is_drained=True), row(1, "b", HELD, is_drained=True))
    world.silent = {"b", 1}
    assert world.after(30) == ()

    world.change(0, is_drained=False)
    world.change(1, is_drained=False)

    assert acts(world.tick()) == [(0, "a", FREE), (1, "a", TAKEN)]


def test_a_place_is_taken_when_it_and_its_node_are_silent() -> None:
    """For three seconds by this node's own clock."""
    world = World(row(0, "b", HELD), row(1, "a", HELD))
    assert world.after(10) == ()
    world.silent = {"b", 0}

    assert world.after(2.5) == ()
    assert acts(world.tick()) == [(0, "a", TAKEN)]


@pytest.mark.parametrize("silent", [{"b"}, {0}])
def test_a_place_stays_while_it_or_its_node_shows_life(silent: set[int | str]) -> None:
    """A host may serve on without its supervisor, and a supervisor restarts a host that has ended."""
    world = World(row(0, "b", HELD))
    world.silent = silent

    assert world.after(START - 5) == ()


def test_a_place_that_was_assigned_and_never_begun_is_still_free_when_its_node_is_lost() -> None:
    """Whoever had it last gave it back in order."""
    world = World(row(0, "b"))
    world.silent = {"b"}

    assert acts(world.after(5)) == [(0, "a", FREE)]


def test_what_a_node_that_has_left_still_holds_is_taken_once_it_is_silent() -> None:
    """A server that is alone has no row of a node: it is left alone while it lives."""
    world = World(row(0, "a machine, process 7", HELD), row(1, None, HELD))
    assert world.after(10) == ()
    world.silent = {0, 1}

    assert world.after(2.5) == ()
    assert acts(world.tick()) == [(0, "a", TAKEN), (1, "b", TAKEN)]


def test_a_host_that_does_not_come_up_is_moved_after_the_time_for_a_start() -> None:
    """If there is another node."""
    alone, world = World(row(0, "a", TAKEN), nodes="a"), World(row(0, "b", TAKEN))

    assert alone.after(START * 2) == ()
    assert world.after(START - 1) == ()
    assert acts(world.after(2)) == [(0, "a", TAKEN)]


def test_a_place_that_a_node_cannot_start_goes_to_each_other_node_once() -> None:
    """Then it stays where it is, until a host was ready somewhere or its node was started anew."""
    world = World(row(0, "a", told=told(HostState.FAILED)), nodes="abc")
    assert acts(world.after(5)) == [(0, "b", FREE)]
    world.change(0, node="b", epoch=8)
    assert acts(world.tick()) == [(0, "c", FREE)]
    world.change(0, node="c", epoch=9)
    assert world.after(10) == ()

    world.beats["b"] = 0
    assert acts(world.after(5)) == [(0, "b", FREE)]


def test_a_place_that_every_node_has_failed_at_goes_on_when_its_node_is_lost() -> None:
    """Something may have changed; nothing is gained by leaving it alone."""
    world = World(row(0, "a", told=told(HostState.FAILED)))
    assert acts(world.after(5)) == [(0, "b", FREE)]
    world.change(0, node="b", epoch=8)
    assert world.tick() == ()
    world.silent = {"b"}

    assert acts(world.after(5)) == [(0, "a", FREE)]


def test_a_place_that_failed_goes_nowhere_while_its_process_still_commits() -> None:
    """Its row says that there is one."""
    world = World(row(0, "a", HELD, told=told(HostState.FAILED)))
    assert world.after(10) == ()
    world.silent = {0}

    assert acts(world.after(5)) == [(0, "b", TAKEN)]


def test_a_node_whose_last_beat_is_old_gets_nothing() -> None:
    """It may be lost; it is not given what would have to be taken from it again."""
    world = World(row(0, is_drained=True))
    world.after(5)
    world.silent = {"b"}
    world.after(1.5)
    world.places = {place: row(place) for place in range(3)}

    assert acts(world.tick()) == [(0, "a", FREE), (1, "a", FREE), (2, "a", FREE)]


@pytest.mark.parametrize(
    ("seconds", "has_missed", "needed"), [(20, True, 5.0), (6, True, 5.0), (1, True, 9.0), (20, False, 5.0)]
)
def test_time_in_which_the_database_was_away_is_no_silence(
    seconds: float,
    has_missed: bool,  # noqa: FBT001 - a column
    needed: float,
) -> None:
    """Then all rows look old: the others are given time to find it again, and whoever does not is lost.

    Where it was away for long they have given up their connections by then. The same after a time in which this process
    stood still.
    """
    world = World(row(0, "b", HELD), row(1, is_drained=True))
    world.after(10)
    world.now += seconds
    world.silent = {"b", 0}

    assert world.decide(has_missed=has_missed) == ()
    assert world.after(needed - BEAT) == ()
    assert acts(world.tick()) == [(0, "a", TAKEN)]


def test_a_pause_between_two_readings_counts_as_a_second_at_most() -> None:
    """A reading that took long, or failed: what happened meanwhile was not seen."""
    world = World(row(0, "b", HELD))
    world.after(10)
    world.silent = {"b", 0}
    world.tick()
    world.now += 2

    assert world.tick() == ()
    assert world.after(1) == ()
    assert acts(world.tick()) == [(0, "a", TAKEN)]


@pytest.mark.parametrize(
    ("carried", "nodes", "moves"),
    [
        ({0: "a", 1: "a"}, "ab", ((1, "b"),)),
        ({0: "a", 1: "a", 2: "a", 3: "a"}, "ab", ((3, "b"), (2, "b"))),
        ({0: "a", 1: "b", 2: "a"}, "ab", ()),
        ({0: "a", 1: "a", 2: "a", 3: ""}, "abc", ((2, "b"), (1, "c"))),
        ({0: "a", 1: "lost", 2: "a"}, "ab", ((2, "b"),)),
        ({0: "a", 1: "a"}, "", ()),
    ],
)
def test_nodes_are_balanced_by_as_few_moves_as_need_be(
    carried: dict[int, str], nodes: str, moves: tuple[tuple[int, str], ...]
) -> None:
    """What no node that is up carries stays out of it."""
    assert balancing_moves(carried, nodes) == moves
