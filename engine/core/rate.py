"""A sliding-window rate limit, told the time; knows nothing of requests. Source: behaviour 2.8.

The average over the window may not exceed the rate, so a burst of a whole window's allowance passes at once.
"""

from collections import deque
from collections.abc import Hashable

import msgspec


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Whether a request may pass."""

    is_allowed: bool
    retry_after_seconds: float = 0.0
    """Refused: when the next one would pass."""
    is_first_refusal: bool = False
    """Refused, for the first time in this window: worth telling once."""


_ALLOWED = Verdict(is_allowed=True)


class _Window:
    __slots__ = ("hits", "notified_at")

    def __init__(self) -> None:
        self.hits: deque[float] = deque()
        self.notified_at: float | None = None


class SlidingWindow:
    """Counts what was allowed per key; keys idle for two windows are forgotten without ever walking all of them."""

    def __init__(self, *, rate_per_second: int, window_seconds: int) -> None:
        """Allow `rate_per_second` on average over `window_seconds`; a rate of 0 allows everything."""
        self._allowance = rate_per_second * window_seconds
        self._window_seconds = window_seconds
        self._current: dict[Hashable, _Window] = {}
        self._previous: dict[Hashable, _Window] = {}
        self._rotated_at = 0.0

    def take(self, key: Hashable, *, now: float) -> Verdict:
        """Count one request of a key, unless it has to be refused; `now` in seconds, of any epoch."""
        if not self._allowance:
            return _ALLOWED
        window = self._window_of(key, now)
        hits = window.hits
        if hits and now < hits[-1]:  # the clock was set back
            hits.clear()
        start = now - self._window_seconds
        while hits and hits[0] <= start:
            hits.popleft()
        if len(hits) < self._allowance:
            hits.append(now)
            return _ALLOWED
        is_first = window.notified_at is None or not start < window.notified_at <= now
        if is_first:
            window.notified_at = now
        return Verdict(is_allowed=False, retry_after_seconds=hits[0] - start, is_first_refusal=is_first)

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)

    def _window_of(self, key: Hashable, now: float) -> _Window:
        age = now - self._rotated_at
        if not 0 <= age < self._window_seconds:
            self._previous = self._current if 0 <= age < 2 * self._window_seconds else {}
            self._current = {}
            self._rotated_at = now
        window = self._current.get(key)
        if window is None:
            window = self._previous.pop(key, None) or _Window()
            self._current[key] = window
        return window
