"""The hosts that one supervisor asks how they fare: what it knows of each, and the end of those that hang.

Which node runs a host is not decided here.
"""

import asyncio
import logging
from typing import Final

from actors.cluster.fleet import Fleet
from actors.cluster.offset import WARNING_SECONDS, ClockOffset, Reading
from actors.cluster.processor import Waits, starved_seconds
from actors.cluster.watch import (
    BEAT_SECONDS,
    STARVED,
    Act,
    Beat,
    HostReport,
    Member,
    Patience,
    Sign,
    heard,
    missed,
    not_killed,
)
from engine.core.model.hosts import HostState
from engine.core.ports.operations import Clock

_UNANSWERING: Final = frozenset(
    {HostState.UNPLACED, HostState.DOWN, HostState.UNREACHABLE, HostState.DRAINED, HostState.FAILED}
)

_log = logging.getLogger("maskline.supervisor")


class HostMonitor:
    """What is known of each of n hosts, by place; used on one event loop."""

    def __init__(self, fleet: Fleet, hosts: int, *, patience: Patience, clock: Clock, wall: Clock) -> None:
        """Ask through a fleet; `clock` is monotonic, `wall` tells UTC epoch seconds."""
        self._fleet = fleet
        self._patience = patience
        self._clock = clock
        self._wall = wall
        self.members = tuple(Member(place=place, since=clock()) for place in range(hosts))
        """What is known of each, in the order of their places."""
        self._offsets = tuple(ClockOffset() for _ in self.members)
        self._unheard: set[int] = set()
        self._late_seconds = 0.0  # that this loop came late, all together
        self._late_then = [0.0] * hosts  # the same when each host was last heard
        self._waits_then: dict[int, Waits] = {}  # of hosts that are silent, since when they are
        self._is_stopping = False

    def stop(self) -> None:
        """Kill no host any more: all are being stopped."""
        self._is_stopping = True

    def down(self) -> tuple[int, ...]:
        """Name the hosts that will not answer."""
        return tuple(
            member.place
            for member in self.members
            if member.state in _UNANSWERING or (member.place in self._unheard and member.heard_at is not None)
        )

    async def measure_lateness(self) -> None:
        """Measure how long this process got no processor: what it did not hear meanwhile may have been said."""
        while True:
            due = self._clock() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self.was_late(self._clock() - due)

    def was_late(self, seconds: float) -> None:
        """Count as no silence of any host that this loop came late."""
        self._late_seconds += max(0.0, seconds)

    async def ask(self, place: int, beat: Beat) -> Act:
        """Ask a host how it fares; kill it where it hangs. Returns what else is to be done about it."""
        asked = Reading.of(self._wall, self._clock)
        answer = await self._fleet.beat(place, beat)
        now, member = self._clock(), self.members[place]
        if isinstance(answer, HostReport):
            self._offsets[place].measure(answer.clock, asked, Reading.of(self._wall, self._clock))
            self.replace(heard(member, answer, now, clock_offset=self._offsets[place].seconds))
            self._unheard.discard(place)
            self._count_anew(place)
            return Act.NOTHING
        self._unheard.add(place)
        if self._is_stopping:
            return Act.NOTHING
        starved = self._starved(place) if answer is Sign.SILENT else 0.0
        changed, act = missed(member, answer, now, self._patience, starved=starved)
        self.replace(changed)
        if act is Act.KILL:
            self._count_anew(place)
            if not await self._fleet.kill(place, for_good=False):
                self.replace(not_killed(changed))
        return act

    def _starved(self, place: int) -> float:
        """Tell for how long a silent host, or this process, got no processor since that host was heard."""
        waits = self._fleet.waits(place)
        own = self._late_seconds - self._late_then[place]
        return max(own, starved_seconds(self._waits_then.setdefault(place, waits), waits))

    def _count_anew(self, place: int) -> None:
        self._late_then[place] = self._late_seconds
        self._waits_then.pop(place, None)

    def replace(self, member: Member) -> None:
        """Take what is known of a host now, and log what is news."""
        before = self.members[member.place]
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
        members = list(self.members)
        members[member.place] = member
        self.members = tuple(members)


def _is_news(before: Member, after: Member) -> bool:
    """Tell whether to log how a host fares: another state, or why it has no node, which is found out after that."""
    if after.state is HostState.UNPLACED:
        return bool(after.problem) and (before.state is not after.state or before.problem != after.problem)
    return before.state is not after.state


def _is_off(member: Member) -> bool:
    return abs(member.clock_offset or 0.0) > WARNING_SECONDS
