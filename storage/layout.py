"""Which directory holds which host's file, and the note in the data directory of how many hosts it is laid out for.

One host has the data directory itself, several have `host-0`, `host-1`, … in it. The note is written before the first
database and replaced only when the data moves to another number of hosts.
"""

import os
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Final

from engine.core.placement import host_name
from storage.datadir import DATABASE, PRIVATE_DIRECTORY, PRIVATE_FILE, unusable
from storage.errors import LayoutDamaged, LayoutMismatch

LAYOUT: Final = "maskline.layout"

_TEXT: Final = """\
# How many hosts this data directory is laid out for. Do not edit: `maskline rebalance` moves the data and changes this.
hosts = {hosts}
"""


def host_dir(data_dir: Path, place: int, hosts: int) -> Path:
    """Return the directory of the host at a place, counted from 0, of so many."""
    return data_dir if hosts == 1 else data_dir / host_name(place)


def claim(data_dir: Path, hosts: int) -> None:
    """Make sure that a data directory is laid out for so many hosts; an empty or missing one is, from now on.

    Raises:
        LayoutMismatch: it is laid out for another number of hosts.
        LayoutDamaged: what it is laid out for cannot be told.
        StoreUnavailable: it cannot be read or written.
    """
    try:
        data_dir.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        found = read_layout(data_dir)
        if found is None:
            _create(data_dir, hosts)
            found = read_layout(data_dir)
    except OSError as failure:
        raise unusable(data_dir, failure) from failure
    if found != hosts:
        raise LayoutMismatch(data_dir, found=found, wanted=hosts)


def read_layout(data_dir: Path) -> int | None:
    """Return for how many hosts a data directory is laid out, None where nothing lies in it; raises LayoutDamaged."""
    path = data_dir / LAYOUT
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return _hosts_without_note(data_dir)
    except UnicodeDecodeError:
        raise LayoutDamaged(path) from None
    try:
        hosts = tomllib.loads(text).get("hosts")
    except tomllib.TOMLDecodeError:
        raise LayoutDamaged(path) from None
    if type(hosts) is not int or hosts < 1:
        raise LayoutDamaged(path)
    return hosts


def _hosts_without_note(data_dir: Path) -> int | None:
    """Tell a directory from before the note, or one into which a backup was copied, from a cluster's that lost it."""
    if (data_dir / DATABASE).exists():
        return 1
    if (data_dir / host_name(0)).exists():
        raise LayoutDamaged(data_dir / LAYOUT)
    return None


def _create(data_dir: Path, hosts: int) -> None:
    """Write the note whole and durably, unless another process has done so meanwhile."""
    draft = data_dir / f"{LAYOUT}.{os.getpid()}"
    write_durably(draft, _TEXT.format(hosts=hosts))
    try:
        with suppress(FileExistsError):
            (data_dir / LAYOUT).hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(data_dir)


def write_durably(path: Path, text: str) -> None:
    """Write a file (0600) whose content is on disk when this returns; its name is, once its directory is synced."""
    path.touch(PRIVATE_FILE)
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
