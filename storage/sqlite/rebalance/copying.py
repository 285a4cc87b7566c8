"""Old files to new ones: every row is read, counted and written to the file of its owner; then all is compared."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Final

import msgspec

from storage.errors import MoveRefused
from storage.rows import Fetched
from storage.sqlite.connections import close_loaded, open_loader, open_still
from storage.sqlite.datadir import DATABASE, PRIVATE_DIRECTORY, PRIVATE_FILE
from storage.sqlite.holds import are_held, hold
from storage.sqlite.layout import host_dir, sync
from storage.sqlite.rebalance.tables import OWNED, SHARED, OwnedTable, columns_of, inserting
from storage.sqlite.rebalance.tally import Tally
from storage.sqlite.schema import migrate

OnProgress = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and of how much in all."""

_BATCH = 4_096
_CACHE_KIB = 262_144
_LEAST_CACHE_KIB = 4_096
_VERSION_TABLE: Final = SHARED[-1]
_key_of = itemgetter(0, 1)


class Counted(msgspec.Struct, kw_only=True):
    """What was counted of a table."""

    name: str
    is_shared: bool
    tally: Tally = msgspec.field(default_factory=Tally)
    per_host: list[int]
    """Rows that belong to each of the new hosts."""
    astray: int = 0
    """Rows that do not lie with their owner among the hosts that they are read from."""


class RegistryCopies(msgspec.Struct, frozen=True):
    """How the copies of accounts, keys, services and numbers compare."""

    version: int
    """The highest."""
    place: int
    """The first host that has it: its copy counts."""
    behind: tuple[int, ...]
    """Hosts whose copy is of a lower version."""
    different: tuple[int, ...]
    """Hosts whose copy is of the same version, but not the same."""


def compare_registries(old: Sequence[sqlite3.Connection]) -> RegistryCopies:
    """Find the copy that counts."""
    versions = [registry_version(connection) for connection in old]
    version = max(versions)
    place = versions.index(version)
    contents = [
        _contents(connection) if found == version else None for connection, found in zip(old, versions, strict=True)
    ]
    return RegistryCopies(
        version=version,
        place=place,
        behind=tuple(host for host, found in enumerate(versions) if found < version),
        different=tuple(host for host, found in enumerate(contents) if found is not None and found != contents[place]),
    )


def build(
    directory: Path, old: Sequence[sqlite3.Connection], *, hosts: int, registry: int, on_progress: OnProgress
) -> list[Counted]:
    """Make the files of n hosts in a directory, durably; returns what was read.

    The copy of the registry at place `registry` is the one that counts.
    """
    directories = [host_dir(directory, place, hosts) for place in range(hosts)]
    with ExitStack() as undo:
        new = []
        for each in directories:
            each.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            new.append(undo.enter_context(closing(new_file(each / DATABASE, hosts=hosts))))
        counted = [_copy_shared(name, old[registry], new) for name in SHARED]
        counted += [_copy_owned(table, old, new, on_progress) for table in OWNED]
        is_held = any(map(are_held, old))
        for connection in new:
            connection.execute("COMMIT")
            hold(connection, is_held=is_held)
            close_loaded(connection)
    for each in directories:
        sync(each / DATABASE)
        sync(each)
    sync(directory)
    return counted


def compare(directory: Path, counted: Sequence[Counted], *, hosts: int, on_progress: OnProgress) -> None:
    """Read the new files and check that they hold, in the right places, what was counted; raises MoveRefused."""
    with ExitStack() as files:
        databases = [host_dir(directory, place, hosts) / DATABASE for place in range(hosts)]
        new = [files.enter_context(closing(open_still(database))) for database in databases]
        copies = {name: [_count_shared(name, one, hosts) for one in new] for name in SHARED}
        wholes = {table.name: [_count_owned(table, new, hosts, ("compare", on_progress))] for table in OWNED}
    found = copies | wholes
    for before in counted:
        if any(after.astray or after.tally != before.tally for after in found[before.name]):
            raise MoveRefused(
                f"The new files do not hold the table {before.name} as the old ones do; they were thrown away and "
                "nothing was changed. Check the disk, try again, and report it if it happens twice"
            )


def count(old: Sequence[sqlite3.Connection], *, registry: int, hosts: int, on_progress: OnProgress) -> list[Counted]:
    """Count all, and how much of it would belong to each of n hosts."""
    return [
        *(_count_shared(name, old[registry], hosts) for name in SHARED),
        *(_count_owned(table, old, hosts, ("count", on_progress)) for table in OWNED),
    ]


def rows_in(table: str, files: Sequence[sqlite3.Connection]) -> int:
    """Count a table's rows in all files."""
    text = f"SELECT count(*) FROM {table}"  # noqa: S608 - a name of the schema
    return sum(connection.execute(text).fetchone()[0] for connection in files)


