"""What is owed to a destination for one account: a window of it in memory, in order in each lane; the rest on disk.

The window is filled again from the start of what the store holds for the queue, so that no effect can be missed
however commits and reads overlap; what is known is passed over.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from engine.core.model.effects import Effect, QueueKey

_log = logging.getLogger("maskline.egress")

Work = Callable[[Effect], Awaitable[None]]
"""Delivers an effect, tries included; never raises but when it is cancelled."""


class OwedReader(Protocol):
    """The part of the store that queues read."""

    async def effects_owed(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[Effect, ...]:
        """Read pending effects of a queue, oldest first."""


class OwedQueue:
    """The effects that are owed to one destination on behalf of one account."""

    def __init__(
        self, key: QueueKey, *, store: OwedReader, window: Callable[[], int], work: Work, pause_seconds: float
    ) -> None:
        """Hold about `window()` effects (asked anew each time, twice as many at most) and hand each to `work`."""
        self._key = key
        self._store = store
        self._window = window
        self._work = work
        self._pause_seconds = pause_seconds
        self._known: set[str] = set()
        self._landed_while_reading: list[str] = []
        self._lanes: dict[str, deque[Effect]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._is_behind = False
        self._is_open = True

    @property
    def held(self) -> int:
        """Count the effects in memory."""
        return len(self._known)

    @property
    def is_empty(self) -> bool:
        """Tell that nothing is owed as far as is known."""
        return not self._known and not self._is_behind and self._reading is None

    @property
    def lanes(self) -> set[asyncio.Task[None]]:
        """The tasks that work on a lane each."""
        return self._workers

    def offer(self, effect: Effect) -> None:
        """Take an effect that has been committed; beyond the window it is left on disk."""
        if effect.sid in self._known:
            return
        if self._is_behind or self._reading is not None or len(self._known) >= self._window():
            self.catch_up()
        else:
            self._take(effect)

    def catch_up(self) -> None:
        """Read what the store holds, as soon as there is room."""
        self._is_behind = True
        self._refill()

    def landed(self, effect_sid: str) -> None:
        """Make room: it is on disk that the effect is settled or dead."""
        if self._reading is not None:
            self._landed_while_reading.append(effect_sid)
        else:
            self._known.discard(effect_sid)
            self._refill()

    def close(self) -> None:
        """Start nothing more."""
        self._is_open = False
        if self._reading is not None:
            self._reading.cancel()

    def _refill(self) -> None:
        if self._is_behind and self._is_open and self._reading is None and len(self._known) <= self._window() // 2:
            self._reading = asyncio.create_task(self._read(), name="outbox-window")

    async def _read(self) -> None:
        self._is_behind = False
        limit = self._window() + len(self._known)
        owed: tuple[Effect, ...] = ()
        try:
            owed = await self._store.effects_owed(self._key, after=None, limit=limit)
        except Exception:  # noqa: BLE001 - around the queue's loop: it must go on
            _log.exception("what is owed could not be read; it is tried again")
            self._is_behind = True
            await asyncio.sleep(self._pause_seconds)
        self._is_behind = self._is_behind or len(owed) == limit
        for effect in owed:
            if effect.sid not in self._known:
                self._take(effect)
        self._reading = None
        self._known.difference_update(self._landed_while_reading)
        self._landed_while_reading.clear()
        self._refill()

    def _take(self, effect: Effect) -> None:
        self._known.add(effect.sid)
        lane = self._lanes.get(effect.lane)
        if lane is not None:
            lane.append(effect)
            return
        self._lanes[effect.lane] = deque((effect,))
        worker = asyncio.create_task(self._run(effect.lane), name="outbox-lane")
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    async def _run(self, name: str) -> None:
        lane = self._lanes[name]
        while lane and self._is_open:
            await self._work(lane[0])
            lane.popleft()
        del self._lanes[name]
