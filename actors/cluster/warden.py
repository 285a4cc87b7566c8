"""Which place goes to which node, decided purely from the rows of a database that every node reads twice a second.

Each node decides for itself and acts by updates that only one of several can make, so it does no harm when they differ.
Clocks are not compared: a row is silent for as long as this node has seen it stay the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from engine.core.model.hosts import HostState
from engine.core.model.placement import host_name
from engine.core.ports.membership import ClusterRows, NodeRow, PlaceRow, PlaceState

SILENCE_SECONDS: Final = 3.0
"""After which a row that stays the same is silent; nodes renew theirs twice a second, hosts each second."""

_MOST_COUNTED_SECONDS: Final = 1.0
"""What is counted at most as silence between two readings: in more time than that others were not looked at."""

_GIVEN_UP_SECONDS: Final = 10.0
"""After which a writer has given up a connection on which the database says nothing."""

_FOUND_SECONDS: Final = 5.0
"""Within which whoever has given up has found a database that is there: a pause, and a machine that does not answer."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A place that is to go to a node, if it is still at the epoch."""

    place: int
    epoch: int
    node: str
    state: PlaceState
    """FREE or TAKEN: what `Ledger.assign` is to do about the owner before."""
    reason: str
    """For the log."""


class _Seen(msgspec.Struct):
    """A row that is watched."""

    shows: object
    """What changes while its owner lives."""
    silent_seconds: float
    has_changed: bool = False
    """It has been seen to change, so its owner was alive then."""


