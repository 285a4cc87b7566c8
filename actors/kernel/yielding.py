"""Walks over very many things that let the event loop turn: a host that does not answer meanwhile is killed."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

STEPS_PER_TURN = 500
"""Steps between two turns of the event loop: some ten milliseconds at most."""


async def yielding(things: Iterable[T]) -> AsyncIterator[T]:
    """Walk many things and let the event loop turn every `STEPS_PER_TURN`."""
    for number, thing in enumerate(things, 1):
        yield thing
        if number % STEPS_PER_TURN == 0:
            await asyncio.sleep(0)
