"""The debugger's events in the log: one line a kind and minute, with its code, title and resources, and then a count.

A stranger's flood, or an application that is away, raises one event a call; written one by one they would cost more
than the calls (behaviour 16), and hide what else is in the log.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from engine.core.model.errors import CATALOGUE, CatalogueEntry, Code, Level
from engine.core.model.records import DebuggerEvent
from engine.telemetry.logs import ROOT

LOOK_SECONDS = 5.0
"""Between two looks whether the minute is over."""
_MINUTE: Final = 60
_SAME: Final = (0, -1)
"""Minutes ahead that are the same one: what happened just before it turned may come just after."""
_UNKNOWN = CatalogueEntry("Unknown code", Level.ERROR, None)
_ENTRIES = {code.value: CATALOGUE[code] for code in Code}
_SEVERITIES = {Level.ERROR: logging.ERROR, Level.WARNING: logging.WARNING}


class DebuggerLog:
    """Writes debugger events to the logger `maskline.debugger`; a kind is a code and whose account it is."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        """Write to `logger` instead, when given."""
        self._logger = logger or logging.getLogger(f"{ROOT}.debugger")
        self._minute = 0
        self._left_out: dict[tuple[int, str], int] = {}

    def write(self, event: DebuggerEvent) -> None:
        """Write the first event of its kind in a minute, count the others; the event's own time is the clock."""
        self.sum_up(event.at)
        code = event.code if event.code in _ENTRIES else 0
        if not self.count(code, event.account_sid, event.at):
            self._left_out[code, event.account_sid] = 0
            self._write_out(event, _ENTRIES.get(code, _UNKNOWN))

    def count(self, code: int, account_sid: str, at: float) -> bool:
        """Count an event; False when it is the first of its kind in its minute, and has to be written."""
        kind = (code, account_sid)
        if int(at) // _MINUTE - self._minute not in _SAME or kind not in self._left_out:
            return False
        self._left_out[kind] += 1
        return True

    def sum_up(self, now: float) -> None:
        """Say how many events of each kind were only counted, once `now` is in another minute than they were."""
        minute = int(now) // _MINUTE
        if minute - self._minute not in _SAME:
            self._minute = minute
            self.finish()

    def finish(self) -> None:
        """Say at once how many events of each kind were only counted."""
        left_out, self._left_out = self._left_out, {}
        for (code, account_sid), count in left_out.items():
            if count:
                entry = _ENTRIES.get(code, _UNKNOWN)
                fields = {"code": code, "title": entry.title, "account_sid": account_sid, "count": count}
                self._logger.log(
                    _SEVERITIES[entry.level], "%d more in that minute: %s", count, entry.title, extra=fields
                )

    def _write_out(self, event: DebuggerEvent, entry: CatalogueEntry) -> None:
        fields = {
            "code": event.code,
            "title": entry.title,
            "account_sid": event.account_sid,
            "service_sid": event.service_sid,
            "session_sid": event.session_sid,
            "resource_sid": event.resource_sid,
        }
        self._logger.log(_SEVERITIES[entry.level], "%s", event.message, extra=fields)


async def sum_up_each_minute(log: DebuggerLog, clock: Callable[[], float]) -> None:
    """Have a minute summed up though nothing more happens, and the last one when this is cancelled."""
    try:
        while True:
            log.sum_up(clock())
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        log.finish()
