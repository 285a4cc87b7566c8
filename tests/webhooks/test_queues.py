"""A queue under any interleaving of commits, reads, deliveries: nothing lost, repeated or overtaken."""

import asyncio
import random
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.outbound.delivery import DELIVERED, Delivery, Rest
from engine.webhooks.queues import EntryQueue, lane_of
from engine.webhooks.turns import Turns
from tests.outbound.material import AC, callback

URL = "http://127.0.0.1:1/"
GOING_ON = 0.3
"""Share of the begun that go on in a task."""


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


class Play:
    """Owes entries and delivers them all, some begun without a task, some of these going on in one."""

    def __init__(self, *, window: int, failures: int, begun: float, chance: random.Random) -> None:
        self.delivered: list[OutboxEntry] = []
        self.most = 0
        """That were held."""
        self._store = SlowStore(chance, failures)
        self._chance = chance
        self._begun = begun
        self._done = asyncio.Event()
        self._lanes = 0
        self._queue = EntryQueue(
            QueueKey(AC, URL),
            store=self._store,
            window=lambda: window,
            begin=self._begin,
            work=self._work,
            emptied=lambda _: None,
            turns=Turns(1),
            pause_seconds=0,
        )

    async def play(self, lanes: list[int]) -> None:
        """Owe an entry per entry of `lanes`."""
        self._lanes = len(lanes)
        for number, lane in enumerate(lanes, 1):
            entry = callback(URL, number, session=lane)
            self._store.rows[entry.sid] = entry
            await turns(self._chance, 1)  # the commit's end reaches the queue later than readers may see its rows
            self._queue.offer(entry)
            await turns(self._chance, 2)
        async with asyncio.timeout(10):
            await self._done.wait()
        self._queue.close()

    def _begin(self, entry: OutboxEntry, _: EntryQueue) -> bool:
        self.most = max(self.most, self._queue.held)
        is_begun = self._chance.random() < self._begun
        if is_begun:
            asyncio.get_running_loop().call_soon(self._end_or_go_on, entry)
        return is_begun

    def _end_or_go_on(self, entry: OutboxEntry) -> None:
        if self._chance.random() < GOING_ON:
            _ = self._queue.goes_on(entry, self._rest)
        else:
            self._deliver(entry)
            self._queue.ended(entry)

    async def _work(self, entry: OutboxEntry, _: EntryQueue, rest: Rest[Delivery] | None) -> None:
        self.most = max(self.most, self._queue.held)
        await (turns(self._chance, 4) if rest is None else rest())
        self._deliver(entry)

    async def _rest(self) -> Delivery:
        await turns(self._chance, 4)
        return DELIVERED

    def _deliver(self, entry: OutboxEntry) -> None:
        self.delivered.append(entry)
        asyncio.get_running_loop().call_soon(self._settle, entry)

    def _settle(self, entry: OutboxEntry) -> None:
        del self._store.rows[entry.sid]
        asyncio.get_running_loop().call_soon(self._land, entry.sid)

    def _land(self, sid: str) -> None:
        self._queue.landed(sid)
        if len(self.delivered) >= self._lanes and not self._store.rows:
            self._done.set()


async def played(lanes: list[int], *, window: int, failures: int, begun: float, seed: int) -> Play:
    chance = random.Random(seed)  # noqa: S311 - a repeatable play
    play = Play(window=window, failures=failures, begun=begun, chance=chance)
    await play.play(lanes)
    return play


@settings(max_examples=60)
@given(
    lanes=st.lists(st.integers(min_value=1, max_value=4), min_size=1, max_size=60),
    window=st.integers(min_value=1, max_value=10),
    failures=st.integers(min_value=0, max_value=2),
    begun=st.sampled_from((0.0, 0.5, 1.0)),
    seed=st.integers(),
)
def test_every_entry_is_worked_on_once_and_in_its_lanes_order(  # noqa: PLR0917 - what is drawn
    lanes: list[int], window: int, failures: int, begun: float, seed: int
) -> None:
    """Whatever is in memory, on disk, or between the two; and memory holds no more than two windows."""
    play = asyncio.run(played(lanes, window=window, failures=failures, begun=begun, seed=seed))

    by_lane: dict[str, list[str]] = defaultdict(list)
    for entry in play.delivered:
        by_lane[lane_of(entry)].append(entry.sid)
    assert len(play.delivered) == len({entry.sid for entry in play.delivered}) == len(lanes)
    assert all(sids == sorted(sids) for sids in by_lane.values())
    assert play.most <= 2 * window + 1
