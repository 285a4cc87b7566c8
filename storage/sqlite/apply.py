"""Writes to SQLite what `storage.apply` gathers; transactions are `storage.sqlite.transaction`'s."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, final

from engine.core.model.errors import RegistryOutrun
from storage.apply import Applier, Many, One
from storage.rows import Row
from storage.sqlite import statements as sql

_MANY: Final[Mapping[Many, sql.ManyRows]] = {
    Many.INSERT_SESSIONS: sql.INSERT_SESSIONS,
    Many.INSERT_PARTICIPANTS: sql.INSERT_PARTICIPANTS,
    Many.INSERT_BATCH_KEYS: sql.INSERT_BATCH_KEYS,
    Many.INSERT_ROUTED: sql.INSERT_ROUTED,
    Many.INSERT_TEXTS: sql.INSERT_TEXTS,
    Many.INSERT_INTERACTIONS: sql.INSERT_INTERACTIONS,
    Many.TOUCH_SESSIONS: sql.TOUCH_SESSIONS,
    Many.UPDATE_INTERACTIONS: sql.UPDATE_INTERACTIONS,
    Many.UPDATE_OUTBOUND: sql.UPDATE_OUTBOUND,
    Many.INSERT_ENTRIES: sql.INSERT_ENTRIES,
    Many.INSERT_NEW_ENTRIES: sql.INSERT_NEW_ENTRIES,
    Many.FAIL_ENTRIES: sql.FAIL_ENTRIES,
    Many.SETTLE_ENTRIES: sql.SETTLE_ENTRIES,
    Many.INSERT_ALERTS: sql.INSERT_ALERTS,
    Many.KEEP_UNOWNED_NOTES: sql.KEEP_UNOWNED_NOTES,
    Many.KEEP_NOTES: sql.KEEP_NOTES,
    Many.DROP_NOTES: sql.DROP_NOTES,
    Many.SETTLE_ERASURES: sql.SETTLE_ERASURES,
    Many.SAVE_ACCOUNTS: sql.SAVE_ACCOUNTS,
    Many.SAVE_API_KEYS: sql.SAVE_API_KEYS,
    Many.SAVE_NUMBERS: sql.SAVE_NUMBERS,
    Many.SAVE_SERVICES: sql.SAVE_SERVICES,
}
_ONE: Final[Mapping[One, Sequence[str]]] = {
    One.ERASE_BATCH_KEYS: (sql.ERASE_BATCH_KEYS,),
    One.REMOVE_PARTICIPANT: (sql.REMOVE_PARTICIPANT,),
    One.CHANGE_PARTICIPANT: (sql.CHANGE_PARTICIPANT,),
    One.REVIVE_ENTRY: (sql.REVIVE_ENTRY,),
    One.ERASE_ALERTS: (sql.ERASE_ALERTS,),
    One.ERASE_NOTES: (sql.ERASE_NOTES,),
    One.ERASE_SESSION: sql.ERASE_SESSION,
    One.ERASE_SERVICE: sql.ERASE_SERVICE,
    One.ERASE_INTERACTION: (sql.ERASE_INTERACTION,),
    One.ERASE_ACCOUNT: sql.ERASE_ACCOUNT,
    One.OWE_ERASURE: (sql.OWE_ERASURE,),
    One.RELEASE_NUMBER: (sql.RELEASE_NUMBER,),
    One.SAVE_REGISTRY_VERSION: (sql.SAVE_REGISTRY_VERSION,),
}


@final
class SqliteApplier(Applier):
    """Writes through a connection whose transaction the caller begins and ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def write_many(self, what: Many, rows: Sequence[Row]) -> None:
        """Write rows in their order."""
        _MANY[what].execute(self._connection, rows)

    def write_one(self, what: One, cells: Row) -> None:
        """Write something else."""
        if what is One.ADVANCE_REGISTRY:  # nobody else reads a file, to whom the changes could be told
            if not self._connection.execute(sql.ADVANCE_REGISTRY, cells[:1]).rowcount:
                raise RegistryOutrun("The registry has changed since")
            return
        for text in _ONE[what]:
            self._connection.execute(text, cells)

    def change_session(self, assignments: Sequence[str], cells: Row) -> None:
        """Change columns of a session."""
        # Only names of `storage.apply` are spliced in.
        self._connection.execute(f"UPDATE sessions SET {', '.join(assignments)} WHERE sid = ?", cells)  # noqa: S608
