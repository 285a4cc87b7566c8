"""A webhook's whole job, HTTP to TwiML with a durable record, beside two ordinary applications with a database.

Engine, applications and databases share one core, one of them loaded at a time; this process has the others.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import msgspec

from benchmarks.applications import PORT, first_pairs, serve_fastapi_postgres, serve_flask_sqlite
from benchmarks.cores import core_apart, on_core
from benchmarks.load import Load, drive
from benchmarks.peers import Ready, Serving, cpu_of, serving
from benchmarks.postgres import family, postgres
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.webhook import serve_signed, webhooks

REQUESTS = {"engine": 10_000, "FastAPI + PostgreSQL": 3_000, "Flask + SQLite": 2_000}
"""Of a round."""
PAIRS = 200
CONNECTIONS = 32
ENGINE, FASTAPI, FLASK = REQUESTS


class Candidate(msgspec.Struct, frozen=True):
    """A server with what it needs."""

    address: tuple[str, int]
    owner: Ready
    """Whose token signs."""
    callers: tuple[tuple[str, str], ...]
    cpu_seconds: Callable[[], float]


class Sample(msgspec.Struct, frozen=True):
    """One run."""

    load: Load
    cpu: float
    """Seconds of the processor per request."""


def _all_of(server: Serving) -> float:
    return sum(cpu_of(pid) for child in family(server.pid) for pid in family(child) if pid != server.pid) + (
        cpu_of(server.pid)
    )


def _candidates(stack: ExitStack, core: int) -> dict[str, Candidate]:
    routes = first_pairs(PAIRS, 100)
    callers = tuple(routes)
    with on_core(core):
        engine = stack.enter_context(serving(serve_signed, {}))
        flask = stack.enter_context(serving(serve_flask_sqlite, routes))
        database = stack.enter_context(postgres())
        candidates = {
            ENGINE: Candidate(engine.address, engine.ready, engine.ready.in_session, engine.cpu_seconds),
            FLASK: Candidate(flask.address, flask.ready, callers, lambda: _all_of(flask)),
        }
        if database is not None:
            fastapi = stack.enter_context(serving(serve_fastapi_postgres, {**routes, PORT: str(database.port)}))
            candidates[FASTAPI] = Candidate(
                fastapi.address, fastapi.ready, callers, lambda: fastapi.cpu_seconds() + database.cpu_seconds()
            )
    return candidates


def _sample(one: Candidate, *, first: int, requests: int) -> Sample:
    posted = webhooks(one.owner, one.callers, first=first, count=requests)
    before = one.cpu_seconds()
    load = drive(one.address, posted, connections=CONNECTIONS)
    return Sample(load, (one.cpu_seconds() - before) / load.requests)


def _figures(samples: dict[str, list[Sample]]) -> Iterator[Figure]:
    own = samples[ENGINE]
    for name, some in samples.items():
        p50, p99 = (median([one.load.percentile(share) for one in some]) * 1e3 for share in (0.5, 0.99))
        note = f"p50 {p50:.1f}, p99 {p99:.1f} ms; {1 / median([one.cpu for one in some]):,.0f} requests/s of a core"
        yield Figure(
            what=f"call routed and recorded: {name}",
            value=median([one.load.per_second for one in some]),
            unit="requests/s",
            note=note,
        )
        if name != ENGINE:
            both = list(zip(own, some, strict=True))
            yield Figure(
                what=f"engine beside {name}",
                value=median([mine.load.per_second for mine, _ in both]),
                unit="requests/s",
                peer=name,
                ratio=median([mine.load.per_second / other.load.per_second for mine, other in both]),
                note=f"{median([other.cpu / mine.cpu for mine, other in both]):.1f} x by processor time",
            )


def measure(scale: Scale) -> Section:
    """Measure."""
    firsts = count(0, 1_000_000)
    samples: dict[str, list[Sample]] = {}
    with core_apart() as core, ExitStack() as stack:
        candidates = _candidates(stack, core)
        for turn in range(scale.rounds):
            for name in sorted(candidates, reverse=bool(turn % 2)):
                requests = max(scale.of(REQUESTS[name]), 2 * CONNECTIONS)
                samples.setdefault(name, []).append(_sample(candidates[name], first=next(firsts), requests=requests))
    ordered = {name: samples[name] for name in REQUESTS if name in samples}
    title = f"webhook with a durable record, signed, {CONNECTIONS} connections, loopback, one core for all of each"
    return Section(title, tuple(_figures(ordered)))
