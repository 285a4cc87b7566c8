"""Databases with millions of active sessions, made row by row as the engine would have left them.

One session is created by the engine; all others are that one with keys, people and proxy numbers of their own. Durable
creates would take minutes for the same file; that they work is measured elsewhere (`creates`, `batch`).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import uvloop

from benchmarks.engines import NUMBERS, filled, host_on, person, proxy_number
from storage.codec import address_cell
from storage.sqlite.datadir import DATABASE

CHUNK = 20_000
"""Sessions that are written with one transaction."""


class Made:
    """Who owns a database that was made."""

    def __init__(self, data_dir: Path, account_sid: str, token: str) -> None:
        """Remember the account."""
        self.data_dir = data_dir
        self.account_sid = account_sid
        self.token = token


def pair_at(index: int) -> tuple[str, str]:
    """Return (person, proxy number) of a binding; partners are 2n and 2n + 1."""
    return person(index), proxy_number(index % NUMBERS)


def made(data_dir: Path, *, sessions: int) -> Made:
    """Make a data directory with so many active sessions of two people each."""
    account_sid, token = uvloop.run(_first(data_dir))
    with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as database:
        database.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-200000;")
        _multiply(database, sessions)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Made(data_dir, account_sid, token)


async def _first(data_dir: Path) -> tuple[str, str]:
    async with host_on(data_dir) as host:
        ready = await filled(host, sessions=1)
        return ready.account.sid, ready.account.auth_token


def _multiply(database: sqlite3.Connection, sessions: int) -> None:
    database.row_factory = sqlite3.Row
    session = dict(database.execute("SELECT * FROM sessions").fetchone())
    endpoint = dict(database.execute("SELECT * FROM participants").fetchone())
    sids = {row["address"]: row["sid"] for row in database.execute("SELECT address, sid FROM numbers")}
    database.execute("DELETE FROM sessions")
    database.execute("DELETE FROM participants")
    for first in range(0, sessions, CHUNK):
        places = range(first, min(first + CHUNK, sessions))
        database.execute("BEGIN")
        _insert(database, "sessions", ({**session, "sid": session_key(place)} for place in places))
        _insert(database, "participants", (row for place in places for row in _endpoints(endpoint, sids, place)))
        database.execute("COMMIT")


def _endpoints(endpoint: dict[str, object], sids: dict[object, bytes], place: int) -> Iterator[dict[str, object]]:
    for index in (2 * place, 2 * place + 1):
        identifier, proxy = map(address_cell, pair_at(index))
        yield {
            **endpoint,
            "session_sid": session_key(place),
            "sid": participant_key(index),
            "identifier": identifier,
            "proxy_identifier": proxy,
            "proxy_identifier_sid": sids[proxy],
        }


def session_key(place: int) -> bytes:
    """Return the key of a session."""
    return _key(b"S", place)


def participant_key(index: int) -> bytes:
    """Return the key of a participant: those of session n are 2n and 2n + 1."""
    return _key(b"P", index)


def _key(letter: bytes, number: int) -> bytes:
    return letter * 8 + number.to_bytes(8)


def _insert(database: sqlite3.Connection, table: str, rows: Iterator[dict[str, object]]) -> None:
    first = next(rows)
    columns, marks = ", ".join(first), ", ".join("?" * len(first))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names of our own schema
    database.execute(statement, tuple(first.values()))
    database.executemany(statement, (tuple(row.values()) for row in rows))
