"""Work on very many things by a host that serves meanwhile, and is killed if it does not answer: the loop turns."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

BREATH = 500
"""Things between two turns of the loop: some ten milliseconds at most."""


async def in_breaths(things: Iterable[T]) -> AsyncIterator[T]:
    """Walk many things and let the loop turn now and then."""
    for number, thing in enumerate(things, 1):
        yield thing
        if number % BREATH == 0:
            await asyncio.sleep(0)
