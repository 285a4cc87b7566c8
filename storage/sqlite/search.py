"""Searching sessions and interactions, in a connection and for a time of its own: other reads do not wait for it."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from heapq import nlargest
from pathlib import Path
from typing import Final

import msgspec

from engine.core.model.records import Interaction
from engine.core.model.sids import SidKind, first_sid_at, pack
from engine.core.sessions.search import (
    ENDING_DIGITS,
    FoundInteractions,
    FoundSession,
    FoundSessions,
    InteractionSought,
    SessionSought,
)
from storage.codec import Cell, address_cell, lookup_key, tagged
from storage.reader import HAS_OWNER, INTERACTIONS, PARTICIPANTS, SESSIONS
from storage.rows import interaction_of, participant_of, session_of
from storage.sqlite.connections import open_reader
from storage.sqlite.errors import reading

SEARCH_SECONDS: Final = 1.0
"""After which a search is given up: the last four digits alone are looked for in every participant of a service."""

_BY_NAME: Final = "SELECT sid FROM sessions WHERE service_sid = ? AND unique_name = ?"
_BY_PERSON: Final = "SELECT session_sid FROM participants WHERE service_sid = ? AND"
_PROGRESS_STEPS: Final = 10_000
"""Of SQLite's virtual machine, between two looks at the clock: well under a millisecond."""

_REACHES: Final = (3_600, 86_400, 604_800, 1 << 40)
"""How far back interactions are walked at a time, seconds before the latest."""


class _Condition(msgspec.Struct, frozen=True):
    """Part of a search."""

    text: str
    cells: tuple[Cell, ...]


def find_sessions(
    database: Path, service_sids: Sequence[str], sought: SessionSought, *, most: int, seconds: float = SEARCH_SECONDS
) -> FoundSessions:
    """Search the sessions of these services, newest first; what was found in time is returned."""
    conditions = tuple(_conditions(sought))
    with reading(), closing(open_reader(database)) as connection:
        until = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > until, _PROGRESS_STEPS)
        keys: set[bytes] = set()
        is_whole = _gather(connection, service_sids, conditions, keys)
        connection.set_progress_handler(None, 0)
        newest = nlargest(most, keys)
        found = tuple(one for key in newest for one in _read(connection, key))
    return FoundSessions(found, is_cut=not is_whole or len(keys) > most)


def find_interactions(
    database: Path,
    account_sid: str | None,
    sought: InteractionSought,
    *,
    most: int,
    seconds: float = SEARCH_SECONDS,
) -> FoundInteractions:
    """Search the interactions of an account (None = of all), newest first, as far back as there is time for.

    They are walked by time, an hour, a day, a week and all. An index of the carriers' SIDs, which are random, would
    make every commit of the hot path half as dear again and double what it writes, for a question that is rare.
    """
    condition = _of_interactions(account_sid, sought)
    found: list[Interaction] = []
    with reading(), closing(open_reader(database)) as connection:
        until = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > until, _PROGRESS_STEPS)
        before = newest = _newest(connection)
        for reach in _REACHES:
            since = max(0, newest - reach)
            is_whole = _walk(connection, condition, range(since, before), found, most=most + 1)
            if len(found) > most:
                return FoundInteractions(tuple(found[:most]), has_more=True)
            if not is_whole:
                return FoundInteractions(tuple(found), looked_back_to=float(before))
            if found and sought.resource_sid is not None:
                break  # a SID comes again within minutes, if at all
            before = since
    return FoundInteractions(tuple(found))


def _newest(connection: sqlite3.Connection) -> int:
    """Return the second after the latest interaction."""
    ((sid,),) = connection.execute("SELECT max(sid) FROM interactions")
    return 0 if sid is None else int.from_bytes(sid[:6]) // 1000 + 1


def _walk(
    connection: sqlite3.Connection, condition: _Condition, seconds: range, found: list[Interaction], *, most: int
) -> bool:
    """Add what fits of a while, newest first, up to n; tell whether there was time for all of it."""
    low, high = (pack(first_sid_at(SidKind.INTERACTION, at=at)) for at in (seconds.start, seconds.stop))
    text = (
        f"{INTERACTIONS} WHERE interactions.sid >= ? AND interactions.sid < ? AND {HAS_OWNER} AND {condition.text}"
        " ORDER BY interactions.sid DESC LIMIT ?"
    )
    try:
        rows = connection.execute(text, (low, high, *condition.cells, most - len(found)))
        found.extend(map(interaction_of, rows))  # what came before an interruption stays
    except sqlite3.OperationalError as problem:
        if problem.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return False
    return True


def _of_interactions(account_sid: str | None, sought: InteractionSought) -> _Condition:
    conditions: list[str] = []
    cells: list[Cell] = []
    if sought.resource_sid is not None:
        conditions.append("(inbound_resource_sid = ? OR outbound_resource_sid = ?)")
        cells += [tagged(sought.resource_sid)] * 2
    if sought.proxy is not None:
        conditions.append("proxy = ?")
        cells.append(address_cell(sought.proxy))
    if account_sid is not None:
        conditions.append("coalesce(interactions.account_sid, sessions.account_sid) = ?")
        cells.append(lookup_key(SidKind.ACCOUNT, account_sid))
    return _Condition(" AND ".join(conditions) or "TRUE", tuple(cells))


def _gather(
    connection: sqlite3.Connection, service_sids: Sequence[str], conditions: Sequence[_Condition], keys: set[bytes]
) -> bool:
    """Add the keys of sessions that fit; tell whether there was time for all."""
    try:
        for service_sid in service_sids:
            service = lookup_key(SidKind.SERVICE, service_sid)
            for one in conditions:
                keys.update(key for (key,) in connection.execute(one.text, (service, *one.cells)))
    except sqlite3.OperationalError as problem:
        if problem.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return False
    return True


def _conditions(sought: SessionSought) -> Iterator[_Condition]:
    yield _Condition(_BY_NAME, (sought.name,))
    if sought.whole is not None:
        for cell in (address_cell(sought.whole), f"whatsapp:{sought.whole}"):
            yield _Condition(f"{_BY_PERSON} identifier = ?", (cell,))
    if sought.beginning is not None:
        low, high = sought.beginning + "0" * ENDING_DIGITS, sought.beginning + "9" * ENDING_DIGITS
        yield _Condition(f"{_BY_PERSON} identifier BETWEEN ? AND ?", (int(low), int(high)))
        channel = (f"whatsapp:+{low}", f"whatsapp:+{high}")
        yield _Condition(f"{_BY_PERSON} identifier BETWEEN ? AND ? AND length(identifier) = length(?2)", channel)
    if sought.ending is not None:
        yield _Condition(f"{_BY_PERSON} substr(identifier, -{ENDING_DIGITS}) = ?", (sought.ending,))


def _read(connection: sqlite3.Connection, key: bytes) -> Iterator[FoundSession]:
    for row in connection.execute(f"{SESSIONS} WHERE sid = ?", (key,)):
        people = connection.execute(
            f"{PARTICIPANTS} WHERE participants.session_sid = ? ORDER BY participants.sid", (key,)
        )
        yield FoundSession(session_of(row), tuple(map(participant_of, people)))
