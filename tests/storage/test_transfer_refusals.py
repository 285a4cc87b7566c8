"""What cannot be imported or exported is told, with what to do instead, and nothing is changed by it."""

import asyncio
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest

from engine.core.model.changes import AccountSaved, NoteKept, RegistryAdvanced
from storage.errors import DatabaseTooNew, MoveRefused
from storage.postgres.places import PlaceTaken, take_place
from storage.postgres.stopped import ImportUnfinished, StoppedDatabase, unfinished_import
from storage.postgres.tables import COLUMNS
from storage.sqlite import DataDirBusy, MoveUnfinished, SqliteStore
from storage.sqlite.datadir import DataDirLock
from storage.sqlite.errors import DataDirOccupied, FillUnfinished
from storage.sqlite.holds import hold
from storage.sqlite.layout import FILLING, Layout, replace_layout
from storage.transfer import Copied, export_file, import_file
from tests.storage.cluster import SERVICES, add_session, empty_world, read_cluster, small_world, write_cluster
from tests.storage.material import START, Observed, account, quiet, service, session
from tests.storage.stores import InPostgres
from tests.storage.test_upgrade import make_version_1
from tests.storage.transfers import exported, imported

pytestmark = pytest.mark.anyio


async def test_a_directory_in_use_is_refused(tmp_path: Path, database: str) -> None:
    """By a server or whatever else has it."""
    await write_cluster(tmp_path / "data", empty_world(), 1)
    (tmp_path / "empty").mkdir()

    for directory, move in ((tmp_path / "data", imported), (tmp_path / "empty", out_of)):
        lock = DataDirLock(directory, makes_database=False)
        with pytest.raises(DataDirBusy, match="in use by process"):
            move(directory, database)
        lock.release()


def out_of(data_dir: Path, database: str) -> Copied:
    return exported(database, data_dir)


