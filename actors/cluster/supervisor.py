"""The supervisor of a cluster's hosts: asks each how it fares, kills the silent, finds nodes, keeps the directory.

It decides by `actors.cluster.watch` and acts through a `Fleet`. Hosts serve on while it is gone; a new one learns
everything from its record and from them.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from actors.cluster.fleet import Fleet, Membership, Order
from actors.cluster.host_monitor import HostMonitor
from actors.cluster.watch import (
    BEAT_SECONDS,
    Act,
    Beat,
    ClusterRecord,
    Member,
    NoNode,
    Patience,
    Placed,
    advanced,
    choose_node,
    launched,
    unplaced,
)
from engine.core.model.hosts import HostState
from engine.core.ports.operations import Clock

_SOON_SECONDS: Final = 0.02
"""After a change of the directory: hosts wait for where the others are."""
PLACING_SECONDS: Final = 10.0
"""How often nodes are searched anew for files that no node had; a new node is searched at once."""

_LOADED: Final = frozenset({HostState.READY, HostState.WAITING})

_log = logging.getLogger("maskline.supervisor")

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
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        """Watch what the record names; `clock` is monotonic, `wall` tells UTC epoch seconds."""
        self._fleet = fleet
        self._record = msgspec.structs.replace(record, is_stopped=False)
        self._clock = clock
        self._save = save
        self._beat_seconds = beat_seconds
        self._monitor = HostMonitor(fleet, len(record.directory.hosts), patience=patience, clock=clock, wall=wall)
        self._saved: object = None
        self._searched_at: float | None = None
        self._searched: frozenset[str] = frozenset()
        self._is_stopping = False
        self._running: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Watch from now on."""
        self._running = (
            asyncio.create_task(self._run(), name="supervisor"),
            asyncio.create_task(self._monitor.measure_lateness(), name="supervisor-lateness"),
        )

    def membership(self) -> Membership:
        """Tell the operator who the hosts are and how they fare."""
        return Membership(epoch=self._record.directory.epoch, members=self._members, now=self._clock(), pid=os.getpid())

    async def tick(self) -> None:
        """Ask every host once and do what follows."""
        beat = Beat(self._record.directory, self._monitor.down())
        acts = await asyncio.gather(*(self._monitor.ask(member.place, beat) for member in self._members))
        if self._is_stopping:
            return
        self._note_loaded()
        await self._place([place for place, act in enumerate(acts) if act is Act.PLACE])
        self._keep()

    @property
    def _members(self) -> tuple[Member, ...]:
        return self._monitor.members

    def was_late(self, seconds: float) -> None:
        """Count as no silence of any host that this process got no processor for so long."""
        self._monitor.was_late(seconds)

    async def revive(self) -> None:
        """Have every host start again that failed, was drained or has no node."""
        self._searched_at = None
        held = [member.place for member in self._members if member.state in {HostState.FAILED, HostState.DRAINED}]
        await asyncio.gather(*(self.order(place, "start") for place in held))

    async def order(self, place: int, verb: str, *, timeout_seconds: float = 30.0) -> bool:
        """Have a host drain, undrain or start; False when it did not in time."""
        return await self._fleet.order(place, Order(verb), timeout_seconds=timeout_seconds)

    async def move(self, place: int, node: str, *, timeout_seconds: float) -> bool:  # noqa: ARG002 - the port's
        """Leave a host where its files are: False."""
        return False

    async def stop(self, *, timeout_seconds: float) -> None:
        """Have every host stop in order, and end them for good when they have or the time is over."""
        self._is_stopping = True
        self._monitor.stop()
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
            told = self._record.directory
            try:
                await self.tick()
            except Exception:  # noqa: BLE001 - the loop of an actor: the unforeseen is logged, the next turn goes on
                _log.exception("A round of the supervisor failed")
            await asyncio.sleep(self._beat_seconds if self._record.directory is told else _SOON_SECONDS)

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
                self._monitor.replace(unplaced(self._members[place], chosen.problem, self._clock()))
                continue
            load[chosen.name] = load.get(chosen.name, 0) + 1
            self._note(place, chosen.address, has_files=place in chosen.places)
            self._monitor.replace(launched(self._members[place], chosen.name, self._clock()))
            self._keep()
            await self._fleet.launch(place, chosen.name)
            self._searched_at = None  # whatever is gone next is searched for at once

    async def _has_cause_to_search(self) -> bool:
        names, now = await self._fleet.node_names(), self._clock()
        if self._searched_at is not None and names == self._searched and now - self._searched_at < PLACING_SECONDS:
            return False
        self._searched, self._searched_at = names, now
        return True

    def _note_loaded(self) -> None:
        for member in self._members:
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
