"""Transactions on a SQLite file: what `storage.writer` commits groups with."""

import contextlib
import sqlite3
import time
from collections.abc import Sequence

from engine.core.model.changes import Change
from engine.core.model.errors import ChangeRefused, StoreUnavailable
from storage.sqlite.apply import SqliteApplier
from storage.sqlite.errors import away_now, is_disk_failure, moved_away, unavailable
from storage.sqlite.mover import LogMover
from storage.sqlite.placed import Placed
from storage.sqlite.statements import ROW_BY_ROW

_PROBE_BYTES = 65_536
_EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"


class SqliteTransaction:
    """`storage.writer.Transaction` on one connection."""

    def __init__(self, connection: sqlite3.Connection, mover: LogMover, *, placed: Placed) -> None:
        """Take over a connection to a file with all tables, and who moves its log."""
        for statement in ROW_BY_ROW:
            connection.execute(statement)
        self._connection = connection
        self._mover = mover
        self._placed = placed

    def begin(self) -> None:
        """Begin, if the files are where the next start will look for them."""
        away = self._placed.moved()
        if away is not None:
            raise away_now(away)
        self._begin()

    def apply(self, group: Sequence[Sequence[Change]]) -> None:
        """Write the changes of a group in order."""
        applier = SqliteApplier(self._connection)
        for changes in group:
            applier.apply(changes)
        applier.flush()

    def apply_alone(self, changes: Sequence[Change]) -> None:
        """Write one changeset; what fails of it is undone, and nothing else."""
        self._connection.execute("SAVEPOINT alone")
        try:
            applier = SqliteApplier(self._connection)
            applier.apply(changes)
            applier.flush()
        except Exception as failure:
            if is_disk_failure(failure):
                raise
            self._connection.execute("ROLLBACK TO alone")
            self._connection.execute("RELEASE alone")
            raise _refusal(failure) from failure
        self._connection.execute("RELEASE alone")

    def commit(self) -> float:
        """Commit: SQLite writes the log and, at FULL, waits until the disk has it; then look where that log is."""
        began = time.perf_counter()
        self._connection.execute("COMMIT")
        waited = time.perf_counter() - began
        away = self._placed.moved()
        if away is not None:
            raise moved_away(away)
        return waited

    def outcome(self, failure: Exception) -> StoreUnavailable:
        """Roll back, and say what the failure means; what SQLite fails to commit is not committed."""
        self._roll_back()
        if isinstance(failure, StoreUnavailable):
            return failure
        if isinstance(failure, sqlite3.Error) and is_disk_failure(failure):
            return unavailable(failure)
        return _refusal(failure)

    def look(self, *, is_failed: bool) -> StoreUnavailable | None:
        """See whether the files are in place and, after a failure, whether the disk has recovered."""
        away = self._placed.moved()
        if away is not None:
            return away_now(away)
        return self._probe() if is_failed else None

    def rest(self) -> None:
        """Move the log on."""
        self._mover.follow(self._connection)
        self._mover.look()

    def stop(self) -> None:
        """Do nothing: what is committed is known at once."""

    def close(self) -> None:
        """Move the log into the database file and close the connections; blocks."""
        self._mover.close()
        with contextlib.suppress(sqlite3.Error):  # the log is replayed at the next start
            self._connection.execute(_EMPTY_LOG)
        self._connection.close()
        self._mover.drop_index()

    def _begin(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the next _begin tries again
                self._connection.execute("ROLLBACK")

    def _probe(self) -> StoreUnavailable | None:
        """Write as much as a small group would, and empty it again.

        First the disk gets back what the log takes: what is in the log may be most of what fills it.
        """
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(_EMPTY_LOG).fetchall()
        try:
            self._begin()
            self._connection.execute("REPLACE INTO probe VALUES (1, zeroblob(?))", (_PROBE_BYTES,))
            self._connection.execute("COMMIT")
            self._connection.execute("DELETE FROM probe")
        except sqlite3.Error as failure:
            self._roll_back()
            return unavailable(failure)
        return None


def _refusal(failure: Exception) -> ChangeRefused:
    what = str(failure) if isinstance(failure, sqlite3.IntegrityError) else type(failure).__name__
    refusal = ChangeRefused.because(what)
    refusal.__cause__ = failure
    return refusal
