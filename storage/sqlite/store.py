"""The store of a host: one SQLite file, written by one thread, read beside it."""

import asyncio
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import count
from math import inf
from pathlib import Path
from typing import Self

import msgspec

from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import ACTIVE, SessionStatus
from engine.core.ports.observing import Observer
from engine.core.sessions.bindings import ActiveSession
from storage.active import sessions_of
from storage.sqlite import read_in_subprocess
from storage.sqlite.active import chunks_in
from storage.sqlite.connections import OLDEST_SQLITE, Synchronous, damage, open_mover, open_writer
from storage.sqlite.datadir import DATABASE, LOG, PRIVATE_FILE, DataDirLock, unusable
from storage.sqlite.errors import DatabaseDamaged, reading, unopened
from storage.sqlite.holds import is_held
from storage.sqlite.layout import demand_database
from storage.sqlite.mover import LogMover
from storage.sqlite.placed import Placed
from storage.sqlite.reader import SqliteReader
from storage.sqlite.schema import migrate
from storage.sqlite.search import SqliteSearch, searching
from storage.sqlite.transaction import SqliteTransaction
from storage.sqlite.walindex import LogFound, LogIndex, cut_off, found_log
from storage.store import GroupStore, Result
from storage.writer import GroupWriter

CHECKED_BYTES = 64 * 1024 * 1024
"""Databases up to this size are checked whole at every start: a quarter of a second at the most."""

_log = logging.getLogger("maskline.storage")


class StoreSizes(msgspec.Struct, frozen=True, gc=False):
    """What the store takes on disk."""

    database_bytes: int
    """The database file."""
    wal_bytes: int
    """The write-ahead log beside it; bounded while no walk is under way."""
    free_bytes: int
    """What the disk has left for us."""
    cut_logs: int
    """Logs that were kept because part of them could not be taken at a start; the operator removes them."""


