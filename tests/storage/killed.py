"""What a test's process hears of, until it kills itself."""

import os
import signal


class Fatal:
    """Counts what it is told and ends the process at the n-th time; 0 = never."""

    def __init__(self, fatal: int) -> None:
        self.told = 0
        self._fatal = fatal

    def __call__(self, what: str, done: int, total: int) -> None:
        """Hear of progress."""
        self.told += 1
        if self.told == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
