"""Sticky history, read before numbers are chosen; apart from the allocator, which is compiled and reads nothing."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from actors.control.allocator import Allocator, Histories
from engine.at_once import Begun
from engine.core.model.requests import ParticipantRequest
from engine.core.ports.store import Store


async def read_histories(
    store: Store, service_sid: str, allocator: Allocator, requests: Sequence[ParticipantRequest]
) -> Histories:
    """Read what those who are to be given a number have had before, all in one go."""
    identifiers = allocator.asks_history_of(requests)
    return await store.proxies_held_before(service_sid, identifiers) if identifiers else {}


class InTurn:
    """Whoever asked first goes on first, however long each of them reads: the items of a batch keep their order so."""

    def __init__(self) -> None:
        """Begin with nobody who reads."""
        self._last: asyncio.Future[None] | None = None
        """Of those who read, who asked last: done once they go on."""

    async def read(self, reading: Coroutine[Any, Any, Histories]) -> Histories:
        """Read; the next one goes on no sooner than a turn of the loop after this has returned."""
        begun = Begun(reading)
        if begun.is_over and self._last is None:
            return begun.result
        before, mine = self._last, asyncio.get_running_loop().create_future()
        self._last = mine
        try:
            histories = await begun
            if before is not None:
                await asyncio.wait((before,))  # a wait that is given up leaves it alone
            return histories
        finally:
            mine.set_result(None)
            if self._last is mine:
                self._last = None
