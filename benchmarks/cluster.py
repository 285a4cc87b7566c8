"""The feed through hosts on Ray: one and two, events to their owners and to the wrong host, beside embedded.

All servers run at the same time, one loaded at a time. Two hosts stand beside two Redis servers, the keys shared
out in the same way. Values are events per second of the hosts' processors, taken together: what a second host adds in
capacity is this twice, on a machine with a core for each and for the load. Ray's own processes are not counted.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count, product
from pathlib import Path

from benchmarks.bursts import Sample, Work, at_rate, connected, saturate
from benchmarks.feed import (
    BINDINGS,
    CALLS,
    HALF_SECONDS,
    QUESTIONS,
    ROUTED,
    Run,
    all_pairs,
    bursts_of,
    calls,
    greeted,
    questions,
    serve_engine,
)
from benchmarks.hosts import Cluster, cluster
from benchmarks.peers import Serving, serving
from benchmarks.redis import REDIS, gets, hit_word, redis
from benchmarks.report import Figure, Scale, Section

DEPTHS = (1, 16, 64, 256)
EMBEDDED, ONE = "embedded", "1 host on Ray"
AWARE, WRONG = "2 hosts, each event to its owner", "2 hosts, every event to the wrong one"
TWO_REDIS = "2 x Redis GET, keys shared out by the client"
RECORDED = "call recorded, "
ORDER = (TWO_REDIS, EMBEDDED, ONE, AWARE, WRONG, RECORDED + ONE, RECORDED + AWARE, RECORDED + WRONG)

Pairs = Sequence[tuple[str, str]]
Make = Callable[[int, int], tuple[list[Work], Callable[[], float]]]
"""Takes depth and events; returns what is asked of each server, and the clock of their processors."""


def _questions(server: Serving, everyone: Pairs) -> Make:
    asked = {depth: bursts_of(everyone, depth, questions) for depth in DEPTHS}
    hello = partial(greeted, account_sid=server.ready.account_sid, token=server.ready.token)

    def make(depth: int, _: int) -> tuple[list[Work], Callable[[], float]]:
        work = Work(address=server.address, bursts=asked[depth], events=depth, word=ROUTED, open=hello)
        return [work], server.cpu_seconds

    return make


def _shared_out(hosts: Cluster, everyone: Pairs) -> list[list[tuple[str, str]]]:
    return [[pair for pair in everyone if hosts.owner(pair[1]) == place] for place in range(len(hosts.pids))]


def _of_hosts(hosts: Cluster, everyone: Pairs, *, off_by: int, sids: Iterator[int] | None = None) -> Make:
    """Ask each host about the numbers of the host so many places further; with `sids`, calls that are recorded."""
    owned = _shared_out(hosts, everyone)
    theirs = [owned[(place + off_by) % len(owned)] for place in range(len(owned))]
    asked = {(depth, place): bursts_of(some, depth, questions) for depth in DEPTHS for place, some in enumerate(theirs)}
    hello = partial(greeted, account_sid=hosts.account_sid, token=hosts.token)

    def make(depth: int, events: int) -> tuple[list[Work], Callable[[], float]]:
        works = [
            Work(
                address=feed,
                bursts=asked[depth, place] if sids is None else calls(theirs[place], depth, 2 * events, sids=sids),
                events=depth,
                word=ROUTED,
                open=hello,
            )
            for place, feed in enumerate(hosts.feeds)
        ]
        return works, hosts.cpu_seconds

    return make


def _of_redis(servers: Sequence[Serving], hosts: Cluster, everyone: Pairs) -> Make:
    owned = _shared_out(hosts, everyone)
    asked = {(depth, place): bursts_of(some, depth, gets) for depth in DEPTHS for place, some in enumerate(owned)}

    def make(depth: int, _: int) -> tuple[list[Work], Callable[[], float]]:
        works = [
            Work(
                address=server.address,
                bursts=asked[depth, place],
                events=depth,
                word=hit_word(everyone),
                open=connected,
            )
            for place, server in enumerate(servers)
        ]
        return works, lambda: sum(server.cpu_seconds() for server in servers)

    return make


def _makers(stack: ExitStack) -> dict[str, Make]:
    everyone = all_pairs()
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    embedded = stack.enter_context(serving(serve_engine, {}))
    one = stack.enter_context(cluster(directory / "one", hosts=1, pairs=everyone))
    two = stack.enter_context(cluster(directory / "two", hosts=2, pairs=everyone))
    peers = [stack.enter_context(redis(everyone)) for _ in range(2)]
    sids = count()
    makers: dict[str, Make] = {
        EMBEDDED: _questions(embedded, everyone),
        ONE: _of_hosts(one, everyone, off_by=0),
        AWARE: _of_hosts(two, everyone, off_by=0),
        WRONG: _of_hosts(two, everyone, off_by=1),
        RECORDED + ONE: _of_hosts(one, everyone, off_by=0, sids=sids),
        RECORDED + AWARE: _of_hosts(two, everyone, off_by=0, sids=sids),
        RECORDED + WRONG: _of_hosts(two, everyone, off_by=1, sids=sids),
    }
    found = [peer for peer in peers if peer is not None]
    if len(found) == len(peers):
        makers[TWO_REDIS] = _of_redis(found, two, everyone)
    return makers


def _full(make: Make, depth: int, events: int) -> Sample:
    works, cpu_seconds = make(depth, events)
    return saturate(works, bursts=events // depth, cpu_seconds=cpu_seconds)


def _half(make: Make, depth: int, rate: float, seconds: float) -> Sample:
    works, cpu_seconds = make(depth, int(rate * seconds) + depth)
    return at_rate(works, per_second=rate, seconds=seconds, cpu_seconds=cpu_seconds)


def _samples(scale: Scale) -> dict[tuple[int, str], Run]:
    runs: dict[tuple[int, str], Run] = {}
    with ExitStack() as stack:
        makers = _makers(stack)
        for turn, depth in product(range(scale.rounds), DEPTHS):
            for what in sorted(makers, reverse=bool(turn % 2)):
                events = scale.of((CALLS if what.startswith(RECORDED) else QUESTIONS)[depth])
                run = runs.setdefault((depth, what), Run())
                run.full.append(_full(makers[what], depth, events))
        seconds = HALF_SECONDS * max(scale.share, 0.1)
        for _, ((depth, what), run) in product(range(scale.rounds), runs.items()):
            run.half.append(_half(makers[what], depth, run.rate() / 2, seconds))
    return runs


def _beside(what: str, runs: dict[tuple[int, str], Run]) -> str:
    """Return what a kind of run is compared with."""
    if what in {EMBEDDED, RECORDED + ONE, TWO_REDIS}:
        return ""
    if what.startswith(RECORDED):
        return RECORDED + ONE
    return EMBEDDED if what == ONE or (DEPTHS[0], TWO_REDIS) not in runs else TWO_REDIS


def measure(scale: Scale) -> Section:
    """Measure."""
    runs = _samples(scale)
    figures: list[Figure] = []
    for depth, what in product(DEPTHS, [what for what in ORDER if (DEPTHS[0], what) in runs]):
        peer = _beside(what, runs)
        beside = runs[depth, peer] if peer else None
        name = what if what == TWO_REDIS or what.startswith(RECORDED) else f"question, {what}"
        figures.append(runs[depth, what].figure(f"{name}, {depth} a frame", f"{peer}, {depth} a frame", beside))
    return Section(f"feed of a cluster, loopback, {BINDINGS:,} bindings; {REDIS} likewise", tuple(figures))
