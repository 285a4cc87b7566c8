"""Searches in a SQLite file, as `storage.search` does them."""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, final

from storage.rows import Fetched
from storage.search import OutOfTime
from storage.sqlite.connections import open_reader
from storage.sqlite.errors import reading
from storage.sqlite.reader import SQLITE

_PROGRESS_STEPS: Final = 10_000
"""Of SQLite's virtual machine, between two looks at the clock: well under a millisecond."""


@contextmanager
def searching(database: Path, *, seconds: float) -> Iterator["SqliteSearch"]:
    """Search for as long as the context lasts, at most n seconds; raises StoreUnavailable."""
    with reading(), closing(open_reader(database)) as connection:
        yield SqliteSearch(connection, until=time.monotonic() + seconds)


@final
class SqliteSearch:
    """Has SQLite look at the clock."""

    dialect = SQLITE

    def __init__(self, connection: sqlite3.Connection, *, until: float) -> None:
        self._connection = connection
        self._until = until

    def hurry(self, seconds: float) -> None:
        """Have no more time than this from now on."""
        self._until = min(self._until, time.monotonic() + seconds)

    def timed(self, text: str, values: Sequence[Any]) -> Iterable[Fetched]:
        """Fetch rows while there is time."""
        self._connection.set_progress_handler(lambda: time.monotonic() > self._until, _PROGRESS_STEPS)
        try:
            yield from self._connection.execute(text, values)
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            raise OutOfTime from problem
        finally:
            self._connection.set_progress_handler(None, 0)

    def fetch(self, text: str, values: Sequence[Any]) -> Iterable[Fetched]:
        """Fetch a few rows."""
        return self._connection.execute(text, values).fetchall()
