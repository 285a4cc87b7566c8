"""Lists as files, CSV and NDJSON: what the filters of the page mean, masked as on the page."""

import csv
import io
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.console.context import ConsoleContext
from engine.console.filters import events_wanted, outbox_wanted
from engine.console.pages import LEVELS, title_of
from engine.core.model.errors import Level
from engine.core.model.logins import LoginSession
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import DebuggerEvent
from engine.core.numbers.masking import mask_text
from engine.core.ports.lists import Page, PageCursor
from engine.formats.values import format_date, optional_date

MOST_ROWS: Final = 10_000
"""Of a file."""

_PAGE: Final = 100
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell for a formula by."""

Record = TypeVar("Record", DebuggerEvent, OutboxEntry)
Row = Mapping[str, str | int | None]


async def export_events(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Answer with the debugger events that are meant, newest first."""
    wanted = events_wanted(request, now=context.clock())
    rows = await _rows(lambda cursor: context.control.alerts_page(login.account_sid, wanted, cursor), _event_row)
    return _file(request, rows)


async def export_outbox(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Answer with the entries of the outbox that are meant, oldest first."""
    wanted = outbox_wanted(request, login.account_sid)
    rows = await _rows(lambda cursor: context.control.outbox_page(wanted, cursor), _entry_row)
    return _file(request, rows)


async def _rows(
    read: Callable[[PageCursor], Awaitable[Page[Record]]], row_of: Callable[[Record], Row]
) -> Sequence[Row]:
    """Read page by page; a host that does not answer makes the file fail rather than be short of its rows."""
    rows: list[Row] = []
    after = None
    while len(rows) < MOST_ROWS:
        page = await read(PageCursor(limit=_PAGE, after=after))
        rows += map(row_of, page.records)
        if not page.has_next:
            break
        after = page.records[-1].sid
    return rows


def _event_row(event: DebuggerEvent) -> Row:
    return {
        "sid": event.sid,
        "date": format_date(event.at),
        "level": LEVELS.get(event.code, Level.ERROR).lower(),
        "code": event.code,
        "title": title_of(event.code),
        "message": mask_text(event.message),
        "sender": event.sender,
        "proxy": event.proxy,
        "account_sid": event.account_sid,
        "service_sid": event.service_sid,
        "session_sid": event.session_sid,
        "resource_sid": event.resource_sid and mask_text(event.resource_sid),
    }


def _entry_row(entry: OutboxEntry) -> Row:
    return {
        "sid": entry.sid,
        "state": "pending" if entry.date_died is None else "dead",
        "kind": entry.kind,
        "destination": mask_text(entry.destination),
        "path": mask_text(entry.path),
        "date_created": format_date(entry.date_created),
        "date_died": optional_date(entry.date_died),
        "date_next": optional_date(entry.date_next),
        "attempts": entry.attempts,
        "last_error": mask_text(entry.last_error),
        "account_sid": entry.account_sid,
        "service_sid": entry.service_sid,
        "session_sid": entry.session_sid,
        "interaction_sid": entry.interaction_sid,
    }


def _file(request: Request, rows: Sequence[Row]) -> Response:
    name = request.url.path.rpartition("/")[2]
    content, media_type = (
        (_csv(rows), "text/csv; charset=utf-8") if name.endswith(".csv") else (_ndjson(rows), "application/x-ndjson")
    )
    return Response(
        content, media_type=media_type, headers={"content-disposition": f'attachment; filename="maskline-{name}"'}
    )


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    if rows:
        writer.writerow(rows[0])
    writer.writerows(map(_cells, rows))
    return text.getvalue()


def _cells(row: Row) -> Iterable[str]:
    for value in row.values():
        cell = "" if value is None else str(value)
        yield f"'{cell}" if cell.startswith(_FORMULA) else cell


def _ndjson(rows: Sequence[Row]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
