"""The soak: a cluster on Ray under traffic, its hosts killed one after the other, held against what it acknowledged.

`make bench ARGS="soak --minutes 10"`. It finds out how much the cluster takes in a short run, then writes at half of
that over the feed while sessions open and close over batch REST. Exit code 1 when anything is missing, there twice, or
with somebody else's partner, or when memory grows. `--kill-seconds 0` kills nobody: memory then tells of longer lives.
"""

import asyncio
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from benchmarks.engines import proxy_number
from benchmarks.report import Figure, Section, surroundings
from benchmarks.show import show_table
from benchmarks.soak_cluster import Cluster, Soaked, furnished
from benchmarks.soak_traffic import Traffic, quantiles

HOSTS = 2
NUMBERS = 200
RIDES = 2_000
"""Sessions that are open at any time."""
TURNOVER = 20
"""Sessions that open, and as many that close, with each batch."""
TURNOVER_SECONDS = 1.0
WARM_SECONDS = 5.0
SATURATION_SECONDS = 15.0
KILL_SECONDS = 30.0
REDELIVERY_SECONDS = 60
"""How long an answer is kept in memory, and read back by a host that starts; up to twice as long."""
WEIGH_SECONDS = 1.0
MINUTE = 60.0
FELT_SECONDS = 1.0
"""A number without an answer for longer has felt a kill."""
SHARE = 0.5
"""Of what saturates it."""
GROWTH = 1.1
"""A process that weighs more than so many times what it did when its memory had filled grows."""
KINDS = (
    *("missing", "twice", "misrouted", "refused", "not decided", "answered twice", "not acknowledged"),
    *("routed after close", "not opened", "not closed"),
)
"""What must not be."""


class Counts(msgspec.Struct, frozen=True):
    """How much there was of each, since the beginning."""

    acknowledged: int
    opened: int
    closed: int
    kills: int


class Minute(msgspec.Struct):
    """What a minute showed."""

    counts: Counts
    latencies: tuple[float, float, float]
    """p50, p99 and longest, in seconds."""
    seconds: float
    """How long it lasted: the last one may be shorter."""
    peaks: dict[str, int]
    """The most resident bytes of each process."""


class Soak:
    """One run."""

    def __init__(self, cluster: Soaked, traffic: Traffic, *, kill_seconds: float) -> None:
        """Soak a cluster that has rides already."""
        self._kill_seconds = kill_seconds
        self._began = 0.0
        self._cluster = cluster
        self._traffic = traffic
        self._kills = 0
        self._over = asyncio.Event()
        self._peaks: dict[str, int] = {}
        self._told = self._counts
        self.saturation = 0.0
        """Messages a second, at will."""
        self.minutes: list[Minute] = []
        self.losses: list[list[float]] = []
        """After each kill, the longest seconds without an answer of each proxy number."""

    async def run(self, minutes: float) -> None:
        """Find saturation, then write at half of it while rides come and go and hosts are killed."""
        await self._saturate()
        async with asyncio.TaskGroup() as tasks:
            for work in (self._strike, self._turn_over, self._weigh, self._tell):
                tasks.create_task(work())
            await self._traffic.write(seconds=minutes * MINUTE, per_second=self.saturation * SHARE)
            self._over.set()
        await self._traffic.drained()

    async def _saturate(self) -> None:
        traffic, tally = self._traffic, self._traffic.tally
        await traffic.write_at_will(seconds=WARM_SECONDS)
        before, start = tally.acknowledged, time.perf_counter()
        await traffic.write_at_will(seconds=SATURATION_SECONDS)
        self.saturation = (tally.acknowledged - before) / (time.perf_counter() - start)
        await traffic.drained()
        tally.latencies.clear()
        self._told = self._counts
        print(f"saturated at {self.saturation:,.0f} messages/s", file=sys.stderr, flush=True)

    async def _strike(self) -> None:
        gaps = self._traffic.gaps
        for turn in itertools.count() if self._kill_seconds else ():
            is_over = await self._is_over_in(self._kill_seconds)
            found = gaps.take(time.perf_counter())
            if turn:
                self.losses.append(found)
            if is_over:
                return
            await self._cluster.strike(turn)
            self._kills += 1

    async def _turn_over(self) -> None:
        while not await self._is_over_in(TURNOVER_SECONDS):
            await asyncio.gather(self._traffic.open_rides(TURNOVER), self._traffic.close_rides(TURNOVER))

    async def _weigh(self) -> None:
        while not await self._is_over_in(WEIGH_SECONDS):
            for name, weight in self._cluster.weigh().items():
                self._peaks[name] = max(weight, self._peaks.get(name, 0))

    async def _tell(self) -> None:
        self._began = start = time.perf_counter()
        for number in itertools.count(1):
            is_over = await self._is_over_in(start + number * MINUTE - time.perf_counter())
            self._end_minute()
            if is_over:
                return

    async def _is_over_in(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._over.wait()
        except TimeoutError:
            return False

    @property
    def _counts(self) -> Counts:
        tally = self._traffic.tally
        return Counts(tally.acknowledged, tally.opened, tally.closed, self._kills)

    def _end_minute(self) -> None:
        now, before, tally = self._counts, self._told, self._traffic.tally
        if not self._peaks:
            return  # the last minute ended with the run
        minute = Minute(
            counts=Counts(*(one - other for one, other in zip(_values(now), _values(before), strict=True))),
            latencies=quantiles(tally.latencies),
            seconds=time.perf_counter() - self._began,
            peaks=self._peaks,
        )
        self._began, self._told, self._peaks = time.perf_counter(), now, {}
        tally.latencies.clear()
        self.minutes.append(minute)
        print(f"minute {len(self.minutes)}: {_described(minute)}", file=sys.stderr, flush=True)


def _values(counts: Counts) -> tuple[int, ...]:
    return msgspec.structs.astuple(counts)


def _described(minute: Minute) -> str:
    counts = minute.counts
    p50, p99, longest = (one * 1_000 for one in minute.latencies)
    weights = ", ".join(f"{name} {weight / 1e6:.0f}" for name, weight in minute.peaks.items())
    return (
        f"p50 {p50:.0f}, p99 {p99:.0f}, longest {longest:,.0f} ms; {counts.opened} opened, {counts.closed} closed, "
        f"{counts.kills} kills; MB at most: {weights}"
    )


def _growing(minutes: list[Minute], filled: int) -> dict[str, float]:
    """Return what weighs more in the last minute than in that when all answers to be kept were there first."""
    if len(minutes) <= filled:  # too short to tell
        return {}
    first, last = minutes[filled - 1].peaks, minutes[-1].peaks
    ratios = {name: last[name] / max(first[name], 1) for name in first}
    return {name: ratio for name, ratio in ratios.items() if ratio > GROWTH}


def _filled(redelivery_seconds: int) -> int:
    """Return the number of the minute in which memory has filled: answers are kept for up to two windows."""
    return max(2, math.ceil(2 * redelivery_seconds / MINUTE))


def _figures(soak: Soak, traffic: Traffic, read: int, growing: dict[str, float]) -> Iterator[Figure]:
    tally, unit = traffic.tally, "messages/s"
    yield Figure(what="saturation", value=soak.saturation, unit=unit, note=f"{SATURATION_SECONDS:g} s at will")
    for number, minute in enumerate(soak.minutes, 1):
        rate = minute.counts.acknowledged / minute.seconds
        yield Figure(what=f"minute {number}", value=rate, unit=unit, note=_described(minute))
    for number, gaps in enumerate(soak.losses, 1):
        felt = sorted(gap for gap in gaps if gap > FELT_SECONDS) or [0.0]
        note = f"median of {len(felt)} of {len(gaps)} numbers without an answer for over {FELT_SECONDS:g} s"
        yield Figure(what=f"gap {number}", value=felt[len(felt) // 2], unit="s", note=f"{note}; worst {felt[-1]:.1f} s")
    yield Figure(what="acknowledged", value=tally.acknowledged, unit="messages", note=f"{tally.repeated} sent again")
    yield Figure(what="not answered in time", value=tally.unanswered, unit="messages")
    yield Figure(what="read back over REST", value=read, unit="interactions", note=f"of {len(traffic.rides)} sessions")
    for kind in KINDS:
        yield Figure(
            what=kind,
            value=tally.wrong[kind],
            unit="sessions" if kind.startswith("not ") and kind != "not decided" else "messages",
        )
    told = ", ".join(f"{name} {ratio:.2f} x" for name, ratio in growing.items())
    yield Figure(what="grows", value=len(growing), unit="processes", note=told)


async def _soak(cluster: Soaked, what: str, *, minutes: float, kill_seconds: float, redelivery_seconds: int) -> bool:
    """Run, print, and tell whether all was as it must be."""
    try:
        traffic = Traffic(cluster, await furnished(cluster, tuple(map(proxy_number, range(NUMBERS)))), seed=7)
        async with traffic:
            await traffic.open_rides(RIDES)
            soak = Soak(cluster, traffic, kill_seconds=kill_seconds)
            await soak.run(minutes)
            read = await traffic.audit()
    finally:
        code = await cluster.stop()
    growing = _growing(soak.minutes, _filled(redelivery_seconds))
    title = (
        f"soak: {what} lost every {kill_seconds:g} s, feed at {SHARE:g} of saturation, "
        f"answers kept for {redelivery_seconds} s"
    )
    show_table(Section(title, tuple(_figures(soak, traffic, read, growing))), surroundings())
    print(*traffic.tally.examples, sep="\n", file=sys.stderr)
    return code == 0 and not traffic.tally.wrong and not growing


def run(*, minutes: float, kill_seconds: float, redelivery_seconds: int, on_nodes: bool = False) -> None:
    """Soak for so long, on nodes with a database if asked; exits with 1 when something is found."""

    async def soak() -> bool:
        if on_nodes:
            # Imported here: machines, which take root, and a database are there in a checkout alone.
            from benchmarks.soak_nodes import NodeCluster  # noqa: PLC0415

            with NodeCluster.running(place, hosts=HOSTS, redelivery_seconds=redelivery_seconds) as nodes:
                return await soaked(nodes, f"2 nodes, {HOSTS} hosts on PostgreSQL, a node")
        cluster = await Cluster.started(place / "data", hosts=HOSTS, redelivery_seconds=redelivery_seconds)
        return await soaked(cluster, f"{HOSTS} hosts on Ray, a host")

    soaked = partial(_soak, minutes=minutes, kill_seconds=kill_seconds, redelivery_seconds=redelivery_seconds)
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        place = Path(directory)
        is_right = uvloop.run(soak())
    if not is_right:
        sys.exit("the soak has found something; see above")
