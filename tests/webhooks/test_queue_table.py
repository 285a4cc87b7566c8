"""The queues of a worker: each is there as long as it has entries, and those that are share the memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

import pytest

from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.outbound.delivery import Delivery, Rest
from engine.webhooks.queue_table import QueueTable
from engine.webhooks.queues import EntryQueue
from tests.http.rig import until
from tests.outbound.material import QUICK, MemoryStore, callback

pytestmark = pytest.mark.anyio

ROOM = 100
"""Entries in memory, of all queues together."""
URLS = [f"http://127.0.0.{host}:1/" for host in range(1, 21)]


class CountingStore(MemoryStore):
    """A store that counts its reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read, and count it."""
        found = await super().pending_entries(queue, after=after, limit=limit)
        self.reads += 1
        return found


class Table:
    """A table whose entries are begun, and end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[tuple[OutboxEntry, EntryQueue]] = []
        self.store = CountingStore()
        settings = replace(QUICK, most_in_memory=ROOM, window_per_destination=ROOM)
        self.queues = QueueTable(self.store, settings=settings, deliveries_to={}, begin=self._begin, work=self._work)
        self.queues.open()
        self._numbers = count(1)

    def add(self, url: str, entries: int) -> None:
        """Add so many, each of a session of its own."""
        made = [callback(url, number, session=number) for _, number in zip(range(entries), self._numbers, strict=False)]
        self.store.keep(made)
        self.queues.add(made)

    def end_all(self) -> None:
        """End what is begun."""
        while self.begun:
            entry, queue = self.begun.pop()
            del self.store.pending[entry.sid]
            queue.landed(entry.sid)
            queue.ended(entry)

    def _begin(self, entry: OutboxEntry, queue: EntryQueue) -> bool:
        self.begun.append((entry, queue))
        return True

    async def _work(self, entry: OutboxEntry, queue: EntryQueue, rest: Rest[Delivery] | None) -> None:
        raise NotImplementedError


async def delivered(table: Table) -> None:
    for url in URLS:
        table.add(url, 1)
    table.end_all()


async def found_empty(table: Table) -> None:
    for url in URLS:
        table.queues.catch_up(callback(url, 1).queue)
    await until(lambda: table.store.reads == len(URLS))
    await asyncio.sleep(0)  # what hears of the last one is called now


@pytest.mark.parametrize("empty", [delivered, found_empty])
async def test_a_queue_without_entries_takes_no_memory(empty: Callable[[Table], Awaitable[None]]) -> None:
    """Once all are delivered, or a look at the disk finds none."""
    table = Table()
    await empty(table)

    table.add(URLS[0], ROOM - 1)

    assert table.queues.held == ROOM - 1


async def test_nothing_is_taken_before_the_start_or_behind_the_stop() -> None:
    """It waits on disk."""
    table = Table()
    table.queues.close()

    table.add(URLS[0], 1)

    assert (table.queues.held, table.begun) == (0, [])
