"""A database that an older version made is brought up to date, with everything in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlite_utils import Database

from engine.core.model.changes import (
    AccountSaved,
    AlertRaised,
    EntryAdded,
    EntryFailed,
    ServiceSaved,
    SessionCreated,
)
from engine.core.model.records import Account, Service, ServiceOptions, Session
from engine.core.model.sids import pack
from engine.core.ports.lists import OutboxDepth, OutboxFilter, PageCursor
from storage import rows
from storage.sqlite import SqliteStore
from storage.sqlite.schema import migrations
from storage.sqlite.statements import INSERT_SESSIONS
from tests.storage.material import START, Observed, account, alert, insert_old_entries, outbox_entry, service, session

pytestmark = pytest.mark.anyio


def make_version_1(data_dir: Path, account: Account, service: Service, made: Session) -> None:
    """Make the file as the first version did, and put one of each into it."""
    with closing(sqlite3.connect(data_dir / "maskline.db")) as connection, connection:
        migrations.apply(Database(connection), stop_before="0002_outbox")
        connection.execute(
            "INSERT INTO accounts VALUES (?, ?, ?, 0, 1, 0, ?)",
            (pack(account.sid), account.auth_token, account.friendly_name, START),
        )
        connection.execute(
            "INSERT INTO services VALUES (?, ?, ?, 0, 'https://a.example', NULL, NULL, 'country',"
            " 'prefer-sticky', NULL, 0, ?, ?)",
            (pack(service.sid), pack(service.account_sid), service.unique_name, START, START + 0.1),
        )
        INSERT_SESSIONS.execute(connection, (rows.session_row(made),))
        connection.execute("UPDATE sessions SET fail_on_participant_conflict = 1")  # it was kept then


async def test_a_version_1_database_keeps_everything_and_learns_the_rest(tmp_path: Path) -> None:
    """Its accounts have no debugger webhook, its services no extensions, and nothing is owed."""
    old_account = msgspec.structs.replace(account(), respect_sms_stop_filter=True)
    old_service = msgspec.structs.replace(service(), callback_url="https://a.example")
    made = session()
    make_version_1(tmp_path, old_account, old_service, made)

    store = SqliteStore.open(tmp_path, observer=Observed())

    assert (await store.held_registry()).registry.accounts == (old_account,)
    assert (await store.held_registry()).registry.services == (old_service,)
    assert old_account.debugger_url is None
    assert old_service.options == ServiceOptions()
    assert await store.session(made.sid) == made
    assert store.session_counts()[made.status] == 1
    assert sum(store.session_counts().values()) == 1
    assert await store.outbox_depth() == OutboxDepth(0, 0, None)
    await store.close()


async def test_what_waited_in_the_outbox_waits_on(tmp_path: Path) -> None:
    """A version that did not keep the time of the next try has left them; it is known from the next failure on."""
    made = session()
    entry, dead = outbox_entry(made), outbox_entry(made)
    tried = msgspec.structs.replace(entry, attempts=3, last_error="answered 500")
    died = msgspec.structs.replace(tried, sid=dead.sid, date_died=START + 5)
    with closing(sqlite3.connect(tmp_path / "maskline.db")) as connection, connection:
        migrations.apply(Database(connection), stop_before="0014_next_tries")
        insert_old_entries(connection, [tried, died])

    store = SqliteStore.open(tmp_path, observer=Observed())
    found = (await store.outbox_page(OutboxFilter(), PageCursor(limit=9))).records
    failure = EntryFailed(entry_sid=entry.sid, attempts=4, error="slow", at=START, is_dead=False, next_at=START + 60)
    await store.write([failure])
    failed = await store.pending_entries(entry.queue, after=None, limit=9)
    await store.close()

    assert found == (tried, died)
    assert failed == (msgspec.structs.replace(tried, attempts=4, last_error="slow", date_next=START + 60),)


async def test_an_upgraded_database_takes_what_is_new(tmp_path: Path) -> None:
    """Also after it was opened once more."""
    make_version_1(tmp_path, account(), service(), session())
    new_account = msgspec.structs.replace(account(), debugger_url="https://a.example/debugger")
    new_service = msgspec.structs.replace(service(), options=ServiceOptions(hangs_up_on_close=True))
    made, event = session(), alert()
    entry = outbox_entry(made)

    store = SqliteStore.open(tmp_path, observer=Observed())
    await store.write([AccountSaved(new_account), ServiceSaved(new_service), SessionCreated(made, ())])
    await store.write([EntryAdded(entry), AlertRaised(event)])
    await store.close()
    again = SqliteStore.open(tmp_path, observer=Observed())

    assert (await again.held_registry()).registry.accounts == (new_account,)
    assert (await again.held_registry()).registry.services == (new_service,)
    assert await again.pending_entries(entry.queue, after=None, limit=9) == (entry,)
    assert await again.alert(event.sid) == event
    await again.close()
