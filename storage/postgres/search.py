"""Searches in a PostgreSQL database, as `storage.search` does them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import psycopg
from psycopg import errors

from storage.postgres.codec import may_be_kept, placeholders
from storage.postgres.connections import LIST_SECONDS, open_reader
from storage.postgres.errors import reading
from storage.postgres.reader import dialect
from storage.rows import Fetched
from storage.search import OutOfTime


@contextmanager
def searching(conninfo: str, *, seconds: float) -> Iterator["PostgresSearch"]:
    """Search for as long as the context lasts, at most n seconds; raises StoreUnavailable."""
    with reading(), open_reader(conninfo, deadline_seconds=LIST_SECONDS) as connection:
        yield PostgresSearch(connection, until=time.monotonic() + seconds)


@final
class PostgresSearch:
    """Has the server end a statement when the time is over."""

    dialect = dialect(None)

    def __init__(self, connection: psycopg.Connection[Fetched], *, until: float) -> None:
        self._connection = connection
        self._until = until

    def hurry(self, seconds: float) -> None:
        """Have no more time than this from now on."""
        self._until = min(self._until, time.monotonic() + seconds)

    def timed(self, text: str, values: Sequence[Any]) -> list[Fetched]:
        """Fetch rows while there is time."""
        if not may_be_kept(values):
            return []
        left = int((self._until - time.monotonic()) * 1000)
        if left <= 0:
            raise OutOfTime
        self._connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(left),))
        try:
            return self._connection.execute(placeholders(text), values, binary=True).fetchall()
        except errors.QueryCanceled as problem:
            raise OutOfTime from problem
        finally:
            self._connection.execute("SELECT set_config('statement_timeout', '0', false)")

    def fetch(self, text: str, values: Sequence[Any]) -> list[Fetched]:
        """Fetch a few rows."""
        return self._connection.execute(placeholders(text), values, binary=True).fetchall()
