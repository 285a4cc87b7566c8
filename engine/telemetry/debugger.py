"""The debugger's events in the log: each with its code, title and resources; a flood is summed up, not written out.

A stranger's flood raises one event a call; written one by one they would cost more than the calls (behaviour 16).
"""

import logging

from engine.core.model.errors import CATALOGUE, CatalogueEntry, Code, Level
from engine.core.model.records import DebuggerEvent
from engine.telemetry.logs import ROOT

LOGGED_PER_SECOND = 10
"""Events of one code that are written in a second; the others of that second are summed up in one line."""

_UNKNOWN = CatalogueEntry("Unknown code", Level.ERROR, None)
_ENTRIES = {code.value: CATALOGUE[code] for code in Code}
_SEVERITIES = {Level.ERROR: logging.ERROR, Level.WARNING: logging.WARNING}


class _Second:
    """How often a code was seen in the second at hand."""

    __slots__ = ("number", "seen")

    def __init__(self) -> None:
        self.number = 0
        self.seen = 0


class DebuggerLog:
    """Writes debugger events to the logger `maskline.debugger`."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        """Write to `logger` instead, when given."""
        self._logger = logger or logging.getLogger(f"{ROOT}.debugger")
        self._seconds: dict[int, _Second] = {}

    def write(self, event: DebuggerEvent) -> None:
        """Write an event unless its code has filled this second; the event's own time is the clock."""
        flood = self._seconds.get(event.code)
        if flood is not None and flood.seen >= LOGGED_PER_SECOND and flood.number == int(event.at):
            flood.seen += 1
            return
        entry = _ENTRIES.get(event.code, _UNKNOWN)
        severity = _SEVERITIES[entry.level]
        if not self._logger.isEnabledFor(severity):
            return
        key = 0 if entry is _UNKNOWN else event.code
        second = self._seconds.get(key)
        if second is None:
            second = self._seconds[key] = _Second()
        if second.number != int(event.at):
            self._sum_up(event.code, second.seen - LOGGED_PER_SECOND, severity)
            second.number, second.seen = int(event.at), 0
        second.seen += 1
        if second.seen <= LOGGED_PER_SECOND:
            self._write_out(event, entry, severity)

    def _write_out(self, event: DebuggerEvent, entry: CatalogueEntry, severity: int) -> None:
        fields = {
            "code": event.code,
            "title": entry.title,
            "account_sid": event.account_sid,
            "service_sid": event.service_sid,
            "session_sid": event.session_sid,
            "resource_sid": event.resource_sid,
        }
        self._logger.log(severity, "%s", event.message, extra=fields)

    def _sum_up(self, code: int, left_out: int, severity: int) -> None:
        if left_out > 0:
            self._logger.log(severity, "%d more events of this code, counted only", left_out, extra={"code": code})
