"""The data directory: its modes, its lock, its schema, and what cannot be used is refused clearly."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.core.model.changes import AccountSaved
from engine.core.model.errors import StoreUnavailable
from storage.sqlite import DatabaseDamaged, DatabaseMissing, DatabaseTooNew, DataDirBusy, SqliteStore
from storage.sqlite.layout import LAYOUT, demand_database
from tests.storage.material import Observed, account, names_in

pytestmark = [pytest.mark.anyio, pytest.mark.files]

NOBODY = 65_534


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def told_elsewhere(data_dir: Path) -> str:
    """Open a data directory in another process; return what that is told."""
    program = (
        "import sys; from pathlib import Path; from storage.sqlite import SqliteStore\n"
        "from tests.storage.material import Observed\n"
        "try: SqliteStore.open(Path(sys.argv[1]), observer=Observed())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", program, str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own interpreter


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up root's right to write everywhere, where the tests have it."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def readable_dir() -> Iterator[Path]:
    """Make a directory that any user may enter but not write; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o555)
        yield path
        path.chmod(0o755)


async def test_directory_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    """0700 and 0600, the log beside the database included, whatever the file had before."""
    data_dir = tmp_path / "deep" / "data"
    data_dir.parent.mkdir()
    store = SqliteStore.open(data_dir, observer=Observed())

    await store.write([AccountSaved(account())])

    assert mode_of(data_dir) == 0o700
    assert {path.name: mode_of(path) for path in data_dir.iterdir()} == {
        "maskline.db": 0o600,
        "maskline.db-shm": 0o600,
        "maskline.db-wal": 0o600,
        "maskline.lock": 0o600,
    }
    await store.close()


async def test_closing_leaves_one_file_and_everything_in_it(tmp_path: Path) -> None:
    """A copy of a stopped engine's maskline.db is a whole backup."""
    store = SqliteStore.open(tmp_path, observer=Observed())
    await store.write([AccountSaved(account())])
    assert store.sizes().wal_bytes > 0

    await store.close()

    assert names_in(tmp_path) == {"maskline.db", "maskline.lock"}
    assert store.sizes().database_bytes > 0
    assert store.sizes().free_bytes > 0
    again = SqliteStore.open(tmp_path, observer=Observed())
    assert (await again.held_registry()).registry.accounts == (account(),)
    await again.close()


async def test_a_second_process_is_refused_by_name(tmp_path: Path, store: SqliteStore) -> None:
    """It is told the directory and who has it, and leaves the first alone."""
    told = told_elsewhere(tmp_path / "data")

    assert told.startswith("DataDirBusy")
    assert str(tmp_path / "data") in told
    assert f"process {os.getpid()};" in told
    await store.write([AccountSaved(account())])


async def test_the_directory_is_free_after_close(tmp_path: Path) -> None:
    """Also when opening failed half way."""
    first = SqliteStore.open(tmp_path, observer=Observed())
    with pytest.raises(DataDirBusy):
        SqliteStore.open(tmp_path, observer=Observed())
    await first.close()

    second = SqliteStore.open(tmp_path, observer=Observed())
    await second.close()


async def test_migrations_are_recorded_by_name(tmp_path: Path) -> None:
    """And not applied twice."""
    for _ in range(2):
        store = SqliteStore.open(tmp_path, observer=Observed())
        await store.close()

    with closing(sqlite3.connect(tmp_path / "maskline.db")) as connection:
        names = connection.execute("SELECT migration_set, name FROM _sqlite_migrations").fetchall()
    assert names == [
        ("maskline", "0001_first_tables"),
        ("maskline", "0002_outbox"),
        ("maskline", "0003_alerts"),
        ("maskline", "0004_options_and_debugger_url"),
        ("maskline", "0005_hosts_of_a_cluster"),
        ("maskline", "0006_batch_keys"),
        ("maskline", "0007_session_counts"),
        ("maskline", "0008_erasures"),
        ("maskline", "0009_tokens_and_state_of_accounts"),
        ("maskline", "0010_queues_of_accounts"),
        ("maskline", "0011_channel_notes"),
        ("maskline", "0012_alerts_are_found"),
        ("maskline", "0013_dead_entries_of_services"),
        ("maskline", "0014_next_tries"),
    ]


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """It is left as it is, and the message says what to do."""
    store = SqliteStore.open(tmp_path, observer=Observed())
    await store.close()
    with closing(sqlite3.connect(tmp_path / "maskline.db")) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('maskline', '0099_later', '')"
        )

    with pytest.raises(DatabaseTooNew, match="newer version of Maskline") as refused:
        SqliteStore.open(tmp_path, observer=Observed())

    assert refused.value.unknown == ("0099_later",)
    with pytest.raises(DatabaseTooNew):  # the lock was given back
        SqliteStore.open(tmp_path, observer=Observed())


