"""One lock per key, kept only while somebody holds or awaits it."""

import asyncio
from types import TracebackType


class KeyedLocks:
    """Puts the holders of one key in order, first come first served."""

    def __init__(self) -> None:
        """Start with no locks."""
        self.held: dict[str, _Held] = {}
        """The locks that somebody holds or awaits, by key."""

    def hold(self, key: str) -> "_Hold":
        """Hold the lock of a key for the length of an `async with`; a free one is taken in the same turn."""
        return _Hold(self.held, key)


class _Held(asyncio.Lock):
    """The lock of one key."""

    users = 0
    """Who holds or awaits it."""


class _Hold:
    """One holder; a class, as a generator costs three times as much."""

    __slots__ = ("_key", "_lock", "_locks")

    def __init__(self, locks: dict[str, _Held], key: str) -> None:
        self._locks = locks
        self._key = key
        self._lock: _Held

    async def __aenter__(self) -> None:
        lock = self._locks.get(self._key)
        if lock is None:
            lock = self._locks[self._key] = _Held()
        self._lock = lock
        lock.users += 1
        try:
            await lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        self._leave()

    def _leave(self) -> None:
        self._lock.users -= 1
        if not self._lock.users:
            del self._locks[self._key]
