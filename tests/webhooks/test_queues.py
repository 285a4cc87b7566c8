"""A queue under any interleaving of commits, reads, deliveries: nothing lost, repeated or overtaken."""

import asyncio
import random
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.webhooks.queues import EntryQueue
from tests.outbound.material import AC, callback

URL = "http://127.0.0.1:1/"


class SlowStore:
    """Holds what is owed; a read sees the moment when it began and ends some turns later."""

    def __init__(self, chance: random.Random, failures: int) -> None:
        self.rows: dict[str, OutboxEntry] = {}
        self._chance = chance
        self._failures = failures

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read, or fail as often as was said."""
        seen = tuple(self.rows[sid] for sid in sorted(self.rows))[:limit]
        await turns(self._chance, 5)
        if self._failures:
            self._failures -= 1
            raise OSError("told to")
        return seen


async def turns(chance: random.Random, most: int) -> None:
    for _ in range(chance.randrange(most + 1)):
        await asyncio.sleep(0)


async def play(lanes: list[int], *, window: int, failures: int, chance: random.Random) -> tuple[list[OutboxEntry], int]:
    """Owe an entry per entry of `lanes`, deliver them all; returns them as delivered, and the most that were held."""
    store, delivered, done, most = SlowStore(chance, failures), list[OutboxEntry](), asyncio.Event(), 0

    async def work(entry: OutboxEntry) -> None:
        nonlocal most
        most = max(most, queue.held)
        await turns(chance, 4)
        delivered.append(entry)
        asyncio.get_running_loop().call_soon(settle, entry)

    def settle(entry: OutboxEntry) -> None:
        del store.rows[entry.sid]
        asyncio.get_running_loop().call_soon(landed, entry.sid)

    def landed(sid: str) -> None:
        queue.landed(sid)
        if len(delivered) >= len(lanes) and not store.rows:
            done.set()

    queue = EntryQueue(QueueKey(AC, URL), store=store, window=lambda: window, work=work, pause_seconds=0)
    for number, lane in enumerate(lanes, 1):
        entry = callback(URL, number, session=lane)
        store.rows[entry.sid] = entry
        await turns(chance, 1)  # the commit's end reaches the queue later than readers may see its rows
        queue.offer(entry)
        await turns(chance, 2)
    async with asyncio.timeout(10):
        await done.wait()
    queue.close()
    return delivered, most


@settings(max_examples=60)
@given(
    lanes=st.lists(st.integers(min_value=1, max_value=4), min_size=1, max_size=60),
    window=st.integers(min_value=1, max_value=10),
    failures=st.integers(min_value=0, max_value=2),
    seed=st.integers(),
)
def test_every_entry_is_worked_on_once_and_in_its_lanes_order(
    lanes: list[int], window: int, failures: int, seed: int
) -> None:
    """Whatever is in memory, on disk, or between the two; and memory holds no more than two windows."""
    delivered, most = asyncio.run(
        play(lanes, window=window, failures=failures, chance=random.Random(seed))  # noqa: S311 - a repeatable play
    )

    by_lane: dict[str, list[str]] = defaultdict(list)
    for entry in delivered:
        by_lane[entry.lane].append(entry.sid)
    assert len(delivered) == len({entry.sid for entry in delivered}) == len(lanes)
    assert all(sids == sorted(sids) for sids in by_lane.values())
    assert most <= 2 * window + 1
