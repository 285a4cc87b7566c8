"""Which host each row belongs to: tables that every host has whole, and tables whose rows have one owner each.

A session, its participants and what else belongs to a service: the service's owner. An interaction: the owner of its
proxy number. An entry: the owner of what it is about, that is an interaction's or a sender's proxy number, a service
for a hang-up, an account for its debugger webhook. A debugger event: the account's owner. A
note: the host that its channel is placed on. What is left to be erased: anybody, since every host is asked for it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from engine.core.model.placement import Placement
from storage.codec import account_at, proxy_at, service_at
from storage.outbox_rows import entry_key
from storage.rows import Fetched

SHARED: Final = ("accounts", "api_keys", "services", "numbers", "registry_version")
"""Tables of which every host has a full copy; the last tells how recent the copy is."""

UNMOVED: Final = frozenset({"probe", "session_counts", "_sqlite_migrations"})
"""Tables of a file's own, which a new file has anyway; its triggers count the sessions that are written to it."""

PlaceOf = Callable[[Fetched], int]


class OwnedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose rows have one owner each."""

    name: str
    owned_by: tuple[str, ...]
    """Columns that say whose a row is."""
    owner_key: Callable[[Any], str]
    """Their cell (a tuple of cells if they are several) to the key that is placed."""
    order: str | None
    """Columns of the key that the table itself is ordered by; None: read as it lies."""
    follows_session: bool = False
    """Service and account are the session's, NULL where it lies in the same file."""

    def placed_on(self, hosts: int, columns: Sequence[str]) -> PlaceOf:
        """Return what tells the owner of a row that has these columns, among n hosts."""
        cells_of = itemgetter(*map(columns.index, self.owned_by))
        owner_key, placement = self.owner_key, Placement(hosts)
        return lambda row: placement(owner_key(cells_of(row)))

    def reading(self, columns: Sequence[str]) -> str:
        """Compose what reads the table, the service and account of an interaction told in any case."""
        names = [f"{self.name}.{name}" for name in columns]
        source = self.name
        if self.follows_session:
            names = [_qualified(name) for name in names]
            source += f" LEFT JOIN sessions ON sessions.sid = {self.name}.session_sid"
        text = f"SELECT {', '.join(names)} FROM {source}"  # noqa: S608 - names of the schema
        return text if self.order is None else f"{text} ORDER BY {self.order}"

    def writing(self, columns: Sequence[str]) -> str:
        """Compose what writes a row that was read; the sessions are written before."""
        marks = {name: f"?{number}" for number, name in enumerate(columns, start=1)}
        if self.follows_session:
            is_here = f"EXISTS (SELECT 1 FROM sessions WHERE sid = {marks['session_sid']})"  # noqa: S608 - a mark
            for name in _FOLLOWING:
                marks[name] = f"CASE WHEN {is_here} THEN NULL ELSE {marks[name]} END"
        return inserting(self.name, columns, tuple(marks.values()))


_FOLLOWING: Final = ("service_sid", "account_sid")


def _qualified(column: str) -> str:
    name = column.rpartition(".")[2]
    return f"coalesce({column}, sessions.{name})" if name in _FOLLOWING else column


def _entry_key(cells: tuple[bytes, bytes | None, bytes]) -> str:
    return entry_key(*cells)


OWNED: Final = (
    OwnedTable(name="sessions", owned_by=("service_sid",), owner_key=service_at, order="sid"),
    OwnedTable(name="participants", owned_by=("service_sid",), owner_key=service_at, order="session_sid, sid"),
    OwnedTable(
        name="interactions", owned_by=("proxy",), owner_key=proxy_at, order="interactions.sid", follows_session=True
    ),
    OwnedTable(name="effects", owned_by=("duty", "service_sid", "account_sid"), owner_key=_entry_key, order=None),
    OwnedTable(name="batch_keys", owned_by=("service_sid",), owner_key=service_at, order="service_sid, digest"),
    OwnedTable(name="erasures", owned_by=("session_sid",), owner_key=bytes.hex, order=None),
    OwnedTable(name="channel_notes", owned_by=("channel",), owner_key=str, order=None),
    OwnedTable(name="alerts", owned_by=("account_sid",), owner_key=account_at, order=None),
)
"""In the order of writing."""


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """Name a table's columns in their order."""
    return tuple(name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def tables_of(connection: sqlite3.Connection) -> frozenset[str]:
    """Name the tables of a file, but for SQLite's own."""
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    return frozenset(name for (name,) in rows)


def inserting(table: str, columns: Sequence[str], marks: Sequence[str]) -> str:
    """Compose an insert."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(marks)})"  # noqa: S608