def _count_owned(
    table: OwnedTable, files: Sequence[sqlite3.Connection], hosts: int, said: tuple[str, OnProgress]
) -> Counted:
    verb, on_progress = said
    columns = columns_of(files[0], table.name)
    place_now, place_then = table.placed_on(len(files), columns), table.placed_on(hosts, columns)
    counted = Counted(name=table.name, is_shared=False, per_host=[0] * hosts)
    total = rows_in(table.name, files)
    for place, connection in enumerate(files):
        for batch in batches(iter(connection.execute(table.reading(columns)))):
            counted.tally.add(batch)
            shares = Counter(map(place_then, batch))
            for owner, rows in shares.items():
                counted.per_host[owner] += rows
            at_home = shares[place] if hosts == len(files) else Counter(map(place_now, batch))[place]
            counted.astray += len(batch) - at_home
            on_progress(f"{verb} {table.name}", counted.tally.rows, total)
    return counted


def new_file(database: Path, *, hosts: int = 1) -> sqlite3.Connection:
    """Make a database to be filled, one of n that are at once; its transaction has begun."""
    database.touch(PRIVATE_FILE)
    connection = open_loader(database, cache_kib=max(_CACHE_KIB // hosts, _LEAST_CACHE_KIB))
    migrate(connection, database)
    connection.execute("BEGIN")
    return connection


def _copy_shared(name: str, source: sqlite3.Connection, new: Sequence[sqlite3.Connection]) -> Counted:
    columns = columns_of(new[0], name)
    counted = Counted(name=name, is_shared=True, per_host=[0] * len(new))
    for connection in new:
        connection.execute(f"DELETE FROM {name}")  # noqa: S608 - a migration may have put a row in
    text = inserting(name, columns, "?" * len(columns))
    for batch in batches(_rows_of_shared(name, source)):
        counted.tally.add(batch)
        for connection in new:
            connection.executemany(text, batch)
    counted.per_host = [counted.tally.rows] * len(new)
    return counted


def _copy_owned(
    table: OwnedTable, old: Sequence[sqlite3.Connection], new: Sequence[sqlite3.Connection], on_progress: OnProgress
) -> Counted:
    columns = columns_of(new[0], table.name)
    place_of, text = table.placed_on(len(new), columns), table.writing(columns)
    counted = Counted(name=table.name, is_shared=False, per_host=[0] * len(new))
    total = rows_in(table.name, old)
    for batch in batches(_rows_of_all(table, old, columns)):
        counted.tally.add(batch)
        shares: list[list[Fetched]] = [[] for _ in new]
        for row in batch:
            shares[place_of(row)].append(row)
        for place, (connection, share) in enumerate(zip(new, shares, strict=True)):
            _write(connection, text, share, table.name)
            counted.per_host[place] += len(share)
        on_progress(f"copy {table.name}", counted.tally.rows, total)
    return counted


def _write(connection: sqlite3.Connection, text: str, rows: Sequence[Fetched], table: str) -> None:
    try:
        connection.executemany(text, rows)
    except sqlite3.IntegrityError as failure:
        raise MoveRefused(
            f"Two of the old files have the same row of the table {table} ({failure}); one of them is an old copy or "
            "of other data. Nothing was changed"
        ) from failure


def _count_shared(name: str, connection: sqlite3.Connection, hosts: int) -> Counted:
    tally = Tally()
    tally.add(_rows_of_shared(name, connection))
    return Counted(name=name, is_shared=True, tally=tally, per_host=[tally.rows] * hosts)


def _rows_of_shared(name: str, connection: sqlite3.Connection) -> Iterator[Fetched]:
    columns = ", ".join(columns_of(connection, name))
    return iter(connection.execute(f"SELECT {columns} FROM {name}"))  # noqa: S608 - names of the schema


def _rows_of_all(table: OwnedTable, files: Sequence[sqlite3.Connection], columns: Sequence[str]) -> Iterator[Fetched]:
    """Read a table from all files, in the order of its key if it has one, so that the new files only append."""
    cursors = [connection.execute(table.reading(columns)) for connection in files]
    if table.order is None or len(cursors) == 1:
        return chain.from_iterable(cursors)
    return iter(merge(*cursors, key=_key_of))


def batches(rows: Iterator[Fetched]) -> Iterator[list[Fetched]]:
    """Take some rows at a time."""
    while batch := list(islice(rows, _BATCH)):
        yield batch


def registry_version(connection: sqlite3.Connection) -> int:
    """Read how far the copy of accounts, keys, services and numbers of a file has come."""
    ((version,),) = connection.execute("SELECT version FROM registry_version")
    return int(version)


def _contents(connection: sqlite3.Connection) -> list[Tally]:
    return [_count_shared(name, connection, 1).tally for name in SHARED if name != _VERSION_TABLE]
