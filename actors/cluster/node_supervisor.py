"""The supervisor of one node of a cluster on a database: carries the hosts that the rows assign to this node.

The rows are the truth about who carries which host; every node's supervisor reads them twice a second, and any may
assign what no node carries. While the database does not answer, hosts are asked and restarted, and nothing is decided.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from actors.cluster.fleet import Fleet, Membership, Order
from actors.cluster.host_monitor import HostMonitor
from actors.cluster.leases import Renewals
from actors.cluster.warden import SILENCE_SECONDS, Assignment
from actors.cluster.watch import (
    BEAT_SECONDS,
    Act,
    Beat,
    HostReport,
    Member,
    Patience,
    Sign,
    empty_record,
    launched,
)
from engine.core.model.errors import MasklineError, StoreUnavailable
from engine.core.model.hosts import HostAddress, HostDirectory, HostState
from engine.core.model.placement import host_name
from engine.core.ports.membership import ClusterRows, HostTold, Ledger, PlaceRow, PlaceState, Tenure
from engine.core.ports.operations import Clock

_SOON_SECONDS: Final = 0.1
"""Between two rounds, where something is waited for that may come at any moment."""

_log = logging.getLogger("maskline.supervisor")

Join = Callable[[], Awaitable[Ledger]]
"""Has this node take part; raises StoreUnavailable, or another MasklineError when it may not."""

Decide = Callable[[ClusterRows, float], Sequence[Assignment]]
"""Says what is to be assigned anew, of the rows as they were read at a time of a monotonic clock."""

Save = Callable[[tuple[Member, ...]], None]
"""Tells monitoring who is where; called on every change, raises OSError."""


class NodeSupervisor:
    """Carries out what the rows say of one node, on one event loop."""

    def __init__(
        self,
        fleet: Fleet,
        join: Join,
        *,
        node: str,
        hosts: int,
        decide: Decide,
        patience: Patience,
        lease_seconds: float,
        clock: Clock,
        steady: Clock,
        wall: Clock,
        save: Save,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        """Carry the hosts of the node of this name.

        `clock` is monotonic, `steady` counts seconds since the machine started, sleep included, `wall` tells UTC epoch
        seconds. A host that another node may have carried answers nothing for `lease_seconds` from its launch.
        """
        self._fleet = fleet
        self._join = join
        self._joined: Ledger | None = None
        self._node = node
        self._decide = decide
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._steady = steady
        self._save = save
        self._beat_seconds = beat_seconds
        self._monitor = HostMonitor(fleet, hosts, patience=patience, clock=clock, wall=wall)
        self._rows: ClusterRows | None = None
        self._read_at = 0.0  # when the rows were read
        self._renewals = Renewals()
        self._rows_wanted, self._hosts_wanted = asyncio.Event(), asyncio.Event()  # at once, not with the next beat
        self._nodes_seen: dict[str, tuple[int, float]] = {}  # their last beat, and when it was seen first
        self._actors = set(range(hosts))  # places of which there may be an actor here
        self._strangers: set[int] = set()  # those among them that have been assigned elsewhere since
        self._giving_back: dict[int, asyncio.Task[None]] = {}
        self._problem = ""  # with the database
        self._failures: dict[str, str] = {}  # of rounds, by the name of the task
        self._takeovers = 0
        self._is_refused = False
        self._is_stopping = False
        self._saved: object = None
        self._running: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Watch from now on."""
        rounds = {"rows": (self.follow, self._rows_wanted), "hosts": (self.attend, self._hosts_wanted)}
        self._running = (
            *(asyncio.create_task(self._again_and_again(name, *one), name=name) for name, one in rounds.items()),
            asyncio.create_task(self._monitor.measure_lateness(), name="supervisor-lateness"),
        )

    async def _again_and_again(self, name: str, turn: Callable[[], Awaitable[None]], wanted: asyncio.Event) -> None:
        while True:
            wanted.clear()
            try:
                await turn()
            except Exception as failure:  # noqa: BLE001 - the loop of an actor: told and logged, the next turn goes on
                _log.exception("A round of the supervisor failed")
                self._failures[name] = f"an unforeseen error of its supervisor, see its log: {type(failure).__name__}"
            else:
                self._failures.pop(name, None)
            await asyncio.sleep(_SOON_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(wanted.wait(), self._beat_seconds - _SOON_SECONDS)

    def was_late(self, seconds: float) -> None:
        """Count as no silence of any host that this process got no processor for so long."""
        self._monitor.was_late(seconds)

    def membership(self) -> Membership:
        """Tell the operator who the hosts of all nodes are and how they fare."""
        epoch = self._rows.version if self._rows is not None else 0
        return Membership(
            epoch=epoch,
            members=self._members(),
            now=self._clock(),
            pid=os.getpid(),
            node=self._node,
            problem="; ".join(filter(None, (self._problem, *self._failures.values()))),
            is_refused=self._is_refused,
            nodes=self._nodes_up(),
        )

    async def tick(self) -> None:
        """Read the rows, do what follows, and ask every host of this node."""
        await self.follow()
        await self.attend()

    async def follow(self) -> None:
        """Show that this node lives, read the rows, and assign what no node carries."""
        if self._is_refused:
            return
        try:
            if self._joined is None:
                self._joined = await self._join()
            rows = await self._joined.beat(self._told())
        except StoreUnavailable as problem:
            self._lack(f"the database does not answer, and nothing is assigned anew: {problem}")
            return
        except MasklineError as problem:
            self._refuse(problem)
            return
        self._lack("")
        self._take(rows)
        if not self._is_stopping:
            await self._assign(rows)

    async def attend(self) -> None:
        """Ask the hosts of this node how they fare; launch, end and give back what the rows want so."""
        beat, told = self._beat(), self._told()
        await asyncio.gather(*(self._end_stranger(place, beat) for place in tuple(self._strangers)))
        mine = self._mine()
        asked = tuple(mine) if self._rows is not None else tuple(self._actors)
        acts = await asyncio.gather(*(self._monitor.ask(place, beat) for place in asked))
        for place, act in zip(asked, acts, strict=True):
            if act is Act.PLACE:
                self._actors.discard(place)
        if not self._is_stopping and not self._is_refused:
            await asyncio.gather(*(self._carry(row) for row in mine.values()))
        if _without_problems(self._told()) != _without_problems(told):
            self._rows_wanted.set()  # the others wait for it
        if any(self._monitor.members[place].state is HostState.STARTING for place in mine):
            self._hosts_wanted.set()
        self._keep()

    async def revive(self) -> None:
        """Have every host of this node start again that failed."""
        failed = [place for place in self._mine() if self._monitor.members[place].state is HostState.FAILED]
        await asyncio.gather(*(self._fleet.order(place, Order("start"), timeout_seconds=30.0) for place in failed))

    async def order(self, place: int, verb: str, *, timeout_seconds: float = 30.0) -> bool:
        """Have a host of any node drain or undrain, which has one that failed try again; False: not in time."""
        row = self._row(place)
        try:
            async with asyncio.timeout(timeout_seconds):
                if verb == "drain":
                    await self._drained(place)
                elif row is not None and row.node and row.told is not None and row.told.state is HostState.FAILED:
                    return await self._ledger.move(place, row.node, row.node)
                else:
                    await self._ledger.set_drained(place, is_drained=False)
        except (TimeoutError, StoreUnavailable) as problem:
            _log.warning("%s did not %s: %s", host_name(place), verb, str(problem) or "not in time")
            return False
        return True

    async def move(self, place: int, node: str, *, timeout_seconds: float) -> bool:
        """Have a host stop in order where it is, and start on the node of a name.

        False when it did not in time, or the node shows no life. Then the host stays where it is, unless the database
        is away: what is on the way goes on when that is back.
        """
        if node not in self._nodes_up():
            _log.warning("%s is not moved to %s, which shows no life", host_name(place), node)
            return False
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._moved(place, node)
        except (TimeoutError, StoreUnavailable) as problem:
            _log.warning("%s was not moved to %s: %s", host_name(place), node, str(problem) or "not in time")
        with suppress(StoreUnavailable):
            await self._ledger.stay(place, node)
        return False

    async def _moved(self, place: int, node: str) -> bool:
        """Have the node that carries a host give it over; it does so even if this supervisor ends meanwhile."""
        row = self._row(place)
        assert row is not None  # noqa: S101 - the node that it goes to was read with it
        if row.node is None:
            state = PlaceState.FREE if row.state is PlaceState.FREE else PlaceState.TAKEN
            return await self._ledger.assign(place, epoch=row.epoch, node=node, state=state)
        epoch = row.epoch
        if not await self._ledger.move(place, row.node, node):
            return False
        while row is None or row.epoch == epoch or row.moves_to is not None:
            await asyncio.sleep(BEAT_SECONDS / 5)
            row = self._row(place)
        return row.node == node

    async def _drained(self, place: int) -> PlaceRow:
        """Take a host out, and wait until its node has given it back."""
        await self._ledger.set_drained(place, is_drained=True)
        while True:
            row = self._row(place)
            if row is not None and row.is_drained and row.node is None:
                return row
            await asyncio.sleep(BEAT_SECONDS / 5)

    async def stop(self, *, timeout_seconds: float) -> None:
        """Have every host of this node stop in order, end it for good, and leave the cluster."""
        self._is_stopping = True
        self._monitor.stop()
        for task in self._giving_back.values():
            task.cancel()
        places = self._actors.union(self._mine())
        await asyncio.gather(*(self._stopped(place, timeout_seconds) for place in places))
        for task in (*self._running, *self._giving_back.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        try:
            await self._ledger.leave()
        except MasklineError as problem:
            _log.warning("The hosts of this node are not given back, others take them when it is silent: %s", problem)

    async def _stopped(self, place: int, timeout_seconds: float) -> None:
        if place in self._actors:
            await self._fleet.order(place, Order("stop"), timeout_seconds=timeout_seconds)
            await self._fleet.kill(place, for_good=True)

    @property
    def _ledger(self) -> Ledger:
        if self._joined is None:
            raise StoreUnavailable("this node does not take part in the cluster yet")
        return self._joined

    def _refuse(self, problem: MasklineError) -> None:
        """Leave this node to end: its operator has to change something."""
        if not self._is_refused:
            _log.error("%s", problem)
        self._is_refused, self._problem = True, str(problem)

    def _lack(self, problem: str) -> None:
        if bool(problem) != bool(self._problem):
            _log.log(*(logging.ERROR, "%s", problem) if problem else (logging.WARNING, "the database answers again"))
        self._problem = problem

    def _take(self, rows: ClusterRows) -> None:
        now, seen = self._clock(), self._nodes_seen
        self._read_at = now
        if rows.has_missed:  # a primary that is no more may have had renewals that were not read
            self._renewals = Renewals()
        self._renewals.take(rows.places, self._steady())
        self._nodes_seen = {
            node.name: seen[node.name] if node.name in seen and seen[node.name][0] == node.beat else (node.beat, now)
            for node in rows.nodes
        }
        if self._rows is None or self._rows.version != rows.version:
            self._hosts_wanted.set()
        self._rows = rows
        self._strangers |= self._actors.difference(self._mine())

    async def _assign(self, rows: ClusterRows) -> None:
        for one in self._decide(rows, self._clock()):
            try:
                is_done = await self._ledger.assign(one.place, epoch=one.epoch, node=one.node, state=one.state)
            except StoreUnavailable as problem:
                _log.warning("%s could not be assigned: %s", host_name(one.place), problem)
                return
            if is_done:
                self._rows_wanted.set()
                self._takeovers += one.state is PlaceState.TAKEN
                _log.warning("%s: %s goes to %s", one.reason, host_name(one.place), one.node)

    async def _carry(self, row: PlaceRow) -> None:
        """Launch a host that is assigned to this node and has no actor; give one back that is drained, or moves."""
        place = row.place
        if place in self._giving_back or place in self._strangers:
            return
        if row.is_drained or row.moves_to is not None:
            giving = self._giving_back[place] = asyncio.create_task(self._give_back(place), name=f"give-back-{place}")
            giving.add_done_callback(lambda _: self._giving_back.pop(place, None))
        elif place not in self._actors:
            self._monitor.replace(launched(self._monitor.members[place], self._node, self._clock()))
            self._actors.add(place)
            await self._fleet.launch(place, self._fleet.here(), tenure=self._tenure(row))

    def _tenure(self, row: PlaceRow) -> Tenure:
        """Tell when a host may answer: once the lease of an owner that was fenced is over."""
        if row.state is PlaceState.FREE:
            return Tenure(row.epoch)
        renewed_by = self._renewals[row.place] if row.state is PlaceState.TAKEN else self._steady()
        return Tenure(row.epoch, renewed_by + self._lease_seconds)

    async def _give_back(self, place: int) -> None:
        await self._stopped(place, _STOP_SECONDS)
        try:
            await self._ledger.give_back(place)
        except StoreUnavailable as problem:
            _log.warning("%s is not given back: %s", host_name(place), problem)

    async def _end_stranger(self, place: int, beat: Beat) -> None:
        """End for good what runs here of a host that was assigned elsewhere, even if it is this node's again.

        What is launched then knows until when the other node may answer.
        """
        if await self._fleet.beat(place, beat) is Sign.GONE:
            self._actors.discard(place)
            self._strangers.discard(place)
        else:
            _log.warning("%s is not assigned to this node: what runs of it here is ended", host_name(place))
            await self._fleet.kill(place, for_good=True)

    def _nodes_up(self) -> tuple[str, ...]:
        return tuple(name for name, (_, since) in self._nodes_seen.items() if self._read_at - since <= SILENCE_SECONDS)

    def _mine(self) -> dict[int, PlaceRow]:
        rows = self._rows.places if self._rows is not None else ()
        return {row.place: row for row in rows if row.node == self._node}

    def _row(self, place: int) -> PlaceRow | None:
        return None if self._rows is None else self._rows.places[place]

    def _told(self) -> dict[int, HostTold]:
        members = (self._monitor.members[place] for place in self._mine())
        return {member.place: _told_of(member) for member in members if member.state is not HostState.UNKNOWN}

    def _beat(self) -> Beat:
        rows = self._rows
        if rows is None:
            return Beat(empty_record(len(self._monitor.members)).directory, ())
        directory = HostDirectory(rows.version, 0, tuple(_address(row) for row in rows.places))
        down = {member.place for member in self._members() if member.state not in _ANSWERING}
        down.update(self._mine().keys() & set(self._monitor.down()))
        return Beat(directory, tuple(sorted(down)), rows.secret, self._takeovers, self._clock() - self._read_at)

    def _members(self) -> tuple[Member, ...]:
        """Tell how all hosts fare: those of this node as they were heard, the others as their nodes tell."""
        rows = self._rows
        if rows is None:
            return self._monitor.members
        addresses = {node.name: node.address for node in rows.nodes}
        return tuple(self._member(row, addresses.get(row.node or "", "")) for row in rows.places)

    def _member(self, row: PlaceRow, address: str) -> Member:
        if row.node == self._node:
            return msgspec.structs.replace(self._monitor.members[row.place], node=self._node)
        since = self._nodes_seen.get(row.node or "", (0, self._read_at))[1]
        silent = self._read_at - since
        state, problem = _state_of(row)
        if silent > SILENCE_SECONDS:
            state, problem = HostState.UNREACHABLE, f"node {row.node} has shown no life for {silent:.0f} seconds"
        report = None if row.told is None else _report_of(row, row.told, address)
        return Member(
            place=row.place,
            state=state,
            since=since,
            heard_at=since if row.told is not None else None,
            node=row.node or "",
            report=report,
            operations="" if row.told is None else row.told.operations,
            problem=problem,
        )

    def _keep(self) -> None:
        members = self._members()
        shown = tuple((member.operations, member.node) for member in members)
        if shown == self._saved:
            return
        try:
            self._save(members)
        except OSError as failure:
            _log.warning("The list of scrape targets cannot be written: %s", failure.strerror)
        else:
            self._saved = shown


_STOP_SECONDS: Final = 30.0
"""What a host that is drained is given to finish what is in flight."""

_ANSWERING: Final = frozenset({HostState.READY, HostState.WAITING, HostState.STOPPING})


def _without_problems(told: dict[int, HostTold]) -> dict[int, HostTold]:
    """Return what others need at once of what is told: a problem may have another text each time."""
    return {place: msgspec.structs.replace(one, problem="") for place, one in told.items()}


def _state_of(row: PlaceRow) -> tuple[HostState, str]:
    if row.node is None:
        return (HostState.DRAINED, "") if row.is_drained else (HostState.UNPLACED, "no node carries it")
    if row.told is None:
        return HostState.STARTING, ""
    return row.told.state, row.told.problem


def _address(row: PlaceRow) -> HostAddress:
    told = row.told or HostTold(state=HostState.UNKNOWN)
    return HostAddress(host_name(row.place), told.feed, told.peers, told.certificate)


def _told_of(member: Member) -> HostTold:
    """Return what the others are told of a host of this node."""
    report = member.report
    if report is None or member.state not in _ANSWERING:
        return HostTold(state=member.state, problem=member.problem, incarnation=report.incarnation if report else 0)
    return HostTold(
        state=member.state,
        pid=report.pid,
        http=report.http,
        feed=report.feed,
        operations=report.operations,
        peers=report.peers,
        certificate=report.certificate,
        problem=member.problem,
        incarnation=report.incarnation,
    )


def _report_of(row: PlaceRow, told: HostTold, address: str) -> HostReport:
    return HostReport(
        place=row.place,
        state=told.state,
        pid=told.pid,
        node=row.node or "",
        node_address=address,
        incarnation=told.incarnation,
        http=told.http,
        feed=told.feed,
        operations=told.operations,
        problem=told.problem,
    )
