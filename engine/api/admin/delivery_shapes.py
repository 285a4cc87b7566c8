"""Shapes of the admin API about what leaves: the outbox and the debugger's events; see `engine.api.admin.shapes`.

    GET    /outbox?OutboxQuery                             200 OutboxPage
    GET    /outbox/count?OutboxQuery                       200 OutboxCount
    POST   /outbox/replay?OutboxQuery                      200 OutboxChanged
    POST   /outbox/drop?OutboxQuery                        200 OutboxChanged
    GET    /accounts/{account}/alerts?AlertTail            200 AlertList

Replay and drop concern dead entries only, at most `MAX_CHANGED` a request: `after` of the answer is that of the next.
"""

from typing import Annotated

import msgspec

from engine.api.alert_shapes import LogLevel, level_of
from engine.core.model.errors import CATALOGUE, Code, invalid_parameter
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.masking import mask_text
from engine.core.ports.lists import OutboxFilter
from engine.formats.values import format_date, optional_date

MAX_CHANGED = 1_000
"""Entries of one replay or drop."""

MAX_COUNTED = 10_000
"""Entries that are counted one by one; more are "at least" so many."""

_SIDS = {
    "account_sid": SidKind.ACCOUNT,
    "service_sid": SidKind.SERVICE,
    "session_sid": SidKind.SESSION,
    "after": SidKind.OUTBOX_ENTRY,
}


class OutboxQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which entries are meant; what is absent is any."""

    account_sid: str | None = None
    service_sid: str | None = None
    session_sid: str | None = None
    is_dead: bool | None = None
    created_before: float | None = None
    """UTC epoch seconds."""
    error: str | None = None
    """Text that the last error contains."""
    after: str | None = None
    """Entries after this one only."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    """Entries of one page."""

    def wanted(self, *, is_dead: bool | None) -> OutboxFilter:
        """The same for the control plane; raises ApiError for a malformed SID."""
        for name, kind in _SIDS.items():
            value = getattr(self, name)
            if value is not None and not is_sid(value, kind):
                raise invalid_parameter(name, f"expected {kind} and 32 hex digits")
        return OutboxFilter(
            account_sid=self.account_sid,
            service_sid=self.service_sid,
            session_sid=self.session_sid,
            is_dead=is_dead,
            created_before=self.created_before,
            error=self.error,
        )


class EffectReport(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the outbox, without its content, its recipient and the query of its URL."""

    sid: str
    """EF…"""
    kind: str
    """`callback`, `message`, `alert`, `hang-up` or `receipt`."""
    destination: str
    """Scheme, host and port, or carrier."""
    path: str
    """Of the URL, without the query; empty for a carrier's."""
    interaction_sid: str | None
    """The call or message that it is about; None for a hang-up, a receipt and a debugger event."""
    account_sid: str
    service_sid: str | None
    session_sid: str | None
    date_created: str
    """When it was committed."""
    attempts: int
    """Deliveries tried."""
    last_error: str
    """Why the last one failed."""
    date_died: str | None
    """When it was given up; None while it is pending."""
    date_next: str | None
    """When it is tried again, unless a restart comes before; None before the first try, and when it was given up."""


class OutboxPage(msgspec.Struct, frozen=True):
    """Entries, oldest first."""

    effects: tuple[EffectReport, ...]
    after: str | None
    """Where the next page goes on; None at the end."""


class OutboxCount(msgspec.Struct, frozen=True):
    """How many entries a query means."""

    count: int
    is_whole: bool
    """There are no more than that."""


class OutboxChanged(msgspec.Struct, frozen=True):
    """What became of a replay or a drop."""

    changed: int
    after: str | None
    """Where the next request goes on; None when all are done."""


class AlertTail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which debugger events are shown: the latest ones of these."""

    level: LogLevel | None = None
    since: float | None = None
    """UTC epoch seconds."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class AlertReport(msgspec.Struct, frozen=True, kw_only=True):
    """A debugger event."""

    sid: str
    """NO…"""
    date: str
    level: LogLevel
    code: int
    title: str
    message: str
    service_sid: str | None
    session_sid: str | None
    resource_sid: str | None
    sender: str | None
    """Who reached the number, masked."""
    proxy: str | None
    """The proxy number that was reached."""
    webhook_url: str | None
    """Of the request at fault."""
    webhook_status: int | None
    """Of its response; None when none came."""
    webhook_problem: str | None
    """Why none came."""


class AlertList(msgspec.Struct, frozen=True):
    """Debugger events, oldest of them first."""

    alerts: tuple[AlertReport, ...]


def show_entry(entry: OutboxEntry) -> EffectReport:
    """Show an entry."""
    return EffectReport(
        sid=entry.sid,
        kind=entry.kind,
        destination=mask_text(entry.destination),
        path=mask_text(entry.path),
        interaction_sid=entry.interaction_sid,
        account_sid=entry.account_sid,
        service_sid=entry.service_sid,
        session_sid=entry.session_sid,
        date_created=format_date(entry.date_created),
        attempts=entry.attempts,
        last_error=mask_text(entry.last_error),
        date_died=optional_date(entry.date_died),
        date_next=optional_date(entry.date_next),
    )


def alert_report(event: DebuggerEvent) -> AlertReport:
    """Show a debugger event."""
    known, webhook = {code.value: code for code in Code}, event.webhook
    return AlertReport(
        sid=event.sid,
        date=format_date(event.at),
        level=LogLevel(level_of(event.code).lower()),
        code=event.code,
        title=CATALOGUE[known[event.code]].title if event.code in known else "",
        message=mask_text(event.message),
        service_sid=event.service_sid,
        session_sid=event.session_sid,
        resource_sid=event.resource_sid and mask_text(event.resource_sid),
        sender=event.sender,
        proxy=event.proxy,
        webhook_url=None if webhook is None else mask_text(webhook.url),
        webhook_status=None if webhook is None else webhook.status,
        webhook_problem=None if webhook is None else mask_text(webhook.problem) or None,
    )
