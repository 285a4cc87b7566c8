"""What can go wrong with the data directory and the database, and which SQLite failures are whose.

MasklineError
├── DataDirBusy         another process owns the data directory
├── DatabaseMissing     something tells that there was one, and it is away
├── DatabaseDamaged     it cannot be read, or holds what cannot be
├── LayoutMismatch      the data directory is laid out for another number of hosts
├── LayoutDamaged       nothing tells for how many hosts
├── HostsDirectory      the directory is that of one host of a cluster
├── MoveUnfinished      its data was being moved to another number of hosts when the process ended
├── BackupRefused       no backup can be made, or none of this restored, as things are
├── DataDirOccupied     a restore or an export wants a directory without data
├── FillUnfinished      a backup was being restored, or a database exported, when the process ended
└── StoreUnavailable    (core) the disk refused: nothing was committed, or read
    └── StoreLost       (storage.errors) the database is damaged, or its files were moved away
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.core.model.errors import MasklineError, StoreUnavailable, StoreUnreadable
from storage.errors import StoreLost


class DataDirBusy(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Another process has the data directory open."""

    def __init__(self, data_dir: Path, pid: str) -> None:
        """Name the directory and the process that holds it."""
        super().__init__(
            f"The data directory {data_dir} is in use by process {pid or 'unknown'}; "
            "stop that process or choose another --data-dir"
        )
        self.data_dir = data_dir
        self.pid = pid


