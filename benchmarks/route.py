"""A recorded call over the feed, beside SQLite `executemany` of the very rows that it left, in large transactions.

The peer's table grows with ours: the more an index holds, the more of it a transaction changes. What it does into an
empty one stands beside it.
"""

import sqlite3
import tempfile
import time
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from benchmarks.bursts import CONNECTIONS, Sample, Work, saturate
from benchmarks.cores import core_apart, on_core
from benchmarks.engines import engine_on, feed_port_of, filled
from benchmarks.feed import ROUTED, calls, greeted
from benchmarks.peers import Ready, Routes, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.rows import pair_at
from engine.core.model.requests import ParticipantRequest, SessionRequest
from storage.sqlite.datadir import DATABASE

BINDINGS = 2_000
DEPTHS = (16, 64, 256)
EVENTS = 25_600
"""Of a round."""
TRANSACTION = 1_000
"""Rows that the peer commits together."""


class Written(msgspec.Struct, frozen=True):
    """How fast the peer was."""

    per_second: float
    per_core: float
    """Rows per second of the processor."""


async def serve(told: Connection, _: Routes, *, data_dir: Path) -> None:
    """Serve with the engine, commits FULL."""
    async with engine_on(data_dir) as engine:
        ready = await filled(engine.host, sessions=0)
        for index in range(0, BINDINGS, 2):
            endpoints = (pair_at(index), pair_at(index + 1))
            participants = tuple(ParticipantRequest(identifier=who, proxy_identifier=proxy) for who, proxy in endpoints)
            request = SessionRequest(participants=participants)
            await ready.host.control.create_session(ready.account.sid, ready.service.sid, request)
        told.send(Ready(feed_port_of(engine), ready.account.sid, ready.account.auth_token))
        await until_told(told)


def written(source: Path, target: Path, *, rows: int) -> Written:
    """Write the last `rows` interactions again into a table of the peer's with the same indexes, FULL."""
    with closing(sqlite3.connect(source)) as database:
        schema = [
            sql
            for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'interactions'")
            if sql is not None
        ]
        taken = database.execute("SELECT * FROM interactions ORDER BY sid DESC LIMIT ?", (rows,)).fetchall()[::-1]
    assert len(taken) == rows, f"{len(taken)} interactions were recorded, not {rows}"
    with closing(sqlite3.connect(target, isolation_level=None)) as database:
        database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;")
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for sql in schema:
                database.execute(sql)
        statement = f"INSERT INTO interactions VALUES ({', '.join('?' * len(taken[0]))})"  # noqa: S608 - marks only
        start, cpu = time.perf_counter(), time.process_time()
        for at in range(0, rows, TRANSACTION):
            database.execute("BEGIN")
            database.executemany(statement, taken[at : at + TRANSACTION])
            database.execute("COMMIT")
        return Written(rows / (time.perf_counter() - start), rows / (time.process_time() - cpu))


def _figure(depth: int, own: list[Sample], peer: list[Written], empty: list[Written]) -> Figure:
    both = list(zip(own, peer, strict=True))
    per_core = median([sample.per_core for sample in own])
    spared, of_empty = (
        median([sample.per_core / raw.per_core for sample, raw in zip(own, rounds, strict=True)])
        for rounds in (peer, empty)
    )
    p50, p99 = (median([sample.percentile(share) for sample in own]) * 1e3 for share in (0.5, 0.99))
    return Figure(
        what=f"call recorded over the feed, {depth} a frame",
        value=median([sample.per_second for sample in own]),
        unit="events/s",
        peer="SQLite executemany, same rows",
        ratio=median([sample.per_second / raw.per_second for sample, raw in both]),
        note=f"{per_core:,.0f} events/s of a core, {spared:.2f} x, {of_empty:.2f} x into an empty table; "
        f"saturated p50 {p50:.1f} ms, p99 {p99:.1f} ms",
    )


def _peers_figure(what: str, rounds: dict[int, list[Written]]) -> Figure:
    raw = [one for some in rounds.values() for one in some]
    per_core = median([one.per_core for one in raw])
    return Figure(
        what=what,
        value=median([one.per_second for one in raw]),
        unit="rows/s",
        note=f"{TRANSACTION:,} a transaction, FULL; {per_core:,.0f} rows/s of a core",
    )


def measure(scale: Scale) -> Section:
    """Measure."""
    events, sids = max(scale.of(EVENTS), CONNECTIONS * max(DEPTHS)), count()
    own: dict[int, list[Sample]] = {depth: [] for depth in DEPTHS}
    peer: dict[int, list[Written]] = {depth: [] for depth in DEPTHS}
    empty: dict[int, list[Written]] = {depth: [] for depth in DEPTHS}
    pairs = [pair_at(index) for index in range(BINDINGS)]
    with core_apart() as core, ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with on_core(core):
            server = stack.enter_context(serving(partial(serve, data_dir=directory / "data"), {}))
        hello = partial(greeted, account_sid=server.ready.account_sid, token=server.ready.token)
        for _ in range(scale.rounds):
            for depth in DEPTHS:
                frames = calls(pairs, depth, events, sids=sids)
                work = Work(address=server.address, bursts=frames, events=depth, word=ROUTED, open=hello)
                sample = saturate([work], bursts=events // depth, cpu_seconds=server.cpu_seconds)
                own[depth].append(sample)
                fresh = directory / "empty.db"
                with on_core(core):
                    for rounds, target in ((peer, directory / "peer.db"), (empty, fresh)):
                        rounds[depth].append(written(directory / "data" / DATABASE, target, rows=sample.events))
                fresh.unlink()
    figures = [_figure(depth, own[depth], peer[depth], empty[depth]) for depth in DEPTHS]
    figures += [_peers_figure("the peer", peer), _peers_figure("the peer, into an empty table", empty)]
    return Section(f"durable route, {CONNECTIONS} connections, loopback, engine and peer on one core", tuple(figures))
