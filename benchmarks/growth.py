"""From ten thousand to five million bindings: what an event costs, how late answers are, and what memory is taken.

An engine for each size runs in a process of its own; they are loaded in turn, over the feed. The peer is the smallest.
"""

import gc
import multiprocessing
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.bursts import CONNECTIONS, at_rate, saturate
from benchmarks.cores import core_apart, on_core
from benchmarks.engines import NUMBERS, engine_on, feed_port_of, person, proxy_number
from benchmarks.feed import ROUTED, Run, Runner, bursts_of, greeted, questions
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.rows import Made, made, pair_at

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
"""Bindings: two of a session."""
PEER_BINDINGS = 100_000
DEPTH = 64
EVENTS = 2_000_000
HALF_SECONDS = 2.0
ASKED = 1_000_000
"""Bindings that are asked for, drawn from all; each once before anything is measured."""


class Grown(Ready, frozen=True):
    """A server that has loaded; bytes that were resident."""

    before: int = 0
    loaded: int = 0


def resident_bytes(pid: int | str = "self") -> int:
    """Return what a process holds of the machine's memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def serve(told: Connection, _: Routes, *, owner: Made, bindings: int) -> None:
    """Serve what was made."""
    gc.collect()
    before = resident_bytes()
    async with engine_on(owner.data_dir) as engine:
        assert engine.host.bindings == bindings
        told.send(Grown(feed_port_of(engine), owner.account_sid, owner.token, before=before, loaded=resident_bytes()))
        await until_told(told)


def _dict_bytes(bindings: int) -> float:
    """Return the bytes per binding of one plain dict of tuples with the same pairs."""
    gc.collect()
    before = resident_bytes()
    pairs = {}
    for index in range(0, bindings, 2):
        sid = f"KC{index:032x}"
        first, second = (person(index), proxy_number(index % NUMBERS)), (person(index + 1), proxy_number(7))
        pairs[first] = (sid, *second)
        pairs[second] = (sid, *first)
    held = resident_bytes() - before
    assert len(pairs) == bindings
    return held / bindings


def _runner(server: Serving, bindings: int) -> Runner:
    chosen = random.Random(7)  # noqa: S311 - a repeatable load
    asked = [pair_at(chosen.randrange(bindings)) for _ in range(ASKED)]
    hello = partial(greeted, account_sid=server.ready.account_sid, token=server.ready.token)
    return Runner(server, {DEPTH: bursts_of(asked, DEPTH, questions)}, ROUTED, hello)


def _loaded(stack: ExitStack, sizes: tuple[int, ...], core: int, work: Callable[..., Made]) -> dict[int, Runner]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    runners = {}
    for bindings in sizes:
        owner = work(directory / str(bindings), sessions=bindings // 2)
        with on_core(core):
            server = stack.enter_context(serving(partial(serve, owner=owner, bindings=bindings), {}))
        runners[bindings] = _runner(server, bindings)
    return runners


def measure(scale: Scale) -> Section:
    """Measure."""
    sizes = tuple(2 * scale.of(size // 2) for size in SIZES)
    runs = {size: Run() for size in sizes}
    fresh = multiprocessing.get_context("spawn")
    with core_apart() as core, ExitStack() as stack:
        processes = stack.enter_context(fresh.Pool(1, maxtasksperchild=1))
        runners = _loaded(stack, sizes, core, partial(_in_process, processes))
        for runner in runners.values():
            saturate([runner.work(DEPTH)], bursts=ASKED // DEPTH, cpu_seconds=runner.server.cpu_seconds)
        for turn in range(scale.rounds):
            for size in sorted(sizes, reverse=bool(turn % 2)):
                runner = runners[size]
                bursts = scale.of(EVENTS) // DEPTH
                sample = saturate([runner.work(DEPTH)], bursts=bursts, cpu_seconds=runner.server.cpu_seconds)
                runs[size].full.append(sample)
        for _ in range(scale.rounds):
            for size, runner in runners.items():
                rate, seconds = runs[size].rate() / 2, HALF_SECONDS * max(scale.share, 0.1)
                cpu = runner.server.cpu_seconds
                runs[size].half.append(at_rate([runner.work(DEPTH)], per_second=rate, seconds=seconds, cpu_seconds=cpu))
        memory = {size: (runner.server.ready, resident_bytes(runner.server.pid)) for size, runner in runners.items()}
        plain = median([processes.apply(_dict_bytes, (PEER_BINDINGS,)) for _ in range(min(scale.rounds, 3))])
    smallest = sizes[0]
    figures = []
    for size in sizes:
        beside = None if size == smallest else runs[smallest]
        figures.append(runs[size].figure(f"question, {size:,} bindings", f"the same with {smallest:,}", beside))
    figures += [_memory(size, ready, resident, plain) for size, (ready, resident) in memory.items()]
    return Section(f"growth, frames of {DEPTH}, {CONNECTIONS} connections, loopback, one core", tuple(figures))


def _in_process(processes: "multiprocessing.pool.Pool", data_dir: Path, *, sessions: int) -> Made:
    owner: Made = processes.apply(made, (data_dir,), {"sessions": sessions})
    return owner


def _memory(bindings: int, ready: Ready, resident: int, plain: float) -> Figure:
    assert isinstance(ready, Grown)
    each, at_first = ((bytes_ - ready.before) / bindings for bytes_ in (resident, ready.loaded))
    return Figure(
        what=f"memory, {bindings:,} bindings",
        value=each,
        unit="bytes/binding",
        peer="a dict of tuples, same pairs",
        ratio=plain / each,
        note=f"{at_first:,.0f} before anything was asked; {resident / 1e6:,.0f} MB resident in all",
    )
