"""The stores that tests of storage run over, each with what is its own: where its records are, how they are opened."""

import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

from engine.core.model.errors import Fenced
from storage.postgres.store import PostgresStore
from storage.sqlite import SqliteStore
from storage.sqlite.datadir import DATABASE, PRIVATE_DIRECTORY
from storage.sqlite.schema import migrate
from tests.storage.material import Observed

AnyStore = SqliteStore | PostgresStore

KINDS = ("sqlite", "postgres")


def with_tables(directory: Path) -> Path:
    """Put a file whose tables are made into a directory without files: to make them takes longer than most tests."""
    if not directory.exists() or not any(directory.iterdir()):
        directory.mkdir(PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        (directory / DATABASE).write_bytes(_tables())
    return directory


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        database = Path(name) / DATABASE
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, database)
        return database.read_bytes()


class Records(ABC):
    """The records of a test, which a store opens as often as the test restarts it."""

    @abstractmethod
    def open(self, observer: Observed | None = None) -> AnyStore:
        """Open them; the store before is closed."""

    @contextmanager
    @abstractmethod
    def anew(self) -> Iterator["Records"]:
        """Begin without any, for one example of many."""


class InFiles(Records):
    """A directory for SQLite."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, observer: Observed | None = None) -> SqliteStore:
        """Open its file."""
        return SqliteStore.open(with_tables(self._directory), synchronous="NORMAL", observer=observer or Observed())

    @contextmanager
    def anew(self) -> Iterator[Records]:
        """Take another directory."""
        with tempfile.TemporaryDirectory() as name:
            yield InFiles(Path(name))


def _never(reason: Fenced) -> None:
    raise AssertionError(reason)


class InPostgres(Records):
    """A database."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    def open(self, observer: Observed | None = None) -> PostgresStore:
        """Open it."""
        return PostgresStore.open(self._conninfo, observer=observer or Observed(), fenced=_never)

    @contextmanager
    def anew(self) -> Iterator[Records]:
        """Empty its tables: faster than to make another."""
        with psycopg.connect(self._conninfo) as connection:
            found = connection.execute(
                "SELECT tablename FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename NOT IN ('migrations', 'cluster')"
            ).fetchall()
            tables = sql.SQL(", ").join(sql.Identifier(name) for (name,) in found)
            connection.execute(sql.SQL("TRUNCATE {}").format(tables))
            connection.execute("UPDATE cluster SET registry_version = 0")
        yield self
