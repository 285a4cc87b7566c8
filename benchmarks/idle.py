"""What an engine costs while nothing happens: memory and processor, embedded and as two hosts on Ray."""

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.feed import serve_engine
from benchmarks.hosts import cluster
from benchmarks.peers import cpu_of, serving
from benchmarks.report import Figure, Scale, Section
from benchmarks.rows import pair_at
from engine.cluster.head import read_link

SECONDS = 20.0
SETTLE_SECONDS = 5.0
PAIRS = 1_000


def _processes(leader: int) -> list[int]:
    """List the processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def _resident(pids: list[int]) -> int:
    """Return the bytes of memory that processes hold, what they share counted once each."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def _figures(what: str, pids: list[int], seconds: float) -> tuple[Figure, Figure]:
    time.sleep(min(seconds, SETTLE_SECONDS))  # what starting left to do is not idling
    before, start = sum(map(cpu_of, pids)), time.perf_counter()
    time.sleep(seconds)
    share = (sum(map(cpu_of, pids)) - before) / (time.perf_counter() - start)
    note = f"{len(pids)} processes, {seconds:.0f} s"
    return (
        Figure(what=f"{what}, processor", value=100 * share, unit="% of a core", note=note),
        Figure(
            what=f"{what}, memory", value=_resident(pids) / 1e6, unit="MB", note="resident; shared pages count each"
        ),
    )


def measure(scale: Scale) -> Section:
    """Measure."""
    seconds = max(1.0, SECONDS * scale.share)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        embedded = stack.enter_context(serving(serve_engine, {}))
        hosts = stack.enter_context(
            cluster(directory / "two", hosts=2, pairs=[pair_at(index) for index in range(PAIRS)])
        )
        link = read_link(directory / "two")
        assert link is not None
        whole = _processes(link.pid)
        assert set(hosts.pids) <= set(whole), "the hosts belong to the cluster's own Ray"
        figures = (
            *_figures("embedded, 100,000 bindings", [embedded.pid], seconds),
            *_figures("2 hosts on Ray, the hosts alone", list(hosts.pids), seconds),
            *_figures("2 hosts on Ray, with all of Ray", whole, seconds),
        )
    return Section("idle", figures)
