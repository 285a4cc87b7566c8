"""PostgreSQL with a synchronous standby beside SQLite's file, both as a host writes and reads them.

One host's writer in each: fenced groups that primary and standby have flushed, and groups of `synchronous=FULL`. They
take turns in random order, one group each, so that whatever else the machine does meets both. Hosts start on either.
"""

import asyncio
import multiprocessing
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import psycopg
import uvloop

from actors.host.host import Host
from benchmarks.engines import host_over
from benchmarks.report import Figure, Scale, Section, median, percentile
from benchmarks.restart import ROUNDS, SESSIONS, Took, restarted, restarted_on
from benchmarks.rows import made, pair_at, participant_key, session_key
from engine.core.model.changes import Change, InteractionRecorded, SessionTouched
from engine.core.model.errors import Fenced, StoreUnavailable
from engine.core.model.records import Interaction, Kind, Leg, LegStatus, Service
from engine.core.model.sids import SidKind, unpack
from engine.runtime import OrderedIdFactory, clock
from engine.telemetry.observer import Telemetry
from storage.postgres.schema import migrate
from storage.postgres.store import PostgresStore
from storage.sqlite.store import SqliteStore
from storage.store import GroupStore
from storage.transfer import import_file

GROUPS: Final = (1, 16, 64, 256)
"""Routes that are committed together."""

TURNS: Final = 200
"""Groups of each size and store in a round."""

LEAST_TURNS: Final = 20

LEASE_SECONDS: Final = 4.0

SETTINGS: Final = {
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}
"""As docs/postgres.md asks, and checkpoints that no round meets; SQLite's are moved beside its commits, too."""

GATED: Final = 64
"""The size of the groups that gates are about."""

P50_GATE, CPU_GATE, START_GATE = 1.5, 0.5, 1.6
"""At most so many times what SQLite takes: a group, its client's processor, and a start."""


class Timed(msgspec.Struct):
    """Groups of one size in one store."""

    seconds: list[float]
    cpu: float = 0.0
    """Of this process, both threads."""

    def at(self, share: float) -> float:
        """Return what this share of the groups did not exceed, in milliseconds."""
        return percentile(sorted(self.seconds), share) * 1e3

    def cpu_each(self, size: int) -> float:
        """Return microseconds of the processor for each route."""
        return self.cpu / (size * len(self.seconds)) * 1e6


class Round(msgspec.Struct, frozen=True):
    """Groups of one size, in turns."""

    sqlite: Timed
    postgres: Timed


class Both(msgspec.Struct, frozen=True):
    """Where the same sessions are kept twice."""

    data_dir: Path
    database_url: str
    sessions: int


class Routes:
    """Makes what hosts commit for calls in random sessions."""

    def __init__(self, service: Service, *, sessions: int, seed: int) -> None:
        """Make them for sessions of a service."""
        self._service = service
        self._sessions = sessions
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._id_factory = OrderedIdFactory()

    def group(self, size: int) -> list[Sequence[Change]]:
        """Return the changesets of so many calls."""
        return [self._route(self._random.randrange(self._sessions)) for _ in range(size)]

    def _route(self, place: int) -> Sequence[Change]:
        now, session_sid = clock(), unpack(SidKind.SESSION, session_key(place))
        caller, partner = (unpack(SidKind.PARTICIPANT, participant_key(index)) for index in (2 * place, 2 * place + 1))
        recorded = Interaction(
            sid=self._id_factory(SidKind.INTERACTION),
            session_sid=session_sid,
            service_sid=self._service.sid,
            account_sid=self._service.account_sid,
            kind=Kind.VOICE,
            proxy=pair_at(2 * place)[1],
            inbound=Leg(participant_sid=caller, resource_sid=self._id_factory(SidKind.CALL), status=LegStatus.RINGING),
            outbound=Leg(participant_sid=partner, status=LegStatus.INITIATED),
            date_created=now,
            date_updated=now,
        )
        return (InteractionRecorded(recorded), SessionTouched(session_sid, now))


