"""How late the event loop wakes who sleeps: what a long turn, or a machine without time, costs everybody."""

import asyncio
from collections.abc import Callable

INTERVAL_SECONDS = 0.25
"""Between two looks."""


async def watch_loop_lag(lagged: Callable[[float], None], monotonic: Callable[[], float]) -> None:
    """Tell, until cancelled, how many seconds late each look came."""
    while True:
        due = monotonic() + INTERVAL_SECONDS
        await asyncio.sleep(INTERVAL_SECONDS)
        lagged(max(0.0, monotonic() - due))
