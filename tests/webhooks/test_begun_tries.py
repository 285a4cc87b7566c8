"""Tries that no task waits for: the same order, bounds, ends and stops as those that one waits for."""

import asyncio

import pytest

from engine.core.model.outbox import OutboxEntry, OutboxHangUp, OutboxMessage
from engine.core.ports.observing import DeliveryEnd, OutboxKind
from engine.outbound.delivery import DELIVERED, SETTLED, Delivery, Ending
from engine.webhooks.turns import Turns
from engine.webhooks.worker import its_turn
from tests.http.rig import until
from tests.outbound.material import MemoryStore, Remembered, outbox_entry
from tests.webhooks.workers import BeginningCarriers, FakeCarriers, worker

pytestmark = pytest.mark.anyio

BUSY = Delivery(error="busy", may_retry=True)


def message(number: int, *, session: int = 1) -> OutboxEntry:
    content = OutboxMessage(carrier="main", interaction_sid="KI1", sender="+15105550001", to="+14155550100", body="hi")
    return outbox_entry(content, number, session=session)


async def test_a_try_that_has_ended_on_disk_needs_no_task(observer: Remembered) -> None:
    """Its lane goes on with the next one, in order."""
    store, carriers = MemoryStore(), BeginningCarriers()
    entries = [message(number) for number in range(1, 4)]

    async with worker(store, observer, carriers=carriers) as made:
        made.add(entries)
        under_way = []
        for _ in entries:
            under_way.append(len(carriers.endings))
            carriers.end(SETTLED)
        held = made.held

    assert carriers.tried == entries
    assert (under_way, held, store.groups) == ([1, 1, 1], 0, [])
    assert observer.deliveries == [(OutboxKind.MESSAGE, DeliveryEnd.DELIVERED)] * 3


@pytest.mark.parametrize(
    ("first", "tries", "end"),
    [
        (DELIVERED, 1, DeliveryEnd.DELIVERED),
        (BUSY, 2, DeliveryEnd.DELIVERED),
        (Delivery(error="refused"), 1, DeliveryEnd.DIED),
        (Delivery(error="no answer", may_be_taken=True), 1, DeliveryEnd.DIED),
    ],
)
async def test_another_end_is_taken_as_in_a_task(
    observer: Remembered, first: Delivery, tries: int, end: DeliveryEnd
) -> None:
    """It is tried again or given up, and counted; the next one of the lane waits for that."""
    store, carriers = MemoryStore(), BeginningCarriers(DELIVERED)

    async with worker(store, observer, carriers=carriers) as made:
        entry, next_one = message(1), message(2)
        store.keep([entry, next_one])
        made.add([entry, next_one])
        carriers.end(first)
        await until(lambda: len(carriers.endings) == 1)
        carriers.end(SETTLED)
        await until(lambda: not made.held)

    assert carriers.tried == [entry] * tries + [next_one]
    assert [told for _, told in observer.deliveries if told is not DeliveryEnd.FAILED] == [end, DeliveryEnd.DELIVERED]
    assert carriers.given_up == ([first] if end is DeliveryEnd.DIED else [])


async def test_no_more_are_under_way_than_have_turns() -> None:
    """Whoever waits longest is next, task or not."""
    store, carriers = MemoryStore(), BeginningCarriers(DELIVERED)
    entries = [message(number, session=number) for number in range(1, 6)]

    async with worker(store, carriers=carriers, deliveries_to={entries[0].destination: 2}) as made:
        made.add(entries)
        most = []
        while carriers.endings:
            most.append(len(carriers.endings))
            carriers.end(SETTLED)

    assert most == [2, 2, 2, 2, 1]
    assert carriers.tried == entries


async def test_what_a_carrier_does_not_begin_is_tried_in_a_task() -> None:
    """As are the others of its lane, while it begins no more."""
    store, carriers = MemoryStore(), BeginningCarriers(SETTLED, most=1)
    entries = [message(1, session=1), message(2, session=2), message(3, session=2)]

    async with worker(store, carriers=carriers) as made:
        made.add(entries)
        await until(lambda: made.held == 1)
        carriers.end(SETTLED)

    assert carriers.tried == entries


