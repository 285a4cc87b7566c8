"""How long a restart with a million active sessions takes, until calls are answered, beside reading the same rows."""

import multiprocessing
import os
import sqlite3
import tempfile
import time
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import msgspec
import uvloop

from actors.host.host import Host
from benchmarks.engines import host_on
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.rows import made, pair_at
from engine.core.model.records import Kind
from engine.core.routing.traffic import InboundEvent, Outcome
from storage.sqlite.datadir import DATABASE

SESSIONS = 1_000_000
ROUNDS = 3
"""Enough for what takes so long; they alternate."""


class Took(msgspec.Struct, frozen=True):
    """How long something took."""

    seconds: float
    cpu: float
    """Seconds of the processor, those of other processes too that were part of it."""


def _cpu_seconds() -> float:
    """Return what this process and those that it has awaited have used."""
    return sum(os.times()[:4])


async def restarted_on(running: AbstractAsyncContextManager[Host], sessions: int) -> Took:
    """Start a host that holds so many sessions, until it routes."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    async with running as host:
        event = InboundEvent(Kind.VOICE, *pair_at(2 * sessions - 1), "CA" + "0" * 32)
        decision = host.traffic.resolve(event)
        took = Took(time.perf_counter() - start, _cpu_seconds() - cpu)
        assert decision is not None
        assert (decision.outcome, decision.to) == (Outcome.ROUTED, pair_at(2 * sessions - 2)[0])
        assert host.active_sessions == sessions
        return took


def restarted(data_dir: Path, sessions: int) -> Took:
    """Start a host on a data directory."""
    return uvloop.run(restarted_on(host_on(data_dir), sessions))


def _peer(data_dir: Path, sessions: int) -> Took:
    """Fetch every session and participant."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    with closing(sqlite3.connect(data_dir / DATABASE)) as database:
        rows = sum(1 for _ in database.execute("SELECT * FROM sessions"))
        endpoints = sum(1 for _ in database.execute("SELECT * FROM participants"))
    assert (rows, endpoints) == (sessions, 2 * sessions)
    return Took(time.perf_counter() - start, _cpu_seconds() - cpu)


def measure(scale: Scale) -> Section:
    """Measure, each part in a fresh process."""
    sessions = scale.of(SESSIONS)
    ours, peers = [], []
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory, fresh.Pool(1, maxtasksperchild=1) as processes:
        data_dir = Path(directory, "data")
        processes.apply(made, (data_dir,), {"sessions": sessions})
        for _ in range(min(ROUNDS, scale.rounds)):
            ours.append(processes.apply(restarted, (data_dir, sessions)))
            peers.append(processes.apply(_peer, (data_dir, sessions)))
        size = (data_dir / DATABASE).stat().st_size
    both = list(zip(ours, peers, strict=True))
    cpu, peer_cpu = (median([took.cpu for took in some]) for some in (ours, peers))
    note = f"{cpu:.2f} s of the processor, {median([peer.cpu / own.cpu for own, peer in both]):.2f} x; until one routes"
    figures = (
        Figure(
            what="restart until calls are answered",
            value=median([took.seconds for took in ours]),
            unit="s",
            peer="SELECT of the same rows",
            ratio=median([peer.seconds / own.seconds for own, peer in both]),
            note=note,
        ),
        Figure(
            what="the peer",
            value=median([took.seconds for took in peers]),
            unit="s",
            note=f"sqlite3, {sessions:,} sessions and their participants; {peer_cpu:.2f} s of the processor",
        ),
        Figure(what="file", value=size / sessions, unit="bytes/session", note=f"{size / 1e6:,.0f} MB"),
    )
    return Section(f"restart with {sessions:,} active sessions", figures)
