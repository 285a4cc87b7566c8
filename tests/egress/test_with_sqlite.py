"""The courier on the real store: what one process left the next one delivers, and dead letters can be replayed."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.core.changes import EffectOwed, EffectRevived
from engine.core.ports import OutboxFilter, PageCursor
from engine.egress.courier import Courier
from engine.egress.delivery import DELIVERED
from storage import SqliteStore
from tests.egress.material import QUICK, Remembered, callback, client, clock, tokens
from tests.egress.receiver import Receiver, Reply, receiving
from tests.egress.test_courier import FakeDesk, Sampler
from tests.storage.material import Observed

pytestmark = pytest.mark.anyio


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An application."""
    with receiving() as running:
        yield running


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(path / "data", synchronous="NORMAL", observer=Observed())
    await store.start()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def delivering(store: SqliteStore, observer: Remembered) -> AsyncIterator[Courier]:
    async with client() as posting:
        courier = Courier(
            store=store,
            client=posting,
            tokens=tokens,
            carriers=FakeDesk(DELIVERED),
            observer=observer,
            clock=clock,
            settings=QUICK,
        )
        if isinstance(observer, Sampler):
            observer.courier = courier
        await courier.start()
        try:
            yield courier
        finally:
            await courier.stop(10)


async def test_two_thousand_effects_outlive_the_process_that_owed_them(receiver: Receiver, tmp_path: Path) -> None:
    """None is lost, none repeated after an orderly stop, and memory holds a window of them."""
    effects = [callback(receiver.url, number, session=number % 50 + 1) for number in range(1, 2001)]
    sampler = Sampler()

    async with opened(tmp_path) as store:
        await store.write([EffectOwed(owed) for owed in effects])
        async with delivering(store, sampler):
            await receiver.has_got(700)
    async with opened(tmp_path) as store, delivering(store, sampler):
        await receiver.has_got(2000)
    async with opened(tmp_path) as store:
        depth = await store.outbox_depth()

    assert (depth.pending, depth.dead) == (0, 0)
    assert len(receiver.received) == 2000
    assert len({request.form["interactionSid"] for request in receiver.received}) == 2000
    assert sampler.most_held <= 2 * QUICK.window_per_destination


async def test_a_dead_letter_is_delivered_when_it_is_replayed(receiver: Receiver, tmp_path: Path) -> None:
    """It keeps its idempotency token."""
    receiver.behaviour = lambda _: Reply(status=410)
    observer, owed = Remembered(), callback(receiver.url)

    async with opened(tmp_path) as store:
        async with delivering(store, observer) as courier:
            await store.write([EffectOwed(owed)])
            courier.owed([owed])
            await receiver.has_got(1)
        page = await store.effects_page(OutboxFilter(is_dead=True), PageCursor(limit=10))
        receiver.behaviour = lambda _: Reply()
        await store.write([EffectRevived(owed.sid)])
        async with delivering(store, observer):
            await receiver.has_got(2)
        depth = await store.outbox_depth()

    assert [(dead.sid, dead.attempts, dead.last_error) for dead in page.records] == [(owed.sid, 1, "answered 410")]
    assert {request.headers["i-twilio-idempotency-token"] for request in receiver.received} == {owed.sid}
    assert depth.pending == depth.dead == 0