class BrokenCarriers(BeginningCarriers):
    """Carriers with a bug behind the point from which a message may have left."""

    def begin(self, entry: OutboxEntry, content: OutboxMessage, ending: Ending[Delivery]) -> bool:
        """Fail in a way that nobody foresaw."""
        super().begin(entry, content, ending)
        raise ZeroDivisionError


async def test_a_bug_costs_one_entry_and_sends_nothing_twice(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and set aside; the carrier may tell an end all the same, and is not heard."""
    store, carriers = MemoryStore(), BrokenCarriers(DELIVERED)
    entries = [message(1), message(2)]

    async with worker(store, carriers=carriers) as made:
        store.keep(entries)
        made.add(entries)
        await store.until(lambda: len(store.dead) == 2)
        carriers.end(SETTLED)

    assert carriers.tried == entries
    assert "could not be handled" in caplog.text


async def test_a_stop_hears_how_begun_tries_end() -> None:
    """A message that may have left is told as unknown, not sent again after the next start."""
    store, carriers = MemoryStore(), BeginningCarriers(DELIVERED)
    taken, unsure, stopped = (message(number, session=number) for number in (1, 2, 3))

    async with worker(store, carriers=carriers) as made:
        store.keep([taken, unsure, stopped])
        made.add([taken, unsure, stopped])
        ends = (DELIVERED, Delivery(error="no answer", may_be_taken=True), BUSY)
        for delivery in ends:
            asyncio.get_running_loop().call_later(0, carriers.end, delivery)  # once the stop has begun

    assert list(store.pending.values()) == [stopped]
    assert list(store.dead) == [unsure.sid]


class TellingCarriers(FakeCarriers):
    """Carriers that tell what was given up while a stop has begun, as to a store that is late."""

    def __init__(self) -> None:
        super().__init__(Delivery(error="no answer", may_be_taken=True))
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def gave_up(self, entry: OutboxEntry, content: OutboxHangUp | OutboxMessage, delivery: Delivery) -> None:
        """Wait, then remember."""
        self.begun.set()
        await self.may_end.wait()
        await super().gave_up(entry, content, delivery)


async def test_a_stop_hears_what_is_given_up() -> None:
    """A message that may have left is told as unknown, not sent again after the next start."""
    store, carriers, entry = MemoryStore(), TellingCarriers(), message(1)

    async with worker(store, carriers=carriers) as made:
        store.keep([entry])
        made.add([entry])
        await carriers.begun.wait()
        asyncio.get_running_loop().call_soon(carriers.may_end.set)  # once the stop has begun

    assert [given_up.may_be_taken for given_up in carriers.given_up] == [True]
    assert list(store.dead) == [entry.sid]
    assert not store.pending


async def test_a_stop_waits_no_longer_than_its_grace_for_them() -> None:
    """What has no end by then is on disk as it was."""
    store, carriers, entry = MemoryStore(), BeginningCarriers(DELIVERED), message(1)

    async with worker(store, carriers=carriers, grace=0.01) as made:
        store.keep([entry])
        made.add([entry])

    assert list(store.pending.values()) == [entry]


async def test_none_is_begun_without_the_lease() -> None:
    """A task waits for that."""
    store, carriers = MemoryStore(), BeginningCarriers(DELIVERED)

    async with worker(store, carriers=carriers, lease=lambda: False) as made:
        made.add([message(1)])
        await until(lambda: made.held == 1)

    assert carriers.tried == []


async def test_who_waits_for_a_turn_and_goes_away_takes_none() -> None:
    """Neither before it is his nor just then."""
    turns, had = Turns(1), list[str]()

    async def take(name: str) -> None:
        await its_turn(turns)
        had.append(name)
        turns.give_back()

    assert turns.take()
    early, late, last = (asyncio.create_task(take(name)) for name in ("early", "late", "last"))
    await asyncio.sleep(0)
    early.cancel()
    await asyncio.gather(early, return_exceptions=True)
    turns.give_back()
    late.cancel()  # it has its turn, and does not know yet
    await asyncio.gather(late, last, return_exceptions=True)

    assert had == ["last"]
    assert turns.take()


async def test_a_turn_that_is_not_needed_goes_to_the_next() -> None:
    """However many do not need it."""
    turns, came = Turns(1), list[int]()
    assert turns.take()
    for number in range(5_000):
        turns.wait(lambda number=number: came.append(number))  # type: ignore[misc]

    turns.give_back()

    assert came == list(range(5_000))
