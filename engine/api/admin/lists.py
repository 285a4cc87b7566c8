"""The admin API's lists of numbers and sessions, and what a name stands for, as `engine.api.admin.list_shapes` says."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

from engine.api.admin.list_shapes import (
    NameQuery,
    NumberPage,
    NumberQuery,
    NumberReport,
    SessionPage,
    SessionQuery,
    SidFound,
    number_report,
    session_line,
)
from engine.api.admin.request import read_query
from engine.api.admin.services import service_of
from engine.core.model.errors import ApiError, Code, PeerUnavailable, not_found
from engine.core.model.records import ProxyNumber, Service, Session
from engine.core.numbers.masking import mask_text
from engine.core.ports.lists import PageCursor
from engine.core.ports.operations import ControlPlane

MOST_SCANNED = 10_000
"""Sessions that one request looks at."""

_PAGE = 100
_MOST_NAMED = 5


async def list_numbers(control: ControlPlane, request: Request) -> NumberPage:
    """List numbers of ours."""
    query = read_query(request, NumberQuery)
    service = None if query.service_sid is None else service_of(control, query.service_sid)
    owner_sid = control.account(query.account_sid).sid if query.account_sid else None
    found = sorted(
        (
            number
            for number in control.numbers_of(owner_sid)
            if (service is None or number.service_sid == service.sid)
            and query.is_reserved in {None, number.is_reserved}
            and (query.after is None or number.sid < query.after)
        ),
        key=lambda number: number.sid,
        reverse=True,
    )
    shown = found[: query.limit]
    reports = await asyncio.gather(*(_number(control, number) for number in shown))
    return NumberPage(tuple(reports), shown[-1].sid if len(found) > len(shown) else None)


async def list_sessions(control: ControlPlane, request: Request) -> SessionPage:
    """List sessions of a service."""
    query = read_query(request, SessionQuery)
    service = service_of(control, request.path_params["service"])
    shown: list[Session] = []
    seen = 0
    async for session in _sessions(control, service, query.after):
        if query.created_since is not None and session.date_created < query.created_since:
            return SessionPage(tuple(map(session_line, shown)), None)
        if len(shown) == query.limit:
            return SessionPage(tuple(map(session_line, shown)), shown[-1].sid)
        if query.status in {None, session.status}:
            shown.append(session)
        seen += 1
        if seen == MOST_SCANNED:
            return SessionPage(tuple(map(session_line, shown)), session.sid)
    return SessionPage(tuple(map(session_line, shown)), None)


async def find_sid(control: ControlPlane, request: Request) -> SidFound:
    """Find what a name stands for; NOT_FOUND for none, CONFLICT for several."""
    query = read_query(request, NameQuery)
    match query.kind:
        case "AC":
            found = [one.sid for one in control.accounts() if one.friendly_name == query.name]
        case "SK":
            keys = (key for one in control.accounts() for key in control.api_keys(one.sid))
            found = [key.sid for key in keys if key.friendly_name == query.name]
        case "KS":
            found = [one.sid for one in _services(control) if one.unique_name == query.name]
        case _:
            within = _services(control) if query.service_sid is None else [service_of(control, query.service_sid)]
            found = [sid for one in within async for sid in _session_named(control, one, query.name)]
    if not found:
        raise not_found(f"{query.kind}… named {mask_text(query.name)!r}")
    if len(found) > 1:
        named = ", ".join(found[:_MOST_NAMED])
        raise ApiError(Code.CONFLICT, f"{len(found)} are named {mask_text(query.name)!r}: say which by SID, {named}")
    return SidFound(found[0])


async def _number(control: ControlPlane, number: ProxyNumber) -> NumberReport:
    if number.service_sid is None:
        return number_report(number, None)
    try:
        entry = await control.pool_entry(number.account_sid, number.service_sid, number.sid)
    except (ApiError, PeerUnavailable):  # it left the pool meanwhile, or its host does not answer
        return number_report(number, None)
    return number_report(entry.number, entry.in_use)


async def _sessions(control: ControlPlane, service: Service, after: str | None) -> AsyncIterator[Session]:
    while True:
        page = await control.sessions_page(service.account_sid, service.sid, PageCursor(limit=_PAGE, after=after))
        for session in page.records:
            yield session
        if not page.has_next:
            return
        after = page.records[-1].sid


def _services(control: ControlPlane) -> list[Service]:
    found: list[Service] = []
    for account in control.accounts():
        after: str | None = None
        while True:
            page = control.services_page(account.sid, PageCursor(limit=_PAGE, after=after))
            found += page.records
            if not page.has_next:
                break
            after = page.records[-1].sid
    return found


async def _session_named(control: ControlPlane, service: Service, name: str) -> AsyncIterator[str]:
    try:
        yield (await control.session(service.account_sid, service.sid, name)).sid
    except ApiError as problem:
        if problem.http_status != 404:  # noqa: PLR2004 - it has no session of this name
            raise