class DatabaseMissing(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """There was a database, and it is not where it was."""

    def __init__(self, database: Path, witness: str) -> None:
        """Name the file and what tells that there was one."""
        super().__init__(
            f"{database} is missing or empty, although there was a database ({witness} tells); put it back (is its "
            "disk mounted?) or restore a backup. To begin anew without its data, name another --data-dir"
        )


class DatabaseDamaged(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The database cannot be read, or holds what cannot be."""

    def __init__(self, database: Path, finding: str) -> None:
        """Name the file and what is wrong with it."""
        super().__init__(f"{database} is damaged ({finding}); restore a backup (maskline restore)")


class LayoutMismatch(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The data directory is laid out for another number of hosts."""

    def __init__(self, data_dir: Path, *, found: int, wanted: int) -> None:
        """Name the directory and both numbers."""
        super().__init__(
            f"The data directory {data_dir} is laid out for {hosts_text(found)}, not for {hosts_text(wanted)}; "
            f"run as many hosts as it has, or move the data: maskline rebalance --hosts {wanted} --data-dir {data_dir}"
        )
        self.found = found
        self.wanted = wanted


class LayoutDamaged(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The note of how many hosts a data directory is laid out for is lost or damaged."""

    def __init__(self, note: Path) -> None:
        """Name the file and say how to write it anew."""
        super().__init__(
            f"{note} does not tell for how many hosts the data directory is laid out; restore it: one line, "
            "hosts = N, where N is how many host-0, host-1, ... it has had (1 if maskline.db lies in it)"
        )


class HostsDirectory(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The directory is that of one host of a cluster, which holds a part of its data."""

    def __init__(self, directory: Path, cluster: Path) -> None:
        """Name both directories."""
        super().__init__(
            f"{directory} holds what one host of the cluster in {cluster} has, a part of the data; "
            f"name the cluster's directory: --data-dir {cluster}"
        )


class MoveUnfinished(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The data directory's data was being moved to another number of hosts when the process ended."""

    def __init__(self, data_dir: Path, hosts: int) -> None:
        """Name the directory and where it was going."""
        super().__init__(
            f"The data of {data_dir} was being moved to {hosts_text(hosts)} when that was interrupted; "
            f"nothing is lost. Finish it: maskline rebalance --data-dir {data_dir}"
        )


class BackupRefused(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """No backup can be made, or this one not restored, as things are; the message says what to put right."""


class DataDirOccupied(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """A restore or an export would have something to lose, or no directory to go to."""

    def __init__(self, data_dir: Path, there: Sequence[str] | None) -> None:
        """Name the directory and what lies in it; None: it is no directory."""
        super().__init__(
            f"{data_dir} is no directory; name one with --data-dir"
            if there is None
            else f"{data_dir} is not empty ({', '.join(there[:5])}); name another directory, or empty it first"
        )


class FillUnfinished(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """A backup was being restored, or a database exported, when the process ended."""

    def __init__(self, data_dir: Path) -> None:
        """Name the directory."""
        super().__init__(
            f"A backup was being restored into {data_dir}, or a database exported, when that was interrupted; run "
            "maskline restore, or maskline database export, again"
        )


_ADVICE: dict[int, str] = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space on the disk of the data directory",
    sqlite3.SQLITE_READONLY: "the data directory is read-only; make it writable for the user that runs Maskline",
    sqlite3.SQLITE_IOERR: "the disk reports errors; check it and the space left on it",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened; check that the data directory exists and is writable",
    sqlite3.SQLITE_PERM: "access to the database is denied; check the owner and mode of the data directory",
    sqlite3.SQLITE_BUSY: "another program keeps the database locked; end it",
    sqlite3.SQLITE_LOCKED: "another program keeps the database locked; end it",
    sqlite3.SQLITE_PROTOCOL: "another program keeps the database locked; end it",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; stop Maskline and restore a backup",
    sqlite3.SQLITE_NOTADB: "maskline.db is no SQLite database; stop Maskline and restore a backup",
}
"""What to do, by primary result code; any other code is our bug."""

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""What does not pass by itself."""

_PRIMARY = 0xFF


def hosts_text(count: int) -> str:
    """Say a number of hosts in words."""
    return "1 host" if count == 1 else f"{count} hosts"


def is_disk_failure(error: Exception) -> bool:
    """Tell a refusal of the disk, which may pass, from a fault in what was asked."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _ADVICE


def unavailable(error: sqlite3.Error) -> StoreUnavailable:
    """Return the message for callers about a disk failure."""
    advice, name = advice_for(error) or "see the log", _name(error)
    if _primary_code(error) in _DAMAGE:
        return StoreLost(f"Nothing was saved: {advice} ({name})")
    return StoreUnavailable(f"Nothing was saved: {advice}. It is tried again by itself ({name})")


def unopened(database: Path, error: sqlite3.Error) -> MasklineError:
    """Return the message for an operator whose database cannot be opened."""
    if _primary_code(error) in _DAMAGE or not is_disk_failure(error):
        return DatabaseDamaged(database, str(error))
    return StoreUnavailable(f"{database} cannot be opened: {advice_for(error)} ({_name(error)})")


def unreadable(error: sqlite3.Error) -> StoreUnreadable:
    """Return the message for readers."""
    return StoreUnreadable(f"Nothing was read: {advice_for(error) or error} ({_name(error)})")


@contextmanager
def reading() -> Iterator[None]:
    """Raise StoreUnreadable for what the disk refuses meanwhile."""
    try:
        yield
    except sqlite3.DatabaseError as failure:
        if is_disk_failure(failure):
            raise unreadable(failure) from failure
        raise


def away_now(file: str) -> StoreUnavailable:
    """Return the message for callers while a file of the database has no longer its name, nothing being written."""
    return StoreUnavailable(
        f"Nothing was saved: {file} was moved, removed or replaced while Maskline runs; put that very file back, or "
        "stop Maskline, put back what belongs together (or restore a backup) and start it again"
    )


def moved_away(file: str) -> StoreLost:
    """Return the message for callers when a file lost its name under a commit, which memory and disk differ about."""
    return StoreLost(
        f"Nothing was saved: {file} was moved, removed or replaced while Maskline runs; stop Maskline, put back what "
        "belongs together (or restore a backup) and start it again"
    )


def advice_for(error: sqlite3.Error) -> str | None:
    """Say what is wrong with the disk and what to do about it; None if it is not the disk."""
    return _ADVICE.get(_primary_code(error))


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "SQLite error")


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY
