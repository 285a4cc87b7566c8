"""Connections to the database file: one that writes, others that only read."""

import sqlite3
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
    connection = _open(f"{database.absolute().as_uri()}?mode=rw")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def open_reader(database: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    connection = _open(f"{database.absolute().as_uri()}?mode=ro")
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _open(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        timeout=_BUSY_SECONDS,
        cached_statements=_STATEMENTS,
        check_same_thread=False,  # made by the caller of `open`, used by one thread at a time
    )
