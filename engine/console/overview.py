"""The overview: hosts, traffic, pools, the outbox, debugger events by kind; and its live part alone."""

from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from engine.console.available import available
from engine.console.charts import Span, outcomes_chart
from engine.console.context import ConsoleContext
from engine.console.filters import AGES
from engine.console.http import PREFIX
from engine.console.pages import render
from engine.console.rates import TrafficLine
from engine.console.settings import MOST_COUNTED, MOST_KINDS
from engine.console.snapshot import Seen
from engine.core.model.history import MINUTE_SECONDS
from engine.core.model.logins import LoginSession
from engine.core.model.overview import Counts, Minute
from engine.core.ports.lists import AlertFilter
from engine.core.routing.traffic import Outcome

EVENTS_AGE: Final = "1h"
"""Whose debugger events are counted by kind."""


class OutcomeSum(msgspec.Struct, frozen=True):
    """All traffic of one outcome."""

    outcome: Outcome
    count: int
    per_second: float | None
    share: float
    """Of all traffic."""


async def show(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Answer with the whole page."""
    live = await _live(context, login)
    wanted = AlertFilter(since=context.clock() - AGES[EVENTS_AGE])
    kinds = await available(context.control.alert_kinds(login.account_sid, wanted, most=MOST_COUNTED))
    return context.page(request, "overview.html", login, kinds=kinds, age=EVENTS_AGE, most_kinds=MOST_KINDS, **live)


async def show_live(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Answer with the part that changes by itself, for the page's script; its links are those of the overview."""
    live = await _live(context, login)
    above = {"name_of": context.namer(), "now": context.clock(), "root": PREFIX.removeprefix("/")}
    return HTMLResponse(render(request, "live.html", {**above, **live}))


async def _live(context: ConsoleContext, login: LoginSession) -> dict[str, object]:
    is_whole = context.may_see_hosts(login)
    view = await context.monitor.view(login.account_sid, is_whole=is_whole)
    span = Span(MINUTE_SECONDS, 60, context.clock())
    history = await context.monitor.history(span.begins) if is_whole else None
    return {
        "chart": None if history is None else outcomes_chart(history.minutes, span, _calls_and_messages),
        "hosts": view.seen.hosts,
        "findings": view.findings,
        "is_whole": is_whole,
        "outcomes": outcomes(view.seen) if is_whole else (),
        "traffic": view.seen.traffic if is_whole else (),
        "total": total(view.seen) if is_whole else 0,
        "depth": view.depth,
        "pools": view.pools,
        "is_operator": login.account_sid is None,
    }


def outcomes(seen: Seen) -> tuple[OutcomeSum, ...]:
    """Add the traffic up by outcome; those that never happened are there too."""
    every = total(seen)
    return tuple(
        _summed(outcome, [line for line in seen.traffic if line.outcome is outcome], every) for outcome in Outcome
    )


def total(seen: Seen) -> int:
    """Count all traffic."""
    return sum(line.count for line in seen.traffic)


def _summed(outcome: Outcome, lines: Sequence[TrafficLine], every: int) -> OutcomeSum:
    rates = [line.per_second for line in lines if line.per_second is not None]
    count = sum(line.count for line in lines)
    return OutcomeSum(outcome, count, sum(rates) if rates or not lines else None, count / every if every else 0.0)


def _calls_and_messages(minute: Minute) -> Counts:
    return tuple(map(sum, zip(minute.calls, minute.messages, strict=True)))
