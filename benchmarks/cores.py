"""Which processor does what: a server has one core to itself, whoever loads it has the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def core_apart() -> Iterator[int]:
    """Leave one core to servers, and return it; this process keeps to the others while the context lasts."""
    ours = os.sched_getaffinity(0)
    first, *others = sorted(ours)
    os.sched_setaffinity(0, others or ours)
    try:
        yield first
    finally:
        os.sched_setaffinity(0, ours)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Start processes on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
