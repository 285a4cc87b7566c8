"""Files that are moved, removed or damaged under a store that runs: it says so once, and acknowledges nothing more."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.core.model.changes import SessionCreated, SessionTouched
from engine.core.model.errors import StoreUnavailable
from storage import writer
from storage.sqlite import SqliteStore, placed
from storage.sqlite.placed import Placed
from storage.sqlite.transaction import SqliteTransaction
from tests.storage.material import START, Observed, session

pytestmark = [pytest.mark.anyio, pytest.mark.files]

NAMES = ("maskline.db", "maskline.db-wal")


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """Open a store that looks at its files often."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.01)
    store = SqliteStore.open(tmp_path, observer=Observed())
    yield store
    await store.close()


async def until_red(store: SqliteStore) -> None:
    """Wait until it has noticed; the test's own time-out bounds it."""
    while store.is_writable:  # noqa: ASYNC110 - the store has no event for it, readiness is polled
        await asyncio.sleep(0.01)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "CRITICAL", "WARNING"}]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["renamed", "removed", "replaced"])
async def test_a_commit_to_a_file_that_lost_its_name_is_not_acknowledged(
    tmp_path: Path, store: SqliteStore, caplog: pytest.LogCaptureFixture, *, name: str, how: str
) -> None:
    """The next start would not find it."""
    await store.write([SessionCreated(session(), ())])
    file = tmp_path / name
    content = file.read_bytes()
    if how == "renamed":
        file.rename(tmp_path / "away")
    else:
        file.unlink()
    if how == "replaced":
        file.write_bytes(content)

    with pytest.raises(StoreUnavailable, match=rf"{name} was moved, removed or replaced"):
        await store.write([SessionCreated(session(), ())])
    with pytest.raises(StoreUnavailable, match=name):
        await store.write([SessionCreated(session(), ())])

    assert not store.is_writable
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_that_is_put_back_is_written_again(tmp_path: Path, store: SqliteStore, name: str) -> None:
    """Readiness turns red although nobody commits; nothing that was refused meanwhile is in the file."""
    kept, refused, later = session(), session(), session()
    await store.write([SessionCreated(kept, ())])
    (tmp_path / name).rename(tmp_path / "away")
    await until_red(store)
    with pytest.raises(StoreUnavailable, match="put that very file back"):
        await store.write([SessionCreated(refused, ())])

    (tmp_path / "away").rename(tmp_path / name)
    await store.write([SessionCreated(later, ())])

    assert store.is_writable
    assert [await store.session(one.sid) for one in (kept, refused, later)] == [kept, None, later]


