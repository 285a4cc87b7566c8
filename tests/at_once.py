"""Reads of a store on a file, where a test has no loop or does not wait: they never suspend."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from engine.at_once import Begun

Result = TypeVar("Result")


def at_once(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what work comes to that never suspends; AssertionError where it does."""
    begun = Begun(work)
    if not begun.is_over:
        begun.close()
        raise AssertionError("it suspends")
    return begun.result
