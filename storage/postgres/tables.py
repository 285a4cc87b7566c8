"""Whole tables in the cells of files: rows as `storage.codec` encodes them, some thousand at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg

from storage.apply import Many
from storage.codec import Cell
from storage.errors import MoveRefused
from storage.postgres.codec import KINDS, tagged_at
from storage.postgres.statements import INSERT_ERASURES, MANY, UNUSED, ManyRows
from storage.rows import Fetched

_AT_ONCE: Final = 4_096

_INSERTS: Final[Mapping[str, ManyRows]] = {
    "accounts": MANY[Many.SAVE_ACCOUNTS],
    "api_keys": MANY[Many.SAVE_API_KEYS],
    "services": MANY[Many.SAVE_SERVICES],
    "numbers": MANY[Many.SAVE_NUMBERS],
    "sessions": MANY[Many.INSERT_SESSIONS],
    "participants": MANY[Many.INSERT_PARTICIPANTS],
    "interactions": MANY[Many.INSERT_INTERACTIONS],
    "effects": MANY[Many.INSERT_ENTRIES],
    "batch_keys": MANY[Many.INSERT_BATCH_KEYS],
    "erasures": INSERT_ERASURES,
    "channel_notes": MANY[Many.KEEP_NOTES],
    "alerts": MANY[Many.INSERT_ALERTS],
}
"""What writes each table; how far the registry has come is a column of `cluster`."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {name: insert.columns for name, insert in _INSERTS.items()}
"""The cells of the rows of each table that holds records, in an order of writing."""

SELECTED: Final[Mapping[str, str]] = {
    name: ", ".join("0" if column == UNUSED else column for column in columns) for name, columns in COLUMNS.items()
}
"""What to ask for in place of these cells: 0 for the one that only files have, and nothing reads any more."""

_TAGGED: Final = frozenset(
    {
        ("numbers", "sid"),
        ("participants", "proxy_identifier_sid"),
        ("interactions", "inbound_resource_sid"),
        ("interactions", "outbound_resource_sid"),
        ("alerts", "resource_sid"),
    }
)


def write(connection: psycopg.Connection[Any], table: str, rows: Sequence[Fetched]) -> None:
    """Write rows, each with its shard.

    Raises:
        MoveRefused: the database does not take what a row holds.
        psycopg.Error: it takes nothing.
    """
    insert = _INSERTS[table]
    try:
        connection.execute(insert.text, insert.parameters(rows))
    except (psycopg.DataError, psycopg.IntegrityError) as failure:
        raise MoveRefused(
            f"The database does not take a row of the table {table} ({type(failure).__name__}); report it"
        ) from failure


def read(connection: psycopg.Connection[Any], table: str) -> Iterator[list[Fetched]]:
    """Read all rows of a table, some at a time, in a transaction that the caller has begun; raises psycopg.Error."""
    with connection.cursor("table") as cursor:
        cursor.execute(f"SELECT {SELECTED[table]} FROM {table}", binary=True)  # noqa: S608 - names of the schema
        while rows := cursor.fetchmany(_AT_ONCE):
            yield _in_cells_of_files(table, rows)


def count(connection: psycopg.Connection[Any], table: str) -> int:
    """Count the rows of a table; raises psycopg.Error."""
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a name of the schema
    assert row is not None  # noqa: S101 - it counts
    rows: int = row[0]
    return rows


def _in_cells_of_files(table: str, rows: Sequence[Fetched]) -> list[Fetched]:
    columns: list[Sequence[Any]] = [*zip(*rows, strict=True)]
    for place, name in enumerate(COLUMNS[table]):
        cell_of = _tagged_cell if (table, name) in _TAGGED else _cell_of(name)
        if cell_of is not None:
            columns[place] = [None if found is None else cell_of(found) for found in columns[place]]
    return [*zip(*columns, strict=True)]


def _cell_of(column: str) -> Callable[[Any], Cell] | None:
    return None if column == UNUSED else KINDS[column].cell_of


def _tagged_cell(cell: bytes) -> bytes | str:
    return tagged_at(cell) if cell[:1] == b"\0" else cell
