"""How deliveries ended, committed in groups: while one group is written, the next one gathers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from engine.core.model.changes import Change
from engine.core.model.errors import StoreUnavailable

MAX_GROUP = 500
"""Changes of one group."""


class Writer(Protocol):
    """The part of the store that the log needs."""

    async def write(self, changes: Sequence[Change]) -> None:
        """Commit and wait; raises StoreUnavailable."""


class DeliveryLog:
    """Writes to the store how deliveries ended, however long that takes."""

    def __init__(self, store: Writer, *, pause_seconds: float) -> None:
        """Write to `store`; when it fails, again after a pause."""
        self._store = store
        self._pause_seconds = pause_seconds
        self._waiting: list[tuple[Change, Callable[[], None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, change: Change, landed: Callable[[], None]) -> None:
        """Commit a change with the next group, then call `landed`."""
        self._waiting.append((change, landed))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="outbox-deliveries")

    async def drain(self, grace_seconds: float) -> None:
        """Wait until everything is written, but no longer than that."""
        if self._writing is not None:
            _, late = await asyncio.wait((self._writing,), timeout=grace_seconds)
            for task in late:
                task.cancel()

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
                try:
                    await self._store.write([change for change, _ in group])
                except StoreUnavailable:
                    self._waiting = group + self._waiting
                    await asyncio.sleep(self._pause_seconds)
                    continue
                for _, landed in group:
                    landed()
        finally:
            self._writing = None
