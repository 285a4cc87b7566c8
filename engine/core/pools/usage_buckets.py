"""Usage buckets: numbers of one kind grouped by use, so that the least used is found without walking them.

Knows addresses and counts only; `engine.core.pools.pool` decides which number is in which bucket.
"""

from collections.abc import Callable, Iterable, Sequence

from engine.core.model.records import Address


class UsageBucket:
    """Addresses grouped by how many active sessions use them."""

    __slots__ = ("levels", "lowest", "places")

    def __init__(self) -> None:
        """Start empty."""
        self.levels: dict[int, list[Address]] = {}
        self.places: dict[Address, int] = {}
        self.lowest = 0

    def put(self, address: Address, in_use: int) -> None:
        """Add an address that n sessions use."""
        if not self.levels or in_use < self.lowest:
            self.lowest = in_use
        self._append(address, in_use)

    def take(self, address: Address, in_use: int) -> None:
        """Remove an address."""
        self._drop(address, in_use)
        if self.lowest not in self.levels:
            self.lowest = min(self.levels, default=0)

    def move(self, address: Address, in_use: int, to: int) -> None:
        """Note that one session more or less uses an address."""
        self._drop(address, in_use)
        self._append(address, to)
        if to < self.lowest or self.lowest not in self.levels:
            self.lowest = to

    def _append(self, address: Address, in_use: int) -> None:
        level = self.levels.setdefault(in_use, [])
        self.places[address] = len(level)
        level.append(address)

    def _drop(self, address: Address, in_use: int) -> None:
        level = self.levels[in_use]
        place = self.places.pop(address)
        last = level.pop()
        if last != address:
            level[place] = last
            self.places[last] = place
        elif not level:
            del self.levels[in_use]


Position = tuple[UsageBucket, int, Address]
"""An address in its bucket: bucket, how many sessions use it, address."""


def least_used(buckets: Sequence[UsageBucket], choose: Callable[[int], int]) -> Address:
    """Choose one of the least used addresses; no bucket may be empty."""
    if len(buckets) == 1:
        level = buckets[0].levels[buckets[0].lowest]
        return level[choose(len(level))]
    lowest = min(bucket.lowest for bucket in buckets)
    levels = [bucket.levels[lowest] for bucket in buckets if bucket.lowest == lowest]
    return _at(levels, choose(sum(map(len, levels))))


def least_used_beside(
    buckets: Sequence[UsageBucket], excluded: Iterable[Position], choose: Callable[[int], int]
) -> Address | None:
    """Choose one of the least used addresses, leaving out some; each of those is in one of the buckets, once."""
    left_out: dict[int, list[tuple[UsageBucket, Address]]] = {}
    for bucket, in_use, address in excluded:
        left_out.setdefault(in_use, []).append((bucket, address))
    for in_use in sorted({in_use for bucket in buckets for in_use in bucket.levels}):
        levels: list[list[Address]] = []
        starts: dict[UsageBucket, int] = {}
        size = 0
        for bucket in buckets:
            if in_use in bucket.levels:
                starts[bucket] = size
                levels.append(bucket.levels[in_use])
                size += len(bucket.levels[in_use])
        gaps = sorted(starts[bucket] + bucket.places[address] for bucket, address in left_out.get(in_use, ()))
        if size > len(gaps):
            return _at(levels, _beside(choose(size - len(gaps)), gaps))
    return None


def _beside(place: int, gaps: Iterable[int]) -> int:
    for gap in gaps:
        if gap > place:
            break
        place += 1
    return place


def _at(levels: Iterable[list[Address]], place: int) -> Address:
    for level in levels:
        if place < len(level):
            return level[place]
        place -= len(level)
    raise IndexError(place)
