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
from engine.console.settings import MOST_COUNTED, MOST_FINDINGS, MOST_KINDS
from engine.console.snapshot import Seen
from engine.console.verdict import NEARLY_FULL, Finding, Urgency
from engine.core.model.history import MINUTE_SECONDS
from engine.core.model.logins import LoginSession
from engine.core.model.overview import Counts, Minute
from engine.core.ports.lists import AlertFilter
from engine.core.routing.traffic import Outcome

EVENTS_AGE: Final = "1h"
"""Whose debugger events are counted by kind."""


_PARTS: Final = {
    "traffic": ("#traffic",),
    "outbox": ("outbox",),
    "pools": ("#pools", "services/"),
    "hosts": ("#hosts", "peers"),
}
"""Parts of the overview, and how the pages begin to which findings about them lead."""


class OutcomeSum(msgspec.Struct, frozen=True):
    """All traffic of one outcome."""

    outcome: Outcome
    count: int
    per_second: float | None
    share: float
    """Of all traffic."""


class Glance(msgspec.Struct, frozen=True):
    """What the first screen says of traffic, hosts and peers."""

    per_second: float | None
    """Traffic of the last seconds; None: nothing to compare with yet."""
    refused: float
    """Share of it that was refused, by unknown numbers too."""
    not_ready: float
    """Share of it that was answered not-ready."""
    ready: int
    """Hosts that are."""
    peers: int
    """Those in the settings."""
    well: int
    """Peers of which one host at least has nothing to complain."""


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
        "most_findings": MOST_FINDINGS,
        "nearly_full": NEARLY_FULL,
        "urgency": urgencies(view.findings),
        "glance": glance(view.seen),
        "is_whole": is_whole,
        "outcomes": outcomes(view.seen) if is_whole else (),
        "traffic": view.seen.traffic if is_whole else (),
        "total": total(view.seen) if is_whole else 0,
        "depth": view.depth,
        "pools": view.pools,
        "is_operator": login.account_sid is None,
    }


def urgencies(found: Sequence[Finding]) -> dict[str, Urgency | None]:
    """Tell how urgent the findings about each part of the overview are; None where there are none."""
    return {
        part: min((one.urgency for one in found if one.below.startswith(below)), default=None)
        for part, below in _PARTS.items()
    }


def glance(seen: Seen) -> Glance:
    """Sum up traffic, hosts and peers."""
    rates = {one.outcome: one.per_second or 0.0 for one in outcomes(seen)}
    every = sum(rates.values())
    is_known = all(line.per_second is not None for line in seen.traffic)
    peers = [one for host in seen.hosts for one in host.figures.peers if one.name]
    return Glance(
        per_second=every if is_known else None,
        refused=(rates[Outcome.REFUSED] + rates[Outcome.UNKNOWN_NUMBER]) / (every or 1.0),
        not_ready=rates[Outcome.NOT_READY] / (every or 1.0),
        ready=sum(host.is_answering and host.is_ready for host in seen.hosts),
        peers=len({(one.protocol, one.name) for one in peers}),
        well=len({(one.protocol, one.name) for one in peers if not one.problem}),
    )


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
