"""Pages of one thing, or of a list of them: a service, a session, debugger events, the outbox."""

import asyncio
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from engine.console.advice import ADVICE
from engine.console.available import available
from engine.console.context import ConsoleContext
from engine.console.filters import AGES, events_query, events_wanted, outbox_query, outbox_wanted, written
from engine.console.pages import LEVELS
from engine.console.settings import MOST_COUNTED, MOST_ENTRIES_COUNTED, MOST_KINDS, PAGE_ROWS
from engine.core.model.errors import ApiError, Level, not_found
from engine.core.model.logins import LoginSession
from engine.core.model.overview import longest_owned_first
from engine.core.model.records import Service
from engine.core.model.sids import SidKind, is_sid
from engine.core.ports.lists import OutboxFilter, PageCursor
from engine.core.sessions.expiry import expires_at

_FEW = 10
_LATER_THAN_ALL = f"{SidKind.INTERACTION}{'f' * 32}"


async def show_service(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show a service: its sessions, newest first, and the numbers of its pool."""
    service = _service(context, login, request.path_params["sid"])
    owner, sid = service.account_sid, service.sid
    numbers = PageCursor(limit=PAGE_ROWS, after=_sid_given(request, "numbers", SidKind.PHONE_NUMBER))
    codes = PageCursor(limit=PAGE_ROWS, after=_sid_given(request, "codes", SidKind.SHORT_CODE))
    return context.page(
        request,
        "service.html",
        login,
        service=service,
        sessions=await available(context.control.sessions_page(owner, sid, cursor(request, SidKind.SESSION))),
        numbers=await available(context.control.pool_page(owner, sid, numbers, short_codes=False)),
        codes=await available(context.control.pool_page(owner, sid, codes, short_codes=True)),
    )


async def show_unused(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show the numbers of a service's pool that no session on record has had, the longest owned first."""
    service = _service(context, login, request.path_params["sid"])
    found = (await context.plane.unused((service.sid,))).get(service.sid)
    numbers = None if found is None else longest_owned_first(found)
    return context.page(request, "unused.html", login, service=service, numbers=numbers)


async def show_session(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show a session: who is in it, what has passed, its entries in the outbox."""
    session, participants = await context.control.find_session(request.path_params["sid"])
    if login.account_sid not in {None, session.account_sid}:
        raise not_found(session.sid)
    passed = context.control.interactions_page(
        session.account_sid, session.service_sid, session.sid, PageCursor(limit=PAGE_ROWS, before=_LATER_THAN_ALL)
    )
    outbox = context.control.outbox_page(
        OutboxFilter(account_sid=session.account_sid, session_sid=session.sid),
        PageCursor(limit=_FEW, is_part_enough=True),
    )
    return context.page(
        request,
        "session.html",
        login,
        session=session,
        ends_at=expires_at(session),
        participants=participants,
        names={one.sid: place for place, one in enumerate(participants, start=1)},
        interactions=await available(passed),
        outbox=await available(outbox),
    )


async def show_events(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """List debugger events, newest first."""
    wanted = events_wanted(request, now=context.clock())
    query = events_query(request)
    found, kinds = await asyncio.gather(
        available(context.control.alerts_page(login.account_sid, wanted, cursor(request, SidKind.DEBUGGER_EVENT))),
        available(context.control.alert_kinds(login.account_sid, wanted, most=MOST_COUNTED)),
    )
    return context.page(
        request,
        "events.html",
        login,
        events=found,
        kinds=kinds,
        most_kinds=MOST_KINDS,
        query=query,
        written=written(query),
        written_of_kind=written({name: text for name, text in query.items() if name not in {"code", "service"}}),
        ages=tuple(AGES),
    )


async def show_event(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show a debugger event, with the webhook at fault, and what applications were asked about the same event."""
    event = await context.control.alert(login.account_sid, request.path_params["sid"])
    exchanges = None
    if event.resource_sid is not None:
        exchanges = await available(context.plane.exchanges(event.account_sid, event.resource_sid))
    return context.page(
        request,
        "event.html",
        login,
        event=event,
        exchanges=exchanges,
        level=LEVELS.get(event.code, Level.ERROR),
        advice=ADVICE.get(event.code),
    )


async def show_outbox(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """List pending and dead entries, oldest first."""
    wanted = outbox_wanted(request, login.account_sid)
    query = outbox_query(request)
    entries, kinds = await asyncio.gather(
        available(context.control.outbox_page(wanted, cursor(request, SidKind.OUTBOX_ENTRY))),
        available(context.plane.outbox_kinds(wanted, most=MOST_ENTRIES_COUNTED)),
    )
    return context.page(
        request,
        "outbox.html",
        login,
        state=query.get("state", ""),
        written=written(query),
        entries=entries,
        kinds=kinds,
        most_kinds=MOST_KINDS,
    )


def cursor(request: Request, kind: SidKind) -> PageCursor:
    """Read which page of a list is asked for; what is no SID of that kind means the first."""
    after = _sid_given(request, "after", kind)
    before = None if after else _sid_given(request, "before", kind)
    return PageCursor(limit=PAGE_ROWS, after=after, before=before, is_part_enough=True)


def _sid_given(request: Request, name: str, kind: SidKind) -> str | None:
    text = request.query_params.get(name, "")
    return text if is_sid(text, kind) else None


def _service(context: ConsoleContext, login: LoginSession, service_sid: str) -> Service:
    if not is_sid(service_sid, SidKind.SERVICE):
        raise not_found(service_sid)
    owners = (login.account_sid,) if login.account_sid else tuple(one.sid for one in context.control.accounts())
    for owner in owners:
        with suppress(ApiError):
            return context.control.service(owner, service_sid)
    raise not_found(service_sid)
