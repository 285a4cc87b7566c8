"""Traffic of this host by the minute, kept for a day beside what it tells of: docs/console.md."""

import logging

import msgspec

from actors.control.services import ServiceRegister
from actors.kernel.context import HostContext
from engine.core.model.changes import NoteKept
from engine.core.model.history import KEPT_MINUTES, MINUTE_SECONDS, MinuteCounter
from engine.core.model.overview import Minute, ReadFigures
from engine.core.model.placement import host_name

MOST_POOLS = 5
"""Of each host, the fullest."""

_log = logging.getLogger("maskline.host")


class TrafficHistory:
    """The last day, in memory to be read and in the store to be found again after a restart."""

    def __init__(self, context: HostContext, services: ServiceRegister, *, place: int, figures: ReadFigures) -> None:
        """Tell of the host at a place, of what `figures` count there and of the pools of its services."""
        self._context = context
        self._figures = figures
        self._services = services
        self._channel = f"history of {host_name(place)}"
        self._counter = MinuteCounter()
        self._minutes: dict[int, Minute] = {}

    async def load(self) -> None:
        """Read what was kept; what another version wrote in another shape is left out."""
        for key, note in await self._context.store.latest_notes(self._channel, b"", KEPT_MINUTES):
            try:
                minute = msgspec.msgpack.decode(note.value, type=Minute)
            except msgspec.DecodeError as problem:
                _log.warning("The minute %s of the traffic's history cannot be read: %s", key.hex(), problem)
            else:
                self._minutes[minute.at] = minute

    async def note(self) -> None:
        """Keep the minute that has ended, if one has; what the disk refuses stays in memory alone."""
        now = self._context.clock()
        if not self._counter.is_due(now):
            return
        minute = self._counter.read(self._figures(), self._services.saturations(most=MOST_POOLS), now=now)
        if minute is None:
            return
        self._minutes = {at: one for at, one in self._minutes.items() if at > now - KEPT_MINUTES * MINUTE_SECONDS}
        self._minutes[minute.at] = minute
        until = minute.at + KEPT_MINUTES * MINUTE_SECONDS
        key, value = minute.at.to_bytes(8, "big"), msgspec.msgpack.encode(minute)
        await self._context.store.write((NoteKept(self._channel, key, value, until),))

    def since(self, at: float) -> tuple[Minute, ...]:
        """Return the minutes that began at that time or later, UTC epoch seconds, the oldest first."""
        return tuple(self._minutes[began] for began in sorted(self._minutes) if began >= at)
