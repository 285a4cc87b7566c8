"""The overview: hosts, traffic by outcome, pools, the outbox, the latest debugger events; and its live part alone."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from engine.console.available import available
from engine.console.context import ConsoleContext
from engine.console.http import PREFIX
from engine.console.pages import render
from engine.console.rates import TrafficLine
from engine.console.snapshot import Seen
from engine.core.model.logins import LoginSession
from engine.core.ports.lists import AlertFilter, PageCursor
from engine.core.routing.traffic import Outcome

_LATEST = PageCursor(limit=8, is_part_enough=True)


class OutcomeSum(msgspec.Struct, frozen=True):
    """All traffic of one outcome."""

    outcome: Outcome
    count: int
    per_second: float | None


async def show(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Answer with the whole page."""
    live = await _live(context, login)
    events = await available(context.control.alerts_page(login.account_sid, AlertFilter(), _LATEST))
    return context.page(
        request,
        "overview.html",
        login,
        events=events,
        **live,
    )


async def show_live(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Answer with the part that changes by itself, for the page's script; its links are those of the overview."""
    live = await _live(context, login)
    above = {"name_of": context.namer(), "now": context.clock(), "root": PREFIX.removeprefix("/")}
    return HTMLResponse(render(request, "live.html", {**above, **live}))


async def _live(context: ConsoleContext, login: LoginSession) -> dict[str, object]:
    is_whole = context.may_see_hosts(login)
    view = await context.monitor.view(login.account_sid, is_whole=is_whole)
    return {
        "hosts": view.seen.hosts,
        "findings": view.findings,
        "is_whole": is_whole,
        "outcomes": outcomes(view.seen) if is_whole else (),
        "traffic": view.seen.traffic if is_whole else (),
        "depth": view.depth,
        "pools": view.pools,
        "is_operator": login.account_sid is None,
    }


def outcomes(seen: Seen) -> tuple[OutcomeSum, ...]:
    """Add the traffic up by outcome; those that never happened are there too."""
    return tuple(_summed(outcome, [line for line in seen.traffic if line.outcome is outcome]) for outcome in Outcome)


def _summed(outcome: Outcome, lines: Sequence[TrafficLine]) -> OutcomeSum:
    rates = [line.per_second for line in lines if line.per_second is not None]
    return OutcomeSum(outcome, sum(line.count for line in lines), sum(rates) if rates or not lines else None)
