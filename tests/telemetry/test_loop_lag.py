"""The event loop's lag."""

import asyncio
from itertools import count

import pytest

from engine.telemetry.loop_lag import INTERVAL_SECONDS, watch_loop_lag

pytestmark = pytest.mark.anyio


async def test_each_look_tells_how_late_it_came() -> None:
    """By the clock that is passed in: a second passes between any two looks at it."""
    told: asyncio.Queue[float] = asyncio.Queue()
    ticks = count()
    watching = asyncio.create_task(watch_loop_lag(told.put_nowait, lambda: float(next(ticks))))

    async with asyncio.timeout(10):
        lags = [await told.get(), await told.get()]

    watching.cancel()
    assert lags == [1.0 - INTERVAL_SECONDS] * 2


async def test_a_look_that_comes_early_is_not_late() -> None:
    """Timers are rounded; a lag is never negative."""
    told: asyncio.Queue[float] = asyncio.Queue()
    watching = asyncio.create_task(watch_loop_lag(told.put_nowait, lambda: 0.0))

    async with asyncio.timeout(10):
        lag = await told.get()

    watching.cancel()
    assert lag == 0.0
