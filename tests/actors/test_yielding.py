"""Work on very many things by a host that serves meanwhile."""

import asyncio

import pytest

from actors.kernel.yielding import STEPS_PER_TURN, yielding

pytestmark = pytest.mark.anyio


async def test_long_work_lets_everything_else_go_on() -> None:
    """Whoever waits for the loop gets it again and again; a host that does not answer for seconds is killed."""
    read: list[int] = []
    turns: list[int] = []

    async def other_work() -> None:
        while len(read) < 5 * STEPS_PER_TURN:
            turns.append(len(read))
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    async for number in yielding(range(5 * STEPS_PER_TURN)):
        read.append(number)  # noqa: PERF401 - the other work looks at it meanwhile
    await working

    assert read == [*range(5 * STEPS_PER_TURN)]
    assert turns == [STEPS_PER_TURN, 2 * STEPS_PER_TURN, 3 * STEPS_PER_TURN, 4 * STEPS_PER_TURN]
