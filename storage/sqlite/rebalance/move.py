"""The whole move, and the dry run of it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from sqlite3 import Connection
from typing import Final

import msgspec

from storage.errors import MoveRefused
from storage.sqlite.connections import open_still
from storage.sqlite.errors import MoveUnfinished
from storage.sqlite.layout import Layout, read_layout
from storage.sqlite.rebalance.copying import (
    Counted,
    OnProgress,
    RegistryCopies,
    build,
    compare,
    compare_registries,
    count,
    rows_in,
)
from storage.sqlite.rebalance.files import (
    demand_current,
    demand_space,
    free_bytes,
    locked,
    make_current,
    stopped,
    translated,
)
from storage.sqlite.rebalance.kept import commit, demand_room, discard_build, fresh_build, put_in_place
from storage.sqlite.rebalance.tables import SHARED

MOST_HOSTS: Final = 256
"""Far more than a directory of one machine is read by."""

_FILE_BYTES = 1_000_000
_SHARED_ROW_BYTES = 500
"""Upper bounds of what an empty file takes, and a row of a table that all hosts have."""

FreeOn = Callable[[Path], int]
"""Tells how many bytes the disk of a directory can still take."""


class TableMoved(msgspec.Struct, frozen=True):
    """What became of a table, or would."""

    name: str
    is_shared: bool
    """Every host has all of it."""
    rows: int
    digest: str
    """16 hexadecimal digits, over all files (of one copy of a shared table), in any order of the rows."""
    per_host: tuple[int, ...]
    """Rows at each of the new hosts."""
    astray: int
    """Rows that did not lie with their owner; debugger events lie where they were raised."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    hosts_before: int
    hosts: int
    is_changed: bool
    """False: the data was laid out so already."""
    is_resumed: bool = False
    """The move was an interrupted one, which this run finished: what it counted was shown then."""
    kept_in: str | None = None
    """Name of the directory of the old files."""
    registry: RegistryCopies | None = None
    tables: tuple[TableMoved, ...] = ()


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What a move would meet."""

    hosts_before: int
    hosts: int
    needed_bytes: int
    free_bytes: int
    registry: RegistryCopies
    tables: tuple[TableMoved, ...]


def rebalance(data_dir: Path, hosts: int | None, on_progress: OnProgress, *, free_on: FreeOn = free_bytes) -> Move:
    """Move a stopped cluster's data to n hosts, None = only finish what was interrupted.

    Killed at any instruction, it leaves the old files as they were, or the new ones complete and the next run to put
    them in place.

    Raises:
        DataDirBusy: a server or a host runs.
        DatabaseTooNew, LayoutDamaged: the data cannot be read.
        MoveRefused: something is to be put right first.
    """
    _demand_possible(hosts)
    with locked(data_dir), translated(data_dir):
        layout = _laid_out(data_dir)
        finished = layout.moving_to
        if finished is not None:
            _put_in_place(data_dir, layout, on_progress)
            if hosts is None or hosts == finished:
                return Move(
                    hosts_before=layout.hosts, hosts=finished, is_changed=True, is_resumed=True, kept_in=layout.kept_in
                )
            layout = Layout(finished)
        if hosts is None:
            raise MoveRefused(f"Nothing is to be finished in {data_dir}; say how many hosts it is to have: --hosts N")
        if hosts == layout.hosts:
            discard_build(data_dir)
            return Move(hosts_before=hosts, hosts=hosts, is_changed=False)
        return _move(data_dir, layout, hosts=hosts, on_progress=on_progress, free_on=free_on)


def survey(data_dir: Path, hosts: int | None, on_progress: OnProgress) -> Survey:
    """Count and digest a stopped cluster's data, and where it would go (None: where it should lie); changes nothing.

    Raises:
        DataDirBusy: a server or a host runs.
        DatabaseTooNew, LayoutDamaged, MoveUnfinished: the data cannot be read.
        MoveRefused: something is to be put right first.
    """
    _demand_possible(hosts)
    with ExitStack() as files:
        files.enter_context(locked(data_dir))
        files.enter_context(translated(data_dir))
        layout = _laid_out(data_dir)
        if layout.moving_to is not None:
            raise MoveUnfinished(data_dir, layout.moving_to)
        hosts = hosts or layout.hosts
        databases = files.enter_context(stopped(data_dir, layout))
        for database in databases:
            demand_current(database, otherwise=", or move it without checking first")
        old = [files.enter_context(closing(open_still(database))) for database in databases]
        registry = compare_registries(old)
        return Survey(
            hosts_before=layout.hosts,
            hosts=hosts,
            needed_bytes=_needed_bytes(databases, old, hosts),
            free_bytes=free_bytes(data_dir),
            registry=registry,
            tables=_moved(count(old, registry=registry.place, hosts=hosts, on_progress=on_progress)),
        )


def _move(data_dir: Path, layout: Layout, *, hosts: int, on_progress: OnProgress, free_on: FreeOn) -> Move:
    demand_room(data_dir, layout, hosts)
    with ExitStack() as files:
        databases = files.enter_context(stopped(data_dir, layout))
        for done, database in enumerate(databases):
            on_progress("check", done, len(databases))
            make_current(database)
        on_progress("check", len(databases), len(databases))
        with ExitStack() as reading:
            old = [reading.enter_context(closing(open_still(database))) for database in databases]
            demand_space(data_dir, _needed_bytes(databases, old, hosts), free_on(data_dir))
            registry = compare_registries(old)
            counted = _build(data_dir, old, hosts=hosts, registry=registry.place, on_progress=on_progress)
        moving = commit(data_dir, layout, hosts)
        _put_in_place(data_dir, moving, on_progress)
    return Move(
        hosts_before=layout.hosts,
        hosts=hosts,
        is_changed=True,
        kept_in=moving.kept_in,
        registry=registry,
        tables=_moved(counted),
    )


def _build(
    data_dir: Path, old: Sequence[Connection], *, hosts: int, registry: int, on_progress: OnProgress
) -> list[Counted]:
    directory = fresh_build(data_dir)
    with ExitStack() as undo:
        undo.callback(discard_build, data_dir)
        counted = build(directory, old, hosts=hosts, registry=registry, on_progress=on_progress)
        compare(directory, counted, hosts=hosts, on_progress=on_progress)
        undo.pop_all()
    return counted


def _put_in_place(data_dir: Path, moving: Layout, on_progress: OnProgress) -> None:
    now = f"Nothing is lost: put it right, then finish with maskline rebalance --data-dir {data_dir}"
    with translated(data_dir, now=now):
        put_in_place(data_dir, moving, on_progress)


def _demand_possible(hosts: int | None) -> None:
    if hosts is not None and not 1 <= hosts <= MOST_HOSTS:
        raise MoveRefused(f"A cluster has 1 to {MOST_HOSTS} hosts, not {hosts}")


def _laid_out(data_dir: Path) -> Layout:
    layout = read_layout(data_dir)
    if layout is None:
        raise MoveRefused(f"There is nothing to move in {data_dir}; start as many hosts on it as you like")
    return layout


def _needed_bytes(databases: Sequence[Path], old: Sequence[Connection], hosts: int) -> int:
    size = sum(database.stat().st_size for database in databases)
    shared = sum(rows_in(name, old) for name in SHARED)
    return size + size // 4 + hosts * (_FILE_BYTES + shared * _SHARED_ROW_BYTES)


def _moved(counted: Sequence[Counted]) -> tuple[TableMoved, ...]:
    return tuple(
        TableMoved(one.name, one.is_shared, one.tally.rows, one.tally.digest, tuple(one.per_host), one.astray)
        for one in counted
    )
