"""Work that begins in the turn of the loop in which it is asked for, and needs no task unless it has to wait.

Traffic arrives in callbacks, not in tasks, and what a redelivery or a report reads of the store may suspend: with a
database elsewhere it does, with a file it never does, and then everything is over in that same turn. Python has this
from 3.12 on as eager tasks, at the price of a task for each.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Begun(Generic[Result]):
    """A coroutine that has run until it first waits; to be awaited once, in a task, unless it `is_over`.

    Until then it runs in no task of its own: what it awaits are futures, locks and `asyncio.sleep(0)`.
    """

    __slots__ = ("_result", "_waits_for", "_work", "is_over")

    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        """Run it until it waits or ends; raises what it raises."""
        self._work = work
        self._result: list[Result] = []
        self.is_over = False
        try:
            self._waits_for = work.send(None)
        except StopIteration as end:
            self.is_over = True
            self._result.append(end.value)

    @property
    def result(self) -> Result:
        """What it came to, once it is over; IndexError before."""
        return self._result[0]

    def close(self) -> None:
        """Let it go no further."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Result]:
        if self.is_over:
            return self.result
        waits_for = self._waits_for
        while True:
            try:
                try:
                    said = yield waits_for
                except GeneratorExit:
                    self._work.close()
                    raise
                except BaseException as problem:  # noqa: BLE001 - what interrupts the wait is the work's to take
                    waits_for = self._work.throw(problem)
                else:
                    waits_for = self._work.send(said)
            except StopIteration as end:
                self.is_over = True
                self._result.append(end.value)
                return self.result


class AtOnce:
    """Runs what callbacks ask for: at once as far as it goes, the rest in a task."""

    def __init__(self) -> None:
        """Run nothing yet."""
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None], failed: Callable[[], None]) -> None:
        """Begin it; raises what it raises before it waits. `failed` is called, and the loop hears, if it does after."""
        begun = Begun(work)
        if not begun.is_over:
            task = asyncio.create_task(_rest(begun, failed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Cancel what still runs, and wait for it."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _rest(begun: Begun[None], failed: Callable[[], None]) -> None:
    try:
        await begun
    except BaseException:
        failed()
        raise
