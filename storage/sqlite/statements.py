"""Every statement that writes, and how many rows are written at once.

One execution per row would hand the interpreter lock to the event loop and back for every row; while the loop is busy
each hand-over costs up to a switch interval. A statement of 64 rows is executed once for all of them.

What changes many rows says OR FAIL: then SQLite copies no pages in order to undo that statement alone; a failure rolls
the transaction back anyway.
"""

import sqlite3
from collections.abc import Container, Sequence
from typing import Final

from storage.codec import Cell
from storage.outbox_rows import ALERT_COLUMNS, ENTRY_COLUMNS, NEW_ENTRY_COLUMNS
from storage.rows import (
    ACCOUNT_COLUMNS,
    API_KEY_COLUMNS,
    INTERACTION_COLUMNS,
    NUMBER_COLUMNS,
    PARTICIPANT_COLUMNS,
    ROUTED_COLUMNS,
    SERVICE_COLUMNS,
    SESSION_COLUMNS,
    Row,
)

_CHUNKS: Final = (64, 32, 16, 8, 4, 2, 1)
"""Rows per execution; each size is one prepared statement. Groups of some ten rows are the usual thing."""


class ManyRows:
    """A statement with a list of rows in it, executed for any number of rows."""

    def __init__(
        self, head: str, *, columns: int, tail: str = "", nullable: Container[int] = (), constants: Sequence[str] = ()
    ) -> None:
        """Compose the texts: `head`, "(?, …), (?, …)", `tail`; `ABSENT` in the nullable places is NULL.

        `constants` follow the cells of each row. What is nullable is copied, so a long text had better not be.
        """
        marks = ["nullif(?, x'')" if place in nullable else "?" for place in range(columns)]
        row = f"({', '.join((*marks, *constants))})"
        self._texts = tuple((size, f"{head} {', '.join([row] * size)} {tail}") for size in _CHUNKS)

    def execute(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Write the rows, in their order."""
        start = 0
        for size, text in self._texts:
            while len(rows) - start >= size:
                cells: list[Cell] = []
                for row in rows[start : start + size]:
                    cells.extend(row)  # cheaper than an iterator over all
                connection.execute(text, cells)
                start += size


def _insert(table: str, columns: str, *, tail: str = "", nullable: Container[int] = ()) -> ManyRows:
    """Compose an insert."""
    head = f"INSERT OR FAIL INTO {table} ({columns}) VALUES"
    return ManyRows(head, columns=columns.count(",") + 1, tail=tail, nullable=nullable)


def _upsert(table: str, columns: str) -> ManyRows:
    names = columns.split(", ")
    settings = ", ".join(f"{name} = excluded.{name}" for name in names if name != "sid")
    tail = f"ON CONFLICT (sid) DO UPDATE SET {settings}"
    return ManyRows(f"INSERT INTO {table} ({columns}) VALUES", columns=len(names), tail=tail)


def _keep_notes(columns: str) -> ManyRows:
    """Compose an insert of notes, each in place of what is there under its key."""
    tail = (
        "ON CONFLICT (channel, key) DO UPDATE"
        " SET value = excluded.value, until = excluded.until, account_sid = excluded.account_sid"
    )
    return _insert("channel_notes", columns, tail=tail)


INSERT_SESSIONS: Final = _insert("sessions", f"{SESSION_COLUMNS}, fail_on_participant_conflict, date_activated")
INSERT_PARTICIPANTS: Final = _insert("participants", PARTICIPANT_COLUMNS)
INSERT_INTERACTIONS: Final = _insert(
    "interactions",
    f"{INTERACTION_COLUMNS}, is_open_call, service_sid, account_sid",
    nullable={*range(4, 13), 16, 17},  # both legs, body, media, duration; the owners
)
INSERT_ROUTED: Final = _insert("interactions", ROUTED_COLUMNS)
"""A third less to bind than `INSERT_INTERACTIONS`."""
INSERT_TEXTS: Final = _insert("interactions", f"{ROUTED_COLUMNS}, body")
INSERT_BATCH_KEYS: Final = _insert("batch_keys", "service_sid, digest, fingerprint, session_sid, at")
INSERT_ENTRIES: Final = _insert("effects", ENTRY_COLUMNS)
INSERT_NEW_ENTRIES: Final = ManyRows(
    f"INSERT OR FAIL INTO effects ({NEW_ENTRY_COLUMNS}, attempts, last_error) VALUES",
    columns=NEW_ENTRY_COLUMNS.count(",") + 1,
    constants=("0", "''"),
)
INSERT_ALERTS: Final = _insert("alerts", ALERT_COLUMNS)

TOUCH_SESSIONS: Final = ManyRows("INSERT OR FAIL INTO touches VALUES", columns=4)
UPDATE_OUTBOUND: Final = ManyRows("INSERT OR FAIL INTO outbound_reports VALUES", columns=4)
"""Cheaper than `UPDATE_INTERACTIONS`, which may change what partial indexes hold."""


def _row_by_row(view: str, columns: str, change: str) -> tuple[str, str]:
    """Compose a view of no rows, and what is done for each row that is inserted there."""
    nothing = ", ".join(f"NULL AS {name}" for name in columns.split(", "))
    return (
        f"CREATE TEMP VIEW {view} AS SELECT {nothing}",
        f"CREATE TEMP TRIGGER {view}_come INSTEAD OF INSERT ON {view} BEGIN {change}; END",
    )


ROW_BY_ROW: Final = (
    # 1 is in-progress, 2 closed
    *_row_by_row(
        "touches",
        "sid, first_at, latest_at, last_at",
        "UPDATE sessions SET status = 1, date_started = coalesce(date_started, NEW.first_at),"
        " date_last_interaction = max(coalesce(date_last_interaction, NEW.latest_at), NEW.latest_at),"
        " idle_since = max(idle_since, NEW.latest_at), date_updated = NEW.last_at"
        " WHERE sid = NEW.sid AND status <> 2",
    ),
    *_row_by_row(
        "outbound_reports",
        "sid, resource_sid, status, at",
        "UPDATE interactions SET outbound_resource_sid = NEW.resource_sid, outbound_status = NEW.status,"
        " date_updated = NEW.at WHERE sid = NEW.sid",
    ),
)
"""Of the connection that writes: a third cheaper than UPDATE … FROM, which first copies all rows that it changes."""

UPDATE_INTERACTIONS: Final = ManyRows(
    "UPDATE OR FAIL interactions SET inbound_participant_sid = news.column2, inbound_resource_sid = news.column3,"
    " inbound_status = news.column4, outbound_participant_sid = news.column5, outbound_resource_sid = news.column6,"
    " outbound_status = news.column7, duration_seconds = news.column8, date_updated = news.column9,"
    " is_open_call = kind = 0 AND news.column10 FROM (VALUES",
    columns=10,
    nullable=range(1, 8),
    tail=") AS news WHERE interactions.sid = news.column1",
)
"""Kind 0 is a call."""

FAIL_ENTRIES: Final = ManyRows(
    "UPDATE OR FAIL effects SET attempts = news.column2, last_error = news.column3, date_died = news.column4,"
    " date_next = news.column5 FROM (VALUES",
    columns=5,
    tail=") AS news WHERE effects.sid = news.column1",
)

SETTLE_ENTRIES: Final = ManyRows("DELETE FROM effects WHERE sid IN (VALUES", columns=1, tail=")")
REVIVE_ENTRY: Final = (
    "UPDATE effects SET attempts = 0, last_error = '', date_died = NULL, date_next = NULL"
    " WHERE sid = ? AND date_died IS NOT NULL"
)
ERASE_ALERTS: Final = "DELETE FROM alerts WHERE at < ?"
ERASE_BATCH_KEYS: Final = (
    "DELETE FROM batch_keys WHERE (service_sid, digest) IN"
    " (SELECT service_sid, digest FROM batch_keys WHERE at < ? ORDER BY at LIMIT ?)"
)

KEEP_UNOWNED_NOTES: Final = _keep_notes("channel, key, value, until")
KEEP_NOTES: Final = _keep_notes("channel, key, value, until, account_sid")
DROP_NOTES: Final = ManyRows("DELETE FROM channel_notes WHERE (channel, key) IN (VALUES", columns=2, tail=")")
ERASE_NOTES: Final = (
    "DELETE FROM channel_notes WHERE rowid IN (SELECT rowid FROM channel_notes WHERE until <= ? ORDER BY until LIMIT ?)"
)

SAVE_ACCOUNTS: Final = _upsert("accounts", ACCOUNT_COLUMNS)
SAVE_API_KEYS: Final = _upsert("api_keys", API_KEY_COLUMNS)
SAVE_NUMBERS: Final = _upsert("numbers", NUMBER_COLUMNS)
SAVE_SERVICES: Final = _upsert("services", SERVICE_COLUMNS)

SAVE_REGISTRY_VERSION: Final = "UPDATE registry_version SET version = ?"

ADVANCE_REGISTRY: Final = "UPDATE registry_version SET version = version + 1 WHERE version = ?"

RELEASE_NUMBER: Final = "DELETE FROM numbers WHERE sid = ?"
REMOVE_PARTICIPANT: Final = (
    "UPDATE participants SET date_deleted = ?1, date_updated = ?1 WHERE session_sid = ?2 AND sid = ?3"
)
CHANGE_PARTICIPANT: Final = (
    "UPDATE participants SET service_sid = ?3, identifier = ?4, proxy_identifier = ?5, proxy_identifier_sid = ?6,"
    " friendly_name = ?7, date_created = ?8, date_updated = ?9, date_deleted = ?10 WHERE session_sid = ?1 AND sid = ?2"
)
ERASE_INTERACTION: Final = "DELETE FROM interactions WHERE sid = ?"
ERASE_SESSION: Final = (
    "DELETE FROM interactions WHERE session_sid = ?",
    "DELETE FROM participants WHERE session_sid = ?",
    "DELETE FROM sessions WHERE sid = ?",
)
_UNPOOL: Final = (
    "UPDATE numbers SET service_sid = NULL, is_reserved = 0, date_pooled = NULL, date_pool_updated = NULL"
    " WHERE service_sid = ?"
)
OWE_ERASURE: Final = "INSERT OR IGNORE INTO erasures (session_sid) VALUES (?)"
SETTLE_ERASURES: Final = ManyRows("DELETE FROM erasures WHERE session_sid IN (VALUES", columns=1, tail=")")
ERASE_ACCOUNT: Final = (
    "DELETE FROM effects WHERE account_sid = ?",
    "DELETE FROM alerts WHERE account_sid = ?",
    "DELETE FROM channel_notes WHERE account_sid = ?",
    "DELETE FROM api_keys WHERE account_sid = ?",
    "DELETE FROM accounts WHERE sid = ?",
)
ERASE_SERVICE: Final = (
    "DELETE FROM interactions WHERE service_sid = ?",
    "DELETE FROM interactions WHERE session_sid IN (SELECT sid FROM sessions WHERE service_sid = ?)",
    "DELETE FROM participants WHERE service_sid = ?",
    "DELETE FROM sessions WHERE service_sid = ?",
    "DELETE FROM batch_keys WHERE service_sid = ?",
    _UNPOOL,
    "DELETE FROM services WHERE sid = ?",
)