async def test_a_file_that_goes_just_behind_a_commit_is_missed_before_the_next(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However soon that is: what was begun in a file without a name could not be taken back."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 60.0)
    file, away = tmp_path / "maskline.db", tmp_path / "away"
    for _ in range(3):
        await store.write([SessionCreated(session(), ())])
        file.rename(away)
        with pytest.raises(StoreUnavailable, match="put that very file back"):
            await store.write([SessionCreated(session(), ())])
        away.rename(file)

    await store.write([SessionCreated(session(), ())])

    assert store.is_writable


async def test_a_file_that_goes_under_a_commit_is_lost_until_a_restart(tmp_path: Path, store: SqliteStore) -> None:
    """The file holds what was refused, and memory does not: putting it back does not help."""
    await store.write([SessionCreated(session(), ())])

    def on_commit(statement: str) -> None:
        if statement == "COMMIT":
            (tmp_path / "maskline.db").rename(tmp_path / "away")

    transaction = store._writer._transaction
    assert isinstance(transaction, SqliteTransaction)
    transaction._connection.set_trace_callback(on_commit)
    with pytest.raises(StoreUnavailable, match="was moved, removed or replaced"):
        await store.write([SessionCreated(session(), ())])
    transaction._connection.set_trace_callback(None)

    (tmp_path / "away").rename(tmp_path / "maskline.db")
    with pytest.raises(StoreUnavailable, match="start it again"):
        await store.write([SessionCreated(session(), ())])

    assert not store.is_writable


class Looker:
    """Looks at files at times of the test's own, as a writer does at each commit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in NAMES:
            (directory / name).write_bytes(b"x")
        self.now = 0.0
        self.placed = Placed(directory, monotonic=lambda: self.now)

    def looks(self, *, after: float = 0.001) -> str | None:
        """Look, so much later than before."""
        self.now += after
        return self.placed.moved()

    def leave_no_trace(self, change: Callable[[], object]) -> None:
        """Change something in the directory, whose time of modification stays as it is."""
        before = self.directory.stat().st_mtime_ns
        change()
        os.utime(self.directory, ns=(before, before))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["renamed", "removed", "replaced", "with its directory", "directory replaced"])
def test_whatever_takes_a_file_its_name_is_noticed_at_the_next_look(tmp_path: Path, name: str, how: str) -> None:
    """However long the directory had been as it was, and whatever else was in it; put back, it is well again."""
    data, away = tmp_path / "data", tmp_path / "away"
    data.mkdir()
    looker = Looker(data)
    assert [looker.looks(after=placed.COARSE_SECONDS) for _ in range(3)] == [None] * 3

    if how in {"with its directory", "directory replaced"}:
        data.rename(away)
    elif how == "removed":
        (data / name).unlink()
    else:
        (data / name).rename(away)
    if how == "replaced":
        (data / name).write_bytes(b"x")
    elif how == "directory replaced":
        shutil.copytree(away, data)
    found = [looker.looks(), looker.looks(), looker.looks()]

    assert found == [NAMES[0] if "directory" in how else name] * 3
    if how in {"renamed", "with its directory"}:
        away.rename(data / name if how == "renamed" else data)
        assert [looker.looks(), looker.looks()] == [None, None]


def test_a_directory_that_was_modified_lately_is_not_believed(tmp_path: Path) -> None:
    """A second change within the grain of its time leaves no trace."""
    looker = Looker(tmp_path)
    settled = looker.looks(after=placed.COARSE_SECONDS)
    (tmp_path / "something else").touch()
    changed = looker.looks()

    looker.leave_no_trace(lambda: (tmp_path / NAMES[0]).rename(tmp_path / "away"))

    assert (settled, changed) == (None, None)
    assert looker.looks(after=placed.COARSE_SECONDS - 0.1) == NAMES[0]


def test_a_directory_is_believed_for_a_second(tmp_path: Path) -> None:
    """What is mounted over a file leaves no trace in it."""
    looker = Looker(tmp_path)
    assert looker.looks(after=placed.COARSE_SECONDS) is None

    looker.leave_no_trace(lambda: (tmp_path / NAMES[0]).rename(tmp_path / "away"))

    assert looker.looks(after=placed.TRUSTED_SECONDS) == NAMES[0]


async def test_a_damaged_database_is_one_sentence_and_is_never_said_to_be_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a probe or another commit finds afterwards; reads say the same, and nothing has a traceback."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.01)
    first = SqliteStore.open(tmp_path, observer=Observed())
    made = [session() for _ in range(500)]
    await first.write([SessionCreated(one, ()) for one in made])
    await first.close()
    with closing(sqlite3.connect(tmp_path / "maskline.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sessions'").fetchone()
    with (tmp_path / "maskline.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    monkeypatch.setattr("storage.sqlite.store.CHECKED_BYTES", 0)  # as if it were too large to be checked at the start
    store = SqliteStore.open(tmp_path, observer=Observed())

    with pytest.raises(StoreUnavailable, match=r"the database is damaged.*restore a backup") as read:
        await store.session(made[0].sid)
    with pytest.raises(StoreUnavailable, match=r"Nothing was saved: the database is damaged") as written:
        await store.write([SessionTouched(made[0].sid, START + 5)])
    await asyncio.sleep(0.1)  # some probes
    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.write([SessionCreated(session(), ())])
    await store.close()

    assert "tried again" not in f"{read.value} {written.value}"
    assert not store.is_writable
    (told,) = errors(caplog)
    assert "does not come back by itself" in told
    assert all(record.exc_info is None for record in caplog.records)
