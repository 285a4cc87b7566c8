"""Everything that is read: single records, walks at start, pages of lists.

Marks are those of SQLite. What the databases say in different ways is in a `Dialect`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from mypy_extensions import mypyc_attr

from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import Address, DebuggerEvent, Interaction, Participant, Session
from engine.core.model.sids import SidKind, first_sid_at, is_sid, pack, unpack
from engine.core.ports.lists import AlertFilter, AlertKind, AlertKinds, OutboxDepth, OutboxFilter, Page, PageCursor
from engine.core.ports.notes import Note
from engine.core.ports.store import HeldRegistry, Passed, PassedElsewhere, Registry
from engine.core.sessions.batch import KeyUse
from engine.core.structs import Value
from storage.codec import (
    KIND_AT,
    Cell,
    account_at,
    address_at,
    blob,
    lookup_key,
    proxy_at,
    service_at,
)
from storage.outbox_rows import ENTRY_COLUMNS, alert_of
from storage.rows import (
    ACCOUNT_COLUMNS,
    API_KEY_COLUMNS,
    INTERACTION_COLUMNS,
    NUMBER_COLUMNS,
    PARTICIPANT_COLUMNS,
    SERVICE_COLUMNS,
    SESSION_COLUMNS,
    Fetched,
    account_of,
    api_key_of,
    number_of,
    participant_of,
    service_of,
    session_of,
)
from storage.wanted import Spelling, alerts_scope, entries_scope

Record = TypeVar("Record")

_MINT_SLACK_SECONDS = 60.0
"""How far the clock of a SID may have been ahead of the time in its record."""


def _columns(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{name}" for name in columns.split(", "))


SESSIONS: Final = f"SELECT {SESSION_COLUMNS} FROM sessions"  # noqa: S608 - names of this package, as in all of these
PARTICIPANTS: Final = (
    f"SELECT {_columns('participants', PARTICIPANT_COLUMNS)}, sessions.account_sid"  # noqa: S608
    " FROM participants JOIN sessions ON sessions.sid = participants.session_sid"
)
INTERACTIONS: Final = (
    f"SELECT {_columns('interactions', INTERACTION_COLUMNS)},"  # noqa: S608
    " coalesce(interactions.service_sid, sessions.service_sid),"
    " coalesce(interactions.account_sid, sessions.account_sid)"
    " FROM interactions LEFT JOIN sessions ON sessions.sid = interactions.session_sid"
)
HAS_OWNER: Final = "coalesce(interactions.service_sid, sessions.service_sid) IS NOT NULL"
"""Leaves out what was recorded after its session was erased."""
_LAST_SESSION: Final = (
    f"{SESSIONS} WHERE sid = (SELECT session_sid FROM participants"  # noqa: S608
    " WHERE service_sid = ? AND identifier = ? AND proxy_identifier = ? ORDER BY session_sid DESC LIMIT 1)"
)
_HELD_BEFORE: Final = (
    "SELECT identifier, proxy_identifier, max(date_created) FROM participants"
    " WHERE service_sid = ? AND identifier = ? GROUP BY identifier, proxy_identifier"
)
"""Put together by UNION ALL: for IN, SQLite makes a table of its own each time, which takes longer than the reading."""
_ENTRIES: Final = f"SELECT {ENTRY_COLUMNS} FROM effects"  # noqa: S608
_PENDING_ENTRIES: Final = f"{_ENTRIES} WHERE account_sid = ? AND destination = ? AND date_died IS NULL AND sid > ?"
_ALERTS: Final = "SELECT event FROM alerts"
_OUTBOX_DEPTH: Final = (
    "SELECT 'all', NULL, count(*) FROM effects{where}"
    " UNION ALL SELECT 'dead', service_sid, count(*) FROM effects WHERE date_died IS NOT NULL AND {mine}"
    " GROUP BY service_sid"
    " UNION ALL SELECT 'oldest', service_sid, min(date_created) FROM queue GROUP BY service_sid"
)
"""Counts all from the index of SIDs, and the dead; the oldest of all is among the oldest of each queue."""
_LATELY: Final = "FROM interactions WHERE sid >= ? AND date_created >= ? AND inbound_resource_sid IS NOT NULL"
_PASSED: Final = f"SELECT proxy, kind, inbound_resource_sid, sid {_LATELY}"
_PASSED_ELSEWHERE: Final = (
    f"SELECT session_sid, date_created, date_updated, kind = 0 AND NOT is_open_call {_LATELY}"
    " AND service_sid IS NOT NULL"
)
WALKED_AT_ONCE: Final = 500
"""Rows of a walk: whoever takes them may let the loop turn in between."""


class _List(Value, Generic[Record], frozen=True, kw_only=True):
    """A list that is read in pages."""

    select: str
    scope: str
    """Condition, with marks, of what belongs to the list."""
    key: str
    """Column that orders it."""
    is_newest_first: bool
    record_of: Callable[[Fetched], Record]


_SESSIONS_OF_SERVICE: Final = _List(
    select=SESSIONS,
    scope="service_sid = ?",
    key="sid",
    is_newest_first=True,
    record_of=session_of,
)
_PARTICIPANTS_OF_SESSION: Final = _List(
    select=PARTICIPANTS,
    scope="participants.session_sid = ?",
    key="participants.sid",
    is_newest_first=True,
    record_of=participant_of,
)
_INTERACTIONS_OF_SESSION: Final = f"interactions.session_sid = ? AND {HAS_OWNER}"
_MESSAGES_SENT: Final = (
    f"interactions.session_sid = ? AND outbound_participant_sid = ? AND inbound_participant_sid IS NULL AND {HAS_OWNER}"
)


def _alone(cell: Cell) -> tuple[Cell, ...]:
    return (cell,)


class Dialect(Value, frozen=True, kw_only=True):
    """What the databases say in different ways."""

    spelling: Spelling
    address_cell: Callable[[Address], Cell]
    """Makes the cell of an address."""
    untagged: Callable[[Any], str]
    """Makes the SID of a tagged cell."""
    interaction_of: Callable[[Fetched], Interaction]
    """Makes the interaction of a row of `INTERACTIONS`."""
    entry_of: Callable[[Fetched], OutboxEntry]
    """Makes the entry of a row of the outbox."""
    is_open_call: str
    """Condition that a call's inbound leg goes on."""
    registry_version: str
    """Statement."""
    queues: str
    """Head of a statement: `queue` is then the oldest pending entry of each queue, as account_sid, destination,
    service_sid and date_created."""
    queues_cells: tuple[Any, ...] = ()
    ends: str = "substr(identifier, length(identifier) - 3) = ?"
    """Condition that an identifier has certain last four digits, for `ending_cells`."""
    ending_cells: Callable[[str], tuple[Cell, ...]] = _alone
    mine: str = "TRUE"
    """Condition that a host is to walk a row of a table, {}, where it shares the tables with others."""
    mine_cells: tuple[Any, ...] = ()


