"""Brings a backup back: checked before anything of it is put in place, and only where there is nothing to lose."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from engine.core.model.placement import host_name
from storage.sqlite.backup import Backup, BackupFile, OnProgress, demand_sound, digest, read_backup, refusing
from storage.sqlite.connections import open_writer
from storage.sqlite.datadir import DATABASE, LOCK, LOG, PRIVATE_DIRECTORY, PRIVATE_FILE, DataDirLock
from storage.sqlite.errors import BackupRefused
from storage.sqlite.holds import hold
from storage.sqlite.layout import LAYOUT, RESTORING, Layout, host_dir, replace_layout, sync
from storage.sqlite.schema import migrate
from storage.sqlite.walindex import INDEX

_STALE: Final = (LOG, INDEX, LAYOUT, "maskline.sock")
"""What may lie where a database was lost, and goes: a log belongs to its own database only."""
_LEFT: Final = frozenset({*_STALE, LOCK, RESTORING, "serve.lock", "lost+found"})


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore came to."""

    backup: Backup
    is_held: bool
    """Deliveries wait for `maskline outbox release`."""
    pending: int = msgspec.field(name="owed")
    """Deliveries that are pending; --json has said `owed` since the first backup."""
    removed: tuple[str, ...]
    """Names of stale files that were in the way."""


def restore(source: Path, data_dir: Path, *, is_held: bool, on_progress: OnProgress) -> Restored:
    """Put a backup in place of nothing; killed at any instruction, the next run begins anew, and nothing starts before.

    Raises:
        BackupRefused: the backup is damaged, or not whole, or the directory has something in it.
        DataDirBusy: a process has the directory.
        DatabaseTooNew: a newer version made the backup.
    """
    backup = read_backup(source)
    with refusing(data_dir):
        _demand_empty(data_dir)
        with _locked(data_dir):
            _demand_empty(data_dir)
            room = shutil.disk_usage(data_dir).free
            needed = sum(file.size_bytes for file in backup.files)
            if needed > room:
                raise BackupRefused(f"The backup needs {needed:,} bytes, and {data_dir} has {room:,} free")
            return _restored(source, data_dir, backup, is_held=is_held, on_progress=on_progress)


def _restored(source: Path, data_dir: Path, backup: Backup, *, is_held: bool, on_progress: OnProgress) -> Restored:
    checking = data_dir / RESTORING
    is_repeated = checking.exists()
    checking.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    sync(data_dir)
    with ExitStack() as undo:
        if not is_repeated:
            undo.callback(shutil.rmtree, checking, ignore_errors=True)
        pending = 0
        for number, file in enumerate(backup.files):
            on_progress("check", number, len(backup.files))
            pending += _checked(source, checking, file, is_held=is_held)
        on_progress("check", len(backup.files), len(backup.files))
        undo.pop_all()
    removed = tuple(_cleared(data_dir))
    for file in backup.files:
        directory = host_dir(data_dir, file.place, backup.hosts)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        _draft(checking, file).rename(directory / DATABASE)
        sync(directory)
    replace_layout(data_dir, Layout(backup.hosts))
    shutil.rmtree(checking)  # last: while it is there, nothing starts
    sync(data_dir)
    return Restored(backup=backup, is_held=is_held, pending=pending, removed=removed)


def _checked(source: Path, checking: Path, file: BackupFile, *, is_held: bool) -> int:
    """Copy a database, check and prepare the copy; returns how many deliveries it owes."""
    original, copy = source / file.name, _draft(checking, file)
    copy.unlink(missing_ok=True)
    copy.touch(PRIVATE_FILE)
    shutil.copyfile(original, copy)
    if (copy.stat().st_size, digest(copy)) != (file.size_bytes, file.sha256):
        raise BackupRefused(f"{original} is not what was backed up: its digest differs; take another backup")
    with closing(open_writer(copy, "FULL")) as connection:
        demand_sound(connection, original)
        migrate(connection, original)
        hold(connection, is_held=is_held)
        ((pending,),) = connection.execute("SELECT count(*) FROM effects WHERE date_died IS NULL").fetchall()
    sync(copy)
    return int(pending)


def _draft(checking: Path, file: BackupFile) -> Path:
    return checking / f"{host_name(file.place)}.db"


def _demand_empty(data_dir: Path) -> None:
    """Check that nothing is lost by what follows; what an interrupted restore left may go."""
    if not data_dir.exists() or (data_dir / RESTORING).exists():
        return
    if not data_dir.is_dir():
        raise BackupRefused(f"{data_dir} is no directory; name one with --data-dir")
    there = sorted(path.name for path in data_dir.iterdir() if path.name not in _LEFT)
    if there:
        raise BackupRefused(
            f"{data_dir} is not empty ({', '.join(there[:5])}); restore into another directory, or empty it first"
        )


def _cleared(data_dir: Path) -> Iterator[str]:
    """Remove what lies where the databases go; returns the names of stale files."""
    for directory in (data_dir, *sorted(data_dir.glob("host-*"))):
        for name in (DATABASE, *_STALE):
            path = directory / name
            if path.is_file() or path.is_socket():
                path.unlink()
                yield str(path.relative_to(data_dir))
    sync(data_dir)


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    lock = DataDirLock(data_dir, makes_database=False)
    try:
        yield
    finally:
        lock.release()
