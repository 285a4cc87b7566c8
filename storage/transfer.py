"""From the file of a stopped server into a PostgreSQL database that has nothing, and back: copied, then compared.

Rows go as they lie, in batches; the digest of a table's rows in the target is that of those that were read. The source
is never written to. Nothing is delivered meanwhile: what waits in the outbox waits in the target.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol, final

import msgspec

from storage.errors import MoveRefused
from storage.postgres import tables
from storage.postgres.stopped import StoppedDatabase, demand_complete, stopped_database
from storage.postgres.stopped import translated as database_translated
from storage.rows import Fetched
from storage.sqlite.connections import close_loaded, open_still
from storage.sqlite.errors import MoveUnfinished, hosts_text
from storage.sqlite.filling import draft, fill, vacant
from storage.sqlite.holds import are_held, owed
from storage.sqlite.layout import Layout, read_layout, sync
from storage.sqlite.rebalance.copying import OnProgress, batches, new_file, registry_version, rows_in
from storage.sqlite.rebalance.files import demand_current, locked, stopped, translated
from storage.sqlite.rebalance.tables import inserting
from storage.sqlite.rebalance.tally import Tally


class TableCopied(msgspec.Struct, frozen=True):
    """A table that is the same in both."""

    name: str
    rows: int
    digest: str
    """16 hexadecimal digits, of the rows in any order."""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What an import or an export came to."""

    database: str
    """Its name."""
    tables: tuple[TableCopied, ...]
    pending: int
    """Deliveries that a server on the target will make."""


class Rows(Protocol):
    """All records of one installation, as rows of tables."""

    registry_version: int
    """How far accounts, keys, services and numbers have come."""

    def count(self, table: str) -> int:
        """Count the rows of a table."""

    def read(self, table: str) -> Iterator[Sequence[Fetched]]:
        """Read the rows of a table, some at a time."""

    def write(self, table: str, rows: Sequence[Fetched]) -> None:
        """Add rows to a table."""


