"""The new files are put in place of the old ones, which are kept in a numbered directory until they are dropped.

The note of the layout is the commit point. Before it says `moving_to`, the old files are all that counts; from then on
the new ones are, and whoever comes after a crash goes on renaming where it stopped: each step finds out by itself
whether it was done.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.core.model.placement import host_name
from storage.errors import MoveRefused
from storage.sqlite.datadir import DATABASE, PRIVATE_DIRECTORY
from storage.sqlite.errors import LayoutDamaged, MoveUnfinished
from storage.sqlite.layout import Layout, read_layout, replace_layout, sync
from storage.sqlite.rebalance.copying import OnProgress
from storage.sqlite.rebalance.files import translated

BUILD: Final = "rebalance-new"
"""Where the new files are made; of no worth unless the note says `moving_to`."""

_KEPT: Final = "before-rebalance-"


class Kept(msgspec.Struct, frozen=True):
    """Old files that were kept."""

    path: Path
    """A data directory by itself, laid out as it was."""
    hosts: int | None
    """For how many hosts; None where its note is lost."""
    size_bytes: int


def demand_room(data_dir: Path, layout: Layout, hosts: int) -> None:
    """Check that nothing lies where the new files go, but the old ones; raises MoveRefused."""
    for name in sorted({*_names(hosts)} - {*_names(layout.hosts)}):
        if (data_dir / name).exists():
            raise MoveRefused(
                f"{data_dir / name} is not part of the layout, and a new file would go there; move it out of {data_dir}"
            )


def fresh_build(data_dir: Path) -> Path:
    """Make an empty directory for the new files; what an interrupted run left there is removed."""
    directory = data_dir / BUILD
    discard_build(data_dir)
    directory.mkdir(mode=PRIVATE_DIRECTORY)
    return directory


def discard_build(data_dir: Path) -> None:
    """Remove new files that are not wanted."""
    if (data_dir / BUILD).exists():
        shutil.rmtree(data_dir / BUILD)


def commit(data_dir: Path, layout: Layout, hosts: int) -> Layout:
    """Make the new files count: from here on the move is finished, never undone."""
    moving = Layout(layout.hosts, moving_to=hosts, kept_in=_next_name(data_dir))
    replace_layout(data_dir, moving)
    return moving


def put_in_place(data_dir: Path, moving: Layout, on_progress: OnProgress) -> None:
    """Rename old files away and new ones in; begins where an interrupted run stopped."""
    if moving.moving_to is None or moving.kept_in is None:
        return
    kept, build = data_dir / moving.kept_in, data_dir / BUILD
    old, new = _names(moving.hosts), _names(moving.moving_to)
    steps = len(old) + len(new) + 2
    kept.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    for done, name in enumerate(old):
        on_progress("switch", done, steps)
        if (data_dir / name).exists() and not (kept / name).exists():
            (data_dir / name).rename(kept / name)
    sync(kept)
    sync(data_dir)
    on_progress("switch", len(old), steps)
    replace_layout(kept, Layout(moving.hosts))
    for done, name in enumerate(new, start=len(old) + 1):
        on_progress("switch", done, steps)
        if (build / name).exists():
            (build / name).rename(data_dir / name)
    sync(build)
    sync(data_dir)
    on_progress("switch", steps - 1, steps)
    replace_layout(data_dir, Layout(moving.moving_to))
    discard_build(data_dir)
    on_progress("switch", steps, steps)


def kept_files(data_dir: Path) -> tuple[Kept, ...]:
    """Find the old files that were kept, the oldest first.

    Raises:
        MoveUnfinished: a move is to be finished first.
    """
    layout = read_layout(data_dir)
    if layout is not None and layout.moving_to is not None:
        raise MoveUnfinished(data_dir, layout.moving_to)
    return tuple(_kept(data_dir / f"{_KEPT}{number}") for number in _numbers(data_dir))


def drop(kept: Kept) -> None:
    """Remove old files for good; raises MoveRefused when the disk does not let them go."""
    with translated(kept.path, now="A part of it may be gone"):
        shutil.rmtree(kept.path)


def _names(hosts: int) -> tuple[str, ...]:
    """Name what a layout consists of; a log goes before its database, which alone tells whether both have gone."""
    if hosts == 1:
        return f"{DATABASE}-wal", f"{DATABASE}-shm", DATABASE
    return tuple(map(host_name, range(hosts)))


def _kept(path: Path) -> Kept:
    try:
        layout = read_layout(path)
    except LayoutDamaged:
        layout = None
    size = sum(file.lstat().st_size for file in path.rglob("*"))
    return Kept(path, hosts=layout.hosts if layout else None, size_bytes=size)


def _next_name(data_dir: Path) -> str:
    return f"{_KEPT}{max(_numbers(data_dir), default=0) + 1}"


def _numbers(data_dir: Path) -> Iterator[int]:
    suffixes = (path.name.removeprefix(_KEPT) for path in data_dir.glob(f"{_KEPT}*"))
    return iter(sorted(int(suffix) for suffix in suffixes if suffix.isdecimal()))
