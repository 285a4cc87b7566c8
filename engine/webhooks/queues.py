"""The outbox entries of one account and destination: a window in memory, in order in each lane, the rest on disk.

The window is filled again from the start of what the store holds for the queue, so that no entry can be missed
however commits and reads overlap; what is known is passed over.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, final

from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.outbound.delivery import Delivery, Rest
from engine.webhooks.turns import Turns

_log = logging.getLogger("maskline.egress")

Work = Callable[[OutboxEntry, "EntryQueue", Rest[Delivery] | None], Coroutine[Any, Any, None]]
"""Delivers an entry, tries included, of which the first may have begun; never raises but when it is cancelled."""

Begin = Callable[[OutboxEntry, "EntryQueue"], bool]
"""Begins to deliver an entry, which needs no task then unless it `goes_on`; False: `Work` is to do it."""


class EntryReader(Protocol):
    """The part of the store that queues read."""

    def pending_entries(
        self, queue: QueueKey, *, after: str | None, limit: int
    ) -> Coroutine[Any, Any, tuple[OutboxEntry, ...]]:
        """Read pending entries of a queue, oldest first."""


def lane_of(entry: OutboxEntry) -> str:
    """Return what an entry keeps its order in."""
    return entry.session_sid or entry.sid


@final
class EntryQueue:
    """The entries of one destination and account."""

    def __init__(
        self,
        key: QueueKey,
        *,
        store: EntryReader,
        window: Callable[[], int],
        begin: Begin,
        work: Work,
        emptied: "Callable[[EntryQueue], None]",
        turns: Turns,
        pause_seconds: float,
    ) -> None:
        """Hold about `window()` entries (asked anew each time, twice as many at most); each is begun or worked on.

        Those who begin and work take `turns`. `emptied` hears, perhaps several times, that no entry is pending.
        """
        self.key = key
        self.turns = turns
        self._store = store
        self._window = window
        self._begin = begin
        self._work = work
        self._emptied = emptied
        self._pause_seconds = pause_seconds
        self._known: set[str] = set()
        self._landed_while_reading: list[str] = []
        self._lanes: dict[str, deque[OutboxEntry]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[tuple[OutboxEntry, ...]] | asyncio.Handle | None = None
        """What reads from the store, or waits to do so."""
        self._asked = 0
        """How many entries are read."""
        self._is_behind = False
        self._is_open = True

    @property
    def held(self) -> int:
        """Count the entries in memory."""
        return len(self._known)

    @property
    def lanes(self) -> set[asyncio.Task[None]]:
        """The tasks that work on an entry each."""
        return self._workers

    def offer(self, entry: OutboxEntry) -> None:
        """Take an entry that has been committed; beyond the window it is left on disk."""
        if entry.sid in self._known:
            return
        if self._is_behind or self._reading is not None or len(self._known) >= self._window():
            self.catch_up()
        else:
            self._take(entry)

    def catch_up(self) -> None:
        """Read what the store holds, as soon as there is room."""
        self._is_behind = True
        self._refill()

    def landed(self, entry_sid: str) -> None:
        """Make room: it is on disk that the entry is settled or dead."""
        if self._reading is not None:
            self._landed_while_reading.append(entry_sid)
        else:
            self._known.discard(entry_sid)
            self._made_room()

    def close(self) -> None:
        """Start nothing more."""
        self._is_open = False
        if self._reading is not None:
            self._reading.cancel()

    def _made_room(self) -> None:
        self._refill()
        if not self._known and not self._is_behind and self._reading is None:
            self._emptied(self)

    def _refill(self) -> None:
        if self._is_behind and self._is_open and self._reading is None and len(self._known) <= self._window() // 2:
            loop = asyncio.get_running_loop()
            self._reading = loop.call_soon(self._ask)  # once it is known how many queues there are

    def _ask(self) -> None:
        self._is_behind = False
        self._asked = self._window() + len(self._known)
        reading = asyncio.create_task(self._store.pending_entries(self.key, after=None, limit=self._asked))
        self._reading = reading
        reading.add_done_callback(self._read)

    def _read(self, reading: "asyncio.Task[tuple[OutboxEntry, ...]]") -> None:
        if not self._is_open or reading.cancelled():
            return
        problem = reading.exception()
        if problem is None:
            self._take_all(reading.result())
            return
        _log.error("the outbox could not be read; it is tried again", exc_info=problem)
        self._is_behind = True
        self._reading = asyncio.get_running_loop().call_later(self._pause_seconds, self._take_all, ())

    def _take_all(self, entries: tuple[OutboxEntry, ...]) -> None:
        """Take what was read."""
        self._is_behind = self._is_behind or len(entries) == self._asked
        for entry in entries:
            if entry.sid not in self._known:
                self._take(entry)
        self._reading = None
        self._known.difference_update(self._landed_while_reading)
        self._landed_while_reading.clear()
        self._made_room()

    def _take(self, entry: OutboxEntry) -> None:
        self._known.add(entry.sid)
        name = lane_of(entry)
        lane = self._lanes.get(name)
        if lane is not None:
            lane.append(entry)
            return
        self._lanes[name] = deque((entry,))
        self.go_on(name)

    def go_on(self, name: str) -> None:
        """Deliver the first entry of a lane that nobody works on."""
        lane = self._lanes[name]
        if not lane or not self._is_open:
            del self._lanes[name]
        elif not self._begin(lane[0], self):
            _ = self._work_on(name, None)

    def ended(self, entry: OutboxEntry) -> None:
        """Take that the delivery of an entry has ended which was begun."""
        name = lane_of(entry)
        self._lanes[name].popleft()
        self.go_on(name)

    def goes_on(self, entry: OutboxEntry, rest: Rest[Delivery]) -> "asyncio.Task[None]":
        """Go on, in a task, with the delivery of an entry that was begun."""
        return self._work_on(lane_of(entry), rest)

    def _work_on(self, name: str, rest: Rest[Delivery] | None) -> "asyncio.Task[None]":
        worker = asyncio.create_task(self._work(self._lanes[name][0], self, rest), name="outbox-lane")
        self._workers.add(worker)
        worker.add_done_callback(lambda worker: self._worked(name, worker))
        return worker

    def _worked(self, name: str, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled():
            self._lanes[name].popleft()
            self.go_on(name)
