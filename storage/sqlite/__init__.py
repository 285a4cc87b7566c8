"""Durable records of one host in one SQLite file."""

from storage.errors import DatabaseTooNew, MoveRefused
from storage.sqlite.errors import (
    DatabaseDamaged,
    DatabaseMissing,
    DataDirBusy,
    LayoutDamaged,
    LayoutMismatch,
    MoveUnfinished,
)
from storage.sqlite.layout import claim, host_dir
from storage.sqlite.store import SqliteStore, StoreSizes

__all__ = [
    "DataDirBusy",
    "DatabaseDamaged",
    "DatabaseMissing",
    "DatabaseTooNew",
    "LayoutDamaged",
    "LayoutMismatch",
    "MoveRefused",
    "MoveUnfinished",
    "SqliteStore",
    "StoreSizes",
    "claim",
    "host_dir",
]
