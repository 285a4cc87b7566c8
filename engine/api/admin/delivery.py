"""The admin API's part about what leaves: outbox and debugger events; see `engine.api.admin.delivery_shapes`."""

from collections.abc import AsyncIterator

from starlette.requests import Request

from engine.api.admin.delivery_shapes import (
    MAX_CHANGED,
    MAX_COUNTED,
    AlertList,
    AlertTail,
    OutboxChanged,
    OutboxCount,
    OutboxPage,
    OutboxQuery,
    alert_report,
    show_entry,
)
from engine.api.admin.request import read_query
from engine.api.alert_shapes import AlertQuery
from engine.core.model.outbox import OutboxEntry
from engine.core.ports.lists import OutboxFilter, PageCursor
from engine.core.ports.operations import ControlPlane

_PAGE = 100


async def list_outbox(control: ControlPlane, request: Request) -> OutboxPage:
    """List entries of the outbox."""
    query = read_query(request, OutboxQuery)
    entries = [
        entry
        async for page in _pages(control, query.wanted(is_dead=query.is_dead), after=query.after, most=query.limit + 1)
        for entry in page
    ]
    shown = entries[: query.limit]
    after = shown[-1].sid if len(entries) > query.limit else None
    return OutboxPage(tuple(show_entry(entry) for entry in shown), after)


async def count_outbox(control: ControlPlane, request: Request) -> OutboxCount:
    """Count entries of the outbox."""
    query, count = read_query(request, OutboxQuery), 0
    async for page in _pages(control, query.wanted(is_dead=query.is_dead), after=query.after, most=MAX_COUNTED + 1):
        count += len(page)
    return OutboxCount(min(count, MAX_COUNTED), is_whole=count <= MAX_COUNTED)


async def replay(control: ControlPlane, request: Request) -> OutboxChanged:
    """Have dead entries tried again."""
    dead, after = await _dead(control, read_query(request, OutboxQuery))
    return OutboxChanged(await control.replay(dead) if dead else 0, after)


async def drop(control: ControlPlane, request: Request) -> OutboxChanged:
    """Drop dead entries."""
    dead, after = await _dead(control, read_query(request, OutboxQuery))
    return OutboxChanged(await control.drop(dead) if dead else 0, after)


async def list_alerts(control: ControlPlane, request: Request) -> AlertList:
    """List the latest debugger events of an account."""
    account = control.account(request.path_params["account"])
    tail = read_query(request, AlertTail)
    query = AlertQuery(log_level=tail.level, since=tail.since)
    if query.is_hopeless:
        return AlertList(())
    page = await control.alerts_page(account.sid, query.wanted, PageCursor(limit=tail.limit))
    return AlertList(tuple(alert_report(event) for event in reversed(page.records)))


async def _dead(control: ControlPlane, query: OutboxQuery) -> tuple[list[OutboxEntry], str | None]:
    pages = _pages(control, query.wanted(is_dead=True), after=query.after, most=MAX_CHANGED)
    dead = [entry async for page in pages for entry in page]
    return dead, dead[-1].sid if len(dead) == MAX_CHANGED else None


async def _pages(
    control: ControlPlane, wanted: OutboxFilter, *, after: str | None, most: int
) -> AsyncIterator[tuple[OutboxEntry, ...]]:
    """Walk the pages of the outbox until n entries have been seen."""
    while most > 0:
        page = await control.outbox_page(wanted, PageCursor(limit=min(most, _PAGE), after=after))
        yield page.records
        if not page.has_next:
            return
        most -= len(page.records)
        after = page.records[-1].sid
