"""The admin API's report of pools: which are full, or will be, who fills them, which numbers were never used.

    GET    /pools?PoolQuery                                200 PoolList

Names that applications gave, and people's numbers, are masked.
"""

import asyncio
from typing import Annotated

import msgspec
from starlette.requests import Request

from engine.api.admin.request import read_query
from engine.core.model.history import FILLING_SECONDS, full_in
from engine.core.model.overview import ConsolePlane, History, PoolReport, longest_owned_first
from engine.core.model.records import ProxyNumber
from engine.core.numbers.masking import mask_text
from engine.core.ports.operations import Clock, ControlPlane
from engine.formats.values import format_date


class PoolQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which pools are meant."""

    account_sid: str | None = None
    unused: bool = False
    """Whether to name the numbers that were never used, instead of counting them."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class UnusedNumber(msgspec.Struct, frozen=True, kw_only=True):
    """A number that no session on record has had."""

    sid: str
    number: str
    is_reserved: bool
    date_created: str
    """Since when it is owned."""


class PoolLine(msgspec.Struct, frozen=True, kw_only=True):
    """The pool of one service."""

    service_sid: str
    service: str
    """Its unique name."""
    account_sid: str
    active_sessions: int
    free: int
    """Unreserved numbers that no active session uses."""
    in_use: int
    reserved: int
    saturation: float
    """Share of the unreserved numbers that the busiest participant has: at 1 the next session refuses them."""
    busiest: str | None
    """Who has the most numbers, masked; None while nobody has one."""
    busiest_holds: int
    full_in_seconds: float | None
    """Should it go on filling as in the last hour; None where it does not fill, or is not among the fullest."""
    never_used: int | None
    """How many of its numbers, reserved or not, no session on record has had; None where there was no time to look."""
    unused_numbers: tuple[UnusedNumber, ...] = ()
    """Those, the longest owned first, if they were asked for."""


class PoolList(msgspec.Struct, frozen=True):
    """The pools, the most saturated first."""

    pools: tuple[PoolLine, ...]
    count: int
    """How many there are; `pools` may be fewer."""
    silent: tuple[str, ...]
    """Hosts that did not answer, whose services are missing."""


async def list_pools(plane: ConsolePlane, clock: Clock, control: ControlPlane, request: Request) -> PoolList:
    """Tell how full the pools of an account, or of all, are."""
    query = read_query(request, PoolQuery)
    owner = None if query.account_sid is None else control.account(query.account_sid).sid
    found, history = await asyncio.gather(
        plane.pools(owner, most=query.limit), plane.history(clock() - FILLING_SECONDS)
    )
    sids = [one.service_sid for one in found.pools]
    busiest, unused = await asyncio.gather(plane.busiest(sids), plane.unused(sids))
    lines = (_line(one, busiest.get(one.service_sid), history, unused.get(one.service_sid)) for one in found.pools)
    if query.unused:
        lines = (_naming(line, unused.get(line.service_sid, ())) for line in lines)
    return PoolList(tuple(lines), found.count, found.silent)


def _line(pool: PoolReport, busiest: str | None, history: History, unused: tuple[ProxyNumber, ...] | None) -> PoolLine:
    state = pool.state
    return PoolLine(
        service_sid=pool.service_sid,
        service=mask_text(pool.unique_name),
        account_sid=pool.account_sid,
        active_sessions=pool.active_sessions,
        free=state.free,
        in_use=state.in_use,
        reserved=state.reserved,
        saturation=state.saturation,
        busiest=busiest,
        busiest_holds=state.most_held,
        full_in_seconds=full_in(history.minutes, pool.service_sid, saturation=state.saturation),
        never_used=None if unused is None else len(unused),
    )


def _naming(line: PoolLine, unused: tuple[ProxyNumber, ...]) -> PoolLine:
    numbers = (
        UnusedNumber(
            sid=one.sid,
            number=one.address,
            is_reserved=one.is_reserved,
            date_created=format_date(one.date_created),
        )
        for one in longest_owned_first(unused)
    )
    return msgspec.structs.replace(line, unused_numbers=tuple(numbers))
