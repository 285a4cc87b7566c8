"""Debugger events, at the path and in the shapes of the neighbouring Monitor API. Source: behaviour 16."""

from engine.api.alert_shapes import LIST_ALERTS, AlertDetail, AlertPage, AlertQuery, alert_detail, alert_shape
from engine.api.operations import AnyOperation, Call, FilteredPageOf, Nothing, Operation, listed
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import SidKind
from engine.core.ports.lists import Page
from engine.formats.values import PageRequest


async def page(call: Call, query: tuple[PageRequest, AlertQuery]) -> AlertPage:
    """List debugger events."""
    asked, wanted = query
    if wanted.is_hopeless:
        found = Page[DebuggerEvent]((), has_next=False, has_previous=False)
    else:
        found = await call.control.alerts_page(call.account_sid, wanted.wanted, asked.cursor)
    return AlertPage(*listed(call, "alerts", asked=asked, page=found, show=alert_shape))


async def fetch(call: Call, _: None) -> AlertDetail:
    """Read a debugger event."""
    return alert_detail(await call.control.alert(call.account_sid, call.sid), call.base)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/Alerts",
        name="ListAlert",
        summary="List the debugger events of the account, newest first",
        handler=page,
        reads=FilteredPageOf(SidKind.DEBUGGER_EVENT, LIST_ALERTS),
        answer=AlertPage,
    ),
    Operation(
        method="GET",
        path="/v1/Alerts/{Sid}",
        name="FetchAlert",
        summary="Read a debugger event with the webhook at fault",
        handler=fetch,
        reads=Nothing(),
        answer=AlertDetail,
        sid=SidKind.DEBUGGER_EVENT,
    ),
)
