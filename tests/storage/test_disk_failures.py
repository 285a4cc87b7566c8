"""A disk that refuses: nothing is acknowledged, the message says what to do, and it recovers by itself."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.core.model.changes import InteractionRecorded, SessionCreated, SessionTouched
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Interaction, Kind
from storage import writer
from storage.sqlite import SqliteStore
from storage.sqlite.connections import open_writer
from storage.sqlite.datadir import DataDirLock
from storage.sqlite.schema import migrate
from storage.sqlite.walindex import LogIndex
from tests.storage.material import START, Observed, interaction, session

pytestmark = [pytest.mark.anyio, pytest.mark.files]

BODY_BYTES = 100_000


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    """Make the connection that the store will write through, to spoil it from outside."""
    lock = DataDirLock(tmp_path)
    connection = open_writer(lock.database, "NORMAL")
    migrate(connection, lock.database)
    lock.release()
    return connection


@pytest.fixture
async def store(
    tmp_path: Path, connection: sqlite3.Connection, observer: Observed, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SqliteStore]:
    """Open a store on that connection, with an impatient probe."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.01)
    store = SqliteStore(DataDirLock(tmp_path), connection, LogIndex(tmp_path), observer)  # type: ignore[abstract] # reads are filled in
    yield store
    await store.close()


def fill_disk(connection: sqlite3.Connection) -> None:
    """Let the database grow by less than any record needs that is larger than a page."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def free_disk(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA max_page_count = 1073741823")


async def refused_for_space(store: SqliteStore, connection: sqlite3.Connection) -> Interaction:
    """Fill the disk and return what it refused."""
    made = session()
    await store.write([SessionCreated(made, ())])
    large = msgspec.structs.replace(interaction(made, kind=Kind.MESSAGE), body="x" * BODY_BYTES)
    fill_disk(connection)
    with pytest.raises(StoreUnavailable):
        await store.write([InteractionRecorded(large)])
    return large


async def until_writable(store: SqliteStore) -> None:
    """Wait for the probe; the test's own time-out bounds it."""
    while not store.is_writable:  # noqa: ASYNC110 - the store has no event for it, readiness is polled
        await asyncio.sleep(0.01)


async def test_a_full_disk_fails_the_whole_group_and_keeps_nothing(
    store: SqliteStore, connection: sqlite3.Connection, observer: Observed
) -> None:
    """Also those of the group that would have fitted, and those that had nothing to write."""
    made, later = session(), session()
    await store.write([SessionCreated(made, ())])
    large = msgspec.structs.replace(interaction(made, kind=Kind.MESSAGE), body="x" * BODY_BYTES)
    fill_disk(connection)

    came: list[StoreUnavailable | None] = []
    store.commit([SessionTouched(made.sid, START + 5), SessionCreated(later, ())], came.append)
    store.commit([InteractionRecorded(large)], came.append)
    store.commit([], came.append)
    with pytest.raises(StoreUnavailable, match="disk is full; free some space"):
        await store.write([SessionTouched(made.sid, START + 6)])

    assert [type(error) for error in came] == [StoreUnavailable] * 3
    assert not store.is_writable
    assert observer.commits[-1][1] is False
    assert await store.session(made.sid) == made
    assert await store.session(later.sid) is None
    assert await store.interaction(large.sid) is None


