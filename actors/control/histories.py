"""Sticky history, read before numbers are chosen; apart from the allocator, which is compiled and reads nothing."""

from collections.abc import Sequence

from actors.control.allocator import Allocator, Histories
from engine.core.model.requests import ParticipantRequest
from engine.core.ports.store import Store


async def read_histories(
    store: Store, service_sid: str, allocator: Allocator, requests: Sequence[ParticipantRequest]
) -> Histories:
    """Read what those who are to be given a number have had before, all in one go."""
    identifiers = allocator.asks_history_of(requests)
    return await store.proxies_held_before(service_sid, identifiers) if identifiers else {}
