"""Questions to several hosts, answered by those that answer in time."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from engine.core.model.errors import PeerUnavailable
from engine.core.model.placement import host_name

R = TypeVar("R")

ANSWER_SECONDS = 2.0
"""How long a reader waits for a host; then it is named as silent."""


async def answer_soon(asked: Awaitable[R]) -> R:
    """Wait `ANSWER_SECONDS` for a host's answer; raises PeerUnavailable."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asked
    except TimeoutError:
        raise PeerUnavailable(f"no answer within {ANSWER_SECONDS:g} seconds") from None


async def gather_available(asked: Mapping[int, Awaitable[R]]) -> tuple[list[R], tuple[str, ...]]:
    """Return the answers of the hosts at these places, and the names of those that gave none."""
    answers = await asyncio.gather(*map(answer_soon, asked.values()), return_exceptions=True)
    results, silent = [], []
    for place, answer in zip(asked, answers, strict=True):
        if isinstance(answer, PeerUnavailable):
            silent.append(host_name(place))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            results.append(answer)
    return results, tuple(silent)


def reason_of(problem: BaseException) -> str:
    """Return why a host gave no answer, for a log line: Python's own TimeoutError has no text."""
    return str(problem) or ("no answer in time" if isinstance(problem, TimeoutError) else type(problem).__name__)