async def test_a_directory_that_cannot_be_written_is_refused(readable_dir: Path) -> None:
    """The message names it and says what it must be."""
    with ordinary_user(), pytest.raises(StoreUnavailable, match="writable") as refused:
        SqliteStore.open(readable_dir, observer=Observed())
    assert str(readable_dir) in str(refused.value)

    with ordinary_user(), pytest.raises(StoreUnavailable, match="writable"):
        SqliteStore.open(readable_dir / "data", observer=Observed())


async def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    """Not with a traceback about a lock."""
    (tmp_path / "data").write_text("")

    with pytest.raises(StoreUnavailable, match="must be a directory"):
        SqliteStore.open(tmp_path / "data", observer=Observed())


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """And not overwritten."""
    (tmp_path / "maskline.db").write_text("not a database, but somebody's notes" * 100)

    with pytest.raises(DatabaseDamaged, match="not a database"):
        SqliteStore.open(tmp_path, observer=Observed())

    assert (tmp_path / "maskline.db").read_text().startswith("not a database")


async def test_a_log_without_its_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """A mount that is late: SQLite would make an empty database and remove the log, and what it holds."""
    store = SqliteStore.open(tmp_path, observer=Observed())
    await store.write([AccountSaved(account())])
    copy = tmp_path / "copy"
    copy.mkdir()
    log = (tmp_path / "maskline.db-wal").read_bytes()
    await store.close()
    (copy / "maskline.db-wal").write_bytes(log)

    for content in (None, b""):
        if content is not None:
            (copy / "maskline.db").write_bytes(content)
        with pytest.raises(DatabaseMissing, match=r"missing or empty.*its log maskline\.db-wal tells"):
            SqliteStore.open(copy, observer=Observed())

    assert (copy / "maskline.db-wal").read_bytes() == log
    assert "maskline.lock" not in names_in(copy)


async def test_a_note_without_a_database_is_refused(tmp_path: Path) -> None:
    """One host's layout is noted after its database was made; a cluster's host notes the same elsewhere."""
    (tmp_path / "empty").mkdir()
    (tmp_path / LAYOUT).write_text("hosts = 1\n")

    with pytest.raises(DatabaseMissing, match="--data-dir"):
        SqliteStore.open(tmp_path, observer=Observed())
    with pytest.raises(DatabaseMissing, match="note of the host"):
        demand_database(tmp_path / "empty", was_made=True)
    demand_database(tmp_path / "empty")


async def test_a_start_that_was_killed_before_there_was_a_database_may_be_repeated(tmp_path: Path) -> None:
    """What it leaves is a lock and an empty file, with nothing that tells of data."""
    (tmp_path / "maskline.lock").write_text("1\n")
    (tmp_path / "maskline.db").touch()

    store = SqliteStore.open(tmp_path, observer=Observed())

    await store.write([AccountSaved(account())])
    await store.close()


async def test_who_removes_the_lock_file_lets_nobody_in(tmp_path: Path) -> None:
    """The database itself is locked too; the store that has it goes on."""
    store = SqliteStore.open(tmp_path, observer=Observed())
    (tmp_path / "maskline.lock").unlink()

    told = told_elsewhere(tmp_path)

    assert told.startswith("DataDirBusy")
    await store.write([AccountSaved(account())])
    await store.close()


async def test_a_start_checks_a_small_database(tmp_path: Path) -> None:
    """A page that nothing would have read for weeks is found, and told in one line; the file stays as it is."""
    store = SqliteStore.open(tmp_path, observer=Observed())
    await store.close()
    with closing(sqlite3.connect(tmp_path / "maskline.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'alerts_by_time'").fetchone()
    with (tmp_path / "maskline.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)

    with pytest.raises(DatabaseDamaged, match=r"maskline\.db is damaged \(.*restore a backup") as refused:
        SqliteStore.open(tmp_path, observer=Observed())

    assert "\n" not in str(refused.value)
