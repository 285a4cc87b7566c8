"""Reads a PostgreSQL database, as `storage.reader` asks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar, final

import msgspec
import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from engine.core.model.changes import RegistryChange
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import Interaction
from engine.core.ports.store import HeldRegistry, Registry, RegistryNews
from storage.active import chunks_of
from storage.chunk import Chunk
from storage.codec import tagged
from storage.outbox_rows import entry_of
from storage.postgres.codec import address_of, may_be_kept, placeholders, tagged_at, tagged_cell
from storage.postgres.connections import LIST_SECONDS, BoundedConnection, connect, open_reader
from storage.postgres.errors import reading
from storage.reader import WALKED_AT_ONCE, Dialect, Reader
from storage.rows import (
    ACCOUNT_COLUMNS,
    API_KEY_COLUMNS,
    NUMBER_COLUMNS,
    SERVICE_COLUMNS,
    Fetched,
    account_of,
    api_key_of,
    interaction_of,
    number_of,
    service_of,
)
from storage.wanted import Spelling

Record = TypeVar("Record")

_OLDEST_OF_QUEUE: Final = (
    "SELECT account_sid, destination, service_sid, date_created FROM effects WHERE date_died IS NULL"
)
_FIRST: Final = "ORDER BY account_sid, destination, sid LIMIT 1"
_QUEUES: Final = (
    "WITH RECURSIVE queue AS ("  # noqa: S608 - names of this package
    f"({_OLDEST_OF_QUEUE} AND {{mine}} {_FIRST}) UNION ALL"
    f" SELECT following.* FROM queue CROSS JOIN LATERAL ({_OLDEST_OF_QUEUE}"
    f" AND (account_sid, destination) > (queue.account_sid, queue.destination) AND {{mine}} {_FIRST}) AS following)"
)
"""Hops from the oldest entry of a queue to the oldest of the next, however many entries each has."""

_ACTIVE: Final = "FROM sessions WHERE date_activated IS NOT NULL AND {mine} ORDER BY date_activated, sid"
_SESSIONS: Final = (
    f"SELECT sid, service_sid, account_sid, mode, idle_since, ttl_seconds, date_expiry, unique_name {_ACTIVE}"
)
_PARTICIPANTS: Final = (
    "SELECT participants.session_sid, participants.sid, identifier, proxy_identifier"
    " FROM sessions JOIN participants ON participants.session_sid = sessions.sid"
    " WHERE date_activated IS NOT NULL AND date_deleted IS NULL AND {mine}"
    " ORDER BY date_activated, sessions.sid, participants.sid"
)
_NEWS: Final = (
    "SELECT registry_version, version, changes FROM cluster LEFT JOIN registry_changes ON version > ? ORDER BY version"
)
_MINE: Final = "{}.shard = ANY(?)"
_SESSIONS_AT_ONCE: Final = 5_000
_changes_of = msgspec.msgpack.Decoder(tuple[RegistryChange, ...]).decode


def _tagged(sid: str) -> bytes | bytearray | None:
    cell = tagged(sid)
    return None if cell is None else tagged_cell(cell)


def _interaction_of(row: Fetched) -> Interaction:
    """Return the interaction of a row: of its cells, three may be of any characters."""
    cells = [*row]
    for place in (5, 8):
        if cells[place] is not None and cells[place][:1] == b"\0":
            cells[place] = tagged_at(cells[place])
    if cells[10] is not None:
        cells[10] = cells[10].decode()
    return interaction_of(tuple(cells))


def _entry_of(row: Fetched) -> OutboxEntry:
    return entry_of((*row[:7], row[7].decode(), *row[8:]))


def dialect(shards: Sequence[int] | None) -> Dialect:
    """Say how PostgreSQL says things; a host walks and counts the rows of its shards (None = all)."""
    mine, cells = ("TRUE", ()) if shards is None else (_MINE, (list(shards),))
    return Dialect(
        spelling=Spelling(contains="position(?::bytea in {}) > 0", tagged=_tagged),
        address_cell=address_of,
        untagged=tagged_at,
        interaction_of=_interaction_of,
        entry_of=_entry_of,
        is_open_call="is_open_call",
        registry_version="SELECT registry_version FROM cluster",
        queues=_QUEUES.format(mine=mine.format("effects")),
        queues_cells=cells * 2,
        mine=mine,
        mine_cells=cells,
    )


@final
class PostgresReader(Reader):
    """Reads through one connection; walks have one of their own each. Broken, it is opened anew at the next read."""

    def __init__(self, conninfo: str, shards: Sequence[int] | None, *, deadline_seconds: float) -> None:
        """Say how to connect, which is done at the first read; a connection that says nothing so long is lost."""
        super().__init__(dialect(shards))
        self._conninfo = conninfo
        self._deadline_seconds = deadline_seconds
        self._opened: BoundedConnection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            self._opened.close()

    def fetch(self, text: str, values: Sequence[Any]) -> list[Fetched]:
        """Fetch every row; what fails because the connection broke since the last read is asked once more."""
        if not may_be_kept(values):
            return []
        with reading():
            was_open = self._opened is not None and not self._opened.closed
            try:
                return self._fetch(text, values)
            except psycopg.OperationalError:
                if not was_open or not self._connection_is_lost():
                    raise
            return self._fetch(text, values)

    def walk(self, text: str, values: Sequence[Any]) -> Iterator[list[Fetched]]:
        """Fetch some rows at a time."""
        with self._snapshot() as connection:
            yield from _rows(connection.cursor("walk"), placeholders(text), values, WALKED_AT_ONCE)

    def held_registry(self) -> HeldRegistry:
        """Read the registry and its version as of one moment, on a connection of its own, so on any thread.

        Other threads get their turn between the records, of which there may be very many.
        """
        with (
            reading(),
            closing(open_reader(self._conninfo, deadline_seconds=LIST_SECONDS)) as connection,
            _one_moment(connection),
        ):
            row = connection.execute(self._dialect.registry_version).fetchone()
            assert row is not None  # noqa: S101 - the first migration makes it
            accounts = tuple(_records(connection, "accounts", ACCOUNT_COLUMNS, account_of))
            keys = tuple(_records(connection, "api_keys", API_KEY_COLUMNS, api_key_of))
            services = tuple(_records(connection, "services", SERVICE_COLUMNS, service_of))
            numbers = tuple(_records(connection, "numbers", NUMBER_COLUMNS, number_of))
            return HeldRegistry(row[0], Registry(accounts, keys, services, numbers))

    def registry_news(self, after: int) -> RegistryNews | None:
        """Read the changes of the registry since a version; None where they are not kept."""
        rows = self.fetch(_NEWS, (after,))
        version, kept = rows[0][0], [changes for _, number, changes in rows if number is not None]
        if version < after or len(kept) != version - after:
            return None
        return RegistryNews(version, tuple(change for changes in kept for change in _changes_of(changes)))

    def active_sessions(self) -> Iterator[Chunk]:
        """Walk the active sessions, in chunks."""
        mine, cells = self._dialect.mine.format("sessions"), self._dialect.mine_cells
        sessions, people = (placeholders(text.format(mine=mine)) for text in (_SESSIONS, _PARTICIPANTS))
        with self._snapshot() as connection:
            yield from chunks_of(
                _each(_rows(connection.cursor("sessions"), sessions, cells, _SESSIONS_AT_ONCE)),
                _each(_rows(connection.cursor("people"), people, cells, _SESSIONS_AT_ONCE)),
            )

    @contextmanager
    def _snapshot(self) -> Iterator["psycopg.Connection[Fetched]"]:
        """Open a connection that sees one moment."""
        with reading(), connect(self._conninfo, autocommit=True) as connection, _one_moment(connection):
            yield connection

    def _fetch(self, text: str, values: Sequence[Any]) -> list[Fetched]:
        if self._opened is not None and not self._opened.is_current:  # what an old primary has may be old
            self._opened.close()
        if self._opened is None or self._opened.closed:
            self._opened = open_reader(self._conninfo, deadline_seconds=self._deadline_seconds)
        try:
            return self._opened.execute(placeholders(text), values, binary=True).fetchall()
        except psycopg.OperationalError:
            if self._opened.info.transaction_status is not TransactionStatus.IDLE:  # what it was asked may come yet
                self._opened.close()
            raise

    def _connection_is_lost(self) -> bool:
        return self._opened is None or self._opened.closed


@contextmanager
def _one_moment(connection: "psycopg.Connection[Fetched]") -> Iterator[None]:
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction():
        yield


def _rows(
    cursor: "psycopg.ServerCursor[Fetched]", text: str, values: Sequence[Any], size: int
) -> Iterator[list[Fetched]]:
    with cursor:
        cursor.execute(text, values, binary=True)
        while rows := cursor.fetchmany(size):
            yield rows


def _records(
    connection: "psycopg.Connection[Fetched]", table: str, columns: str, record_of: Callable[[Fetched], Record]
) -> Iterator[Record]:
    text = f"SELECT {columns} FROM {table} ORDER BY sid"  # noqa: S608 - names of this package
    cursor = connection.execute(text, binary=True)
    while rows := cursor.fetchmany(WALKED_AT_ONCE):
        for row in rows:
            yield record_of(row)


def _each(windows: Iterator[list[Fetched]]) -> Iterator[Fetched]:
    for rows in windows:
        yield from rows