@final
class FileRows:
    """Those of a file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        return rows_in(table, [self._connection])

    def read(self, table: str) -> Iterator[Sequence[Fetched]]:
        """Read them as they lie, but for a column that nothing reads any more."""
        text = f"SELECT {tables.SELECTED[table]} FROM {table}"  # noqa: S608 - names of the schema
        return batches(iter(self._connection.execute(text)))

    def write(self, table: str, rows: Sequence[Fetched]) -> None:
        """Add rows to a table."""
        columns = tables.COLUMNS[table]
        self._connection.executemany(inserting(table, columns, "?" * len(columns)), rows)

    @property
    def registry_version(self) -> int:
        """How far accounts, keys, services and numbers have come."""
        return registry_version(self._connection)

    @registry_version.setter
    def registry_version(self, version: int) -> None:
        self._connection.execute("UPDATE registry_version SET version = ?", (version,))

    def pending(self) -> int:
        """Count the deliveries that a server will make."""
        return owed(self._connection)


@final
class DatabaseRows:
    """Those of a database."""

    def __init__(self, database: StoppedDatabase) -> None:
        self._database = database

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        return tables.count(self._database.connection, table)

    def read(self, table: str) -> Iterator[Sequence[Fetched]]:
        """Read them, in the cells of a file."""
        return tables.read(self._database.connection, table)

    def write(self, table: str, rows: Sequence[Fetched]) -> None:
        """Add rows to a table."""
        tables.write(self._database.connection, table, rows)

    @property
    def registry_version(self) -> int:
        """How far accounts, keys, services and numbers have come."""
        return self._database.registry_version

    @registry_version.setter
    def registry_version(self, version: int) -> None:
        self._database.registry_version = version


def import_file(data_dir: Path, database_url: str, on_progress: OnProgress, *, lease_seconds: float) -> Copied:
    """Copy what a stopped server's file holds into an empty database.

    Killed at any instruction, or refused by the database, no server starts on the database until this is run again.

    Raises:
        DataDirBusy: a server runs on the file.
        DatabaseTooNew, LayoutDamaged, MoveUnfinished, FillUnfinished: one of the two cannot be read.
        PlaceTaken: a server runs on the database, or another import or export.
        MoveRefused: something is to be put right first.
        ImportUnconfirmed: it is complete, perhaps on one server only.
    """
    with locked(data_dir), translated(data_dir), stopped(data_dir, _layout_of_one(data_dir)) as (file,):
        demand_current(file)
        with closing(open_still(file)) as connection:
            if are_held(connection):
                raise MoveRefused(
                    f"The deliveries of {data_dir} are held since it was restored, which a database cannot; release "
                    "them first: maskline outbox release"
                )
            source = FileRows(connection)
            with (
                database_translated("The database", now="Nothing was changed"),
                stopped_database(database_url, lease_seconds=lease_seconds) as database,
            ):
                now = "Run the import again; should it say that the database is not empty, it was complete"
                with database_translated(f"The database {database.name}", now=now):
                    with database.alone():  # a server that has come in between finds no mark, and keeps the database
                        database.demand_empty()
                        database.mark(str(data_dir))
                    with database.alone():
                        target = DatabaseRows(database)
                        copied = _copied(source, target, on_progress)
                        _compare(target, copied, on_progress)
                        database.complete()
                database.demand_confirmed()
                return Copied(database=database.name, tables=copied, pending=source.pending())


def export_file(database_url: str, data_dir: Path, on_progress: OnProgress, *, lease_seconds: float) -> Copied:
    """Copy what a database holds that no server runs on into a data directory of one host, where nothing is yet.

    Killed at any instruction, no server starts on the directory until this is run again.

    Raises:
        DataDirBusy: a process has the directory.
        DataDirOccupied: there is something in it.
        DatabaseTooNew, ImportUnfinished: the database cannot be read.
        PlaceTaken: a server runs on the database, or another import or export.
        MoveRefused: something is to be put right first.
    """
    with (
        translated(data_dir),
        vacant(data_dir),
        database_translated("The database", now="Nothing was changed"),
        stopped_database(database_url, lease_seconds=lease_seconds) as database,
        database.alone(),
    ):
        demand_complete(database.connection)
        source = DatabaseRows(database)
        (copied, pending), _ = fill(
            data_dir, [0], 1, make=lambda drafts: _exported(source, draft(drafts, 0), on_progress)
        )
        return Copied(database=database.name, tables=copied, pending=pending)


def _layout_of_one(data_dir: Path) -> Layout:
    layout = read_layout(data_dir)
    if layout is None:
        raise MoveRefused(f"There is no Maskline data in {data_dir}; name its directory with --data-dir")
    if layout.moving_to is not None:
        raise MoveUnfinished(data_dir, layout.moving_to)
    if layout.hosts != 1:
        raise MoveRefused(
            f"{data_dir} is laid out for {hosts_text(layout.hosts)}, and a database is that of one; move it to one "
            f"first: maskline rebalance --hosts 1 --data-dir {data_dir}"
        )
    return layout


def _exported(source: Rows, file: Path, on_progress: OnProgress) -> tuple[tuple[TableCopied, ...], int]:
    file.unlink(missing_ok=True)  # of a run that was killed
    with closing(new_file(file)) as connection:
        copied = _copied(source, FileRows(connection), on_progress)
        connection.execute("COMMIT")
        close_loaded(connection)
    sync(file)
    with closing(open_still(file)) as connection:
        target = FileRows(connection)
        _compare(target, copied, on_progress)
        return copied, target.pending()


def _copied(source: Rows, target: Rows, on_progress: OnProgress) -> tuple[TableCopied, ...]:
    target.registry_version = source.registry_version
    return tuple(_copy(source, target, name, on_progress) for name in tables.COLUMNS)


def _copy(source: Rows, target: Rows, table: str, on_progress: OnProgress) -> TableCopied:
    tally, total = Tally(), source.count(table)
    for rows in source.read(table):
        tally.add(rows)
        target.write(table, rows)
        on_progress(f"copy {table}", tally.rows, total)
    return TableCopied(table, tally.rows, tally.digest)


def _compare(target: Rows, copied: Sequence[TableCopied], on_progress: OnProgress) -> None:
    """Read the target and check that it holds what was copied; raises MoveRefused."""
    for table in copied:
        tally = Tally()
        for rows in target.read(table.name):
            tally.add(rows)
            on_progress(f"compare {table.name}", tally.rows, table.rows)
        if (tally.rows, tally.digest) != (table.rows, table.digest):
            raise MoveRefused(
                f"The copy of the table {table.name} is not what was read; it was thrown away. Check the disks, try "
                "again, and report it if it happens twice"
            )
