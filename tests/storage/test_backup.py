"""Backups: whole or not there, of one moment, and back only when every page is what it was."""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from engine.core.model.changes import SessionCreated
from storage.sqlite import DatabaseTooNew, DataDirBusy, SqliteStore, claim
from storage.sqlite.backup import INCOMPLETE, MANIFEST, Backup, make_backup, read_backup
from storage.sqlite.errors import BackupRefused, DatabaseMissing, DataDirOccupied, FillUnfinished
from storage.sqlite.holds import held_here, release_here
from storage.sqlite.layout import FILLING, Layout, host_dir, read_layout
from storage.sqlite.rebalance import rebalance
from storage.sqlite.restore import restore
from tests.storage.material import Observed, names_in, quiet, session

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0


def backed_up(data_dir: Path, target: Path) -> Backup:
    return make_backup(data_dir, target, version="1.2.3", now=NOW, on_progress=quiet)


async def filled(data_dir: Path, sessions: int = 3) -> SqliteStore:
    """Open a store with sessions in it."""
    store = SqliteStore.open(data_dir, observer=Observed())
    claim(data_dir, 1) if not data_dir.name.startswith("host-") else None
    for _ in range(sessions):
        await store.write([SessionCreated(session(), ())])
    return store


async def count_in(data_dir: Path) -> int:
    store = SqliteStore.open(data_dir, observer=Observed())
    counted = sum(store.session_counts().values())
    await store.close()
    return counted


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Open a store in `data` that stays open."""
    store = await filled(tmp_path / "data")
    yield store
    await store.close()


async def test_a_backup_of_a_running_server_holds_what_was_committed_and_no_more(
    tmp_path: Path, running: SqliteStore
) -> None:
    """The server goes on meanwhile, and afterwards; files are the owner's alone."""
    made = backed_up(tmp_path / "data", tmp_path / "copy")
    await running.write([SessionCreated(session(), ())])
    done = restore(tmp_path / "copy", tmp_path / "new", is_held=True, on_progress=quiet)

    assert read_backup(tmp_path / "copy") == made == done.backup
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"maskline.db", MANIFEST}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "copy").rglob("*"))
    assert await count_in(tmp_path / "new") == 3
    assert read_layout(tmp_path / "new") == Layout(1)


async def test_a_stopped_and_a_killed_server_are_backed_up_too(tmp_path: Path) -> None:
    """The log that a kill leaves belongs to it; the originals stay as they are."""
    store = await filled(tmp_path / "data")
    for name in ("maskline.db", "maskline.db-wal", "maskline.db-shm", "maskline.layout"):
        (tmp_path / "killed").mkdir(exist_ok=True)
        (tmp_path / "killed" / name).write_bytes((tmp_path / "data" / name).read_bytes())
    await store.close()
    before = {path.name for path in (tmp_path / "data").iterdir()}

    for name in ("data", "killed"):
        backed_up(tmp_path / name, tmp_path / f"copy of {name}")
        restore(tmp_path / f"copy of {name}", tmp_path / f"new {name}", is_held=True, on_progress=quiet)

    assert {path.name for path in (tmp_path / "data").iterdir()} == before
    assert [await count_in(tmp_path / f"new {name}") for name in ("data", "killed")] == [3, 3]