class Warden:
    """Remembers how long each row has stayed the same, and which nodes could not start which host."""

    def __init__(self, node: str, *, start_seconds: float, silence_seconds: float = SILENCE_SECONDS) -> None:
        """Decide for one of the nodes; a host that its node does not get to attach for `start_seconds` is moved."""
        self._node = node
        self._silence = silence_seconds
        self._start = start_seconds
        self._read_at: float | None = None
        self._watched = 0.0
        self._seen: dict[int | str, _Seen] = {}
        self._failed: dict[int, set[str]] = {}

    def decide(self, rows: ClusterRows, now: float) -> tuple[Assignment, ...]:
        """Take what was read at a time of a monotonic clock, and say what to assign.

        Nothing, until it has been watched for as long as a row may be silent: nodes that live have shown it by then.
        When the database was away, or this process stood still for longer, all of that begins anew.
        """
        self._watch(rows, now)
        self._note_failures(rows)
        if self._watched < self._silence:
            return ()
        return tuple(self._assignments(rows))

    def _watch(self, rows: ClusterRows, now: float) -> None:
        gap = 0.0 if self._read_at is None else now - self._read_at
        self._read_at = now
        passed = min(gap, _MOST_COUNTED_SECONDS)
        self._watched += passed
        if rows.has_missed or gap > self._silence:
            # a row that stays the same may be that of one that still looks for the database
            needed = max(_FOUND_SECONDS, _GIVEN_UP_SECONDS - gap)
            self._watched = min(0.0, self._silence - needed)
            self._seen = {key: _Seen(seen.shows, self._watched, has_changed=False) for key, seen in self._seen.items()}
            passed = 0.0
        shown = dict(_shown(rows))
        self._forget_restarted(rows.nodes)
        self._seen = {key: self._looked_at(key, shows, passed) for key, shows in shown.items()}

    def _looked_at(self, key: int | str, shows: object, passed: float) -> _Seen:
        seen = self._seen.get(key)
        if seen is None:
            return _Seen(shows, 0.0)
        if seen.shows != shows:
            return _Seen(shows, 0.0, has_changed=True)
        seen.silent_seconds += passed
        return seen

    def _forget_restarted(self, nodes: Iterable[NodeRow]) -> None:
        """Let a node that was started anew, or has left, try again what it failed at."""
        beats = {node.name: node.beat for node in nodes}
        for name, seen in self._seen.items():
            if isinstance(name, str) and isinstance(seen.shows, int) and beats.get(name, -1) < seen.shows:
                for failed in self._failed.values():
                    failed.discard(name)

    def _note_failures(self, rows: ClusterRows) -> None:
        for row in rows.places:
            state = None if row.told is None else row.told.state
            if row.is_drained or row.moves_to is not None or state is HostState.READY:
                self._failed.pop(row.place, None)
            elif state is HostState.FAILED and row.node is not None:
                self._failed.setdefault(row.place, set()).add(row.node)

    def _assignments(self, rows: ClusterRows) -> Iterator[Assignment]:
        names = {node.name for node in rows.nodes}
        load = {name: 0 for name in sorted(names) if self._takes_places(name)}
        due: list[tuple[PlaceRow, str]] = []
        for row in rows.places:
            reason = "" if row.is_drained else self._reason(row, names, load)
            if reason:
                due.append((row, reason))
            elif row.node in load and not row.is_drained:
                load[row.node] += 1
        for row, reason in due:
            node = self._choose(row, load)
            if node is not None:
                load[node] += 1
                state = PlaceState.FREE if row.state is PlaceState.FREE else PlaceState.TAKEN
                yield Assignment(place=row.place, epoch=row.epoch, node=node, state=state, reason=reason)
            elif row.node in load:
                load[row.node] += 1

    def _choose(self, row: PlaceRow, load: Mapping[str, int]) -> str | None:
        """Choose the least loaded of the nodes that have not failed at a place, or, if it has none, of all."""
        failed = self._failed.get(row.place, set())
        others = [name for name in load if name != row.node]
        able = [name for name in others if name not in failed]
        if not able and row.node not in load:
            able = others
        return min(able, key=lambda name: (load[name], name), default=None)

    def _reason(self, row: PlaceRow, names: set[str], load: Mapping[str, int]) -> str:
        """Say why a place is to be assigned; empty: it is not."""
        name, place = row.node, host_name(row.place)
        is_free = row.state is PlaceState.FREE
        if name is None or name not in names:
            owner = "no node" if name is None else f"{name}, which has left"
            return f"{place} is assigned to {owner}" if is_free or self._is_silent(row.place) else ""
        if self._is_silent(name):
            return f"{name} and {place} are silent" if self._is_silent(row.place) else ""
        if name not in load or row.moves_to is not None:
            return ""
        if row.told is not None and row.told.state is HostState.FAILED:
            return f"{place} does not start on {name}" if is_free or self._is_silent(row.place) else ""
        if self._seen[row.place].silent_seconds >= self._start:
            return f"{place} has not begun to serve on {name} for {self._start:.0f} seconds"
        return ""

    def _is_silent(self, key: int | str) -> bool:
        return self._seen[key].silent_seconds >= self._silence

    def _takes_places(self, name: str) -> bool:
        """Tell whether a node is surely up: this one, which reads, and whichever has just been seen to beat."""
        seen = self._seen[name]
        return name == self._node or (seen.has_changed and seen.silent_seconds < self._silence / 2)


def balancing_moves(carried: Mapping[int, str], nodes: Iterable[str]) -> tuple[tuple[int, str], ...]:
    """Say which places are to move, and where to, so that no node carries two more than another.

    `carried` is by place the name of its node; what is with none of the nodes stays out of it.
    """
    by_node: dict[str, list[int]] = {name: [] for name in sorted(nodes)}
    for place, name in sorted(carried.items()):
        if name in by_node:
            by_node[name].append(place)
    moves: list[tuple[int, str]] = []
    while by_node:
        most = max(by_node, key=lambda name: len(by_node[name]))
        least = min(by_node, key=lambda name: len(by_node[name]))
        if len(by_node[most]) - len(by_node[least]) <= 1:
            break
        place = by_node[most].pop()
        by_node[least].append(place)
        moves.append((place, least))
    return tuple(moves)


def _shown(rows: ClusterRows) -> Iterator[tuple[int | str, object]]:
    """Tell what changes of each row while its owner lives."""
    for place in rows.places:
        yield place.place, (place.epoch, place.attached, place.group_no)
    for node in rows.nodes:
        yield node.name, node.beat
