"""How figures are shown: a table for people, one JSON line per figure for machines."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table


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


def median(values: Sequence[float]) -> float:
    """Return the middle of repeated measurements."""
    return statistics.median(values)


def machine() -> str:
    """Say what was measured on."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.system()} {platform.machine()}, CPython {platform.python_version()}"


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print figures: JSON lines when the output is no terminal and `--json` was given, else a table."""
    if "--json" in sys.argv:
        for figure in figures:
            print(json.dumps({"benchmark": title, "machine": machine(), **msgspec.to_builtins(figure)}))
        return
    table = Table(title=f"{title} ({machine()})", title_justify="left")
    for column in ("what", "value", "unit", "x peer", "peer", "conditions"):
        table.add_column(column, justify="right" if column in {"value", "x peer"} else "left")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(figure.what, f"{figure.value:,.0f}", figure.unit, ratio, figure.peer, figure.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
