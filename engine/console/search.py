"""Looking for sessions, calls and messages, and asking why something goes where it goes; numbers come in bodies."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.console.available import Missing, available
from engine.console.context import ConsoleContext
from engine.console.http import redirect
from engine.console.login import read_own_form
from engine.console.settings import MOST_FOUND, PAGE_ROWS
from engine.core.model.errors import ApiError
from engine.core.model.logins import LoginSession
from engine.core.model.records import Address, DebuggerEvent, ProxyNumber
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.e164 import mask_address
from engine.core.ports.lists import AlertFilter, Page, PageCursor
from engine.core.ports.operations import Explanation
from engine.core.routing.asking import explained, readings
from engine.core.sessions.search import (
    ENDING_DIGITS,
    FoundInteractions,
    FoundSessions,
    InteractionSought,
    SessionSought,
    read_search,
)

MENTIONED_SECONDS = 86_400.0
"""How far back debugger events are looked for that mention a number."""

_MOST_NUMBER = 64
_LATEST = PageCursor(limit=PAGE_ROWS, is_part_enough=True)


class Results(msgspec.Struct, frozen=True):
    """What a search found; a part is None where it was not looked for."""

    sessions: FoundSessions | Missing | None = None
    interactions: FoundInteractions | Missing | None = None
    events: Page[DebuggerEvent] | Missing | None = None
    number: ProxyNumber | None = None
    """The proxy number that was meant."""
    mentioned: str | None = None
    """The number that the events mention, as they write it."""


async def show_search(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Ask what is looked for."""
    return context.page(request, "search.html", login, found=None, problem="")


async def search(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show what fits; a SID of ours leads to its page."""
    form = await read_own_form(request, login)
    text = form.get("text", "").strip()
    for kind, below in _PAGES:
        if is_sid(text, kind):
            return redirect(request, f"{below}/{text}")
    sought = read_search(text)
    if sought is None:
        problem = "Type a SID, a name, or what you know of a number."
        return context.page(request, "search.html", login, found=None, problem=problem)
    sought = msgspec.structs.replace(sought, is_thorough="thorough" in form)
    return context.page(
        request, "search.html", login, found=await _found(context, login.account_sid, text, sought), problem=""
    )


_PAGES = (
    (SidKind.SESSION, "sessions"),
    (SidKind.INTERACTION, "interactions"),
    (SidKind.SERVICE, "services"),
    (SidKind.DEBUGGER_EVENT, "events"),
)


async def _found(context: ConsoleContext, account_sid: str | None, text: str, sought: SessionSought) -> Results:
    """Look for a carrier's SID among calls and messages, for a proxy number likewise, for anything else among sessions.

    What is found in no session may be a SID that does not look like one, such as a Call-ID.
    """
    number = None if sought.whole is None else _proxy_number(context, account_sid, sought.whole)
    mentioned = _mentioned(sought, is_proxy=number is not None)
    sessions = None
    if not is_sid(text):
        sessions = await available(context.plane.find_sessions(account_sid, sought, most=MOST_FOUND))
    calls = None
    if number is not None:
        calls = InteractionSought(proxy=number.address)
    elif sessions is None or (isinstance(sessions, FoundSessions) and not sessions.sessions and sought.is_name):
        calls = InteractionSought(resource_sid=text)
    interactions = events = None
    if calls is not None:
        interactions = await available(context.control.find_interactions(account_sid, calls, most=MOST_FOUND))
    if mentioned is not None:
        wanted = AlertFilter(mentions=mentioned, since=context.clock() - MENTIONED_SECONDS)
        events = await available(context.control.alerts_page(account_sid, wanted, _LATEST))
    elif calls is not None:
        wanted = AlertFilter(resource_sid=calls.resource_sid)
        events = await available(context.control.alerts_page(account_sid, wanted, _LATEST))
    return Results(sessions, interactions, events, number, mentioned)


def _mentioned(sought: SessionSought, *, is_proxy: bool) -> str | None:
    """Return how debugger events write a number: proxy numbers whole, people's masked; None for what is no number."""
    if sought.whole is not None:
        return sought.whole if is_proxy else mask_address(sought.whole)
    return None if sought.beginning is None else f"+{sought.beginning}{'X' * ENDING_DIGITS}"


def _proxy_number(context: ConsoleContext, account_sid: str | None, address: Address) -> ProxyNumber | None:
    return next((one for one in context.control.numbers_of(account_sid) if one.address == address), None)


async def show_explain(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Ask about whom; with a debugger event, its proxy number is there already."""
    sid = request.query_params.get("about", "")
    about = None
    if is_sid(sid, SidKind.DEBUGGER_EVENT):
        found = await available(context.control.alert(login.account_sid, sid))
        about = found if isinstance(found, DebuggerEvent) else None
    return context.page(request, "explain.html", login, explanation=None, problem="", about=about)


async def explain(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Say where a call and a message would go, and why."""
    form = await read_own_form(request, login)
    proxy, sender = form.get("proxy", "")[:_MOST_NUMBER], form.get("sender", "")[:_MOST_NUMBER]
    if not readings(proxy) or not readings(sender):
        problem = "Give both numbers, such as +14155550100."
        return context.page(request, "explain.html", login, explanation=None, problem=problem)
    found = await available(_explained(context, login, proxy, sender))
    if isinstance(found, Missing):
        return context.page(request, "explain.html", login, explanation=None, problem=found.why)
    if found is None:
        problem = "That number is in no pool of this account's services." if login.account_sid else _IN_NO_POOL
        other = await available(_explained(context, login, sender, proxy))
        if isinstance(other, Explanation):
            problem += f" {other.proxy} is: from and to seem to be swapped."
        return context.page(request, "explain.html", login, explanation=None, problem=problem)
    return context.page(request, "explain.html", login, explanation=found, problem="")


_IN_NO_POOL = "That number is in no service's pool."


async def _explained(context: ConsoleContext, login: LoginSession, proxy: str, sender: str) -> Explanation | None:
    """Return an explanation that this login session may see."""
    try:
        explanation = await explained(context.control, to=proxy, sender=sender)
    except ApiError:
        return None
    if explanation.account_sid is None or login.account_sid not in {None, explanation.account_sid}:
        return None
    return explanation
