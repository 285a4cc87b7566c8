"""What a benchmark hands back, and what it was measured on; how it is shown is `benchmarks.show`'s."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

VERSIONS_OF = ("maskline", "msgspec", "uvloop", "uvicorn", "ray")
"""Distributions whose versions are told."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value."""

    what: str
    """What was done."""
    value: float
    """How much of `unit`."""
    unit: str
    """Such as events/s, ns/event, bytes/session."""
    peer: str = ""
    """What the ratio is to; measured in the same run."""
    ratio: float | None = None
    """Ours divided by the peer's, as rates: more is better."""
    note: str = ""
    """Conditions: batch size, bindings held, durability, network."""


class Section(msgspec.Struct, frozen=True):
    """What one benchmark measured."""

    title: str
    figures: tuple[Figure, ...]


class Scale(msgspec.Struct, frozen=True):
    """How long benchmarks run."""

    rounds: int = 5
    """Alternating runs of ours and its peers, of which the median is told."""
    share: float = 1.0
    """Of the events and rows of the long runs; less shows only that they work."""

    def of(self, count: int) -> int:
        """Return how many of so many a run has."""
        return max(1, int(count * self.share))


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on, and what else went on there."""

    machine: str
    processor: str
    versions: dict[str, str]
    commit: str
    """Empty outside of a checkout."""
    load_average: float
    """Of one minute, just before."""


def median(values: Sequence[float]) -> float:
    """Return the middle of repeated measurements."""
    return statistics.median(values)


def percentile(latencies: Sequence[float], share: float) -> float:
    """Return what this share of latencies, in ascending order, did not exceed."""
    return latencies[min(len(latencies) - 1, int(share * len(latencies)))]


def percentiles(runs: Sequence[Sequence[float]]) -> str:
    """Say in milliseconds how late answers were: of each run's latencies, in seconds, the median of runs."""
    shares = ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))
    return ", ".join(f"{name} {median([percentile(run, share) for run in runs]) * 1e3:.2f}" for share, name in shares)


def machine() -> str:
    """Say what was measured on."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.system()} {platform.machine()}, CPython {platform.python_version()}"


def surroundings() -> Surroundings:
    """Look around."""
    models = [line.partition(":")[2] for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return Surroundings(
        machine=machine(),
        processor=models[0].strip() if models else platform.processor(),
        versions={name: version(name) for name in VERSIONS_OF},
        commit=_commit(),
        load_average=os.getloadavg()[0],
    )


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    except FileNotFoundError:
        return ""
    return told.stdout.strip()