class FailingCommits(sqlite3.Connection):
    """A connection whose commits fail while it is told so, as a disk that fills up just then."""

    are_failing = False

    def execute(self, text: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401 - sqlite3's own form
        """Run a statement."""
        if self.are_failing and text == "COMMIT":
            problem = sqlite3.OperationalError("database or disk is full")
            problem.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise problem
        return super().execute(text, parameters)


@pytest.mark.parametrize("when", ["in a changeset", "at the commit"])
async def test_a_disk_failure_while_a_refused_group_is_replayed_fails_all_of_it(
    tmp_path: Path, observer: Observed, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """One by one, since one of them contradicts what is stored: nothing of the others is kept or called kept."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 3600.0)
    await SqliteStore.open(tmp_path, observer=observer).close()
    connection = sqlite3.connect(
        tmp_path / "maskline.db", factory=FailingCommits, isolation_level=None, check_same_thread=False
    )
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    store = SqliteStore(DataDirLock(tmp_path), connection, LogIndex(tmp_path), observer)  # type: ignore[abstract] # reads are filled in
    made, before, behind = session(), session(), session()
    await store.write([SessionCreated(made, ())])
    large = msgspec.structs.replace(interaction(made, kind=Kind.MESSAGE), body="x" * BODY_BYTES)
    if when == "in a changeset":
        fill_disk(connection)
    connection.are_failing = when == "at the commit"

    came: list[StoreUnavailable | None] = []
    group = ([SessionCreated(before, ())], [SessionCreated(made, ())], [InteractionRecorded(large)])
    for changes in group:
        store.commit(changes, came.append)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.write([SessionCreated(behind, ())])
    kept = [await store.session(one.sid) for one in (before, behind)]
    connection.are_failing = False
    free_disk(connection)
    for changes in (group[0], group[2], [SessionCreated(behind, ())]):
        await store.write(changes)

    assert [type(error) for error in came] == [StoreUnavailable] * 3
    assert kept == [None, None]
    assert observer.commits[-4][1] is False
    assert store.is_writable
    assert (await store.session(before.sid), await store.interaction(large.sid)) == (before, large)
    await store.close()


async def test_it_recovers_by_itself_when_there_is_space(
    store: SqliteStore, connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has to send a request for readiness to turn green; the log says once when it went and came."""
    large = await refused_for_space(store, connection)

    free_disk(connection)
    await until_writable(store)
    await store.write([InteractionRecorded(large)])

    assert await store.interaction(large.sid) == large
    assert store.is_writable
    assert [record.levelname for record in caplog.records if record.name == "maskline.storage"] == ["ERROR", "WARNING"]


async def test_the_probe_stays_red_while_the_disk_is_full(
    store: SqliteStore, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes as much as a small group would, so that it does not call a full disk well."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 3600.0)
    await refused_for_space(store, connection)

    store._writer._look()
    is_writable_while_full = store.is_writable
    free_disk(connection)
    store._writer._look()

    assert not is_writable_while_full
    assert store.is_writable


async def test_a_commit_is_tried_even_while_the_store_is_red(
    store: SqliteStore, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits is taken, which turns it green at once."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 3600.0)
    large = await refused_for_space(store, connection)

    await store.write([SessionTouched(large.session_sid, START + 5)])

    assert store.is_writable


async def test_a_read_only_database_is_told_as_such(store: SqliteStore, connection: sqlite3.Connection) -> None:
    """And reads go on."""
    made = session()
    await store.write([SessionCreated(made, ())])
    connection.execute("PRAGMA query_only = ON")

    with pytest.raises(StoreUnavailable, match="read-only; make it writable"):
        await store.write([SessionTouched(made.sid, START + 5)])
    red, read = store.is_writable, await store.session(made.sid)
    connection.execute("PRAGMA query_only = OFF")
    await until_writable(store)

    assert (red, read) == (False, made)
    await store.write([SessionTouched(made.sid, START + 5)])


async def test_another_program_that_locks_the_database_is_waited_out(
    tmp_path: Path, store: SqliteStore, connection: sqlite3.Connection
) -> None:
    """A shell left open in a transaction makes the store red, not wrong."""
    connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / "maskline.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="another program keeps the database locked"):
        await store.write([SessionCreated(session(), ())])
    other.execute("ROLLBACK")
    other.close()
    await until_writable(store)

    await store.write([SessionCreated(session(), ())])


async def test_a_full_disk_gets_back_what_the_log_takes(
    store: SqliteStore, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe empties it into the database: on a small disk the log may be most of what fills it."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 3600.0)
    await refused_for_space(store, connection)
    before = store.sizes().wal_bytes

    store._writer._look()

    assert before > 0
    assert store.sizes().wal_bytes == 0
