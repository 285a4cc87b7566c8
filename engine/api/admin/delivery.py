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
    effect_report,
)
from engine.api.admin.request import read_query
from engine.api.alert_shapes import AlertQuery
from engine.core.model.effects import Effect
from engine.core.ports.operations import ControlPlane, OutboxFilter, PageCursor

_PAGE = 100


async def list_outbox(control: ControlPlane, request: Request) -> OutboxPage:
    """List effects."""
    query = read_query(request, OutboxQuery)
    effects = [
        effect
        async for page in _pages(control, query.wanted(is_dead=query.is_dead), after=query.after, most=query.limit + 1)
        for effect in page
    ]
    shown = effects[: query.limit]
    after = shown[-1].sid if len(effects) > query.limit else None
    return OutboxPage(tuple(effect_report(effect) for effect in shown), after)


async def count_outbox(control: ControlPlane, request: Request) -> OutboxCount:
    """Count effects."""
    query, count = read_query(request, OutboxQuery), 0
    async for page in _pages(control, query.wanted(is_dead=query.is_dead), after=query.after, most=MAX_COUNTED + 1):
        count += len(page)
    return OutboxCount(min(count, MAX_COUNTED), is_whole=count <= MAX_COUNTED)


async def replay(control: ControlPlane, request: Request) -> OutboxChanged:
    """Have dead effects tried again."""
    dead, after = await _dead(control, read_query(request, OutboxQuery))
    return OutboxChanged(await control.replay(dead) if dead else 0, after)


async def drop(control: ControlPlane, request: Request) -> OutboxChanged:
    """Owe dead effects no more."""
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


async def _dead(control: ControlPlane, query: OutboxQuery) -> tuple[list[Effect], str | None]:
    pages = _pages(control, query.wanted(is_dead=True), after=query.after, most=MAX_CHANGED)
    dead = [effect async for page in pages for effect in page]
    return dead, dead[-1].sid if len(dead) == MAX_CHANGED else None


async def _pages(
    control: ControlPlane, wanted: OutboxFilter, *, after: str | None, most: int
) -> AsyncIterator[tuple[Effect, ...]]:
    """Walk the pages of the outbox until so many effects have been seen."""
    while most > 0:
        page = await control.outbox_page(wanted, PageCursor(limit=min(most, _PAGE), after=after))
        yield page.records
        if not page.has_next:
            return
        most -= len(page.records)
        after = page.records[-1].sid
