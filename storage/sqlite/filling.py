"""Puts databases where there is nothing to lose: made and checked in a directory of their own, then put in place."""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from engine.core.model.placement import host_name
from storage.sqlite.datadir import DATABASE, LOCK, LOG, PRIVATE_DIRECTORY, DataDirLock
from storage.sqlite.errors import DataDirOccupied
from storage.sqlite.layout import FILLING, LAYOUT, Layout, host_dir, replace_layout, sync
from storage.sqlite.walindex import INDEX

Result = TypeVar("Result")

_STALE: Final = (LOG, INDEX, LAYOUT, "maskline.sock")
"""What may lie where a database was lost, and goes: a log belongs to its own database only."""
_LEFT: Final = frozenset({*_STALE, LOCK, FILLING, "serve.lock", "lost+found"})


@contextmanager
def vacant(data_dir: Path) -> Iterator[None]:
    """Keep every other process from a directory without data.

    Raises:
        DataDirOccupied: there is some; what an interrupted run left may go.
        DataDirBusy: a process has the directory.
    """
    _demand_empty(data_dir)
    lock = DataDirLock(data_dir, makes_database=False)
    try:
        _demand_empty(data_dir)
        yield
    finally:
        lock.release()


def fill(
    data_dir: Path, places: Collection[int], hosts: int, *, make: Callable[[Path], Result]
) -> tuple[Result, tuple[str, ...]]:
    """Have databases made in a directory, by the names of `draft`, and put them in the places of a vacant directory.

    Killed at any instruction, the next run begins anew, and nothing starts before. Returns what `make` does, and the
    names of stale files that were removed.
    """
    drafts = data_dir / FILLING
    is_repeated = drafts.exists()
    drafts.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    sync(data_dir)
    with ExitStack() as undo:
        if not is_repeated:
            undo.callback(shutil.rmtree, drafts, ignore_errors=True)
        made = make(drafts)
        undo.pop_all()
    removed = tuple(_cleared(data_dir))
    for place in places:
        directory = host_dir(data_dir, place, hosts)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        draft(drafts, place).rename(directory / DATABASE)
        sync(directory)
    replace_layout(data_dir, Layout(hosts))
    shutil.rmtree(drafts)  # last: while it is there, nothing starts
    sync(data_dir)
    return made, removed


def draft(drafts: Path, place: int) -> Path:
    """Return the path at which the database of a place is made."""
    return drafts / f"{host_name(place)}.db"


def _demand_empty(data_dir: Path) -> None:
    if not data_dir.exists() or (data_dir / FILLING).exists():
        return
    there = sorted(path.name for path in data_dir.iterdir() if path.name not in _LEFT) if data_dir.is_dir() else None
    if there != []:
        raise DataDirOccupied(data_dir, there)


def _cleared(data_dir: Path) -> Iterator[str]:
    """Remove what lies where the databases go; returns the names of stale files."""
    for directory in (data_dir, *sorted(data_dir.glob("host-*"))):
        for name in (DATABASE, *_STALE):
            path = directory / name
            if path.is_file() or path.is_socket():
                path.unlink()
                yield str(path.relative_to(data_dir))
    sync(data_dir)
