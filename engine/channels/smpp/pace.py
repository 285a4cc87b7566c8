"""How fast messages may be sent to one peer: a token bucket that complaints slow down; told the time; sans-IO."""

from typing import Final


class Pace:
    """Tokens of one peer; a complaint halves the rate, and it grows by a twentieth a second again.

    Complaints of one second count once: all that was under way when the peer had enough is answered alike.
    """

    __slots__ = ("_at", "_halved_at", "_is_slowed", "_most", "_rate", "_sent", "_sent_before", "_sent_since", "_tokens")

    def __init__(self, most_per_second: float, *, now: float) -> None:
        """Allow that many a second, 0 = any number until the peer complains."""
        self._most = most_per_second
        self._rate = most_per_second
        self._is_slowed = False
        self._tokens = 1.0
        self._at = now
        self._halved_at = now - 1
        self._sent = 0
        self._sent_since = now
        self._sent_before = 0.0
        """Messages a second until then."""

    def wait(self, now: float) -> float:
        """Return in how many seconds the next message may be sent; 0 = now."""
        if not self._rate:
            return 0.0
        self._refill(now)
        missing = 1 - self._tokens
        return 0.0 if missing < _ROUNDING else missing / self._rate

    def take(self, now: float) -> None:
        """Count a message that is sent now."""
        if now - self._sent_since >= 1:
            self._sent_before = self._sent / (now - self._sent_since)
            self._sent, self._sent_since = 0, now
        self._sent += 1
        if self._rate:
            self._tokens -= 1

    def complained(self, now: float) -> None:
        """Send half as many from now on, where that was not done within the last second."""
        if now - self._halved_at < 1:
            return
        self._halved_at = now
        rate = self._rate or max(self._sent_before, self._sent / max(now - self._sent_since, _SHORTEST))
        self._rate = max(rate / 2, _LEAST)
        self._tokens = min(self._tokens, 0.0)
        self._is_slowed = True
        self._at = now

    @property
    def is_slowed(self) -> bool:
        """Tell that complaints hold it down."""
        return self._is_slowed

    def _refill(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._at = now
        self._tokens = min(self._tokens + passed * self._rate, max(1.0, self._rate / _BURSTS))
        if not self._is_slowed:
            return
        self._rate *= _GROWTH ** min(passed, _LONGEST)
        if self._most and self._rate >= self._most:
            self._rate, self._is_slowed = self._most, False
        elif not self._most and self._rate > _UNBOUNDED:
            self._rate, self._is_slowed = 0.0, False


_ROUNDING: Final = 1e-9
_GROWTH: Final = 1.05
_LEAST: Final = 0.1
"""Messages a second that a peer gets however often it complains."""
_SHORTEST: Final = 0.1
_LONGEST: Final = 300.0
_UNBOUNDED: Final = 10_000.0
"""Messages a second from which on a peer without a limit is not held back any more."""
_BURSTS: Final = 10
"""A tenth of a second's messages may go at once."""
