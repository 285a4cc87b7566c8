"""Several hosts on the same tables: each walks, delivers, erases and counts its own rows, in nobody's way."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import psycopg
import pytest

from engine.core.model.changes import (
    EntryAdded,
    EntryFailed,
    InteractionErased,
    InteractionRecorded,
    NoteKept,
    NotesErased,
    SessionChanged,
    SessionCreated,
)
from engine.core.model.outbox import OutboxAlert, OutboxEntry, OutboxHangUp, OutboxMessage
from engine.core.model.placement import Placement, shards_of
from engine.core.model.records import Session, SessionStatus
from engine.core.model.sids import SidKind
from storage.postgres import connections
from storage.postgres.store import PostgresStore
from tests import postgres
from tests.storage.material import START, Observed, alert, interaction, new_sid, outbox_entry, session

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 20.0
"""Bound on a wait; it is not an expectation."""

HOSTS = 2


@pytest.fixture
async def hosts(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[PostgresStore]]:
    """Open the stores of two hosts, which wait for locks as long as a busy machine takes to release them."""
    monkeypatch.setitem(connections._SESSION, "lock_timeout", "60s")
    for place in range(HOSTS):
        postgres.assign(database, place, node="here")
    stores = [
        PostgresStore.open(
            database, observer=Observed(), fenced=print, place=place, node="here", shards=shards_of(place, HOSTS)
        )
        for place in range(HOSTS)
    ]
    yield stores
    for store in stores:
        await store.close()


def of_host(place: int, *, status: SessionStatus = SessionStatus.OPEN) -> Session:
    """Return a session whose service a host owns."""
    owner = Placement(HOSTS, by_shard=True)
    return session(service_sid=next(sid for sid in iter(new_service, "") if owner(sid) == place), status=status)


def new_service() -> str:
    return new_sid(SidKind.SERVICE)


def entries_of_every_kind(about: Session) -> list[OutboxEntry]:
    """Return entries whose keys are a number, another, a service and an account, of any hosts."""
    sender = OutboxMessage(carrier="c", interaction_sid="KI" + "1" * 32, sender="", to="+15005550009", body="")
    return [
        outbox_entry(about),
        *(outbox_entry(about, content=msgspec.structs.replace(sender, sender=f"+1646555{n:04}")) for n in range(20)),
        outbox_entry(about, content=OutboxHangUp(carrier="c", call_sid="CA1")),
        outbox_entry(about, content=OutboxAlert(url="https://app.example", event=alert())),
    ]


async def test_what_a_host_adds_to_the_outbox_is_its_own_to_deliver(hosts: list[PostgresStore]) -> None:
    """Whosever number, service or account it is about: that host has it in memory, and finds it again."""
    added = [entries_of_every_kind(of_host(place)) for place in range(HOSTS)]
    for store, entries in zip(hosts, added, strict=True):
        await store.write([EntryAdded(entry) for entry in entries])

    found = []
    for store in hosts:
        queues = await store.pending_queues()
        found.append([one for key in queues for one in await store.pending_entries(key, after=None, limit=99)])

    assert [{one.sid for one in some} for some in found] == [{one.sid for one in some} for some in added]


async def test_counts_of_hosts_add_up_to_the_truth(hosts: list[PostgresStore]) -> None:
    """Pending and dead entries: each is counted by one host."""
    for place, store in enumerate(hosts):
        entries = [outbox_entry(of_host(place)) for _ in range(place + 2)]
        died = EntryFailed(entry_sid=entries[0].sid, attempts=1, error="no", at=START, is_dead=True)
        await store.write([*map(EntryAdded, entries), died])

    depths = [await store.outbox_depth() for store in hosts]

    assert [(one.pending, one.dead, sum(one.dead_of.values())) for one in depths] == [(1, 1, 1), (2, 1, 1)]


async def test_one_host_holds_an_entry_and_erases_a_session(hosts: list[PostgresStore]) -> None:
    """A replay reaches all hosts; only one takes it. What was closed long ago is found by its coordinator's host."""
    closed = [of_host(place, status=SessionStatus.CLOSED) for place in range(HOSTS)]
    entries = [outbox_entry(one) for one in closed]
    for store, one, entry in zip(hosts, closed, entries, strict=True):
        await store.write([SessionCreated(one, ()), EntryAdded(entry)])

    held = [await store.entries_held([entry.sid for entry in entries]) for store in hosts]
    old = [await store.sessions_closed_before(START + 1, limit=9) for store in hosts]

    assert held == [{entry.sid} for entry in entries]
    assert old == [(one.sid,) for one in closed]


async def test_a_note_that_is_kept_longer_meanwhile_is_not_erased(hosts: list[PostgresStore], database: str) -> None:
    """One host erases what has expired while another puts its end off."""
    await hosts[0].write([NoteKept("smpp", b"1", b"part", START), NoteKept("smpp", b"2", b"part", START)])
    with psycopg.connect(database) as other:
        other.execute("UPDATE channel_notes SET until = until + 100 WHERE key = '1'")
        erasing = asyncio.create_task(hosts[1].write([NotesErased(START + 1, most=9)]))
        await wait_for_locks(database, 1)
        other.commit()
        await erasing

    assert await hosts[0].note("smpp", b"1") is not None
    assert await hosts[0].note("smpp", b"2") is None


async def test_hosts_that_wait_for_each_other_both_go_through(hosts: list[PostgresStore], database: str) -> None:
    """The database ends the transaction of one; that one is tried again, and nobody hears of it."""
    first, second, third = (of_host(0) for _ in range(3))
    await hosts[0].write([SessionCreated(one, ()) for one in (first, second, third)])
    changes = [SessionChanged(session_sid=one.sid, at=START + 1, ttl_seconds=9) for one in (second, third, first)]
    update = "UPDATE sessions SET ttl_seconds = 5 WHERE sid = %s"
    with psycopg.connect(database) as other, psycopg.connect(database) as holder:
        other.execute("SET deadlock_timeout = '1h'")  # it is not the one that is ended
        other.execute(update, (sid_cell(first),))
        holder.execute(update, (sid_cell(third),))
        writing = asyncio.create_task(hosts[0].write(changes))
        await wait_for_locks(database, 1)
        crossing = asyncio.create_task(asyncio.to_thread(other.execute, update, (sid_cell(second),)))
        await wait_for_locks(database, 2)
        holder.rollback()
        await crossing
        is_writable = hosts[0].is_writable
        other.commit()
        await writing

    read = [await hosts[1].session(one.sid) for one in (first, second)]
    assert is_writable
    assert [one.ttl_seconds for one in read if one is not None] == [9, 9]


async def test_an_erased_interaction_is_gone_for_all(hosts: list[PostgresStore]) -> None:
    """Whichever host erases it."""
    call = interaction(of_host(0))
    await hosts[0].write([InteractionRecorded(call, is_elsewhere=True)])
    before = await hosts[1].interaction(call.sid)

    await hosts[1].write([InteractionErased(call.sid)])

    assert before == call
    assert await hosts[0].interaction(call.sid) is None


def sid_cell(one: Session) -> bytes:
    return bytes.fromhex(one.sid[2:])


async def wait_for_locks(database: str, count: int) -> None:
    """Wait until so many transactions wait for others."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(database, autocommit=True) as looking:
        async with asyncio.timeout(WAIT_SECONDS):
            while looking.execute(waiting).fetchone() != (count,):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.005)
