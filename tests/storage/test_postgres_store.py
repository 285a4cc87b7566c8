"""What only a database that several hosts share can do, or suffer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from engine.core.model.changes import EntryAdded, InteractionRecorded, SessionCreated
from engine.core.model.errors import StoreUnavailable
from engine.core.model.placement import SHARDS, shard_of
from engine.core.model.sids import SidKind
from engine.core.ports.lists import PageCursor
from storage.postgres import store as postgres_store
from storage.postgres.store import PostgresStore
from tests import postgres
from tests.storage.cutting_proxy import cutting_proxy
from tests.storage.material import Observed, interaction, new_sid, outbox_entry, participant, session
from tests.storage.stores import InPostgres

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 20.0
"""Bound on the wait; it is not an expectation."""


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    """Open a store whose host has every shard."""
    store = InPostgres(database).open()
    yield store
    await store.close()


async def test_a_host_walks_and_delivers_what_is_in_its_shards(database: str, store: PostgresStore) -> None:
    """Sessions by their service, calls and entries by their number; lists and records are everybody's."""
    services = (new_sid(SidKind.SERVICE) for _ in range(9))
    made = session(service_sid=next(sid for sid in services if shard_of(sid) != shard_of("+15105550001")))
    alice = participant(made)
    call, entry = interaction(made, sender=alice), outbox_entry(made)
    await store.write([SessionCreated(made, (alice,)), InteractionRecorded(call), EntryAdded(entry)])
    of_service, of_number = {shard_of(made.service_sid)}, {shard_of(call.proxy)}
    postgres.assign(database, 1, node="here")

    async def met(shards: set[int]) -> tuple[bool, bool, bool, bool]:
        host = PostgresStore.open(
            database, observer=Observed(), fenced=print, place=1, node="here", shards=sorted(shards)
        )
        try:
            assert await host.session(made.sid) == made
            assert (await host.sessions_page(made.service_sid, PageCursor(limit=9))).records == (made,)
            return (
                [one.sid for one in host.active_sessions()] == [made.sid],
                [list(some) for some in host.passed_since(0.0)] != [],
                list(host.open_calls()) == [call],
                await host.pending_queues() == (entry.queue,)
                and await host.pending_entries(entry.queue, after=None, limit=9) == (entry,),
            )
        finally:
            await host.close()

    assert await met(set(range(SHARDS))) == (True, True, True, True)
    assert await met(of_service | of_number) == (True, True, True, True)
    assert await met(of_number) == (False, True, True, True)
    assert await met(set(range(SHARDS)) - of_number) == (True, False, False, False)


async def test_a_read_outlives_its_connection(database: str, store: PostgresStore) -> None:
    """The database was restarted, or an administrator ended it: the next read opens another."""
    made = session()
    await store.write([SessionCreated(made, ())])
    assert await store.session(made.sid) == made

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert await store.session(made.sid) == made


async def test_a_read_waits_for_a_database_that_says_nothing_only_so_long(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands between may keep a connection whose other end is gone; who reads next must not wait for that."""
    monkeypatch.setattr(postgres_store, "POINT_SECONDS", 0.3)
    socket = Path(str(conninfo_to_dict(database)["host"])) / ".s.PGSQL.5432"
    made = session()
    async with cutting_proxy(socket, tmp_path / socket.name) as through:
        store = await asyncio.to_thread(InPostgres(make_conninfo(database, host=str(tmp_path))).open)
        try:
            await store.write([SessionCreated(made, ())])
            assert await store.session(made.sid) == made
            through.withhold_until(b"what nobody asks")

            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(store.session(made.sid), WAIT_SECONDS)
            through.let_pass()

            assert await store.session(made.sid) == made
        finally:
            through.let_pass()
            await store.close()


async def test_a_database_that_is_away_is_told_as_such(database: str) -> None:
    """Neither a fault of whoever asked nor an absence of what was asked for."""
    with pytest.raises(StoreUnavailable):
        InPostgres(database.replace("dbname=", "dbname=no_")).open()
