"""Answers given lately, so that a carrier's redelivery gets the same one.

Two generations: a full or old one is dropped whole, so that forgetting costs nothing per entry.
"""

import msgspec

from engine.core.e164 import canonical
from engine.core.records import Address
from engine.core.traffic import Decision, InboundEvent


class Answered(msgspec.Struct, frozen=True, gc=False):
    """An event and what became of it."""

    sender: Address
    """From, as it came."""
    proxy: Address
    """To, as it came."""
    decision: Decision
    """The answer."""


class Recents:
    """Remembers answers by CallSid / MessageSid for at least a window of time, or at most a number of them."""

    def __init__(self, *, window_seconds: float, capacity: int | None = None) -> None:
        """Remember everything for the window; with a capacity, at least the last that many of the window."""
        self._window = window_seconds
        self._capacity = capacity
        self._young: dict[str, Answered] = {}
        self._old: dict[str, Answered] = {}
        self._turned_at = 0.0

    def find(self, event: InboundEvent) -> Decision | None:
        """Return the answer given before to the same SID from the same sender on the same number."""
        known = self._young.get(event.resource_sid) or self._old.get(event.resource_sid)
        if known is None or canonical(known.sender) != canonical(event.sender):
            return None
        return known.decision if canonical(known.proxy) == canonical(event.proxy) else None

    def decision(self, resource_sid: str) -> Decision | None:
        """Return the answer given to a SID."""
        known = self._young.get(resource_sid) or self._old.get(resource_sid)
        return None if known is None else known.decision

    def remember(self, event: InboundEvent, decision: Decision, *, now: float) -> None:
        """Keep an answer."""
        if now - self._turned_at > self._window or len(self._young) == self._capacity:
            self._old = self._young if now - self._turned_at <= 2 * self._window else {}
            self._young = {}
            self._turned_at = now
        self._young[event.resource_sid] = Answered(event.sender, event.proxy, decision)

    def forget(self, resource_sid: str) -> None:
        """Drop an answer that was never given."""
        self._young.pop(resource_sid, None)
        self._old.pop(resource_sid, None)
