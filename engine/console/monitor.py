"""Reads what the verdict is made of: for whoever looks on, and every few seconds by itself.

So it is known since when something is wrong, though nobody looked.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from engine.console.available import Missing, available
from engine.console.settings import MOST_POOLS
from engine.console.snapshot import HostSnapshot, Seen
from engine.console.verdict import ERRORS_SECONDS, Finding, FirstSeen, Signs, findings
from engine.core.model.errors import Level
from engine.core.model.outbox import OutboxEntry
from engine.core.model.overview import ConsolePlane, History, HostFigures, HostStatus, PoolReports
from engine.core.model.records import DebuggerEvent
from engine.core.ports.lists import AlertFilter, OutboxDepth, OutboxFilter, Page, PageCursor
from engine.core.ports.operations import Clock, ControlPlane
from engine.core.routing.traffic import Outcome

LOOK_SECONDS: Final = 10.0
"""Between two looks when nobody asks."""

_SOME: Final = PageCursor(limit=100, is_part_enough=True)
_ONE: Final = PageCursor(limit=1, is_part_enough=True)
_NONE: Final[Page[OutboxEntry]] = Page((), has_next=False, has_previous=False)

_log = logging.getLogger("maskline.console")


class View(msgspec.Struct, frozen=True):
    """How the engine fares, for one who looks on."""

    seen: Seen
    pools: PoolReports
    depth: OutboxDepth | None
    """None where the viewer may not know."""
    findings: tuple[Finding, ...]


class Monitor:
    """Looks at the whole engine through its ports."""

    def __init__(self, control: ControlPlane, plane: ConsolePlane, *, clock: Clock, monotonic: Clock) -> None:
        """Remember nothing yet."""
        self._control = control
        self._plane = plane
        self._clock = clock
        self._monotonic = monotonic
        self._history: History | None = None
        self._history_at = 0.0
        self._snapshot = HostSnapshot(plane, monotonic)
        self._first_seen = FirstSeen()
        self._since: Mapping[str, float] = {}

    async def run(self) -> None:
        """Look on until the task is cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the loop of a task: the unforeseen is logged, the next turn goes on
                _log.exception("a look at the hosts failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Note what is wrong now."""
        await self.view(None, is_whole=True)

    async def view(self, account_sid: str | None, *, is_whole: bool) -> View:
        """Return what an account (None = the operator) sees; without `is_whole`, no totals of the hosts."""
        now = self._clock()
        seen = await self._snapshot.read()
        pools = await self._plane.pools(account_sid, most=MOST_POOLS)
        wanted = AlertFilter(level=Level.ERROR, since=now - ERRORS_SECONDS)
        errors = await available(self._control.alerts_page(account_sid, wanted, _SOME))
        owed = depth(seen.hosts) if is_whole else None
        dead = _NONE if owed is not None and not owed.dead else await self._oldest_dead(account_sid)
        signs = Signs(
            now=now,
            hosts=seen.hosts if is_whole else tuple(map(_without_totals, seen.hosts)),
            not_ready_per_second=_not_ready(seen) if is_whole else 0.0,
            depth=owed,
            oldest_dead=None if isinstance(dead, Missing) else next(iter(dead.records), None),
            pools=pools.pools,
            errors=() if isinstance(errors, Missing) else errors.records,
            has_more_errors=not isinstance(errors, Missing) and errors.has_next,
            unread=tuple(_unread({"Pools": pools, "Debugger events": errors, "Dead letters": dead})),
        )
        if is_whole and account_sid is None:  # all that anybody may see
            self._since = self._first_seen.note(findings(signs, {}), now=now)
        return View(seen, pools, owed, findings(signs, self._since))

    async def history(self, since: float) -> History:
        """Tell of the traffic of all hosts since a time; read once for all who look on within some seconds."""
        at = self._monotonic()
        if self._history is None or at - self._history_at >= LOOK_SECONDS:
            self._history, self._history_at = await self._plane.history(since), at
        return self._history

    async def _oldest_dead(self, account_sid: str | None) -> Page[OutboxEntry] | Missing:
        wanted = OutboxFilter(account_sid=account_sid, is_dead=True)
        return await available(self._control.outbox_page(wanted, _ONE))


def depth(hosts: Sequence[HostStatus]) -> OutboxDepth:
    """Add up what the hosts owe."""
    depths = [host.figures.outbox for host in hosts if host.is_answering]
    oldest = min((one.oldest for one in depths if one.oldest is not None), default=None)
    return OutboxDepth(sum(one.pending for one in depths), sum(one.dead for one in depths), oldest)


def _without_totals(host: HostStatus) -> HostStatus:
    """Leave out what tells an account of its neighbours."""
    figures = HostFigures(is_held=host.figures.is_held, is_outbox_full=host.figures.is_outbox_full)
    return msgspec.structs.replace(host, figures=figures)


def _not_ready(seen: Seen) -> float:
    return sum(one.per_second or 0.0 for one in seen.traffic if one.outcome is Outcome.NOT_READY)


def _unread(parts: Mapping[str, Page[DebuggerEvent] | Page[OutboxEntry] | PoolReports | Missing]) -> Iterator[str]:
    for name, part in parts.items():
        if isinstance(part, Missing):
            yield f"{name}: {part.why}"
        elif part.silent:
            yield f"{name} of {', '.join(part.silent)} are not among what was looked at."
