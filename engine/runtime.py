"""The real clock and the real randomness, handed to everything that must not reach for them itself.

A SID is 48 bits of milliseconds, 16 of counter and 64 of randomness, so later ones sort after earlier ones.
"""

import logging
import os
import random
import time
from collections.abc import Callable
from functools import partial

from engine.core.clocks import ClockGuard
from engine.core.model.sids import SidKind, sid_with

COUNTER_END = 0x10000
"""SIDs that one millisecond can hold; more borrow the next one."""

_HELD_BACK = "sessions past their end do not route, but none is closed or erased before its time has surely come"
_POOL_BYTES = 8192
_RANDOM_DIGITS = 16

clock: Callable[[], float] = time.time
"""UTC epoch seconds."""

monotonic: Callable[[], float] = time.perf_counter
"""Seconds since some moment, for durations; never set back."""

steady: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds since the machine was started, those included for which it slept."""

choose: Callable[[int], int] = random.SystemRandom().randrange
"""A random index below n, for the last tie of number selection."""


_log = logging.getLogger("maskline.engine")


class SureClock:
    """The time that has surely come, for what cannot be undone; says so in the log when the wall clock jumps."""

    __slots__ = ("_guard", "_steady", "_wall")

    def __init__(self, wall: Callable[[], float] = clock, steady: Callable[[], float] = steady) -> None:
        """Compare a wall clock with one that only counts on."""
        self._wall = wall
        self._steady = steady
        self._guard = ClockGuard(wall=wall(), steady=steady())

    def __call__(self) -> float:
        """Return it, in epoch seconds: what the wall clock says, or less after it has jumped ahead."""
        before = self.ahead_seconds
        now = self._guard.look(wall=self._wall(), steady=self._steady())
        after = self.ahead_seconds
        if bool(before) != bool(after):
            if after:
                way = "ahead" if after > 0 else "back"
                _log.error("The clock has jumped %s by %.1f seconds: %s", way, abs(after), _HELD_BACK)
            else:
                _log.warning("The clock is right again")
        return now

    @property
    def ahead_seconds(self) -> float:
        """By how much the wall clock has jumped ahead; negative: back."""
        return self._guard.ahead_seconds


class RandomDigits:
    """64 random bits at a time from the operating system, as hex digits; fetched in bulk."""

    __slots__ = ("_left", "_source")

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        """Draw from `source`, which returns that many random bytes."""
        self._source = source
        self._left: list[str] = []

    def __call__(self) -> str:
        """Return 16 digits that were never returned before."""
        if not self._left:
            pool = self._source(_POOL_BYTES).hex()
            self._left = [pool[at : at + _RANDOM_DIGITS] for at in range(0, 2 * _POOL_BYTES, _RANDOM_DIGITS)]
        return self._left.pop()


class OrderedIdFactory:
    """Makes SIDs in time order; one a process, used from one thread."""

    __slots__ = ("_clock", "_counter", "_milliseconds", "_random_digits")

    def __init__(self, now: Callable[[], float] = clock, random_digits: Callable[[], str] | None = None) -> None:
        """Take the time from `now` (epoch seconds; may jump back) and 16 random hex digits at a time."""
        self._clock = now
        self._random_digits = random_digits or RandomDigits()
        self._milliseconds = 0
        self._counter = 0

    def __call__(self, kind: SidKind) -> str:
        """Return a SID that sorts after every earlier one of this factory."""
        milliseconds = int(self._clock() * 1000)
        if milliseconds > self._milliseconds:
            self._milliseconds = milliseconds
            self._counter = 0
        else:
            self._counter += 1
            if self._counter == COUNTER_END:
                self._milliseconds += 1
                self._counter = 0
        random_digits = self._random_digits()
        return sid_with(kind, milliseconds=self._milliseconds, counter=self._counter, random_digits=random_digits)
