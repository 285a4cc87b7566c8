"""Tells a process that is starved of processor time from one that hangs, by what Linux says of its threads.

Source: `Documentation/scheduler/sched-stats.rst` of Linux, the second field of /proc/PID/schedstat.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

Waits = Mapping[int, float]
"""How long each thread of a process has waited for a processor so far, seconds; empty where that cannot be read."""


def read_waits(process: Path) -> Waits:
    """Read the waits of a process, of which this is the directory in /proc."""
    waits = {}
    for thread in process.glob("task/*/schedstat"):
        with suppress(OSError, LookupError, ValueError):  # it has ended, or this kernel does not tell
            waits[int(thread.parent.name)] = int(thread.read_text("ascii").split()[1]) / 1e9
    return waits


def starved_seconds(before: Waits, after: Waits) -> float:
    """Tell how long a process has waited for a processor in between: as long as that of its threads which did longest.

    One that hangs does not: it sleeps, is stopped, or has a processor all the time.
    """
    return max((waited - before[thread] for thread, waited in after.items() if thread in before), default=0.0)
