"""The worker on the real store: what one process left the next one delivers, and dead letters can be replayed."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from sqlite_utils import Database

from engine.core.model.changes import EntryAdded, EntryRevived
from engine.core.model.outbox import OutboxEntry
from engine.core.ports.lists import OutboxFilter, PageCursor
from engine.outbound.delivery import DELIVERED
from engine.outbound.settings import EgressSettings
from engine.webhooks.queues import lane_of
from engine.webhooks.worker import OutboxWorker
from storage.sqlite import SqliteStore
from storage.sqlite.schema import migrations
from tests.outbound.material import OTHER_AC, QUICK, Remembered, callback, client, clock, tokens
from tests.outbound.receiver import Receiver, Reply
from tests.storage.material import Observed, insert_old_entries
from tests.webhooks.workers import FakeCarriers, Sampler

pytestmark = pytest.mark.anyio

PATIENT = replace(QUICK, first_wait_seconds=600.0, longest_retry_wait_seconds=600.0)
"""What fails keeps its place in memory for the whole test."""


def make_file_of_old(path: Path, entries: Sequence[OutboxEntry]) -> None:
    """Make the file as a version did that queued by destination alone, and let it owe these."""
    (path / "data").mkdir()
    with closing(sqlite3.connect(path / "data" / "maskline.db")) as connection, connection:
        migrations.apply(Database(connection), stop_before="0010_queues_of_accounts")
        insert_old_entries(connection, entries)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(path / "data", synchronous="NORMAL", observer=Observed())
    await store.start()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def delivering(
    store: SqliteStore, observer: Remembered, settings: EgressSettings = QUICK
) -> AsyncIterator[OutboxWorker]:
    async with client() as posting:
        worker = OutboxWorker(
            store=store,
            client=posting,
            tokens=tokens,
            carriers=FakeCarriers(DELIVERED),
            observer=observer,
            clock=clock,
            settings=settings,
        )
        if isinstance(observer, Sampler):
            observer.worker = worker
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop(10)


async def test_two_thousand_entries_outlive_the_process_that_added_them(receiver: Receiver, tmp_path: Path) -> None:
    """None is lost, none repeated after an orderly stop, and memory holds a window of them."""
    entries = [callback(receiver.url, number, session=number % 50 + 1) for number in range(1, 2001)]
    sampler = Sampler()

    async with opened(tmp_path) as store:
        await store.write([EntryAdded(entry) for entry in entries])
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
    observer, entry = Remembered(), callback(receiver.url)

    async with opened(tmp_path) as store:
        async with delivering(store, observer) as worker:
            await store.write([EntryAdded(entry)])
            worker.add([entry])
            await receiver.has_got(1)
        page = await store.outbox_page(OutboxFilter(is_dead=True), PageCursor(limit=10))
        receiver.behaviour = lambda _: Reply()
        await store.write([EntryRevived(entry.sid)])
        async with delivering(store, observer):
            await receiver.has_got(2)
        depth = await store.outbox_depth()

    assert [(dead.sid, dead.attempts, dead.last_error) for dead in page.records] == [(entry.sid, 1, "answered 410")]
    assert {request.headers["i-twilio-idempotency-token"] for request in receiver.received} == {entry.sid}
    assert depth.pending == depth.dead == 0


async def test_failing_callbacks_of_one_account_hold_up_nobody_elses(receiver: Receiver, tmp_path: Path) -> None:
    """2,000 at a host that accounts share: another's callback there goes out at once, also after a restart."""
    receiver.behaviour = lambda request: Reply(status=500 if request.path == "/failing" else 200)
    failing = [callback(f"{receiver.url}/failing", number) for number in range(1, 2001)]
    first, second = (
        msgspec.structs.replace(callback(f"{receiver.url}/told", number), account_sid=OTHER_AC)
        for number in (2001, 2002)
    )

    async with opened(tmp_path) as store:
        async with delivering(store, Remembered(), PATIENT) as worker:
            await store.write([EntryAdded(entry) for entry in failing])
            worker.add(failing)
            await receiver.has_got(PATIENT.window_per_destination)
            await store.write([EntryAdded(first)])
            worker.add([first])
            await receiver.has_got(PATIENT.window_per_destination + 1)
        await store.write([EntryAdded(second)])
    async with opened(tmp_path) as store:
        async with delivering(store, Remembered(), PATIENT):
            await receiver.has_got(2 * PATIENT.window_per_destination + 2)
        kept = await store.outbox_depth()

    told = [request.headers["i-twilio-idempotency-token"] for request in receiver.received if request.path == "/told"]
    assert told == [first.sid, second.sid]
    assert (kept.pending, kept.dead) == (len(failing), 0)


async def test_what_an_older_version_left_is_delivered_before_what_follows_it(
    receiver: Receiver, tmp_path: Path
) -> None:
    """In the order of its session, each once, for every account."""
    old = [callback(receiver.url, number, session=number % 5 + 1) for number in range(1, 101)]
    others = [
        msgspec.structs.replace(callback(receiver.url, number, session=6), account_sid=OTHER_AC)
        for number in range(101, 151)
    ]
    new = [callback(receiver.url, number, session=number % 5 + 1) for number in range(151, 201)]
    make_file_of_old(tmp_path, [*old, *others])

    async with opened(tmp_path) as store:
        async with delivering(store, Remembered()) as worker:
            await store.write([EntryAdded(entry) for entry in new])
            worker.add(new)
            await receiver.has_got(200)
        depth = await store.outbox_depth()

    assert (depth.pending, depth.dead) == (0, 0)
    arrived = [request.headers["i-twilio-idempotency-token"] for request in receiver.received]
    for lane in {lane_of(entry) for entry in [*old, *others, *new]}:
        expected = [entry.sid for entry in [*old, *others, *new] if lane_of(entry) == lane]
        assert [sid for sid in arrived if sid in set(expected)] == expected
