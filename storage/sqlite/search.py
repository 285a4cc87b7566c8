"""Searching sessions by name or number, in a connection and for a time of its own: other reads do not wait for it."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from heapq import nlargest
from pathlib import Path
from typing import Final

import msgspec

from engine.core.model.sids import SidKind
from engine.core.sessions.search import ENDING_DIGITS, FoundSession, FoundSessions, SessionSought
from storage.sqlite.codec import Cell, address_cell, lookup_key
from storage.sqlite.connections import open_reader
from storage.sqlite.errors import reading
from storage.sqlite.reader import PARTICIPANTS, SESSIONS
from storage.sqlite.rows import participant_of, session_of

SEARCH_SECONDS: Final = 1.0
"""After which a search is given up: the last four digits alone are looked for in every participant of a service."""

_BY_NAME: Final = "SELECT sid FROM sessions WHERE service_sid = ? AND unique_name = ?"
_BY_PERSON: Final = "SELECT session_sid FROM participants WHERE service_sid = ? AND"
_PROGRESS_STEPS: Final = 10_000
"""Of SQLite's virtual machine, between two looks at the clock: well under a millisecond."""


class _Condition(msgspec.Struct, frozen=True):
    """Part of a search, of one service."""

    text: str
    """Its first mark is the service's."""
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
