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
_CHECKPOINT_PAGES = 8_192
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


def open_reader(database: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    return _open(f"{database.absolute().as_uri()}?mode=ro", "query_only = ON")


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
