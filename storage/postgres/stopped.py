"""A database that no server writes to or reads meanwhile, for an import into it or an export from it.

The place of the one host is taken as a server takes it, and its row kept locked until the end, so that a server that
starts meanwhile is refused. An import is one transaction: its rows are all there, or none. Before it begins, a mark is
committed that keeps servers away, and that goes with its commit.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, final

import psycopg

from engine.core.model.errors import MasklineError
from storage.errors import MoveRefused
from storage.postgres.connections import WriterConnection, conninfo_of, open_writer
from storage.postgres.errors import advice_for
from storage.postgres.places import take_place, this_process
from storage.postgres.schema import pending_migrations
from storage.postgres.tables import COLUMNS

PLACE: Final = 0
"""Of the one host."""

_PATIENCE_SECONDS: Final = 3_600.0
"""How long a statement may take, the commit above all: a standby may have much to catch up with."""

_LOCK: Final = "SELECT 1 FROM hosts WHERE place = %s AND epoch = %s FOR UPDATE"


class ImportUnfinished(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """An import has begun and not come to its end: there is nothing to serve."""

    def __init__(self, database: str, source: str) -> None:
        """Name both."""
        super().__init__(
            f"An import of {source} into the database {database} was interrupted; nothing of it is there. Run maskline "
            "database import again"
        )


class ImportUnconfirmed(MasklineError):  # noqa: N818 - likewise
    """An import is complete, perhaps on one server only."""


@final
class StoppedDatabase:
    """A database whose place is ours."""

    def __init__(self, connection: WriterConnection, epoch: int) -> None:
        self.connection = connection
        self.name = connection.info.dbname
        self._epoch = epoch
        self._warning = ""
        connection.add_notice_handler(self._note_warning)

    def demand_empty(self) -> None:
        """Check that an import would add to nothing; raises MoveRefused."""
        filled = [name for name in COLUMNS if self._has_rows(name)]
        if filled or self.registry_version:
            raise MoveRefused(
                f"The database {self.name} is not empty ({', '.join(filled) or 'it has had accounts or numbers'}); "
                "import into a new one, made with createdb and maskline database init"
            )

    def mark(self, source: str) -> None:
        """Have no server start until an import from a source has come to its end."""
        self.connection.execute("UPDATE cluster SET importing = %s", (source,))

    def complete(self) -> None:
        """Let servers start, whose questions are planned for what is there now."""
        self.connection.execute(f"ANALYZE {', '.join(COLUMNS)}")
        self.connection.execute("UPDATE cluster SET importing = NULL")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Begin a transaction that sees one moment and keeps servers away; commit it at the end.

        Raises:
            MoveRefused: another process has taken the database just now.
        """
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if self.connection.execute(_LOCK, (PLACE, self._epoch)).fetchone() is None:
                raise MoveRefused(f"Another process has taken the database {self.name} just now; stop it first")
            yield
            self._warning = ""

    def demand_confirmed(self) -> None:
        """Check that nothing was said against the last commit; raises ImportUnconfirmed."""
        if self._warning:
            raise ImportUnconfirmed(
                f"The database {self.name} has committed it, but no standby has confirmed it ({self._warning}); see "
                "maskline database check before you serve"
            )

    @property
    def registry_version(self) -> int:
        """How far accounts, keys, services and numbers have come."""
        row = self.connection.execute("SELECT registry_version FROM cluster").fetchone()
        assert row is not None  # noqa: S101 - the first migration makes it
        version: int = row[0]
        return version

    @registry_version.setter
    def registry_version(self, version: int) -> None:
        self.connection.execute("UPDATE cluster SET registry_version = %s", (version,))

    def _has_rows(self, table: str) -> bool:
        text = f"SELECT 1 FROM {table} LIMIT 1"  # noqa: S608 - a name of the schema
        return self.connection.execute(text).fetchone() is not None

    def _note_warning(self, told: psycopg.errors.Diagnostic) -> None:
        if told.severity_nonlocalized == "WARNING":
            self._warning = f"{told.sqlstate}"


@contextmanager
def stopped_database(database_url: str, *, lease_seconds: float) -> Iterator[StoppedDatabase]:
    """Take a database for its only host, which it is from then on; blocks for the lease where one was not given back.

    Raises:
        BadDatabaseUrl: it is no connection string.
        DatabaseTooNew: a newer version wrote it.
        PlaceTaken: a server or a cluster runs on it, or another import or export.
        MoveRefused: it lacks tables.
        psycopg.Error: the database did not do it.
    """
    with closing(open_writer(conninfo_of(database_url))) as connection:
        connection.deadline_seconds = _PATIENCE_SECONDS
        connection.execute("SET idle_in_transaction_session_timeout = 0")  # the other side may be slow
        pending = pending_migrations(connection)
        if pending:
            raise MoveRefused(
                f"The database {connection.info.dbname} lacks {', '.join(pending)}: run maskline database init first"
            )
        epoch = take_place(connection, PLACE, node=this_process(), lease_seconds=lease_seconds)
        yield StoppedDatabase(connection, epoch)


def unfinished_import(connection: psycopg.Connection[Any]) -> str | None:
    """Tell from where an import was begun that has not come to its end."""
    row = connection.execute("SELECT importing FROM cluster").fetchone()
    source: str | None = None if row is None else row[0]
    return source


def demand_complete(connection: psycopg.Connection[Any]) -> None:
    """Check that what a database holds is whole; raises ImportUnfinished."""
    source = unfinished_import(connection)
    if source is not None:
        raise ImportUnfinished(connection.info.dbname, source)


@contextmanager
def translated(name: str, *, now: str) -> Iterator[None]:
    """Turn what a database says meanwhile into a message for the operator; `now` tells how things stand after it."""
    try:
        yield
    except psycopg.Error as failure:
        raise MoveRefused(f"{name}: {advice_for(failure)}. {now}") from failure
