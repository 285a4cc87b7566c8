"""Traffic over the last hour and day: charts, a table beside each, and when pools will be full."""

import asyncio
from operator import attrgetter
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.console.charts import Chart, Span, outcomes_chart, pool_chart, seconds_chart
from engine.console.context import ConsoleContext
from engine.console.settings import MOST_POOLS
from engine.core.model.errors import not_found
from engine.core.model.history import FILLING_SECONDS, MINUTE_SECONDS, added_up, full_in
from engine.core.model.logins import LoginSession
from engine.core.model.overview import History, PoolReport

PERIODS: Final = {"hour": (MINUTE_SECONDS, 60), "day": (15 * MINUTE_SECONDS, 96)}
"""Periods by name: the seconds of a bar, and how many there are."""

_MOST_CHARTS: Final = 4
_NEAR: Final = 0.5
"""Saturation from which a pool is drawn."""


class PoolHistory(msgspec.Struct, frozen=True):
    """How a pool fills."""

    pool: PoolReport
    chart: Chart
    full_in: float | None
    """Seconds until it is full, should it go on as in the last hour; None: it does not fill."""


async def show_traffic(context: ConsoleContext, request: Request, login: LoginSession) -> Response:
    """Show the charts of one period; the totals of several accounts are the operator's to see."""
    if not context.may_see_hosts(login):
        raise not_found("")
    asked = request.query_params.get("period", "")
    period = asked if asked in PERIODS else "hour"
    seconds, count = PERIODS[period]
    span = Span(seconds, count, context.clock())
    history, pools = await asyncio.gather(
        context.plane.history(span.begins), context.plane.pools(login.account_sid, most=MOST_POOLS)
    )
    spans = added_up(history.minutes, seconds=seconds)
    return context.page(
        request,
        "traffic.html",
        login,
        period=period,
        periods=tuple(PERIODS),
        silent=history.silent,
        seconds=seconds,
        calls=outcomes_chart(spans, span, attrgetter("calls")),
        messages=outcomes_chart(spans, span, attrgetter("messages")),
        answers=seconds_chart(spans, span),
        pools=tuple(
            PoolHistory(pool, pool_chart(spans, span, pool.service_sid), _full_in(history, pool, span))
            for pool in pools.pools[:_MOST_CHARTS]
            if pool.state.saturation >= _NEAR
        ),
    )


def _full_in(history: History, pool: PoolReport, span: Span) -> float | None:
    recent = [one for one in history.minutes if one.at >= span.now - FILLING_SECONDS]
    return full_in(recent, pool.service_sid, saturation=pool.state.saturation)
