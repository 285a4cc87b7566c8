"""What only a database that several hosts share can do, or suffer."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from engine.core.model.changes import EntryAdded, InteractionRecorded, SessionCreated
from engine.core.model.errors import StoreUnavailable, StoreUnreadable
from engine.core.model.placement import SHARDS, shard_of
from engine.core.model.sids import SidKind
from engine.core.ports.lists import AlertFilter, OutboxFilter, PageCursor
from engine.core.ports.store import Store
from engine.core.sessions.search import InteractionSought, SessionSought
from storage.postgres import reader as postgres_reader
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
    monkeypatch.setattr(postgres_reader, "LIST_SECONDS", 0.3)
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
            with pytest.raises(StoreUnreadable):
                await asyncio.wait_for(store.held_registry(), WAIT_SECONDS)
            through.let_pass()

            assert await store.session(made.sid) == made
        finally:
            through.let_pass()
            await store.close()


@pytest.mark.parametrize("rights", ["", "SELECT, INSERT, UPDATE, DELETE"])
async def test_a_user_needs_no_right_but_to_rows(database: str, rights: str) -> None:
    """Tables may be another one's; what is lacking is said."""
    made, guest = session(), InPostgres(make_conninfo(database, user="guest"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        try:
            if rights:
                connection.execute(f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO guest")
                store = guest.open()
                await store.write([SessionCreated(made, ())])
                assert await store.session(made.sid) == made
                await store.close()
            else:
                with pytest.raises(StoreUnavailable, match="our user lacks a right in the database"):
                    guest.open()
        finally:
            connection.execute("DROP OWNED BY guest")
            connection.execute("DROP ROLE guest")


async def test_a_database_that_is_away_is_told_as_such(database: str) -> None:
    """Neither a fault of whoever asked nor an absence of what was asked for."""
    with pytest.raises(StoreUnavailable):
        InPostgres(database.replace("dbname=", "dbname=no_")).open()


async def test_whatever_is_read_of_a_database_that_is_away_is_said_to_be_unreadable(database: str) -> None:
    """Every read of the port: it may be asked again, and nothing was to be stored."""
    name = str(conninfo_to_dict(database)["dbname"])
    store = InPostgres(database).open()
    await store.start()
    with psycopg.connect(make_conninfo(database, dbname="postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            asked = reads(store)
            answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
    await store.close()

    assert {name: type(answer) for name, answer in zip(asked, answers, strict=True)} == dict.fromkeys(
        asked, StoreUnreadable
    )
    methods = inspect.getmembers(Store, inspect.iscoroutinefunction)
    assert {name for name, _ in methods} - {"write"} == set(asked)


def reads(store: PostgresStore) -> dict[str, Awaitable[object]]:
    page, made = PageCursor(limit=9), session()
    people = (participant(made),)
    return {
        "alert": store.alert(new_sid(SidKind.DEBUGGER_EVENT)),
        "alert_kinds": store.alert_kinds(None, AlertFilter(), most=9),
        "alerts_page": store.alerts_page(None, AlertFilter(), page),
        "batch_key": store.batch_key(made.service_sid, bytes(16)),
        "entries_held": store.entries_held([outbox_entry(made).sid]),
        "find_interactions": store.find_interactions(None, InteractionSought(proxy="+15105550001"), most=9),
        "find_sessions": store.find_sessions([made.service_sid], SessionSought(name="ride"), most=9),
        "held_registry": store.held_registry(),
        "interaction": store.interaction(interaction(made, sender=people[0]).sid),
        "interactions_page": store.interactions_page(made.sid, page),
        "last_session_of": store.last_session_of(made.service_sid, "+12125552001", "+15105550001"),
        "latest_notes": store.latest_notes("words", b"", 9),
        "note": store.note("words", b"key"),
        "notes_under": store.notes_under("words", b"", 9),
        "numbers_had": store.numbers_had({made.service_sid: ["+15105550001"]}),
        "oldest_batch_key": store.oldest_batch_key(),
        "oldest_note": store.oldest_note(),
        "outbox_depth": store.outbox_depth(),
        "outbox_kinds": store.outbox_kinds(OutboxFilter(), most=9),
        "outbox_page": store.outbox_page(OutboxFilter(), page),
        "participants": store.participants(made.sid),
        "participants_page": store.participants_page(made.sid, page),
        "pending_entries": store.pending_entries(outbox_entry(made).queue, after=None, limit=9),
        "pending_queues": store.pending_queues(),
        "planned_erasures": store.planned_erasures(),
        "proxies_held_before": store.proxies_held_before(made.service_sid, ["+12125552001"]),
        "registry_news": store.registry_news(0),
        "session": store.session(made.sid),
        "session_sid_by_name": store.session_sid_by_name(made.service_sid, "ride"),
        "sessions_closed_before": store.sessions_closed_before(9e9, limit=9),
        "sessions_page": store.sessions_page(made.service_sid, page),
    }
