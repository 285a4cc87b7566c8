"""What a damaged or shortened log had behind the damage is told, and nothing is told of logs that are whole."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.core.model.changes import SessionCreated
from engine.core.model.records import SessionStatus
from storage.sqlite import SqliteStore
from storage.sqlite.datadir import DATABASE, LOG
from storage.sqlite.store import kept_logs
from storage.sqlite.walindex import INDEX, LogCut, LogIndex, cut_off, found_log
from tests.storage.material import Observed, session

pytestmark = pytest.mark.anyio

TRANSACTIONS = 40
HEADER, FRAME = 32, 24 + 4096


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as a process leaves them that was killed: a log of many transactions, and its index."""
    live, killed = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("killed")
    with closing(sqlite3.connect(live / DATABASE, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE calls (filler BLOB)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for _ in range(TRANSACTIONS):
            connection.execute("INSERT INTO calls VALUES (zeroblob(10000))")
        for name in (DATABASE, LOG, INDEX):
            shutil.copy(live / name, killed / name)
    return killed


@pytest.fixture
def files(killed: Path, tmp_path: Path) -> Path:
    """Make a copy that a test may damage."""
    return Path(shutil.copytree(killed, tmp_path / "files"))


def reopened(data_dir: Path) -> tuple[int, LogCut | None]:
    """Open the database as a start does; returns how many transactions it has, and what was cut off."""
    found = found_log(data_dir)
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        ((rows,),) = connection.execute("SELECT count(*) FROM calls").fetchall()
        index = LogIndex(data_dir)
        taken = index.frames
    index.close()
    return rows, cut_off(found, taken=taken)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_nothing_is_told_of_a_log_that_is_whole(files: Path) -> None:
    """With its index, without it, and with one that was garbled."""
    whole = reopened(files)
    assert whole == (TRANSACTIONS, None)


@pytest.mark.parametrize("index", [None, b"", b"\xa5" * 32768])
def test_a_lost_index_is_no_damage(files: Path, index: bytes | None) -> None:
    """SQLite makes it anew from the log."""
    (files / INDEX).unlink()
    if index is not None:
        (files / INDEX).write_bytes(index)

    assert reopened(files) == (TRANSACTIONS, None)


@settings(max_examples=25, deadline=None)
@given(where=st.integers(0, 10**9))
@example(where=4)
def test_every_transaction_behind_a_bad_checksum_is_counted(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, where: int
) -> None:
    """Wherever the damage is: what the database has and what was cut off are all that was committed."""
    files = Path(shutil.copytree(killed, tmp_path_factory.mktemp("damaged") / "files"))
    size = (files / LOG).stat().st_size
    flip(files / LOG, HEADER + where % (size - HEADER))

    rows, cut = reopened(files)

    assert cut is not None
    # the damaged head may be that of an end no longer, or seem to be one
    assert rows + (cut.transactions or 0) in {TRANSACTIONS - 1, TRANSACTIONS, TRANSACTIONS + 1}


@pytest.mark.parametrize("index", [True, False])
def test_a_log_whose_header_is_damaged_is_lost_whole(files: Path, *, index: bool) -> None:
    """As if it were the log of another time."""
    flip(files / LOG, 18)
    if not index:
        (files / INDEX).unlink()

    rows, cut = reopened(files)

    assert rows == 0
    assert cut is not None
    assert cut.transactions == TRANSACTIONS


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_log_that_was_cut_short_is_told_by_its_index(files: Path, part: float) -> None:
    """How many pages are missing; transactions that are away cannot be counted."""
    log = files / LOG
    frames = (log.stat().st_size - HEADER) // FRAME
    content = log.read_bytes()
    log.write_bytes(content[: int(len(content) * part)])

    rows, cut = reopened(files)

    assert rows < TRANSACTIONS
    assert cut is not None
    assert cut.transactions in {None, 1}  # that of the frame within which it ends
    assert 0 < cut.frames <= frames


def test_a_log_that_is_away_is_told_by_its_index(files: Path) -> None:
    """Somebody removed it after a kill."""
    (files / LOG).unlink()

    rows, cut = reopened(files)

    assert rows == 0
    assert cut is not None


def test_what_was_moved_into_the_database_before_is_not_lost(files: Path) -> None:
    """The index tells that too."""
    with closing(sqlite3.connect(files / DATABASE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        copy = Path(shutil.copytree(files, files.parent / "copy"))
    (copy / LOG).unlink()

    assert reopened(copy) == (TRANSACTIONS, None)


def test_a_transaction_that_was_not_finished_is_no_loss(files: Path) -> None:
    """A kill in the middle of one leaves its first frames behind the last that counts; nobody was told of it."""
    log = files / LOG
    with closing(sqlite3.connect(files / DATABASE, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("BEGIN")
        before = log.stat().st_size
        for _ in range(50):
            connection.execute("INSERT INTO calls VALUES (zeroblob(10000))")
        assert log.stat().st_size > before  # some of it was written already
        copy = Path(shutil.copytree(files, files.parent / "copy"))
        connection.execute("ROLLBACK")

    assert reopened(copy) == (TRANSACTIONS, None)


@pytest.fixture
async def store_files(tmp_path: Path) -> Path:
    """Files of a store that was killed."""
    store = SqliteStore.open(tmp_path / "live", observer=Observed())
    for _ in range(20):
        await store.write([SessionCreated(session(), ())])
    killed = Path(shutil.copytree(tmp_path / "live", tmp_path / "killed"))
    await store.close()
    return killed


async def test_a_start_says_loudly_what_it_lost_and_keeps_the_log(
    store_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: the next start finds nothing new, and the kept log is counted until somebody removes it."""
    damaged = (store_files / LOG).read_bytes()
    damaged = damaged[: HEADER + 100] + b"\0\1\2" + damaged[HEADER + 103 :]
    (store_files / LOG).write_bytes(damaged)

    counted = 0
    for _ in range(2):
        store = SqliteStore.open(store_files, observer=Observed())
        counted = store.sizes().cut_logs
        await store.close()

    (told,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    (transactions,) = re.findall(r"(\d+) transactions .* were CUT OFF", told.getMessage())
    assert int(transactions) >= 20
    (kept,) = kept_logs(store_files)
    assert kept.read_bytes() == damaged
    assert counted == 1


async def test_a_kept_log_is_never_written_over(store_files: Path) -> None:
    """An operator may have removed the first of several."""
    earlier = store_files / f"{LOG}.cut-2"
    earlier.write_bytes(b"kept before")
    damaged = (store_files / LOG).read_bytes()
    (store_files / LOG).write_bytes(damaged[: HEADER + 100] + b"\0\1\2" + damaged[HEADER + 103 :])

    await SqliteStore.open(store_files, observer=Observed()).close()

    assert earlier.read_bytes() == b"kept before"
    assert len(kept_logs(store_files)) == 2


async def test_an_ordinary_kill_is_not_told_of(store_files: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It loses nothing."""
    store = SqliteStore.open(store_files, observer=Observed())

    assert store.session_counts()[SessionStatus.OPEN] == 20
    assert store.sizes().cut_logs == 0
    assert not caplog.records
    await store.close()
