"""How many logins may fail: of one source, and of all together; told the time, knows nothing of requests."""

from collections import Counter, deque
from ipaddress import IPv6Address, ip_address

_NETWORK_BITS = 64
"""Whoever has one address of IPv6 has all of these."""


class FailedLogins:
    """The failures of the last while; never more than are allowed in all."""

    def __init__(self, *, of_source: int, in_all: int, window_seconds: float) -> None:
        """Allow n failures in a window."""
        self._of_source = of_source
        self._in_all = in_all
        self._window_seconds = window_seconds
        self._failures: deque[tuple[float, str]] = deque()
        self._by_source: Counter[str] = Counter()

    def wait_seconds(self, source: str, *, now: float) -> float:
        """Tell how long a source has to wait before it may try; 0 = it may. `now` in seconds, of any epoch."""
        self._forget(now)
        if len(self._failures) >= self._in_all:
            return self._left(self._failures[0][0], now)
        name = _network(source)
        if self._by_source[name] < self._of_source:
            return 0.0
        return self._left(next(at for at, failed in self._failures if failed == name), now)

    def failed(self, source: str, *, now: float) -> None:
        """Count a failure."""
        name = _network(source)
        self._failures.append((now, name))
        self._by_source[name] += 1

    def _left(self, first_at: float, now: float) -> float:
        return max(1.0, first_at + self._window_seconds - now)

    def _forget(self, now: float) -> None:
        while self._failures and not 0 <= now - self._failures[0][0] < self._window_seconds:
            _, name = self._failures.popleft()
            self._by_source[name] -= 1
            if not self._by_source[name]:
                del self._by_source[name]


def _network(source: str) -> str:
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(int(address) >> (128 - _NETWORK_BITS))
    return source
