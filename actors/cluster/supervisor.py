"""The supervisor of a cluster's hosts: asks each how it fares, kills the silent, finds nodes, keeps the directory.

It decides by `actors.cluster.watch` and acts through a `Fleet`. Hosts serve on while it is gone; a new one learns
everything from its record and from them.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from actors.cluster.offset import WARNING_SECONDS, ClockOffset, Reading
from actors.cluster.processor import Waits, starved_seconds
from actors.cluster.watch import (
    BEAT_SECONDS,
    STARVED,
    Act,
    Beat,
    ClusterRecord,
    HostReport,
    HostState,
    Member,
    Node,
    NoNode,
    Patience,
    Placed,
    Sign,
    advanced,
    choose_node,
    heard,
    launched,
    missed,
    not_killed,
    unplaced,
)
from engine.core.ports.operations import Clock

PLACING_SECONDS: Final = 10.0
"""How often nodes are searched anew for files that no node had; a new node is searched at once."""

_LOADED: Final = frozenset({HostState.READY, HostState.WAITING})
_UNANSWERING: Final = frozenset(
    {HostState.UNPLACED, HostState.DOWN, HostState.UNREACHABLE, HostState.DRAINED, HostState.FAILED}
)

_log = logging.getLogger("maskline.supervisor")


class Order(msgspec.Struct, frozen=True):
    """What a host is told to do; it answers when that is done."""

    verb: str
    """drain, undrain, start (again, after a failure) or stop."""


class Fleet(Protocol):
    """The hosts as their runtime has them."""

    async def node_names(self) -> frozenset[str]:
        """Name the nodes that are up."""

    async def search(self) -> tuple[Node, ...]:
        """Tell the nodes that are up and what lies on them."""

    async def launch(self, place: int, node: str) -> None:
        """Start a host on a node, to be restarted there for ever."""

    async def beat(self, place: int, beat: Beat) -> HostReport | Sign:
        """Ask a host how it fares."""

    async def order(self, place: int, order: Order, *, timeout_seconds: float) -> bool:
        """Have a host do something; False when it did not in time."""

    def waits(self, place: int) -> Waits:
        """Tell how long a host's threads have waited for a processor so far, if its process can be looked at."""

    async def kill(self, place: int, *, for_good: bool) -> bool:
        """End a host's process; unless it is for good, another is started. False when it could not be."""


class Membership(msgspec.Struct, frozen=True):
    """What the operator is told."""

    epoch: int
    members: tuple[Member, ...]
    now: float
    """Of the clock that the members' times are of."""
    pid: int
    """The supervisor's."""


Save = Callable[[ClusterRecord, tuple[Member, ...]], None]
"""Keeps the record and tells monitoring who is where; called on every change, raises OSError."""