async def test_a_directory_that_cannot_be_imported_is_told_so(tmp_path: Path, database: str) -> None:
    """Each with what to do instead; the database stays as it is, and may be served."""
    await write_cluster(tmp_path / "three", empty_world(), 3)
    await write_cluster(tmp_path / "held", empty_world(), 1)
    await write_cluster(tmp_path / "moving", empty_world(), 1)
    await write_cluster(tmp_path / "filling", empty_world(), 1)
    await write_cluster(tmp_path / "newer", empty_world(), 1)
    (tmp_path / "older").mkdir()
    make_version_1(tmp_path / "older", account(), service(), session())
    with closing(sqlite3.connect(tmp_path / "held" / "maskline.db")) as connection:
        hold(connection)
    with closing(sqlite3.connect(tmp_path / "newer" / "maskline.db", isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('maskline', '0099_later', '')"
        )
    replace_layout(tmp_path / "moving", Layout(1, moving_to=2, kept_in="old"))
    (tmp_path / "filling" / FILLING).mkdir()
    (tmp_path / "nothing").mkdir()

    for name, error, why in (
        ("three", MoveRefused, "laid out for 3 hosts, .* maskline rebalance --hosts 1"),
        ("held", MoveRefused, "maskline outbox release"),
        ("moving", MoveUnfinished, "was being moved to 2 hosts"),
        ("filling", FillUnfinished, "when that was interrupted"),
        ("newer", DatabaseTooNew, "0099_later"),
        ("older", MoveRefused, r"written by an older version .*; start this version on it once$"),
        ("nothing", MoveRefused, "There is no Maskline data"),
        ("missing", MoveRefused, "There is no directory"),
    ):
        with pytest.raises(error, match=why):
            imported(tmp_path / name, database)

    await InPostgres(database).open().close()


async def test_a_database_that_is_not_empty_is_refused(tmp_path: Path, database: str) -> None:
    """Whatever it holds, were it a single row."""
    await write_cluster(tmp_path / "data", small_world(), 1)
    store = InPostgres(database).open()
    await store.write([NoteKept("sip", b"key", b"value", START)])
    await store.close()

    with pytest.raises(MoveRefused, match=r"is not empty \(channel_notes\); import into a new one"):
        imported(tmp_path / "data", database)

    await InPostgres(database).open().close()


async def test_a_database_in_use_is_refused(tmp_path: Path, database: str) -> None:
    """A server renews its row meanwhile, which is seen within its lease; neither way goes on."""
    await write_cluster(tmp_path / "data", empty_world(), 1)
    store = InPostgres(database).open()
    await store.start()
    stop = asyncio.Event()

    async def renew() -> None:
        while not stop.is_set():
            await store.write([RegistryAdvanced(0)])
            await asyncio.sleep(0.02)

    renewing = asyncio.create_task(renew())
    for move in (
        lambda: import_file(tmp_path / "data", database, quiet, lease_seconds=30),
        lambda: export_file(database, tmp_path / "back", quiet, lease_seconds=30),
    ):
        with pytest.raises(PlaceTaken, match="serves on this database; stop that one first"):
            await asyncio.to_thread(move)
    stop.set()
    await renewing
    await store.close()

    assert not (tmp_path / "back" / "maskline.db").exists()


async def test_a_database_of_another_shape_is_refused(tmp_path: Path, database: str) -> None:
    """One without our tables, or of a newer version."""
    await write_cluster(tmp_path / "data", empty_world(), 1)

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO migrations (name) VALUES ('9999_of_tomorrow')")
        for move in (imported, out_of):
            with pytest.raises(DatabaseTooNew, match="9999_of_tomorrow"):
                move(tmp_path / ("data" if move is imported else "back"), database)
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        for move in (imported, out_of):
            with pytest.raises(MoveRefused, match=r"lacks 0001_first_tables, .*maskline database init"):
                move(tmp_path / ("data" if move is imported else "back"), database)


async def test_a_directory_with_something_in_it_gets_no_export(tmp_path: Path, database: str) -> None:
    """It is named, and stays as it is."""
    await write_cluster(tmp_path, small_world(), 1)

    with pytest.raises(DataDirOccupied, match=r"is not empty \(maskline.db\)"):
        exported(database, tmp_path)

    assert (await read_cluster(tmp_path, 1))[0].world.sessions


def test_a_database_that_cannot_be_reached_is_told_so(tmp_path: Path) -> None:
    """Nothing of it is a traceback, and nothing was changed."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(
            MoveRefused, match=r"The database: the database cannot be reached: nobody .*\. Nothing was changed"
        ):
            exported(f"host=127.0.0.1 port={nobody.getsockname()[1]} dbname=none", tmp_path / "back")

    assert not (tmp_path / "back" / FILLING).exists()


@contextmanager
def paused(move: Callable[[Callable[[str, int, int], None]], object]) -> Iterator[list[BaseException]]:
    """Have an import or an export wait in its middle while the context lasts; its failures are told."""
    arrived, go_on = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def wait(what: str, done: int, total: int) -> None:
        arrived.set()
        go_on.wait(30)

    def run() -> None:
        try:
            move(wait)
        except Exception as failure:  # noqa: BLE001 - told to the test
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert arrived.wait(30)
        yield failures
    finally:
        go_on.set()
        thread.join(30)


async def test_while_one_moves_no_other_comes_in(tmp_path: Path, database: str) -> None:
    """Neither a server nor another import or export; the first goes on undisturbed."""
    world = small_world()
    await write_cluster(tmp_path / "data", world, 1)
    await write_cluster(tmp_path / "other", world, 1)

    with paused(lambda wait: import_file(tmp_path / "data", database, wait, lease_seconds=0)) as failures:
        with pytest.raises(PlaceTaken, match="An import into this database, or an export from it, runs"):
            InPostgres(database).open()
        with pytest.raises(PlaceTaken, match="wait for its end"):
            imported(tmp_path / "other", database)
    with (
        paused(lambda wait: export_file(database, tmp_path / "back", wait, lease_seconds=0)) as failures_of_export,
        pytest.raises(PlaceTaken, match="wait for its end"),
    ):
        InPostgres(database).open()

    assert failures == failures_of_export == []
    assert (await read_cluster(tmp_path / "back", 1))[0].world == (await read_cluster(tmp_path / "data", 1))[0].world


async def test_a_copy_that_is_not_the_same_is_thrown_away(tmp_path: Path, database: str) -> None:
    """Here a trigger changes a row on its way; no server starts until an import has come through."""
    world = empty_world()
    add_session(world, SERVICES[0], ["+15105550001"], at=START)
    await write_cluster(tmp_path, world, 1)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.ttl_seconds = 1; RETURN NEW; END $$"
        )
        connection.execute("CREATE TRIGGER spoil BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION spoil()")

        with pytest.raises(MoveRefused, match="The copy of the table sessions is not what was read"):
            imported(tmp_path, database)
        with pytest.raises(ImportUnfinished, match="Run maskline database import again"):
            InPostgres(database).open()
        with pytest.raises(ImportUnfinished):
            exported(database, tmp_path / "back")
        counts = [
            connection.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608 - a name of the schema
            for name in COLUMNS
        ]
        connection.execute("DROP TRIGGER spoil ON sessions")
    imported(tmp_path, database)

    assert counts == [(0,)] * len(COLUMNS)
    await InPostgres(database).open().close()


async def test_a_row_that_a_database_does_not_take_is_named_by_its_table(tmp_path: Path, database: str) -> None:
    """Such as a NUL in a name, which no version of ours takes from anybody."""
    await write_cluster(tmp_path, empty_world(), 1)
    store = SqliteStore.open(tmp_path, synchronous="NORMAL", observer=Observed())
    await store.write([AccountSaved(msgspec.structs.replace(account(), friendly_name="a\0b"))])
    await store.close()

    with pytest.raises(MoveRefused, match="does not take a row of the table accounts"):
        imported(tmp_path, database)


@pytest.mark.parametrize("when", ["before the mark", "behind it"])
def test_a_place_taken_in_between_ends_the_import(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A server that came before the mark goes on, and may be started again; one that came behind it has found it."""
    asyncio.run(write_cluster(tmp_path, empty_world(), 1))
    alone, begun = StoppedDatabase.alone, list[int]()

    def intruded(self: StoppedDatabase) -> AbstractContextManager[None]:
        begun.append(1)
        if len(begun) == (1 if when == "before the mark" else 2):
            with psycopg.connect(database, autocommit=True) as connection:
                take_place(connection, 0, node="here", lease_seconds=0)
        return alone(self)

    monkeypatch.setattr(StoppedDatabase, "alone", intruded)
    with pytest.raises(MoveRefused, match=r"Another process has taken the database .* just now"):
        imported(tmp_path, database)

    with psycopg.connect(database) as connection:
        assert (unfinished_import(connection) is None) is (when == "before the mark")
