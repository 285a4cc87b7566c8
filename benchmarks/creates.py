"""Durable session creates, in process, beside raw SQLite writing the very same rows."""

import sqlite3
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import uvloop

from benchmarks.engines import IN_FLIGHT, Filled, create_sessions, filled, host_on
from benchmarks.report import Figure, Scale, Section, median

SESSIONS = 10_000
TABLES = {"sessions": 1, "participants": 2}
"""Rows of each table for a session."""


async def _creates_per_second(ready: Filled, first: int) -> float:
    start = time.perf_counter()
    await create_sessions(ready, first=first, count=SESSIONS)
    return SESSIONS / (time.perf_counter() - start)


async def _ours(data_dir: Path, rounds: int) -> list[float]:
    async with host_on(data_dir) as host:
        ready = await filled(host, sessions=1_000)
        return [await _creates_per_second(ready, 1_000 + SESSIONS * turn) for turn in range(rounds)]


def raw_per_second(written: Path, empty: Path, tables: Mapping[str, int]) -> float:
    """Write the rows of `SESSIONS` sessions again, in transactions of `IN_FLIGHT` sessions, by executemany.

    `tables` says how many rows of each table belong to a session.
    """
    with closing(sqlite3.connect(written)) as source:
        schema = [sql for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        rows = {table: source.execute(f"SELECT * FROM {table}").fetchall() for table in tables}  # noqa: S608
    with closing(sqlite3.connect(empty, isolation_level=None)) as target:
        target.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        for sql in schema:
            if not sql.startswith("CREATE TABLE sqlite_"):
                target.execute(sql)
        start = time.perf_counter()
        for at in range(0, SESSIONS, IN_FLIGHT):
            target.execute("BEGIN")
            for table, each in tables.items():
                _insert(target, table, rows[table][each * at : each * (at + IN_FLIGHT)])
            target.execute("COMMIT")
        return SESSIONS / (time.perf_counter() - start)


def _insert(target: sqlite3.Connection, table: str, rows: list[tuple[object, ...]]) -> None:
    marks = ",".join("?" * len(rows[0]))
    target.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own table names


def measure(scale: Scale) -> Section:
    """Measure."""
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory, "data")
        own = median(uvloop.run(_ours(data_dir, scale.rounds)))
        raw = median(
            [
                raw_per_second(data_dir / "maskline.db", Path(directory, f"raw{turn}.db"), TABLES)
                for turn in range(scale.rounds)
            ]
        )
    note = f"two participants each, {IN_FLIGHT} in flight, FULL, in process, no network"
    return Section(
        "durable session creates",
        (
            Figure(
                what="create session",
                value=own,
                unit="sessions/s",
                peer="SQLite executemany, same rows",
                ratio=own / raw,
                note=note,
            ),
            Figure(what="the peer", value=raw, unit="sessions/s", note=f"transactions of {IN_FLIGHT} sessions, FULL"),
        ),
    )
