"""Work on very many things by a host that serves meanwhile."""

import asyncio

import pytest

from actors.kernel.breaths import BREATH, in_breaths

pytestmark = pytest.mark.anyio


async def test_long_work_lets_everything_else_go_on() -> None:
    """Whoever waits for the loop gets it again and again; a host that does not answer for seconds is killed."""
    read: list[int] = []
    turns: list[int] = []

    async def other_work() -> None:
        while len(read) < 5 * BREATH:
            turns.append(len(read))
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    async for number in in_breaths(range(5 * BREATH)):
        read.append(number)  # noqa: PERF401 - the other work looks at it meanwhile
    await working

    assert read == [*range(5 * BREATH)]
    assert turns == [BREATH, 2 * BREATH, 3 * BREATH, 4 * BREATH]
