"""Asking several hosts where the answers of those that give one soon are enough."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from engine.core.model.errors import PeerUnavailable
from engine.core.model.placement import host_name

R = TypeVar("R")

PATIENCE_SECONDS = 2.0
"""How long whoever looks on waits for a host: it is named as silent then."""


async def soon(asked: Awaitable[R]) -> R:
    """Wait for a host's answer, but not for long; raises PeerUnavailable."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await asked
    except TimeoutError:
        raise PeerUnavailable(f"no answer within {PATIENCE_SECONDS:g} seconds") from None


async def heard(asked: Mapping[int, Awaitable[R]]) -> tuple[list[R], tuple[str, ...]]:
    """Return the answers of the hosts at these places, and the names of those that gave none."""
    answers = await asyncio.gather(*map(soon, asked.values()), return_exceptions=True)
    results, silent = [], []
    for place, answer in zip(asked, answers, strict=True):
        if isinstance(answer, PeerUnavailable):
            silent.append(host_name(place))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            results.append(answer)
    return results, tuple(silent)


def told(problem: BaseException) -> str:
    """Say in a log line why a host gave no answer: a time-out of Python's own says nothing."""
    return str(problem) or ("no answer in time" if isinstance(problem, TimeoutError) else type(problem).__name__)