class SqliteStore(GroupStore):
    """`engine.core.ports.store.Store` on one SQLite file; used on one event loop.

    Point reads never suspend: the file is at hand, and a turn of the loop that a read divides is two.
    """

    is_shared = False
    _points: SqliteReader

    def __init__(
        self,
        lock: DataDirLock,
        connection: sqlite3.Connection,
        index: LogIndex,
        observer: Observer,
        *,
        patience_seconds: float = inf,
    ) -> None:
        """Take over a locked directory, a connection that writes and its log's index; `open` is how to make one."""
        self._lock = lock
        data_dir = lock.database.parent
        mover = LogMover(open_mover(lock.database), index)
        transaction = SqliteTransaction(connection, mover, placed=Placed(data_dir))
        writer = GroupWriter(transaction, observer, patience_seconds=patience_seconds)
        super().__init__(writer, points=SqliteReader(lock.database), open_reader=self._reader)

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        synchronous: Synchronous = "FULL",
        observer: Observer,
        commit_patience_seconds: float = inf,
    ) -> Self:
        """Lock the data directory, bring its database up to date and open it; make one where there never was one.

        After the patience a commit is late.

        Raises:
            DataDirBusy: another process has it open.
            DatabaseTooNew: a newer version wrote it.
            DatabaseMissing: there was one, and it is away.
            DatabaseDamaged: it cannot be read.
            StoreUnavailable: the disk does not let us write.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old; Python must be linked with 3.33 or newer"
            )
        demand_database(data_dir)
        lock = DataDirLock(data_dir)
        with ExitStack() as undo:
            undo.callback(lock.release)
            behind = undo.enter_context(ExitStack())  # what is closed once SQLite has closed its files
            try:
                left = found_log(data_dir)
                connection = open_writer(lock.database, synchronous)
                undo.callback(connection.close)
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # takes the log
                index = LogIndex(data_dir)
                behind.callback(index.close)
                _tell_cut_off(data_dir, left, taken=index.frames)
                is_small = lock.database.stat().st_size <= CHECKED_BYTES
                if is_small and (finding := damage(connection, is_whole=False)) is not None:
                    raise DatabaseDamaged(lock.database, finding)
                migrate(connection, lock.database)
                store = cls(lock, connection, index, observer, patience_seconds=commit_patience_seconds)
            except OSError as failure:
                raise unusable(data_dir, failure) from failure
            except sqlite3.Error as failure:
                raise unopened(lock.database, failure) from failure
            undo.pop_all()
        return store

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Raise DatabaseDamaged for what cannot be understood of the rows that are read meanwhile."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, sqlite3.Error) as failure:
            _log.debug("what a start met in the database", exc_info=failure)
            finding = f"it holds what cannot be read: {type(failure).__name__}, details at log level debug"
            raise DatabaseDamaged(self._lock.database, finding) from failure

    def _reader(self) -> SqliteReader:
        with reading():
            return SqliteReader(self._lock.database)

    def _searching(self) -> AbstractContextManager[SqliteSearch]:
        return searching(self._lock.database, seconds=self.search_seconds)

    async def close(self) -> None:
        """Commit what is queued, tidy the file up and let the directory go; closing twice does nothing twice."""
        if self._is_closed:
            return
        self._is_closed = True
        stopped = self._writer.stop()
        if stopped is not None:
            await asyncio.shield(stopped)
        await asyncio.to_thread(self._page_thread.shutdown)
        await asyncio.to_thread(self._search_thread.shutdown, cancel_futures=True)
        self._points.close()
        self._close_lists()
        # Last, since only a connection that may write tidies the log away.
        await asyncio.to_thread(self._writer.close)
        self._lock.release()

    def sizes(self) -> StoreSizes:
        """Measure the files."""
        database = self._lock.database
        wal = database.with_name(f"{database.name}-wal")
        disk = os.statvfs(database.parent)
        return StoreSizes(
            database_bytes=database.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            free_bytes=disk.f_bavail * disk.f_frsize,
            cut_logs=len(kept_logs(database.parent)),
        )

    def deliveries_held(self) -> bool:
        """Tell whether deliveries are held: the file is a copy that the operator has not released."""
        return is_held(self._lock.database)

    @property
    def unknown_outcomes(self) -> int:
        """Count the commits whose outcome had to be asked for: of a file it is always known."""
        return 0

    @property
    def leases_lost(self) -> int:
        """Count how often a lease ran out: a locked file has none."""
        return 0

    @property
    def lacks(self) -> str:
        """Say what it lacks to be on several machines: nothing is asked of a file."""
        return ""

    def session_counts(self) -> dict[SessionStatus, int]:
        """Tell how many sessions are kept of each status."""
        return self._points.session_counts()

    def active_sessions(self) -> Iterator[ActiveSession]:
        """Walk the active sessions in the order of activation, each with its live participants' endpoints."""
        database, counts = self._lock.database, self.session_counts()
        if read_in_subprocess.is_worth_it(sum(counts.get(status, 0) for status in ACTIVE)):
            return read_in_subprocess.active_sessions(database)
        return sessions_of(chunks_in(database))

    async def _point(self, read: Callable[[], Result]) -> Result:
        return read()


def kept_logs(data_dir: Path) -> tuple[Path, ...]:
    """Find the logs that were kept because part of them was cut off."""
    return tuple(sorted(data_dir.glob(f"{LOG}.cut-*")))


def _tell_cut_off(data_dir: Path, left: LogFound, *, taken: int) -> None:
    """Say how much of the log SQLite has left behind, and keep the log for whoever looks into it."""
    cut = cut_off(left, taken=taken)
    if cut is None:
        return
    kept = next(path for number in count(1) if not (path := data_dir / f"{LOG}.cut-{number}").exists())
    kept.touch(PRIVATE_FILE)
    with suppress(FileNotFoundError):
        shutil.copyfile(data_dir / LOG, kept)
    what = "an unknown number of transactions" if cut.transactions is None else f"{cut.transactions} transactions"
    _log.critical(
        "The log of %s is damaged or incomplete: %s (%d pages) behind page %d were CUT OFF, and what was acknowledged "
        "in them is lost. After a power cut, the last of them may never have been acknowledged. The log as it was is "
        "kept in %s; remove it when you have seen to it",
        data_dir / DATABASE,
        what,
        cut.frames,
        taken,
        kept,
    )
