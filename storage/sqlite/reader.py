"""Reads a SQLite file, as `storage.reader` asks."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, final

from engine.core.model.records import SessionStatus
from storage.codec import SESSION_STATUS_AT, address_cell, tagged, untagged
from storage.outbox_rows import entry_of
from storage.reader import WALKED_AT_ONCE, Dialect, Reader
from storage.rows import Fetched, interaction_of
from storage.sqlite.connections import open_reader
from storage.sqlite.errors import is_disk_failure, reading, unreadable
from storage.wanted import Spelling

_PENDING: Final = "FROM effects WHERE date_died IS NULL"
_FIRST: Final = "ORDER BY account_sid, destination, sid LIMIT 1"
_QUEUES: Final = (
    "WITH RECURSIVE queue (account_sid, destination, service_sid, date_created) AS ("  # noqa: S608 - names above
    f"SELECT * FROM (SELECT account_sid, destination, service_sid, date_created {_PENDING} {_FIRST}) UNION ALL"
    " SELECT first.account_sid, first.destination, first.service_sid, first.date_created FROM queue"
    " JOIN effects AS first ON first.sid = coalesce("
    f"(SELECT sid {_PENDING} AND account_sid = queue.account_sid AND destination > queue.destination {_FIRST}),"
    f" (SELECT sid {_PENDING} AND account_sid > queue.account_sid {_FIRST})))"
)
"""Hops from the oldest entry of a queue to the oldest of the next, however many entries each has."""

_SESSION_COUNTS: Final = "SELECT status, sessions FROM session_counts"

SQLITE: Final = Dialect(
    spelling=Spelling(contains="instr({}, ?) > 0", tagged=tagged),
    address_cell=address_cell,
    untagged=untagged,
    interaction_of=interaction_of,
    entry_of=entry_of,
    is_open_call="is_open_call = 1",
    registry_version="SELECT version FROM registry_version",
    queues=_QUEUES,
    ends="(identifier < '' AND identifier % 10000 = ? OR identifier >= '' AND substr(identifier, -4) = ?)",
    ending_cells=lambda ending: (int(ending), ending),  # numbers are integers here, and all numbers come before texts
)


@final
class SqliteReader(Reader):
    """Reads through one connection; walks have one of their own each."""

    def __init__(self, database: Path) -> None:
        """Open the connection."""
        super().__init__(SQLITE)
        self._database = database
        self._connection = open_reader(database)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def session_counts(self) -> dict[SessionStatus, int]:
        """Tell how many sessions are kept of each status."""
        return {SESSION_STATUS_AT[status]: sessions for status, sessions in self.fetch(_SESSION_COUNTS, ())}

    def fetch(self, text: str, values: Sequence[Any]) -> list[Fetched]:
        """Fetch every row at once: a statement left open would keep the connection in the past."""
        try:
            return self._connection.execute(text, values).fetchall()
        except sqlite3.DatabaseError as failure:
            if is_disk_failure(failure):
                raise unreadable(failure) from failure
            raise

    def walk(self, text: str, values: Sequence[Any]) -> Iterator[list[Fetched]]:
        """Fetch some rows at a time."""
        with reading(), closing(open_reader(self._database)) as connection:
            cursor = connection.execute(text, values)
            while rows := cursor.fetchmany(WALKED_AT_ONCE):
                yield rows
