"""Durable records of one host in one SQLite file."""

from storage.errors import ChangeRefused, DatabaseTooNew, DataDirBusy
from storage.store import SqliteStore, StoreSizes

__all__ = ["ChangeRefused", "DataDirBusy", "DatabaseTooNew", "SqliteStore", "StoreSizes"]