@mypyc_attr(allow_interpreted_subclasses=True)
class Reader(ABC):
    """Reads through one connection, so on one thread at a time; every answer is as of the latest commit."""

    def __init__(self, dialect: Dialect) -> None:
        """Say what a database has its own way to say."""
        self._dialect = dialect

    @abstractmethod
    def fetch(self, text: str, values: Sequence[Any]) -> list[Fetched]:
        """Fetch every row of a statement; raises StoreUnavailable."""

    @abstractmethod
    def walk(self, text: str, values: Sequence[Any]) -> Iterator[list[Fetched]]:
        """Fetch the rows of a statement, some at a time, as of one moment; raises StoreUnavailable."""

    def registry(self) -> Registry:
        """Read accounts, keys, services and numbers, oldest first."""
        return Registry(
            accounts=tuple(map(account_of, self._all(f"SELECT {ACCOUNT_COLUMNS} FROM accounts ORDER BY sid"))),  # noqa: S608
            api_keys=tuple(map(api_key_of, self._all(f"SELECT {API_KEY_COLUMNS} FROM api_keys ORDER BY sid"))),  # noqa: S608
            services=tuple(map(service_of, self._all(f"SELECT {SERVICE_COLUMNS} FROM services ORDER BY sid"))),  # noqa: S608
            numbers=tuple(map(number_of, self._all(f"SELECT {NUMBER_COLUMNS} FROM numbers ORDER BY sid"))),  # noqa: S608
        )

    def held_registry(self) -> HeldRegistry:
        """Read the registry, and before it a version of which nothing is missing in it."""
        ((version,),) = self._all(self._dialect.registry_version)
        return HeldRegistry(int(version), self.registry())

    def session(self, session_sid: str) -> Session | None:
        """Read one session."""
        key = lookup_key(SidKind.SESSION, session_sid)
        rows = self._all(f"{SESSIONS} WHERE sid = ?", key)
        return session_of(rows[0]) if rows else None

    def session_sid_by_name(self, service_sid: str, unique_name: str) -> str | None:
        """Find the session that owns a name."""
        key = lookup_key(SidKind.SERVICE, service_sid)
        rows = self._all("SELECT sid FROM sessions WHERE service_sid = ? AND unique_name = ?", key, unique_name)
        return unpack(SidKind.SESSION, rows[0][0]) if rows else None

    def batch_key(self, service_sid: str, digest: bytes) -> KeyUse | None:
        """Find what an idempotency key was used for."""
        key = lookup_key(SidKind.SERVICE, service_sid)
        rows = self._all(
            "SELECT fingerprint, session_sid FROM batch_keys WHERE service_sid = ? AND digest = ?", key, digest
        )
        return KeyUse(rows[0][0], unpack(SidKind.SESSION, rows[0][1])) if rows else None

    def note(self, channel: str, key: bytes) -> Note | None:
        """Read what a channel keeps under a key, expired or not."""
        rows = self._all("SELECT value, until FROM channel_notes WHERE channel = ? AND key = ?", channel, key)
        return Note(*rows[0]) if rows else None

    def latest_notes(self, channel: str, prefix: bytes, limit: int) -> list[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not."""
        rows = self._all(
            "SELECT key, value, until FROM channel_notes WHERE channel = ? AND key >= ? AND key < ?"
            " ORDER BY key DESC LIMIT ?",
            channel,
            prefix,
            prefix + b"\xff" * 8,
            limit,
        )
        return [(key, Note(value, until)) for key, value, until in rows]

    def oldest_note(self) -> float | None:
        """Tell when the first note expires."""
        ((at,),) = self._all("SELECT min(until) FROM channel_notes")
        return at  # type: ignore[no-any-return] # a row's cells are those of the schema

    def planned_erasures(self) -> tuple[str, ...]:
        """Name the erased sessions of which other hosts may have something."""
        return tuple(unpack(SidKind.SESSION, cell) for (cell,) in self._all("SELECT session_sid FROM erasures"))

    def oldest_batch_key(self) -> float | None:
        """Tell when the oldest idempotency key was used."""
        ((at,),) = self._all("SELECT min(at) FROM batch_keys")
        return at  # type: ignore[no-any-return] # a row's cells are those of the schema

    def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, oldest first."""
        key = lookup_key(SidKind.SESSION, session_sid)
        rows = self._all(f"{PARTICIPANTS} WHERE participants.session_sid = ? ORDER BY participants.sid", key)
        return tuple(map(participant_of, rows))

    def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read one interaction."""
        key = lookup_key(SidKind.INTERACTION, interaction_sid)
        rows = self._all(f"{INTERACTIONS} WHERE interactions.sid = ? AND {HAS_OWNER}", key)
        return self._dialect.interaction_of(rows[0]) if rows else None

    def last_session_of(self, service_sid: str, identifier: Address, proxy: Address) -> Session | None:
        """Find the newest session in which the identifier held the proxy number."""
        rows = self._all(
            _LAST_SESSION,
            lookup_key(SidKind.SERVICE, service_sid),
            self._dialect.address_cell(identifier),
            self._dialect.address_cell(proxy),
        )
        return session_of(rows[0]) if rows else None

    def proxies_held_before(
        self, service_sid: str, identifiers: Sequence[Address]
    ) -> dict[Address, dict[Address, float]]:
        """Tell which proxy numbers each of one or more identifiers has had, and when it was given last."""
        service = lookup_key(SidKind.SERVICE, service_sid)
        cells = [cell for one in identifiers for cell in (service, self._dialect.address_cell(one))]
        rows = self._all(" UNION ALL ".join([_HELD_BEFORE] * len(identifiers)), *cells)
        held: dict[Address, dict[Address, float]] = {}
        for identifier, proxy, given in rows:
            held.setdefault(address_at(identifier), {})[proxy_at(proxy)] = given
        return held

    def sessions_page(self, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """Read a page of a service's sessions."""
        return self._page(_SESSIONS_OF_SERVICE, cursor, lookup_key(SidKind.SERVICE, service_sid))

    def participants_page(self, session_sid: str, cursor: PageCursor) -> Page[Participant]:
        """Read a page of a session's participants."""
        return self._page(_PARTICIPANTS_OF_SESSION, cursor, lookup_key(SidKind.SESSION, session_sid))

    def interactions_page(self, session_sid: str, cursor: PageCursor, sent_to: str | None = None) -> Page[Interaction]:
        """Read a page of a session's interactions, or of the messages pushed to a participant."""
        session = lookup_key(SidKind.SESSION, session_sid)
        if sent_to is None:
            return self._page(self._interactions(_INTERACTIONS_OF_SESSION), cursor, session)
        receiver = lookup_key(SidKind.PARTICIPANT, sent_to)
        return self._page(self._interactions(_MESSAGES_SENT), cursor, session, receiver)

    def _interactions(self, scope: str) -> _List[Interaction]:
        return _List(
            select=INTERACTIONS,
            scope=scope,
            key="interactions.sid",
            is_newest_first=False,
            record_of=self._dialect.interaction_of,
        )

    def sessions_closed_before(self, at: float, limit: int) -> tuple[str, ...]:
        """Find sessions that ended before a time, the longest closed first."""
        mine, cells = self._dialect.mine.format("sessions"), self._dialect.mine_cells
        text = f"SELECT sid FROM sessions WHERE date_ended < ? AND {mine} ORDER BY date_ended, sid LIMIT ?"  # noqa: S608 - our own text
        rows = self._all(text, at, *cells, limit)
        return tuple(unpack(SidKind.SESSION, sid) for (sid,) in rows)

    def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name the queues of pending entries, in the order of their accounts and destinations."""
        text = f"{self._dialect.queues} SELECT account_sid, destination FROM queue"  # noqa: S608 - our own text
        rows = self._all(text, *self._dialect.queues_cells)
        return tuple(QueueKey(account_at(account), destination) for account, destination in rows)

    def pending_entries(self, queue: QueueKey, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read pending entries of a queue, oldest first."""
        start = b"" if after is None else pack(after)
        dialect = self._dialect
        text = f"{_PENDING_ENTRIES} AND {dialect.mine.format('effects')} ORDER BY sid LIMIT ?"
        rows = self._all(text, blob(queue.account_sid), queue.destination, start, *dialect.mine_cells, limit)
        return tuple(map(self._dialect.entry_of, rows))

    def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """Read a page of the entries that are meant."""
        scope = entries_scope(wanted, self._dialect.spelling)
        listing = _List(
            select=_ENTRIES, scope=scope.text, key="sid", is_newest_first=False, record_of=self._dialect.entry_of
        )
        return self._page(listing, cursor, *scope.cells)

    def entries_held(self, entry_sids: Sequence[str]) -> frozenset[str]:
        """Tell which of these entries are in the outbox, and this host's to deliver."""
        text = f"SELECT 1 FROM effects WHERE sid = ? AND {self._dialect.mine.format('effects')}"  # noqa: S608 - our own text
        cells = self._dialect.mine_cells
        asked = (sid for sid in entry_sids if is_sid(sid, SidKind.OUTBOX_ENTRY))
        return frozenset(sid for sid in asked if self._all(text, pack(sid), *cells))

    def outbox_depth(self) -> OutboxDepth:
        """Count the outbox, as of one moment."""
        found: dict[str, dict[str, float]] = {"all": {}, "dead": {}, "oldest": {}}
        dialect = self._dialect
        mine = dialect.mine.format("effects")
        where = f" WHERE {mine}" if dialect.mine_cells else ""  # SQLite counts a table without a look at its rows
        text = f"{dialect.queues} {_OUTBOX_DEPTH.format(mine=mine, where=where)}"
        for what, service, value in self._all(text, *dialect.queues_cells, *dialect.mine_cells, *dialect.mine_cells):
            found[what]["" if service is None else service_at(service)] = value
        dead, oldest = {of: int(count) for of, count in found["dead"].items()}, found["oldest"]
        total_dead = sum(dead.values())
        return OutboxDepth(
            pending=int(found["all"][""]) - total_dead,
            dead=total_dead,
            oldest=min(oldest.values(), default=None),
            dead_of=dead,
            oldest_of=oldest,
        )

    def alerts_page(self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor) -> Page[DebuggerEvent]:
        """Read a page of the debugger events of an account (None = of all) that are meant."""
        scope = alerts_scope(account_sid, wanted, self._dialect.spelling)
        listing = _List(select=_ALERTS, scope=scope.text, key="sid", is_newest_first=True, record_of=alert_of)
        return self._page(listing, cursor, *scope.cells)

    def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, most: int) -> AlertKinds:
        """Count by kind the latest debugger events of an account (None = of all), at most so many."""
        scope = alerts_scope(account_sid, wanted, self._dialect.spelling)
        latest = f"SELECT * FROM alerts WHERE {scope.text} ORDER BY sid DESC LIMIT ?"  # noqa: S608 - conditions with marks
        rows = self._all(
            "SELECT account_sid, code, service_sid, count(*), min(at), max(at)"  # noqa: S608 - conditions with marks
            f" FROM ({latest}) AS latest GROUP BY account_sid, code, service_sid"
            " ORDER BY max(at) DESC, account_sid, code, service_sid IS NOT NULL, service_sid",
            *scope.cells,
            most,
        )
        kinds = tuple(
            AlertKind(account_at(owner), code, None if service is None else service_at(service), *counts)
            for owner, code, service, *counts in rows
        )
        return AlertKinds(kinds, sum(one.count for one in kinds) >= most)

    def alert(self, event_sid: str) -> DebuggerEvent | None:
        """Read one debugger event."""
        rows = self._all(f"{_ALERTS} WHERE sid = ?", lookup_key(SidKind.DEBUGGER_EVENT, event_sid))
        return alert_of(rows[0]) if rows else None

    def passed_since(self, at: float) -> Iterator[Sequence[Passed]]:
        """Walk the calls and messages that came at or after a time, oldest first, as of one moment."""
        untagged = self._dialect.untagged
        for rows in self._lately(_PASSED, at):
            yield [
                (proxy_at(proxy), KIND_AT[kind], untagged(resource), interaction)
                for proxy, kind, resource, interaction in rows
            ]

    def passed_elsewhere_since(self, at: float) -> Iterator[Sequence[PassedElsewhere]]:
        """Walk those in sessions whose records are on other hosts, as of one moment."""
        for rows in self._lately(_PASSED_ELSEWHERE, at):
            yield [(session, began, updated, bool(is_ended)) for session, began, updated, is_ended in rows]

    def _lately(self, select: str, at: float) -> Iterator[list[Fetched]]:
        """Fetch rows of interactions that came at or after a time, some at a time."""
        first = pack(first_sid_at(SidKind.INTERACTION, at=at - _MINT_SLACK_SECONDS))
        text = f"{select} AND {self._dialect.mine.format('interactions')} ORDER BY sid"
        return self.walk(text, (first, at, *self._dialect.mine_cells))

    def open_calls(self) -> Iterator[Interaction]:
        """Walk the calls whose inbound leg has not ended, oldest first, as of one moment."""
        dialect = self._dialect
        mine = dialect.mine.format("interactions")
        text = f"{INTERACTIONS} WHERE {dialect.is_open_call} AND {HAS_OWNER} AND {mine} ORDER BY interactions.sid"
        for rows in self.walk(text, dialect.mine_cells):
            yield from map(dialect.interaction_of, rows)

    def _page(self, listing: _List[Record], cursor: PageCursor, *scope: object) -> Page[Record]:
        start = cursor.before if cursor.after is None else cursor.after
        is_backward = cursor.after is None and cursor.before is not None
        is_descending = listing.is_newest_first is not is_backward
        beyond, order = ("<", "DESC") if is_descending else (">", "ASC")
        values: list[Any] = [*scope]
        condition = listing.scope
        if start is not None:
            condition += f" AND {listing.key} {beyond} ?"
            values.append(pack(start))
        text = f"{listing.select} WHERE {condition} ORDER BY {listing.key} {order} LIMIT ?"
        rows = self._all(text, *values, cursor.limit + 1)
        has_more = len(rows) > cursor.limit
        records = tuple(map(listing.record_of, rows[: cursor.limit]))
        has_passed = start is not None and self._has_passed(listing, is_descending, *values)
        if is_backward:
            return Page(records[::-1], has_next=has_passed, has_previous=has_more)
        return Page(records, has_next=has_more, has_previous=has_passed)

    def _has_passed(self, listing: _List[Any], is_descending: bool, *values: Any) -> bool:  # noqa: ANN401, FBT001 - cells
        """Tell whether the list has records on the near side of where a page starts."""
        near = ">=" if is_descending else "<="
        text = f"{listing.select} WHERE {listing.scope} AND {listing.key} {near} ? LIMIT 1"
        return bool(self._all(text, *values))

    def _all(self, text: str, *values: object) -> list[Fetched]:
        return self.fetch(text, values)
