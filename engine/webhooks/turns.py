"""So many at a time, in the order in which they come.

`asyncio.Semaphore` looks through all that wait each time that one is done; here one of thousands costs what one of two
does, and who waits need be no task.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self


class Turns:
    """Turns that are taken and given back."""

    def __init__(self, most: int) -> None:
        """Have so many."""
        self._free = most
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_calling = False

    def take(self) -> bool:
        """Take a turn, if one is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def wait(self, come: Callable[[], None]) -> None:
        """Call `come`, once, when it may take a turn; it need not."""
        self._waiting.append(come)

    def give_back(self) -> None:
        """Let another one have it; who waits longest is called first, now."""
        self._free += 1
        if self._is_calling:
            return  # by one who was called, and does not need its turn: the loop below goes on with the next
        self._is_calling = True
        try:
            while self._free and self._waiting:
                self._waiting.popleft()()
        finally:
            self._is_calling = False

    async def __aenter__(self) -> Self:
        if not self.take():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def come() -> None:
                if not turn.done() and self.take():
                    turn.set_result(None)

            self.wait(come)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give_back()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.give_back()
