"""The overview: hosts, traffic by outcome, pools, the outbox, the latest debugger events; and its live part alone."""

from collections.abc import Iterator, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from engine.console.context import ConsoleContext, Seen, available
from engine.console.pages import render
from engine.console.rates import TrafficLine
from engine.console.settings import MOST_POOLS
from engine.core.model.logins import LoginSession
from engine.core.model.overview import HostStatus
from engine.core.ports.operations import AlertFilter, OutboxDepth, PageCursor
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
    """Answer with the part that changes by itself, for the page's script."""
    live = await _live(context, login)
    return HTMLResponse(render(request, "live.html", {"name_of": context.namer(), "now": context.clock(), **live}))


async def _live(context: ConsoleContext, login: LoginSession) -> dict[str, object]:
    seen = await context.snapshot.read()
    is_whole = context.may_see_hosts(login)
    return {
        "hosts": seen.hosts,
        "verdict": verdict(seen.hosts),
        "is_whole": is_whole,
        "outcomes": outcomes(seen) if is_whole else (),
        "traffic": seen.traffic if is_whole else (),
        "depth": depth(seen.hosts) if is_whole else None,
        "pools": await context.plane.pools(login.account_sid, most=MOST_POOLS),
        "is_operator": login.account_sid is None,
    }


def verdict(hosts: Sequence[HostStatus]) -> str:
    """Say in a sentence how the hosts fare; empty when all is well."""
    return " ".join(_complaints(hosts))


def _complaints(hosts: Sequence[HostStatus]) -> Iterator[str]:
    for host in hosts:
        if not host.is_answering:
            yield f"{host.name} does not answer."
        elif host.problem:
            yield f"{host.name}: {host.problem}."


def outcomes(seen: Seen) -> tuple[OutcomeSum, ...]:
    """Add the traffic up by outcome; those that never happened are there too."""
    return tuple(_summed(outcome, [line for line in seen.traffic if line.outcome is outcome]) for outcome in Outcome)


def _summed(outcome: Outcome, lines: Sequence[TrafficLine]) -> OutcomeSum:
    rates = [line.per_second for line in lines if line.per_second is not None]
    return OutcomeSum(outcome, sum(line.count for line in lines), sum(rates) if rates or not lines else None)


def depth(hosts: Sequence[HostStatus]) -> OutboxDepth:
    """Add up what the hosts owe."""
    depths = [host.figures.outbox for host in hosts if host.is_answering]
    oldest = min((one.oldest for one in depths if one.oldest is not None), default=None)
    return OutboxDepth(sum(one.pending for one in depths), sum(one.dead for one in depths), oldest)
