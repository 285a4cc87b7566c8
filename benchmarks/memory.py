"""Memory of 100,000 active sessions, and how long a restart with them takes."""

import gc
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks.engines import filled, host_on, person, proxy_number
from benchmarks.report import Figure, show

SESSIONS = 100_000


def resident_bytes() -> int:
    """Return what this process holds of the machine's memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _fill(data_dir: Path) -> None:
    async with host_on(data_dir) as host:
        await filled(host, sessions=SESSIONS)


async def _load(data_dir: Path) -> tuple[float, float]:
    gc.collect()
    before, start = resident_bytes(), time.perf_counter()
    async with host_on(data_dir) as host:
        seconds = time.perf_counter() - start
        if host.active_sessions != SESSIONS:
            raise RuntimeError(f"{host.active_sessions} sessions were loaded")
        return resident_bytes() - before, seconds


def _filled(data_dir: Path) -> None:
    uvloop.run(_fill(data_dir))


def _loaded(data_dir: Path) -> tuple[float, float]:
    return uvloop.run(_load(data_dir))


def _peer(_: Path) -> float:
    """Hold the same pairs in one plain dict of tuples."""
    gc.collect()
    before = resident_bytes()
    pairs = {}
    for index in range(SESSIONS):
        sid = f"KC{index:032x}"
        first, second = (f"{person(2 * index)}", proxy_number(index % 100)), (person(2 * index + 1), proxy_number(7))
        pairs[first] = (sid, *second)
        pairs[second] = (sid, *first)
    return resident_bytes() - before + 0 * len(pairs)


def main() -> None:
    """Measure, each part in a fresh process, and print."""
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory, fresh.Pool(1, maxtasksperchild=1) as processes:
        data_dir = Path(directory, "data")
        processes.apply(_filled, (data_dir,))
        held, seconds = processes.apply(_loaded, (data_dir,))
        peer = processes.apply(_peer, (data_dir,))
    note = f"{SESSIONS:,} active sessions of two people, resident memory after a restart"
    show(
        "memory",
        [
            Figure(
                what="per session",
                value=held / SESSIONS,
                unit="bytes",
                peer="a dict of tuples, same pairs",
                ratio=peer / held,
                note=note,
            ),
            Figure(what="per binding", value=held / SESSIONS / 2, unit="bytes", note=note),
            Figure(what="restart", value=seconds * 1000, unit="ms", note="open, load and bind; then ready"),
        ],
    )


if __name__ == "__main__":
    main()
