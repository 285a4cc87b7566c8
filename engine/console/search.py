"""Looking for sessions, and asking why something goes where it goes; numbers are taken from bodies, never from URLs."""

from starlette.requests import Request
from starlette.responses import Response

from engine.console.available import Missing, available
from engine.console.context import ConsoleContext
from engine.console.http import redirect
from engine.console.login import read_own_form
from engine.console.settings import MOST_FOUND
from engine.core.model.errors import ApiError
from engine.core.model.logins import LoginSession
from engine.core.model.sids import SidKind, is_sid
from engine.core.ports.operations import Explanation
from engine.core.routing.asking import explained, readings
from engine.core.sessions.search import read_search

_MOST_NUMBER = 64


async def show_search(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Ask what is looked for."""
    return context.page(request, "search.html", login, found=None, problem="")


async def search(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show the sessions that fit; a session's or event's SID leads to it."""
    form = await read_own_form(request, login)
    text = form.get("text", "").strip()
    for kind, below in (
        (SidKind.SESSION, "sessions"),
        (SidKind.SERVICE, "services"),
        (SidKind.DEBUGGER_EVENT, "events"),
    ):
        if is_sid(text, kind):
            return redirect(request, f"{below}/{text}")
    sought = read_search(text)
    if sought is None:
        problem = "Type a SID, a name, or what you know of a number."
        return context.page(request, "search.html", login, found=None, problem=problem)
    found = await available(context.plane.find_sessions(login.account_sid, sought, most=MOST_FOUND))
    return context.page(request, "search.html", login, found=found, problem="")


async def show_explain(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Ask about whom."""
    return context.page(request, "explain.html", login, explanation=None, problem="")


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
