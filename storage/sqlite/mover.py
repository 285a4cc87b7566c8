"""Moves the log into the database file beside the thread that commits, which SQLite left to itself would have wait.

A second connection moves what the log holds; the little that came meanwhile the writer moves itself, between two
transactions, after which the log starts over. What is in the log is as durable as what is in the file.
"""

import contextlib
import queue
import sqlite3
import threading
from typing import Final

from storage.sqlite.walindex import LogIndex

MOVED_AT: Final = 2_560
"""Pages after which the log is moved: ten megabytes, whether one change wrote them or thousands."""

_MOVE: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class LogMover:
    """A thread with a connection of its own; its methods are for the writer's thread."""

    def __init__(self, connection: sqlite3.Connection, index: LogIndex) -> None:
        """Take over a connection that may write, and the index of its log; nothing runs before the first `look`."""
        self._connection = connection
        self._index = index
        self._wake: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last = 0
        self._is_moving = self._has_moved = False

    def look(self) -> None:
        """Begin to move what was committed, once it is enough."""
        pages = self._index.frames
        if pages < self._last:
            self._last = 0  # the log has started over
        if pages - self._last < MOVED_AT or self._is_moving or self._has_moved:
            return
        self._last = pages
        self._is_moving = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="maskline-log", daemon=True)
            self._thread.start()
        self._wake.put("move")

    def follow(self, writer: sqlite3.Connection) -> None:
        """Let the writer, which is in no transaction, move what came while the log was moved."""
        if self._has_moved:
            self._has_moved = False
            _move(writer)

    def close(self) -> None:
        """Finish what is under way and let the connection go; blocks."""
        if self._thread is not None:
            self._wake.put("")
            self._thread.join()
        self._connection.close()

    def drop_index(self) -> None:
        """Let the index go, once SQLite has closed the log."""
        self._index.close()

    def _run(self) -> None:
        while self._wake.get():
            _move(self._connection)
            self._has_moved = True
            self._is_moving = False


def _move(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):  # a full disk: it stays in the log, and the next time is soon
        connection.execute(_MOVE).fetchall()
