"""What was answered lately, so that a carrier's redelivery gets the same answer.

`Recents` has the latest answers as they were given; `Became` tells of every routed event of the redelivery window which
interaction it became, from whose record the answer is made anew. Both keep generations that are dropped whole, so
that forgetting costs nothing per entry.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from engine.core.e164 import canonical
from engine.core.ports import Passed
from engine.core.records import Address
from engine.core.sids import SidKind, unpack
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

    def knows(self, resource_sid: str) -> bool:
        """Tell whether an answer was given to that SID."""
        return resource_sid in self._young or resource_sid in self._old

    def find(self, event: InboundEvent) -> Decision | None:
        """Return the answer given before to the same SID from the same sender on the same number."""
        known = self._young.get(event.resource_sid) or self._old.get(event.resource_sid)
        if known is None or canonical(known.sender) != canonical(event.sender):
            return None
        return known.decision if canonical(known.proxy) == canonical(event.proxy) else None

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


class Became:
    """Which interaction each routed event of at least a window of time became, in some 150 bytes each.

    Knows the events by the hashes of their SIDs: what is found has to be held against the record. Of two SIDs with the
    same hash, one in some 10^12 where ten million are kept, only the later is known.
    """

    def __init__(self, *, window_seconds: float, generation: int = 1_000_000) -> None:
        """Remember for the window; a generation takes so many: a table that grows is copied while all else waits."""
        self._window = window_seconds
        self._most = generation
        self._young: dict[int, bytes] = {}
        self._older: deque[tuple[float, dict[int, bytes]]] = deque()
        # The newest first, each with the time of its end.
        self._turned_at = 0.0

    def note(self, resource_sid: str, interaction: bytes, *, now: float) -> None:
        """Keep what an event became: the 16 bytes of a KI…."""
        self._make_room(now)
        self._young[hash(resource_sid)] = interaction

    def fill(self, passed: Iterable[Passed], *, now: float) -> None:
        """Keep what many events became."""
        self._make_room(now)
        self._young.update({hash(resource_sid): interaction for resource_sid, interaction in passed})

    def knows(self, resource_sid: str) -> bool:
        """Tell whether an event of that SID may have become something."""
        return self._packed(resource_sid) is not None

    def find(self, resource_sid: str) -> str | None:
        """Return the KI… of what an event may have become."""
        found = self._packed(resource_sid)
        return None if found is None else unpack(SidKind.INTERACTION, found)

    def _packed(self, resource_sid: str) -> bytes | None:
        key = hash(resource_sid)
        found = self._young.get(key)
        if found is None:
            for _, generation in self._older:
                found = generation.get(key)
                if found is not None:
                    break
        return found

    def forget(self, resource_sid: str) -> None:
        """Drop an event that became nothing, or whose record is gone."""
        key = hash(resource_sid)
        self._young.pop(key, None)
        for _, generation in self._older:
            generation.pop(key, None)

    def _make_room(self, now: float) -> None:
        """Begin a generation when the young one is old or full; one that ended before the window is dropped."""
        if now - self._turned_at <= self._window and len(self._young) < self._most:
            return
        if self._young:
            self._older.appendleft((now, self._young))
            self._young = {}
        while self._older and now - self._older[-1][0] > self._window:
            self._older.pop()
        self._turned_at = now
