"""Parts of a page that may not be to be had while the others are."""

from collections.abc import Awaitable
from typing import TypeVar

import msgspec

from engine.core.model.errors import PeerUnavailable, StoreUnavailable, answer_to

Result = TypeVar("Result")


class Missing(msgspec.Struct, frozen=True):
    """A part of a page that cannot be shown."""

    why: str


async def available(asked: Awaitable[Result]) -> Result | Missing:
    """Wait for a part of a page; a host or disk that fails leaves the others to be shown."""
    try:
        return await asked
    except (PeerUnavailable, StoreUnavailable) as problem:
        return Missing(f"Not to be had now. {answer_to(problem).message}.")