async def _committed(store: GroupStore, changesets: Sequence[Sequence[Change]], timed: Timed) -> None:
    """Hand changesets in within one turn of the loop, as one group, and wait for all."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(changesets)

    def settle(problem: StoreUnavailable | None) -> None:
        nonlocal left
        assert problem is None, problem
        left -= 1
        if not left:
            done.set_result(None)

    start, cpu = time.perf_counter(), time.process_time()
    for changes in changesets:
        store.commit(changes, settle)
    await done
    timed.seconds.append(time.perf_counter() - start)
    timed.cpu += time.process_time() - cpu


async def _in_turns(both: Both, turns: int, seed: int) -> dict[int, Round]:
    sqlite = SqliteStore.open(both.data_dir, synchronous="FULL", observer=Telemetry())
    postgres = _postgres(both.database_url)
    await sqlite.start()
    await postgres.start()
    routes = Routes((await sqlite.held_registry()).registry.services[0], sessions=both.sessions, seed=seed)
    order = random.Random(seed)  # noqa: S311 - no secret
    rounds: dict[int, Round] = {}
    try:
        for size in GROUPS:
            rounds[size] = Round(Timed([]), Timed([]))
            pair = [(sqlite, rounds[size].sqlite), (postgres, rounds[size].postgres)]
            for store, _ in pair:
                await _committed(store, routes.group(size), Timed([]))  # statements are prepared, pages are read
            for _ in range(turns):
                for store, timed in order.sample(pair, 2):
                    await _committed(store, routes.group(size), timed)
    finally:
        await sqlite.close()
        await postgres.close()
    return rounds


def _groups(both: Both, turns: int, seed: int) -> dict[int, Round]:
    return uvloop.run(_in_turns(both, turns, seed))


def _postgres(database_url: str) -> PostgresStore:
    return PostgresStore.open(database_url, observer=Telemetry(), fenced=_fail, lease_seconds=LEASE_SECONDS, replicas=1)


def _fail(fenced: Fenced) -> None:
    raise fenced


@asynccontextmanager
async def _host_on(database_url: str) -> AsyncIterator[Host]:
    async with host_over(_postgres(database_url)) as host:
        yield host


def _start_on_file(data_dir: Path, sessions: int) -> Took:
    return restarted(data_dir, sessions)


def _start_on_database(database_url: str, sessions: int) -> Took:
    return uvloop.run(restarted_on(_host_on(database_url), sessions))


@contextmanager
def _filled_database(data_dir: Path) -> Iterator[str]:
    """Run a primary and its standby with what a file holds; raises NoPostgres."""
    # Imported here: whoever runs other benchmarks needs no tests.
    from tests.storage.replicated import replicated  # noqa: PLC0415

    with replicated(SETTINGS) as pair, pair.primary.plain_database("bench") as database_url:
        with psycopg.connect(database_url) as connection:
            migrate(connection)
        import_file(data_dir, database_url, _unheard, lease_seconds=0.5)
        yield database_url


def _unheard(what: str, done: int, of: int) -> None:
    """Show nothing."""
    del what, done, of


def _verdict(value: float, gate: float) -> str:
    return f"{value:.2f} x SQLite's, at most {gate}: {'ok' if value <= gate else 'MISSED'}"


def _of_groups(size: int, rounds: Sequence[Round]) -> Iterator[Figure]:
    times = median([one.postgres.at(0.5) / one.sqlite.at(0.5) for one in rounds])
    cpu = median([one.postgres.cpu_each(size) / one.sqlite.cpu_each(size) for one in rounds])
    gated = f"; p50 {_verdict(times, P50_GATE)}; processor {_verdict(cpu, CPU_GATE)}" if size == GATED else ""
    for name, some in (("PostgreSQL", [one.postgres for one in rounds]), ("SQLite", [one.sqlite for one in rounds])):
        p50, p99, spent = (median(list(map(read, some))) for read in (_p50, _p99, lambda one: one.cpu_each(size)))
        is_ours = name == "PostgreSQL"
        yield Figure(
            what=f"group of {size}, {name}",
            value=p50,
            unit="ms",
            peer="SQLite, FULL" if is_ours else "",
            ratio=1 / times if is_ours else None,
            note=f"p99 {p99:.2f} ms, processor {spent:.1f} us a route" + (gated if is_ours else ""),
        )


def _p50(timed: Timed) -> float:
    return timed.at(0.5)


def _p99(timed: Timed) -> float:
    return timed.at(0.99)


def _of_starts(ours: Sequence[Took], peers: Sequence[Took]) -> Iterator[Figure]:
    times = median([one.seconds / peer.seconds for one, peer in zip(ours, peers, strict=True)])
    for name, took in (("PostgreSQL", ours), ("SQLite", peers)):
        cpu = median([one.cpu for one in took])
        is_ours = name == "PostgreSQL"
        yield Figure(
            what=f"start until calls are answered, {name}",
            value=median([one.seconds for one in took]),
            unit="s",
            peer="SQLite" if is_ours else "",
            ratio=1 / times if is_ours else None,
            note=f"processor {cpu:.2f} s" + (f"; {_verdict(times, START_GATE)}" if is_ours else ""),
        )


def measure(scale: Scale) -> Section:
    """Measure; each round and each start in a fresh process."""
    from tests.postgres import NoPostgres  # noqa: PLC0415 - as above

    sessions, turns = scale.of(SESSIONS), max(scale.of(TURNS), LEAST_TURNS)
    title = f"one host's records in PostgreSQL, one synchronous standby, beside SQLite; {sessions:,} sessions"
    fresh = multiprocessing.get_context("spawn")
    rounds: list[dict[int, Round]] = []
    ours: list[Took] = []
    peers: list[Took] = []
    try:
        with tempfile.TemporaryDirectory() as directory, fresh.Pool(1, maxtasksperchild=1) as processes:
            data_dir = Path(directory, "data")
            processes.apply(made, (data_dir,), {"sessions": sessions})
            with _filled_database(data_dir) as database_url:
                for _ in range(min(ROUNDS, scale.rounds)):
                    ours.append(processes.apply(_start_on_database, (database_url, sessions)))
                    peers.append(processes.apply(_start_on_file, (data_dir, sessions)))
                both = Both(data_dir, database_url, sessions)
                rounds += [processes.apply(_groups, (both, turns, seed)) for seed in range(scale.rounds)]
    except NoPostgres as reason:
        return Section(f"{title}: left out, {reason}", ())
    figures = [figure for size in GROUPS for figure in _of_groups(size, [one[size] for one in rounds])]
    return Section(title, (*figures, *_of_starts(ours, peers)))
