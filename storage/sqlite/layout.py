"""Which directory holds which host's file, and the note in the data directory of how many hosts it is laid out for.

One host has the data directory itself, several have `host-0`, `host-1`, … in it. The note of several is written before
the first database, that of one after it, so that it tells of a database that is missing. It is replaced only when the
data moves to another number of hosts (`storage.sqlite.rebalance`).
"""

import codecs
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec

from engine.core.model.placement import host_name
from storage.sqlite.datadir import DATABASE, LOG, PRIVATE_DIRECTORY, PRIVATE_FILE, unusable
from storage.sqlite.errors import (
    DatabaseMissing,
    FillUnfinished,
    HostsDirectory,
    LayoutDamaged,
    LayoutMismatch,
    MoveUnfinished,
)

LAYOUT: Final = "maskline.layout"
FILLING: Final = "maskline.restoring"
"""Directory in which a restore or an export makes its files; while it is there, the data directory is of no worth."""

_HEAD: Final = """\
# How many hosts this data directory is laid out for. Do not edit: `maskline rebalance` moves the data and changes this.
"""

_Hosts = Annotated[int, msgspec.Meta(ge=1)]


class Layout(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the note says."""

    hosts: _Hosts
    """How many hosts the data directory is laid out for."""
    moving_to: _Hosts | None = None
    """How many it is being laid out for: their files are complete and only wait to be put in place."""
    kept_in: str | None = None
    """Name of the directory in it that the old files go to."""


def host_dir(data_dir: Path, place: int, hosts: int) -> Path:
    """Return the directory of the host at a place, counted from 0, of n hosts."""
    return data_dir if hosts == 1 else data_dir / host_name(place)


def claim(data_dir: Path, hosts: int) -> None:
    """Make sure that a data directory is laid out for n hosts; an empty or missing one is, from now on.

    For one host, the note is written once the database is there: to be called before it is opened, and after.

    Raises:
        LayoutMismatch: it is laid out for another number of hosts.
        LayoutDamaged: what it is laid out for cannot be told.
        HostsDirectory: it is one host's, in the data directory of a cluster.
        MoveUnfinished: its data was being moved when the process ended.
        StoreUnavailable: it cannot be read or written.
    """
    try:
        data_dir.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        found = read_layout(data_dir)
        is_to_be_noted = _size(data_dir / DATABASE) > 0 if hosts == 1 else found is None
        if is_to_be_noted and not (data_dir / LAYOUT).exists():
            _create(data_dir, Layout(hosts))
            found = read_layout(data_dir)
    except OSError as failure:
        raise unusable(data_dir, failure) from failure
    if found is None and hosts > 1:
        raise LayoutDamaged(data_dir / LAYOUT)
    if found is not None and found.moving_to is not None:
        raise MoveUnfinished(data_dir, found.moving_to)
    if found is not None and found.hosts != hosts:
        raise LayoutMismatch(data_dir, found=found.hosts, wanted=hosts)


def demand_database(data_dir: Path, *, was_made: bool = False) -> None:
    """Make sure that a database is there, or never was: one is made only where nothing tells of an earlier one.

    The note of the layout of one host is written after its database; `was_made` tells the same of a cluster's host.

    Raises:
        DatabaseMissing: there was one.
    """
    database, log = data_dir / DATABASE, data_dir / LOG
    if _size(database):
        return
    if _size(log):  # SQLite would remove it
        raise DatabaseMissing(database, f"its log {log.name}")
    if was_made or (data_dir / LAYOUT).exists():
        raise DatabaseMissing(database, "the note of the host" if was_made else f"the note {LAYOUT}")


def has_data(data_dir: Path) -> bool:
    """Tell whether there is, or was, an installation in a directory; raises LayoutDamaged, StoreUnavailable."""
    try:
        return read_layout(data_dir) is not None or _size(data_dir / LOG) > 0
    except OSError as failure:
        raise unusable(data_dir, failure) from failure


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as failure:
        raise unusable(path.parent, failure) from failure


def read_layout(data_dir: Path) -> Layout | None:
    """Return what a data directory is laid out for, None where nothing lies in it; raises OSError.

    Raises:
        LayoutDamaged: it cannot be told.
        HostsDirectory: it is one host's, in the data directory of a cluster.
        FillUnfinished: nothing may be read there.
    """
    path = data_dir / LAYOUT
    _demand_whole(data_dir)
    if (data_dir / FILLING).exists():
        raise FillUnfinished(data_dir)
    try:
        return msgspec.toml.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8), type=Layout)
    except FileNotFoundError:
        return _layout_without_note(data_dir)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise LayoutDamaged(path) from failure


def replace_layout(data_dir: Path, layout: Layout) -> None:
    """Put another note in place of the one that is there: after a crash there is one of them, whole; raises OSError."""
    draft = _draft(data_dir, layout)
    draft.replace(data_dir / LAYOUT)
    sync(data_dir)


def write_durably(path: Path, text: str) -> None:
    """Write a file (0600) whose content is on disk when this returns; its name is, once its directory is synced."""
    path.touch(PRIVATE_FILE)
    path.write_text(text, "utf-8")
    sync(path)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a directory, durable; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _demand_whole(data_dir: Path) -> None:
    """Refuse the directory of one host of a cluster: alone it would know half the sessions, and make its own."""
    place = data_dir.resolve()
    if _HOSTS_NAME.fullmatch(place.name) and (place.parent / LAYOUT).exists():
        layout = read_layout(place.parent)
        if layout is not None and layout.hosts > 1:
            raise HostsDirectory(data_dir, place.parent)


_HOSTS_NAME: Final = re.compile(host_name(0).replace("0", r"\d+"))


def _layout_without_note(data_dir: Path) -> Layout | None:
    """Tell a directory from before the note, or one into which a backup was copied, from a cluster's that lost it."""
    if (data_dir / DATABASE).exists():
        return Layout(hosts=1)
    if any((data_dir / host_name(0)).glob(f"{DATABASE}*")):  # the directory of a host on a database has none
        raise LayoutDamaged(data_dir / LAYOUT)
    return None


def _create(data_dir: Path, layout: Layout) -> None:
    """Write the first note, unless another process has done so meanwhile."""
    draft = _draft(data_dir, layout)
    try:
        with suppress(FileExistsError):
            (data_dir / LAYOUT).hardlink_to(draft)
    finally:
        draft.unlink()
    sync(data_dir)


def _draft(data_dir: Path, layout: Layout) -> Path:
    path = data_dir / f"{LAYOUT}.{os.getpid()}"
    write_durably(path, f"{_HEAD}{_toml(layout)}")
    return path


def _toml(layout: Layout) -> str:
    facts = msgspec.to_builtins(layout)
    return "".join(f"{name} = {msgspec.json.encode(fact).decode()}\n" for name, fact in facts.items())