async def test_all_hosts_of_a_cluster_are_backed_up_and_come_back_to_their_places(tmp_path: Path) -> None:
    """Those whose files are on another machine are named."""
    data_dir = tmp_path / "data"
    claim(data_dir, 3)
    stores = [await filled(host_dir(data_dir, place, 3), sessions=place + 1) for place in (0, 2)]

    made = backed_up(data_dir, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new", is_held=True, on_progress=quiet)
    for store in stores:
        await store.close()

    assert (made.hosts, made.elsewhere) == (3, (1,))
    assert read_layout(tmp_path / "new") == Layout(3)
    assert [await count_in(host_dir(tmp_path / "new", place, 3)) for place in (0, 2)] == [1, 3]


async def test_every_copy_holds_its_deliveries_until_they_are_released(tmp_path: Path, running: SqliteStore) -> None:
    """Also one that somebody copies by hand; the original does not."""
    backed_up(tmp_path / "data", tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new", is_held=True, on_progress=quiet)
    restore(tmp_path / "copy", tmp_path / "free", is_held=False, on_progress=quiet)
    by_hand = held_here(tmp_path / "copy")
    store = SqliteStore.open(tmp_path / "new", observer=Observed())
    at_first = store.deliveries_held()

    released = release_here(tmp_path / "new")  # while it runs
    afterwards = store.deliveries_held()
    await store.write([SessionCreated(session(), ())])
    await store.close()

    assert (by_hand, at_first, released, afterwards) == (True, True, 1, False)
    assert (running.deliveries_held(), held_here(tmp_path / "free")) == (False, False)
    assert release_here(tmp_path / "new") == 0


# -- what is refused -------------------------------------------------------------------------------------------------


def flip(backup: Path) -> None:
    content = bytearray((backup / "maskline.db").read_bytes())
    content[len(content) // 2] ^= 1
    (backup / "maskline.db").write_bytes(content)


def shorten(backup: Path) -> None:
    os.truncate(backup / "maskline.db", (backup / "maskline.db").stat().st_size - 4096)


def forget(backup: Path) -> None:
    (backup / MANIFEST).unlink()


def garble(backup: Path) -> None:
    (backup / MANIFEST).write_text("{")


def lose(backup: Path) -> None:
    (backup / "maskline.db").unlink()


def resign(backup: Path) -> None:
    """Damage the database as a whole backup of a damaged one would be."""
    with (backup / "maskline.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * 4096)
    manifest = json.loads((backup / MANIFEST).read_text())
    manifest["files"][0]["sha256"] = hashlib.sha256((backup / "maskline.db").read_bytes()).hexdigest()
    (backup / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("damage", [flip, shorten, forget, garble, lose, resign])
async def test_a_backup_that_is_not_what_it_was_is_refused_and_leaves_nothing(
    tmp_path: Path, running: SqliteStore, damage: Callable[[Path], None]
) -> None:
    """A bit, a page, the manifest, a file, or pages that were damaged when it was made."""
    backed_up(tmp_path / "data", tmp_path / "copy")
    damage(tmp_path / "copy")

    with pytest.raises(BackupRefused):
        restore(tmp_path / "copy", tmp_path / "new", is_held=True, on_progress=quiet)

    assert not (tmp_path / "new").exists() or {path.name for path in (tmp_path / "new").iterdir()} <= {"maskline.lock"}


async def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path, running: SqliteStore) -> None:
    """It names what it lacks."""
    with closing(sqlite3.connect(tmp_path / "data" / "maskline.db")) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('maskline', '0099_later', '')"
        )
    backed_up(tmp_path / "data", tmp_path / "copy")

    with pytest.raises(DatabaseTooNew):
        restore(tmp_path / "copy", tmp_path / "new", is_held=True, on_progress=quiet)


async def test_a_directory_in_use_or_with_something_in_it_is_refused(tmp_path: Path, running: SqliteStore) -> None:
    """Whatever it is."""
    backed_up(tmp_path / "data", tmp_path / "copy")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "plan.txt").write_text("mine")

    with pytest.raises(DataDirOccupied, match="not empty"):
        restore(tmp_path / "copy", tmp_path / "data", is_held=True, on_progress=quiet)
    with pytest.raises(DataDirOccupied, match=r"not empty \(plan\.txt\)"):
        restore(tmp_path / "copy", tmp_path / "notes", is_held=True, on_progress=quiet)
    (tmp_path / "data" / "maskline.db").rename(tmp_path / "away")
    with pytest.raises(DataDirBusy):
        restore(tmp_path / "copy", tmp_path / "data", is_held=True, on_progress=quiet)
    (tmp_path / "away").rename(tmp_path / "data" / "maskline.db")

    assert (tmp_path / "notes" / "plan.txt").read_text() == "mine"


async def test_where_a_database_was_lost_what_is_stale_is_removed(tmp_path: Path) -> None:
    """Its log, taken for that of the backup, would spoil it."""
    store = await filled(tmp_path / "data")
    backed_up(tmp_path / "data", tmp_path / "copy")
    await store.write([SessionCreated(session(), ())])
    log, index = (tmp_path / "data" / f"maskline.db-{end}" for end in ("wal", "shm"))
    left = {path: path.read_bytes() for path in (log, index)}
    await store.close()
    (tmp_path / "data" / "maskline.db").unlink()
    for path, content in left.items():
        path.write_bytes(content)

    done = restore(tmp_path / "copy", tmp_path / "data", is_held=True, on_progress=quiet)

    assert {"maskline.db-wal", "maskline.db-shm"} <= set(done.removed)
    assert await count_in(tmp_path / "data") == 3


async def test_nothing_is_backed_up_of_a_directory_without_data(tmp_path: Path, running: SqliteStore) -> None:
    """Nor where there is something already, nor of one whose database is away."""
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "old").touch()
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "maskline.layout").write_text("hosts = 1\n")

    with pytest.raises(BackupRefused, match="no Maskline data"):
        backed_up(tmp_path / "nothing", tmp_path / "new")
    with pytest.raises(BackupRefused, match="there already"):
        backed_up(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(DatabaseMissing):
        backed_up(tmp_path / "gone", tmp_path / "new")

    assert names_in(tmp_path) == {"data", "copy", "gone"}


# -- kills -----------------------------------------------------------------------------------------------------------

_BACKUP = """
import sys; from pathlib import Path; from storage.sqlite.backup import make_backup
print("begun", flush=True)
make_backup(Path(sys.argv[1]), Path(sys.argv[2]), version="1", now=1.0, on_progress=lambda *_: None)
"""
_RESTORE = """
import sys; from pathlib import Path; from storage.sqlite.rebalance import rebalance
from storage.sqlite.restore import restore
print("begun", flush=True)
restore(Path(sys.argv[1]), Path(sys.argv[2]), is_held=True, on_progress=lambda *_: None)
"""


def killed_after(program: str, seconds: float, *arguments: Path) -> None:
    """Run a program in a process and kill it that long after it has begun."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own interpreter
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)  # the moment of the kill, wherever it falls
        process.send_signal(signal.SIGKILL)


MOMENTS = [0.0, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.13]


async def test_a_backup_that_is_killed_is_whole_or_not_there(tmp_path: Path) -> None:
    """At any moment; the next one to the same place is not hindered, and the data is untouched."""
    store = await filled(tmp_path / "data", sessions=300)
    for number, seconds in enumerate(MOMENTS):
        target = tmp_path / f"copy {number}"
        killed_after(_BACKUP, seconds, tmp_path / "data", target)

        if not target.exists():
            draft = target.with_name(target.name + INCOMPLETE)
            with nullcontext() if (draft / MANIFEST).exists() else pytest.raises(BackupRefused):
                restore(draft, tmp_path / f"draft {number}", is_held=True, on_progress=quiet)  # whole, but for its name
            backed_up(tmp_path / "data", target)
        restore(target, tmp_path / f"new {number}", is_held=True, on_progress=quiet)

        assert await count_in(tmp_path / f"new {number}") == 300
        assert not target.with_name(target.name + INCOMPLETE).exists()
    await store.write([SessionCreated(session(), ())])
    await store.close()


@pytest.mark.parametrize("hosts", [1, 3])
async def test_a_restore_that_is_killed_starts_nothing_and_may_be_repeated(tmp_path: Path, hosts: int) -> None:
    """Until it is done, a server refuses the directory, or finds it empty as it was."""
    claim(tmp_path / "data", hosts)
    for place in range(hosts):
        await (await filled(host_dir(tmp_path / "data", place, hosts), sessions=100)).close()
    backed_up(tmp_path / "data", tmp_path / "copy")
    for number, seconds in enumerate(MOMENTS):
        target = tmp_path / f"new {number}"
        killed_after(_RESTORE, seconds, tmp_path / "copy", target)

        if (target / FILLING).exists():
            with pytest.raises(FillUnfinished):
                claim(target, hosts)
        elif (target / "maskline.layout").exists():
            claim(target, hosts)
        if (target / FILLING).exists() or not (target / "maskline.layout").exists():
            restore(tmp_path / "copy", target, is_held=True, on_progress=quiet)

        assert read_layout(target) == Layout(hosts)
        assert [await count_in(host_dir(target, place, hosts)) for place in range(hosts)] == [100] * hosts


async def test_a_move_to_other_hosts_does_not_release_what_is_held(tmp_path: Path, running: SqliteStore) -> None:
    """All of the new files hold their deliveries."""
    backed_up(tmp_path / "data", tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new", is_held=True, on_progress=quiet)

    rebalance(tmp_path / "new", 3, quiet)

    assert release_here(tmp_path / "new") == 3
