"""Copies of a data directory, made while its servers run or not; `storage.sqlite.restore` brings them back.

Each database is copied as of one moment, and the moments of all databases on one machine lie some milliseconds apart.
The manifest is written last and the whole put in place with one rename: a backup that has its name is complete.
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from storage.sqlite.connections import damage, open_loader, open_reader, open_still, open_writer
from storage.sqlite.datadir import DATABASE, PRIVATE_DIRECTORY, PRIVATE_FILE, DataDirLock
from storage.sqlite.errors import BackupRefused, DatabaseMissing, DataDirBusy, MoveUnfinished, advice_for, hosts_text
from storage.sqlite.holds import databases_here, hold
from storage.sqlite.layout import Layout, demand_database, read_layout, sync, write_durably

MANIFEST: Final = "backup.json"
INCOMPLETE: Final = ".incomplete"
"""Ends the name of a backup that is being made, or was when its process ended."""

_FORMAT: Final = 1
_PAGES_AT_ONCE: Final = 2_048
_READ_BYTES: Final = 1 << 20

OnProgress = Callable[[str, int, int], None]
"""Gets what is done, how much of it, and how much there is."""


class BackupFile(msgspec.Struct, frozen=True):
    """A database in a backup."""

    place: int
    """Of its host."""
    name: str
    """Path in the backup."""
    size_bytes: int
    sha256: str


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What the manifest says."""

    format: int = _FORMAT
    made_by: str
    """Version of Maskline."""
    made_at: float
    """UTC epoch seconds."""
    hosts: int
    """For how many hosts the data is laid out."""
    files: tuple[BackupFile, ...]

    @property
    def elsewhere(self) -> tuple[int, ...]:
        """Places of hosts whose databases were not there, since they lie on other machines."""
        here = {file.place for file in self.files}
        return tuple(place for place in range(self.hosts) if place not in here)


def make_backup(data_dir: Path, target: Path, *, version: str, now: float, on_progress: OnProgress) -> Backup:
    """Copy the databases of a data directory; killed at any instruction, it leaves no backup, or a whole one.

    The copies hold their deliveries (`storage.sqlite.holds`), whoever starts a server on them.

    Raises:
        BackupRefused: something is to be put right first; nothing is left behind.
        LayoutDamaged, DatabaseMissing, MoveUnfinished: the data directory is not as it should be.
    """
    layout = _laid_out(data_dir)
    databases = databases_here(data_dir, layout)
    draft = target.with_name(target.name + INCOMPLETE)
    with refusing(target), ExitStack() as undo:
        _demand_room(target, sum(database.stat().st_size for database in databases.values()))
        shutil.rmtree(draft, ignore_errors=True)  # of one that was killed
        draft.mkdir(mode=PRIVATE_DIRECTORY, parents=True)
        undo.callback(shutil.rmtree, draft, ignore_errors=True)
        files = _copied(data_dir, databases, draft, layout=layout, on_progress=on_progress)
        backup = Backup(made_by=version, made_at=now, hosts=layout.hosts, files=files)
        manifest = draft / (MANIFEST + INCOMPLETE)
        write_durably(manifest, msgspec.json.format(msgspec.json.encode(backup)).decode() + "\n")
        manifest.rename(draft / MANIFEST)  # whole from the moment at which it is there
        sync(draft)
        draft.rename(target)  # over an empty directory, if there is one
        undo.pop_all()
        sync(target.parent)
    return backup


def read_backup(source: Path) -> Backup:
    """Read the manifest of a backup; raises BackupRefused."""
    try:
        backup = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Backup)
    except (FileNotFoundError, NotADirectoryError):
        raise BackupRefused(f"{source} is no backup, or not a whole one: it has no {MANIFEST}") from None
    except msgspec.DecodeError as problem:
        raise BackupRefused(f"{source / MANIFEST} is damaged: {problem}") from problem
    except OSError as failure:
        raise BackupRefused(f"{source / MANIFEST} cannot be read: {failure.strerror}") from failure
    if backup.format != _FORMAT:
        raise BackupRefused(
            f"{source} was made by a newer version of Maskline ({backup.made_by}); install that version"
        )
    return backup


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file; raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            found.update(data)
    return found.hexdigest()


def demand_sound(connection: sqlite3.Connection, path: Path) -> None:
    """Check every page of a database; raises BackupRefused, sqlite3.Error."""
    finding = damage(connection, is_whole=True)
    if finding is not None:
        raise BackupRefused(f"{path} is damaged ({finding}); take another backup")


@contextmanager
def refusing(place: Path) -> Iterator[None]:
    """Turn what the disk says into a message for the operator."""
    try:
        yield
    except sqlite3.Error as failure:
        raise BackupRefused(f"{place}: {advice_for(failure) or failure}") from failure
    except OSError as failure:
        raise BackupRefused(f"{failure.filename or place}: {failure.strerror}") from failure


def _laid_out(data_dir: Path) -> Layout:
    with refusing(data_dir):
        layout = read_layout(data_dir)
    if layout is None:
        raise BackupRefused(f"There is no Maskline data in {data_dir}; name its directory with --data-dir")
    if layout.moving_to is not None:
        raise MoveUnfinished(data_dir, layout.moving_to)
    if layout.hosts == 1:
        demand_database(data_dir)
    elif not databases_here(data_dir, layout):
        raise DatabaseMissing(data_dir / f"host-*/{DATABASE}", f"a layout for {hosts_text(layout.hosts)}")
    return layout


def _demand_room(target: Path, needed_bytes: int) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupRefused(f"{target} is there already; name a directory that does not exist yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(target.parent).free
    if needed_bytes > free_bytes:
        raise BackupRefused(f"The backup needs {needed_bytes:,} bytes, and {target.parent} has {free_bytes:,} free")


def _copied(
    data_dir: Path, databases: dict[int, Path], draft: Path, *, layout: Layout, on_progress: OnProgress
) -> tuple[BackupFile, ...]:
    files = []
    with ExitStack() as reading:
        sources = {place: reading.enter_context(_at_this_moment(path)) for place, path in databases.items()}
        for place, source in sources.items():
            name = databases[place].relative_to(data_dir)
            copy = draft / name
            copy.parent.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            _copy(source, copy, f"host-{place}" if layout.hosts > 1 else "copy", on_progress)
            files.append(BackupFile(place, str(name), copy.stat().st_size, digest(copy)))
            sync(copy)
            sync(copy.parent)
    return tuple(files)


@contextmanager
def _at_this_moment(database: Path) -> Iterator[sqlite3.Connection]:
    """Read a database as it is now, whether a server writes to it or not."""
    with ExitStack() as held:
        try:
            lock = DataDirLock(database.parent, makes_database=False)
        except DataDirBusy:
            connection = open_reader(database)
        else:
            held.callback(lock.release)
            connection = open_still(database)
        held.enter_context(closing(connection))
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        yield connection


def _copy(source: sqlite3.Connection, copy: Path, what: str, on_progress: OnProgress) -> None:
    copy.touch(PRIVATE_FILE)
    with closing(open_loader(copy, cache_kib=65_536)) as target:
        source.backup(
            target, pages=_PAGES_AT_ONCE, progress=lambda _, left, total: on_progress(what, total - left, total)
        )
    with closing(open_writer(copy, "FULL")) as written:
        demand_sound(written, copy)
        hold(written)
