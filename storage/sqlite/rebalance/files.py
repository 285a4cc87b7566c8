"""The files of a stopped cluster: found, locked, sound and of our schema, before anything is read from them."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from storage.errors import MoveRefused
from storage.sqlite.connections import damage, open_still, open_writer
from storage.sqlite.datadir import DATABASE, DataDirLock
from storage.sqlite.errors import advice_for, hosts_text
from storage.sqlite.layout import Layout, host_dir
from storage.sqlite.rebalance.tables import OWNED, SHARED, UNMOVED, tables_of
from storage.sqlite.schema import migrate, pending_migrations


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Keep every other process from the data directory itself; raises DataDirBusy."""
    if not data_dir.is_dir():
        raise MoveRefused(f"There is no directory {data_dir}; name the one that holds the data with --data-dir")
    lock = DataDirLock(data_dir, makes_database=False)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def stopped(data_dir: Path, layout: Layout) -> Iterator[tuple[Path, ...]]:
    """Keep every host of a cluster from its file; gives the files in the order of the hosts.

    Raises:
        DataDirBusy: a host runs.
        MoveRefused: a host's file is missing, or lies on a disk of its own.
    """
    directories = [host_dir(data_dir, place, layout.hosts) for place in range(layout.hosts)]
    for directory in directories:
        _demand_present(data_dir, directory, layout)
    with ExitStack() as locks:
        if layout.hosts > 1:
            for directory in directories:
                locks.callback(DataDirLock(directory, makes_database=False).release)
        yield tuple(directory / DATABASE for directory in directories)


def make_current(database: Path) -> None:
    """Bring a file's schema up to date, move its log into it and check that it is sound.

    Raises:
        DatabaseTooNew: a newer version wrote it.
        MoveRefused: it is damaged.
    """
    with translated(database), closing(open_writer(database, "FULL")) as connection:
        migrate(connection, database)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _demand_sound(connection, database)


def demand_current(database: Path, *, otherwise: str = "") -> None:
    """Check the same and change nothing; `otherwise` tells what else may be done than start a server on it.

    Raises:
        DatabaseTooNew: a newer version wrote it.
        MoveRefused: it is damaged, or an older version wrote it.
    """
    with translated(database), closing(open_still(database)) as connection:
        pending = pending_migrations(connection, database)
        if pending:
            raise MoveRefused(
                f"{database} was written by an older version (it lacks {', '.join(pending)}), and nothing is "
                f"changed in it here; start this version on it once{otherwise}"
            )
        _demand_sound(connection, database)


def demand_space(data_dir: Path, needed_bytes: int, free_bytes: int) -> None:
    """Check that the new files fit beside the old ones; raises MoveRefused."""
    if needed_bytes > free_bytes:
        raise MoveRefused(
            f"The new files need {megabytes(needed_bytes)} beside the old ones, and {data_dir} has "
            f"{megabytes(free_bytes)} free; make room, or move the data directory to a larger disk first"
        )


def free_bytes(data_dir: Path) -> int:
    """Return how much the disk of a directory can still take."""
    return shutil.disk_usage(data_dir).free


def megabytes(count: int) -> str:
    """Say a number of bytes in megabytes, rounded up."""
    return f"{-(-count // 1_000_000):,} MB"


@contextmanager
def translated(place: Path, *, now: str = "Nothing was changed") -> Iterator[None]:
    """Turn what the disk says while one works on a file or directory into a message for the operator.

    `now` tells how things stand after a failure.
    """
    try:
        yield
    except sqlite3.DatabaseError as failure:
        advice = advice_for(failure)
        if advice is None:
            raise
        raise MoveRefused(f"{place}: {advice}. {now}") from failure
    except OSError as failure:
        raise MoveRefused(f"{failure.filename or place}: {failure.strerror}. {now}") from failure


def _demand_present(data_dir: Path, directory: Path, layout: Layout) -> None:
    if not (directory / DATABASE).is_file():
        raise MoveRefused(
            f"{data_dir} is laid out for {hosts_text(layout.hosts)}, and {directory / DATABASE} is missing; put it "
            "there first: all files are read"
        )
    if layout.hosts > 1 and directory.is_mount():
        raise MoveRefused(f"{directory} is a disk of its own, which cannot be renamed; bring its content to {data_dir}")


def _demand_sound(connection: sqlite3.Connection, database: Path) -> None:
    finding = damage(connection, is_whole=False)
    if finding is not None:
        raise MoveRefused(f"{database} is damaged ({finding}); restore a backup of it first")
    unknown = tables_of(connection) - UNMOVED - {*SHARED, *(table.name for table in OWNED)}
    if unknown:
        raise MoveRefused(
            f"{database} has tables that are not Maskline's: {', '.join(sorted(unknown))}; take them elsewhere first, "
            "since nobody knows which host they belong to"
        )
