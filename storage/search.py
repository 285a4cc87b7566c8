"""Searching sessions and interactions, in a connection and for a time of its own: other reads do not wait for it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from typing import Any, Final, Protocol

import msgspec

from engine.core.model.records import Address, Interaction
from engine.core.model.sids import SidKind, first_sid_at, pack
from engine.core.ports.lists import OutboxFilter, OutboxKind, OutboxKinds
from engine.core.sessions.search import (
    ENDING_DIGITS,
    FoundInteractions,
    FoundSession,
    FoundSessions,
    InteractionSought,
    SessionSought,
)
from storage.codec import Cell, account_at, lookup_key, proxy_at
from storage.reader import HAS_OWNER, INTERACTIONS, PARTICIPANTS, SESSIONS, Dialect
from storage.rows import Fetched, participant_of, session_of
from storage.wanted import entries_scope

SEARCH_SECONDS: Final = 1.0
"""After which a search is given up: the last four digits alone are looked for in every participant of a service."""

BRIEF_SECONDS: Final = 0.05
"""The same where whoever looks for the last four digits has not said that it may take longer."""

NEWEST_PARTICIPANTS: Final = 50_000
"""Among so many the last four digits are looked for first, whosever they are."""

_NTH_NEWEST: Final = "SELECT session_sid FROM participants ORDER BY session_sid DESC LIMIT 1 OFFSET ?"

_BY_NAME: Final = "SELECT sid FROM sessions WHERE service_sid = ? AND unique_name = ?"
_BY_PERSON: Final = "SELECT session_sid FROM participants WHERE service_sid = ? AND"

_NUMBERS_HAD: Final = "SELECT DISTINCT proxy_identifier FROM participants WHERE service_sid = ?"
"""Each as soon as it is met, from the index by identifier alone."""

_BEGINS: Final = "identifier BETWEEN ? AND ? AND length(identifier) = length(?)"

_REACHES: Final = (3_600, 86_400, 604_800, 1 << 40)
"""How far back interactions are walked at a time, seconds before the latest."""


class OutOfTime(Exception):  # noqa: N818 - names a state
    """The time for a search has run out."""


class Search(Protocol):
    """One search: a connection to a database for a time."""

    dialect: Dialect

    def hurry(self, seconds: float) -> None:
        """Have no more time than this from now on."""

    def timed(self, text: str, values: Sequence[Any]) -> Iterable[Fetched]:
        """Fetch rows while there is time; raises OutOfTime, StoreUnavailable."""

    def fetch(self, text: str, values: Sequence[Any]) -> Iterable[Fetched]:
        """Fetch a few rows, which takes no time."""


class _Condition(msgspec.Struct, frozen=True):
    """Part of a search."""

    text: str
    cells: tuple[Cell, ...]


def find_sessions(search: Search, service_sids: Sequence[str], sought: SessionSought, *, most: int) -> FoundSessions:
    """Search the sessions of services, newest first."""
    keys: set[bytes] = set()
    looked_back_to = None
    if sought.ending is not None:
        if not sought.is_thorough:
            search.hurry(BRIEF_SECONDS)
        looked_back_to = _gather_newest(search, service_sids, sought.ending, keys)
    is_whole = _gather(search, service_sids, tuple(_conditions(search.dialect, sought)), keys)
    newest = nlargest(most, keys)
    found = tuple(one for key in newest for one in _read(search, key))
    return FoundSessions(
        found, is_cut=not is_whole or len(keys) > most, looked_back_to=None if is_whole else looked_back_to
    )


def find_interactions(
    search: Search, account_sid: str | None, sought: InteractionSought, *, most: int
) -> FoundInteractions:
    """Search the interactions of an account (None = of all), newest first, as far back as there is time for.

    They are walked by time, an hour, a day, a week and all. An index of the carriers' SIDs, which are random, would
    make every commit of the hot path half as dear again and double what it writes, for a question that is rare.
    """
    condition = _of_interactions(search.dialect, account_sid, sought)
    found: list[Interaction] = []
    before = newest = _newest(search)
    for reach in _REACHES:
        since = max(0, newest - reach)
        is_whole = _walk(search, condition, range(since, before), found, most=most + 1)
        if len(found) > most:
            return FoundInteractions(tuple(found[:most]), has_more=True)
        if not is_whole:
            return FoundInteractions(tuple(found), looked_back_to=float(before))
        if found and sought.resource_sid is not None:
            break  # a SID comes again within minutes, if at all
        before = since
    return FoundInteractions(tuple(found))


def numbers_had(search: Search, sought: Mapping[str, Collection[Address]]) -> Mapping[str, frozenset[Address]]:
    """Tell which of these numbers, by service SID, a session on record has had; without what there was no time for."""
    had: dict[str, frozenset[Address]] = {}
    try:
        for service_sid, addresses in sought.items():
            missing = set(addresses)
            for (proxy,) in search.timed(_NUMBERS_HAD, (lookup_key(SidKind.SERVICE, service_sid),)):
                missing.discard(proxy_at(proxy))
                if not missing:
                    break
            had[service_sid] = frozenset(addresses) - missing
    except OutOfTime:
        pass
    return had


def outbox_kinds(search: Search, wanted: OutboxFilter, *, most: int) -> OutboxKinds:
    """Count by kind the oldest entries of the outbox that are meant, at most so many."""
    scope = entries_scope(wanted, search.dialect.spelling)
    oldest = f"SELECT * FROM effects WHERE {scope.text} ORDER BY sid LIMIT ?"  # noqa: S608 - conditions with marks
    text = (
        "SELECT account_sid, destination, date_died IS NOT NULL, last_error,"  # noqa: S608 - conditions with marks
        f" count(*), min(date_created), max(date_created) FROM ({oldest}) AS oldest"
        " GROUP BY account_sid, destination, date_died IS NOT NULL, last_error"
        " ORDER BY count(*) DESC, destination, account_sid IS NOT NULL, account_sid, date_died IS NOT NULL, last_error"
    )
    try:
        rows = [*search.timed(text, (*scope.cells, most))]
    except OutOfTime:
        return OutboxKinds((), is_cut=True)
    kinds = tuple(
        OutboxKind(account_at(owner), destination, bool(is_dead), _text(error), *counts)
        for owner, destination, is_dead, error, *counts in rows
    )
    return OutboxKinds(kinds, sum(one.count for one in kinds) >= most)


def _text(cell: str | bytes) -> str:
    """Return a text; PostgreSQL keeps those that may hold anything as bytes."""
    return cell if isinstance(cell, str) else cell.decode()


def _newest(search: Search) -> int:
    """Return the second after the latest interaction."""
    row = next(iter(search.fetch("SELECT sid FROM interactions ORDER BY sid DESC LIMIT 1", ())), None)
    return 0 if row is None else int.from_bytes(row[0][:6]) // 1000 + 1


def _walk(search: Search, condition: _Condition, seconds: range, found: list[Interaction], *, most: int) -> bool:
    """Add what fits of a while, newest first, up to n; tell whether there was time for all of it."""
    low, high = (pack(first_sid_at(SidKind.INTERACTION, at=at)) for at in (seconds.start, seconds.stop))
    text = (
        f"{INTERACTIONS} WHERE interactions.sid >= ? AND interactions.sid < ? AND {HAS_OWNER} AND {condition.text}"
        " ORDER BY interactions.sid DESC LIMIT ?"
    )
    try:
        for row in search.timed(text, (low, high, *condition.cells, most - len(found))):
            found.append(search.dialect.interaction_of(row))  # noqa: PERF401 - what came before an interruption stays
    except OutOfTime:
        return False
    return True


def _of_interactions(dialect: Dialect, account_sid: str | None, sought: InteractionSought) -> _Condition:
    conditions: list[str] = []
    cells: list[Cell] = []
    if sought.resource_sid is not None:
        conditions.append("(inbound_resource_sid = ? OR outbound_resource_sid = ?)")
        cells += [dialect.spelling.tagged(sought.resource_sid)] * 2
    if sought.proxy is not None:
        conditions.append("proxy = ?")
        cells.append(dialect.address_cell(sought.proxy))
    if account_sid is not None:
        conditions.append("coalesce(interactions.account_sid, sessions.account_sid) = ?")
        cells.append(lookup_key(SidKind.ACCOUNT, account_sid))
    return _Condition(" AND ".join(conditions) or "TRUE", tuple(cells))


def _gather_newest(search: Search, service_sids: Sequence[str], ending: str, keys: set[bytes]) -> float | None:
    """Add those of the newest sessions whose participants fit; tell since when all were looked at, None = no time."""
    services = {lookup_key(SidKind.SERVICE, sid) for sid in service_sids}
    text = f"SELECT service_sid, session_sid FROM participants WHERE session_sid >= ? AND {search.dialect.ends}"  # noqa: S608
    try:
        first = next((bytes(key) for (key,) in search.timed(_NTH_NEWEST, (NEWEST_PARTICIPANTS,))), b"")
        found = search.timed(text, (first, *search.dialect.ending_cells(ending)))
        keys.update(key for service, key in found if service in services)
    except OutOfTime:
        return None
    return int.from_bytes(first[:6]) / 1000


def _gather(search: Search, service_sids: Sequence[str], conditions: Sequence[_Condition], keys: set[bytes]) -> bool:
    """Add the keys of sessions that fit; tell whether there was time for all."""
    try:
        for service_sid in service_sids:
            service = lookup_key(SidKind.SERVICE, service_sid)
            for one in conditions:
                keys.update(key for (key,) in search.timed(one.text, (service, *one.cells)))
    except OutOfTime:
        return False
    return True


def _conditions(dialect: Dialect, sought: SessionSought) -> Iterator[_Condition]:
    yield _Condition(_BY_NAME, (sought.name,))
    if sought.whole is not None:
        for address in (sought.whole, f"whatsapp:{sought.whole}"):
            yield _Condition(f"{_BY_PERSON} identifier = ?", (dialect.address_cell(address),))
    if sought.beginning is not None:
        for channel in ("+", "whatsapp:+"):
            low, high = (dialect.address_cell(f"{channel}{sought.beginning}{digit * ENDING_DIGITS}") for digit in "09")
            yield _Condition(f"{_BY_PERSON} {_BEGINS}", (low, high, low))
    if sought.ending is not None:
        yield _Condition(f"{_BY_PERSON} {dialect.ends}", dialect.ending_cells(sought.ending))


def _read(search: Search, key: bytes) -> Iterator[FoundSession]:
    for row in search.fetch(f"{SESSIONS} WHERE sid = ?", (key,)):
        text = f"{PARTICIPANTS} WHERE participants.session_sid = ? ORDER BY participants.sid"
        yield FoundSession(session_of(row), tuple(map(participant_of, search.fetch(text, (key,)))))