class Supervisor:
    """Watches the hosts of one cluster, on one event loop."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        record: ClusterRecord,
        patience: Patience,
        clock: Clock,
        wall: Clock,
        save: Save,
    ) -> None:
        """Watch what the record names; `clock` is monotonic, `wall` tells UTC epoch seconds."""
        self._fleet = fleet
        self._record = msgspec.structs.replace(record, is_stopped=False)
        self._patience = patience
        self._clock = clock
        self._wall = wall
        self._save = save
        self._members = tuple(Member(place=place, since=clock()) for place in range(len(record.directory.hosts)))
        self._offsets = tuple(ClockOffset() for _ in self._members)
        self._unheard: set[int] = set()
        self._late_seconds = 0.0  # that this loop came late, all together
        self._late_then = [0.0] * len(self._members)  # the same when each host was last heard
        self._waits_then: dict[int, Waits] = {}  # of hosts that are silent, since when they are
        self._saved: object = None
        self._searched_at: float | None = None
        self._searched: frozenset[str] = frozenset()
        self._is_stopping = False
        self._running: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Watch from now on."""
        self._running = (
            asyncio.create_task(self._run(), name="supervisor"),
            asyncio.create_task(self._measure_lateness(), name="supervisor-lateness"),
        )

    def membership(self) -> Membership:
        """Tell the operator who the hosts are and how they fare."""
        return Membership(epoch=self._record.directory.epoch, members=self._members, now=self._clock(), pid=os.getpid())

    async def tick(self) -> None:
        """Ask every host once and do what follows."""
        beat = Beat(self._record.directory, self._down())
        acts = await asyncio.gather(*(self._ask(member.place, beat) for member in self._members))
        if self._is_stopping:
            return
        await self._place([place for place, act in enumerate(acts) if act is Act.PLACE])
        self._keep()

    def _down(self) -> tuple[int, ...]:
        return tuple(
            member.place
            for member in self._members
            if member.state in _UNANSWERING or (member.place in self._unheard and member.heard_at is not None)
        )

    async def revive(self) -> None:
        """Have every host start again that failed, was drained or has no node."""
        self._searched_at = None
        held = [member.place for member in self._members if member.state in {HostState.FAILED, HostState.DRAINED}]
        await asyncio.gather(*(self.order(place, "start") for place in held))

    async def order(self, place: int, verb: str, *, timeout_seconds: float = 30.0) -> bool:
        """Have a host drain, undrain or start; False when it did not in time."""
        return await self._fleet.order(place, Order(verb), timeout_seconds=timeout_seconds)

    async def stop(self, *, timeout_seconds: float) -> None:
        """Have every host stop in order, and end them for good when they have or the time is over."""
        self._is_stopping = True
        for task in self._running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(self._stop(member.place, timeout_seconds) for member in self._members))
        self._record = msgspec.structs.replace(self._record, is_stopped=True)
        self._keep()

    async def _stop(self, place: int, timeout_seconds: float) -> None:
        await self._fleet.order(place, Order("stop"), timeout_seconds=timeout_seconds)
        await self._fleet.kill(place, for_good=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.tick()
            except Exception:  # noqa: BLE001 - the loop of an actor: the unforeseen is logged, the next turn goes on
                _log.exception("A round of the supervisor failed")
            await asyncio.sleep(BEAT_SECONDS)

    async def _measure_lateness(self) -> None:
        """Measure how long this process got no processor: what it did not hear meanwhile may have been said."""
        while True:
            due = self._clock() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self.was_late(self._clock() - due)

    def was_late(self, seconds: float) -> None:
        """Count as no silence of any host that this loop came late."""
        self._late_seconds += max(0.0, seconds)

    async def _ask(self, place: int, beat: Beat) -> Act:
        asked = Reading.of(self._wall, self._clock)
        answer = await self._fleet.beat(place, beat)
        now, member = self._clock(), self._members[place]
        if isinstance(answer, HostReport):
            self._offsets[place].measure(answer.clock, asked, Reading.of(self._wall, self._clock))
            self._replace(heard(member, answer, now, clock_offset=self._offsets[place].seconds))
            self._unheard.discard(place)
            self._count_anew(place)
            return Act.NOTHING
        self._unheard.add(place)
        if self._is_stopping:
            return Act.NOTHING
        starved = self._starved(place) if answer is Sign.SILENT else 0.0
        changed, act = missed(member, answer, now, self._patience, starved=starved)
        self._replace(changed)
        if act is Act.KILL:
            self._count_anew(place)
            if not await self._fleet.kill(place, for_good=False):
                self._replace(not_killed(changed))
        return act

    def _starved(self, place: int) -> float:
        """Tell for how long a silent host, or this process, got no processor since that host was heard."""
        waits = self._fleet.waits(place)
        own = self._late_seconds - self._late_then[place]
        return max(own, starved_seconds(self._waits_then.setdefault(place, waits), waits))

    def _count_anew(self, place: int) -> None:
        self._late_then[place] = self._late_seconds
        self._waits_then.pop(place, None)

    async def _place(self, places: list[int]) -> None:
        if not places or not await self._has_cause_to_search():
            return
        nodes = await self._fleet.search()
        load: dict[str, int] = {}
        for member in self._members:
            if member.place not in places:
                load[member.node] = load.get(member.node, 0) + 1
        for place in places:
            chosen = choose_node(place, nodes, self._record, load)
            if isinstance(chosen, NoNode):
                self._replace(unplaced(self._members[place], chosen.problem, self._clock()))
                continue
            load[chosen.name] = load.get(chosen.name, 0) + 1
            self._note(place, chosen.address, has_files=place in chosen.places)
            self._replace(launched(self._members[place], chosen.name, self._clock()))
            self._keep()
            await self._fleet.launch(place, chosen.name)
            self._searched_at = None  # whatever is gone next is searched for at once

    async def _has_cause_to_search(self) -> bool:
        names, now = await self._fleet.node_names(), self._clock()
        if self._searched_at is not None and names == self._searched and now - self._searched_at < PLACING_SECONDS:
            return False
        self._searched, self._searched_at = names, now
        return True

    def _replace(self, member: Member) -> None:
        before = self._members[member.place]
        if _is_news(before, member):
            level = logging.WARNING if member.state in _UNANSWERING else logging.INFO
            why = f": {member.problem}" if member.problem else ""
            _log.log(level, "%s is %s%s", member.name, member.state, why)
        ended, now = before.report, member.report
        if ended is not None and now is not None and ended.incarnation != now.incarnation:
            _log.warning("%s is process %d now: process %d of it has ended", member.name, now.pid, ended.pid)
        if member.problem == STARVED != before.problem:
            _log.warning("%s: %s", member.name, STARVED)
        if _is_off(member) and not _is_off(before):
            _log.warning("The clock of %s is %+.1f seconds off this machine's", member.name, member.clock_offset)
        members = list(self._members)
        members[member.place] = member
        self._members = tuple(members)
        if member.state in _LOADED and member.report is not None:
            self._note(member.place, member.report.node_address, has_files=True)

    def _note(self, place: int, node_address: str, *, has_files: bool) -> None:
        known = self._record.placed.get(place)
        wanted = Placed(node_address, has_files or (known is not None and known.has_files))
        if known != wanted:
            self._record = msgspec.structs.replace(self._record, placed={**self._record.placed, place: wanted})

    def _keep(self) -> None:
        directory = advanced(self._record.directory, self._members)
        self._record = msgspec.structs.replace(self._record, directory=directory)
        shown = (self._record, tuple(member.operations for member in self._members))
        if shown == self._saved:
            return
        try:
            self._save(self._record, self._members)
        except OSError as failure:
            _log.warning("The record of the cluster cannot be written: %s", failure.strerror)
        else:
            self._saved = shown


def _is_news(before: Member, after: Member) -> bool:
    """Tell whether to log how a host fares: another state, or why it has no node, which is found out after that."""
    if after.state is HostState.UNPLACED:
        return bool(after.problem) and (before.state is not after.state or before.problem != after.problem)
    return before.state is not after.state


def _is_off(member: Member) -> bool:
    return abs(member.clock_offset or 0.0) > WARNING_SECONDS
