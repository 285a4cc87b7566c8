"""Recent answers, so that a carrier's redelivery gets the same answer again.

`AnswerCache` keeps the latest answers themselves. `RedeliveryIndex` maps every routed event of the redelivery window to
its interaction, from whose record the answer is rebuilt. Both keep generations that are dropped whole, so that expiry
costs nothing per entry.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from engine.core.model.records import Address
from engine.core.model.sids import SidKind, pack, unpack
from engine.core.numbers.e164 import canonical
from engine.core.ports.store import Passed
from engine.core.routing.event_keys import event_key
from engine.core.routing.traffic import Decision
from engine.core.structs import Leaf


class Answered(Leaf, frozen=True, gc=False):
    """What became of an event."""

    sender: Address
    """From, as it came."""
    service_sid: str
    """Whose number was reached: numbers move between services."""
    decision: Decision
    """The answer."""


class AnswerCache:
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

    def put(self, key: str, answered: Answered, *, now: float) -> None:
        """Keep an answer; of two senders on one number with one SID, the first one's."""
        if now - self._turned_at > self._window or len(self._young) == self._capacity:
            self._old = self._young if now - self._turned_at <= 2 * self._window else {}
            self._young = {}
            self._turned_at = now
        kept = self._young.setdefault(key, answered)
        if kept is not answered and (kept.service_sid != answered.service_sid or _is_of_one(kept, answered)):
            self._young[key] = answered

    def evict(self, key: str) -> None:
        """Drop an answer that was never given."""
        self._young.pop(key, None)
        self._old.pop(key, None)


def _is_of_one(one: Answered, other: Answered) -> bool:
    return canonical(one.sender) == canonical(other.sender)


class RedeliveryIndex:
    """Which interaction each routed event of at least a window of time became, in some 150 bytes each.

    Knows the events by the hashes of their keys: what is found has to be held against the record. There are several
    where two senders come with one SID, or two keys have the same hash.
    """

    def __init__(self, *, window_seconds: float, generation: int = 1_000_000) -> None:
        """Remember for the window; `generation` limits the entries of a table: growing one blocks all else."""
        self._window = window_seconds
        self._most = generation
        self._young: dict[int, bytes] = {}
        self._older: deque[tuple[float, dict[int, bytes]]] = deque()
        # The newest first, each with the time of its end.
        self._turned_at = 0.0

    def add(self, key: str, interaction: bytes, *, now: float) -> None:
        """Keep what an event became: the 16 bytes of a KI…."""
        self._make_room(now)
        self._keep(hash(key), interaction)

    def fill(self, passed: Iterable[Passed], *, now: float) -> None:
        """Keep what many events became."""
        self._make_room(now)
        for proxy, kind, resource_sid, interaction in passed:
            self._keep(hash(event_key(proxy, kind, resource_sid)), interaction)

    def _keep(self, hashed: int, interaction: bytes) -> None:
        kept = self._young.setdefault(hashed, interaction)
        if kept is not interaction and interaction not in _cut(kept):
            self._young[hashed] = kept[-_MOST_BYTES + _SID_BYTES :] + interaction

    def knows(self, key: str) -> bool:
        """Tell whether an event of that key may have become something."""
        return self._packed(key) is not None

    def find(self, key: str) -> list[str]:
        """Return the KI… of what events of that key may have become, the latest last."""
        packed = self._packed(key)
        return [] if packed is None else [unpack(SidKind.INTERACTION, one) for one in _cut(packed)]

    def _packed(self, key: str) -> bytes | None:
        hashed = hash(key)
        found = self._young.get(hashed)
        for _, generation in self._older:
            older = generation.get(hashed)
            if older is not None:
                found = older if found is None else older + found
        return found

    def remove(self, key: str, interaction_sid: str) -> None:
        """Drop what came to nothing, or whose record is gone."""
        hashed = hash(key)
        self._drop(self._young, hashed, interaction_sid)
        for _, generation in self._older:
            self._drop(generation, hashed, interaction_sid)

    def _drop(self, generation: dict[int, bytes], hashed: int, interaction_sid: str) -> None:
        packed = generation.pop(hashed, None)
        if packed is None or (len(packed) == _SID_BYTES and unpack(SidKind.INTERACTION, packed) == interaction_sid):
            return
        gone = pack(interaction_sid)
        left = b"".join(one for one in _cut(packed) if one != gone)
        if left:
            generation[hashed] = left

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


def _cut(packed: bytes) -> list[bytes]:
    return [packed[start : start + _SID_BYTES] for start in range(0, len(packed), _SID_BYTES)]


_SID_BYTES: Final = 16
_MOST_BYTES: Final = 8 * _SID_BYTES
"""Interactions kept per key and generation; more events with one key are a mistake or a forgery."""
