"""Brings a backup back: checked before anything of it is put in place, and only where there is nothing to lose."""

import shutil
from contextlib import closing
from pathlib import Path

import msgspec

from storage.sqlite.backup import Backup, BackupFile, OnProgress, demand_sound, digest, read_backup, refusing
from storage.sqlite.connections import open_writer
from storage.sqlite.datadir import PRIVATE_FILE
from storage.sqlite.errors import BackupRefused
from storage.sqlite.filling import draft, fill, vacant
from storage.sqlite.holds import hold, owed
from storage.sqlite.layout import sync
from storage.sqlite.schema import migrate


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
        BackupRefused: the backup is damaged, or not whole.
        DataDirOccupied: the directory has something in it.
        DataDirBusy: a process has the directory.
        DatabaseTooNew: a newer version made the backup.
    """
    backup = read_backup(source)
    with refusing(data_dir), vacant(data_dir):
        room = shutil.disk_usage(data_dir).free
        needed = sum(file.size_bytes for file in backup.files)
        if needed > room:
            raise BackupRefused(f"The backup needs {needed:,} bytes, and {data_dir} has {room:,} free")

        def make(drafts: Path) -> int:
            pending = 0
            for number, file in enumerate(backup.files):
                on_progress("check", number, len(backup.files))
                pending += _checked(source / file.name, draft(drafts, file.place), file, is_held=is_held)
            on_progress("check", len(backup.files), len(backup.files))
            return pending

        pending, removed = fill(data_dir, [file.place for file in backup.files], backup.hosts, make=make)
    return Restored(backup=backup, is_held=is_held, pending=pending, removed=removed)


def _checked(original: Path, copy: Path, file: BackupFile, *, is_held: bool) -> int:
    """Copy a database, check and prepare the copy; returns how many deliveries it owes."""
    copy.unlink(missing_ok=True)
    copy.touch(PRIVATE_FILE)
    shutil.copyfile(original, copy)
    if (copy.stat().st_size, digest(copy)) != (file.size_bytes, file.sha256):
        raise BackupRefused(f"{original} is not what was backed up: its digest differs; take another backup")
    with closing(open_writer(copy, "FULL")) as connection:
        demand_sound(connection, original)
        migrate(connection, original)
        hold(connection, is_held=is_held)
        pending = owed(connection)
    sync(copy)
    return pending
