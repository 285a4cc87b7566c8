"""So many at a time, in the order in which they come.

`asyncio.Semaphore` looks through all that wait each time that one is done; here one of thousands costs what one of two
does, and who waits need be no task.
"""

from collections import deque
from collections.abc import Callable


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
