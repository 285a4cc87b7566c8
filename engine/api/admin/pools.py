"""The admin API's report of pools: which are full, or will be, and who fills them.

    GET    /pools?PoolQuery                                200 PoolList

Names that applications gave, and people's numbers, are masked.
"""

import asyncio
from typing import Annotated

import msgspec
from starlette.requests import Request

from engine.api.admin.request import read_query
from engine.core.model.history import FILLING_SECONDS, full_in
from engine.core.model.overview import ConsolePlane, History, PoolReport
from engine.core.numbers.masking import mask_text
from engine.core.ports.operations import Clock, ControlPlane


class PoolQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which pools are meant."""

    account_sid: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


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
    busiest = await plane.busiest([one.service_sid for one in found.pools])
    lines = tuple(_line(one, busiest.get(one.service_sid), history) for one in found.pools)
    return PoolList(lines, found.count, found.silent)


def _line(pool: PoolReport, busiest: str | None, history: History) -> PoolLine:
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
    )
