"""The queues of one outbox: which entry belongs to which; made for the first of its entries, dropped behind the last.

Apart from `worker`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, final

from engine.core.model.outbox import OutboxEntry, OutboxMessage, QueueKey
from engine.outbound.settings import EgressSettings
from engine.webhooks.queues import Begin, EntryQueue, EntryReader, Work
from engine.webhooks.turns import Turns

LEAST_WINDOW: Final = 8
"""Entries that a queue may have in memory, however many queues there are."""


@final
class QueueTable:
    """The queues that have entries, by account and destination."""

    def __init__(
        self,
        store: EntryReader,
        *,
        settings: EgressSettings,
        deliveries_to: Mapping[str, int],
        begin: Begin,
        work: Work,
    ) -> None:
        """Have none; `deliveries_to` are destinations that take another number of deliveries at a time."""
        self.is_open = False
        """Whether entries are taken."""
        self._store = store
        self._window_per_destination = settings.window_per_destination
        self._most_in_memory = settings.most_in_memory
        self._deliveries_per_destination = settings.deliveries_per_destination
        self._pause_seconds = settings.store_pause_seconds
        self._deliveries_to = deliveries_to
        self._begin = begin
        self._work = work
        self._queues: dict[tuple[str, str], EntryQueue] = {}
        self._destinations: dict[str, str] = {}
        """Of messages, by carrier: nearly all entries are, and each asks."""

    @property
    def held(self) -> int:
        """Count the entries in memory."""
        return sum([queue.held for queue in self._queues.values()])

    @property
    def lanes(self) -> set["asyncio.Task[None]"]:
        """The tasks that work on an entry each."""
        return {lane for queue in self._queues.values() for lane in queue.lanes}

    def open(self) -> None:
        """Take entries from now on."""
        self.is_open = True

    def catch_up(self, key: QueueKey) -> None:
        """Have a queue read what the store holds for it."""
        self._queue(key.account_sid, key.destination).catch_up()

    def add(self, entries: Iterable[OutboxEntry]) -> None:
        """Deliver these in time; they are on disk."""
        if self.is_open:
            for entry in entries:
                self._queue(entry.account_sid, self._destination_of(entry)).offer(entry)

    def close(self) -> None:
        """Take and start nothing more."""
        self.is_open = False
        for queue in self._queues.values():
            queue.close()

    def _destination_of(self, entry: OutboxEntry) -> str:
        content = entry.content
        if not isinstance(content, OutboxMessage):
            return entry.destination
        destination = self._destinations.get(content.carrier)
        if destination is None:
            destination = self._destinations[content.carrier] = entry.destination
        return destination

    def _queue(self, account_sid: str, destination: str) -> EntryQueue:
        queue = self._queues.get((account_sid, destination))
        return self._made_queue(QueueKey(account_sid, destination)) if queue is None else queue

    def _made_queue(self, key: QueueKey) -> EntryQueue:
        own = self._deliveries_to.get(key.destination, 0)
        queue = self._queues[key] = EntryQueue(
            key,
            store=self._store,
            window=partial(self._window, max(LEAST_WINDOW, self._window_per_destination, _WINDOWS_HELD * own)),
            begin=self._begin,
            work=self._work,
            emptied=self._drop,
            turns=Turns(own or self._deliveries_per_destination),
            pause_seconds=self._pause_seconds,
        )
        return queue

    def _drop(self, queue: EntryQueue) -> None:
        if self._queues.get(queue.key) is queue:
            del self._queues[queue.key]

    def _window(self, wanted: int) -> int:
        share = self._most_in_memory // (len(self._queues) or 1)
        if share > wanted:
            return wanted
        return share if share > LEAST_WINDOW else LEAST_WINDOW  # noqa: FURB136 - asked for each entry; max is a call


_WINDOWS_HELD: Final = 8
"""How many times what may be under way is in memory: texts come in faster than a busy host sends them on."""
