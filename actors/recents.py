"""What was answered lately, so that a carrier's redelivery gets the same answer.

`Recents` has the latest answers as they were given; `Became` tells of every routed event of the redelivery window which
interaction it became, from whose record the answer is made anew. Both keep generations that are dropped whole, so
that forgetting costs nothing per entry.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from engine.core.e164 import canonical
from engine.core.event_keys import event_key
from engine.core.ports import Passed
from engine.core.records import Address
from engine.core.sids import SidKind, unpack
from engine.core.traffic import Decision


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What became of an event."""

    sender: Address
    """From, as it came."""
    service_sid: str
    """Whose number was reached: numbers move between services."""
    decision: Decision
    """The answer."""


class Recents:
    """Remembers answers by the keys of their events for at least a window of time, or at most a number of them."""

    def __init__(self, *, window_seconds: float, capacity: int | None = None) -> None:
        """Remember everything for the window; with a capacity, at least the last that many of the window."""
        self._window = window_seconds
        self._capacity = capacity
        self._young: dict[str, Answered] = {}
        self._old: dict[str, Answered] = {}
        self._turned_at = 0.0

    def knows(self, key: str) -> bool:
        """Tell whether an answer was given to an event of that key."""
        return key in self._young or key in self._old

    def find(self, key: str, sender: Address, service_sid: str) -> Decision | None:
        """Return the answer given before to the same event of the same sender in the same service."""
        known = self._young.get(key) or self._old.get(key)
        if known is None or known.service_sid != service_sid or canonical(known.sender) != canonical(sender):
            return None
        return known.decision

    def remember(self, key: str, answered: Answered, *, now: float) -> None:
        """Keep an answer."""
        if now - self._turned_at > self._window or len(self._young) == self._capacity:
            self._old = self._young if now - self._turned_at <= 2 * self._window else {}
            self._young = {}
            self._turned_at = now
        self._young[key] = answered

    def forget(self, key: str) -> None:
        """Drop an answer that was never given."""
        self._young.pop(key, None)
        self._old.pop(key, None)


class Became:
    """Which interaction each routed event of at least a window of time became, in some 150 bytes each.

    Knows the events by the hashes of their keys: what is found has to be held against the record. Of two keys with the
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

    def note(self, key: str, interaction: bytes, *, now: float) -> None:
        """Keep what an event became: the 16 bytes of a KI…."""
        self._make_room(now)
        self._young[hash(key)] = interaction

    def fill(self, passed: Iterable[Passed], *, now: float) -> None:
        """Keep what many events became."""
        self._make_room(now)
        self._young.update(
            {
                hash(event_key(proxy, kind, resource_sid)): interaction
                for proxy, kind, resource_sid, interaction in passed
            }
        )

    def knows(self, key: str) -> bool:
        """Tell whether an event of that key may have become something."""
        return self._packed(key) is not None

    def find(self, key: str) -> str | None:
        """Return the KI… of what an event may have become."""
        found = self._packed(key)
        return None if found is None else unpack(SidKind.INTERACTION, found)

    def _packed(self, key: str) -> bytes | None:
        hashed = hash(key)
        found = self._young.get(hashed)
        if found is None:
            for _, generation in self._older:
                found = generation.get(hashed)
                if found is not None:
                    break
        return found

    def forget(self, key: str) -> None:
        """Drop an event that became nothing, or whose record is gone."""
        hashed = hash(key)
        self._young.pop(hashed, None)
        for _, generation in self._older:
            generation.pop(hashed, None)

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
