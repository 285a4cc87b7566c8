"""Connections to the database file: one that writes, others that only read."""

import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

Synchronous = Literal["FULL", "NORMAL"]
"""FULL: what was acknowledged survives a power cut. NORMAL: it survives a crash, not always a power cut."""

OLDEST_SQLITE = (3, 33, 0)
"""The first with UPDATE … FROM."""

_BUSY_SECONDS = 5.0
_STATEMENTS = 256
_CACHE_KIB = 65_536
_CHECKPOINT_PAGES = 32_768
"""At which a commit moves the log itself, should `storage.sqlite.mover` not come after."""
_WAL_LIMIT_BYTES = 64 * 1024 * 1024


def open_writer(database: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the connection that writes; it begins and ends its transactions itself."""
    return _open(
        f"{database.absolute().as_uri()}?mode=rw",
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        f"cache_size = -{_CACHE_KIB}",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"journal_size_limit = {_WAL_LIMIT_BYTES}",
    )


def damage(connection: sqlite3.Connection, *, is_whole: bool) -> str | None:
    """Return the first thing that is wrong with the pages of a database, None where nothing is; raises sqlite3.Error.

    `is_whole` compares the indexes with their tables too, which takes several times as long.
    """
    check = "integrity_check" if is_whole else "quick_check"
    ((finding, *_), *_) = connection.execute(f"PRAGMA {check}(1)").fetchall()
    return None if finding == "ok" else " ".join(finding.split())


def open_mover(database: Path) -> sqlite3.Connection:
    """Open the connection that moves the log; it never begins a transaction."""
    return _open(f"{database.absolute().as_uri()}?mode=rw", "wal_autocheckpoint = 0", "cache_size = -64")


def open_reader(database: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    return _open(f"{database.absolute().as_uri()}?mode=ro", "query_only = ON")


def open_still(database: Path) -> sqlite3.Connection:
    """Open a connection that reads a file which nobody writes meanwhile; it leaves no files beside a clean one."""
    is_clean = not database.with_name(f"{database.name}-wal").exists()
    mode = "mode=ro&immutable=1" if is_clean else "mode=ro"
    return _open(f"{database.absolute().as_uri()}?{mode}", "query_only = ON")


def open_loader(database: Path, *, cache_kib: int) -> sqlite3.Connection:
    """Open a connection that fills a new file: a crash meanwhile spoils the file, and `close_loaded` ends it."""
    return _open(
        f"{database.absolute().as_uri()}?mode=rwc",
        "journal_mode = OFF",
        "synchronous = OFF",
        "locking_mode = EXCLUSIVE",
        f"cache_size = -{cache_kib}",
    )


def close_loaded(connection: sqlite3.Connection) -> None:
    """Leave the file as one that a server has closed; it is not yet synced."""
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def _open(uri: str, *pragmas: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        timeout=_BUSY_SECONDS,
        cached_statements=_STATEMENTS,
        check_same_thread=False,  # made by the caller of `open`, used by one thread at a time
    )
    with ExitStack() as undo:
        undo.callback(connection.close)
        for pragma in ("temp_store = MEMORY", *pragmas):
            connection.execute(f"PRAGMA {pragma}")
        undo.pop_all()
    return connection
