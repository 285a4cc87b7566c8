"""Cached routes: where a plain question goes, in flat tables of integers that compiled code reads a frame at a time.

A cached route is a copy of what `decide.resolve_all` found, and only that function puts one. It is valid until a time;
whatever changes its binding, its session or its number invalidates it, and the question is then looked up in full. From
the first question about a number on, every identifier that has a session there has an entry, invalid at first: an
identifier without an entry is a stranger.

mypyc compiles this module. Interpreted it gives the same answers too slowly to be of use, so it is not used then.
Integers stay below 63 bits, where both agree.
"""

from typing import Final, Protocol, final

from librt.vecs import append, vec
from mypy_extensions import i64

from engine.core.model.records import Address

IS_COMPILED: Final = not __file__.endswith(".py")
"""Whether this is the compiled module."""

STALE: Final = 0
"""The end of an invalid route."""

ANY_ACCOUNT: Final = -1
"""What `RouteCache.account` returns for who may use all numbers."""

WORDS: Final = 4
"""Integers of an entry: its key and three values."""

_FEWEST_ENTRIES: Final = 8
_MOST_DIGITS: Final = 15
_MOST_SOURCES: Final = 62  # a bit each
_LONGEST_SEARCH: Final = 64  # that many entries beside each other are no chance: one more is not kept


def pack(address: Address) -> i64:
    """Return "+" and up to fifteen digits as one integer, the digits four bits each below their count; else 0."""
    size: i64 = len(address)
    if size < 2 or size > _MOST_DIGITS + 1 or address[0] != "+":  # noqa: PLR2004 - "+" and one digit
        return 0
    packed: i64 = 0
    place: i64 = 1
    while place < size:
        digit: i64 = ord(address[place]) - 48
        if digit < 0 or digit > 9:  # noqa: PLR2004 - a digit
            return 0
        packed = (packed << 4) | digit
        place += 1
    return led(packed, size - 1)


def led(digits: i64, count: i64) -> i64:
    """Put the count of digits before them; negative from eight on, as the topmost bit is the sign."""
    return digits | ((count - 16 if count > 7 else count) << 60)  # noqa: PLR2004 - the topmost of four bits


@final
class FlatTable:
    """A map from an integer that is not 0 to three integers, in one array."""

    __slots__ = ("_mask", "_used", "is_whole", "words")

    words: vec[i64]
    """All entries; an entry's key is at the place that `find` returns, its values are behind it."""

    def __init__(self) -> None:
        self.words = vec[i64]()
        self.is_whole = True
        """Nothing that was to be put was left out: who is not found has nothing here."""
        self._mask: i64 = 0
        self._used: i64 = 0

    def __len__(self) -> int:
        """Count the entries."""
        return self._used

    def find(self, key: i64) -> i64:
        """Return the place of an entry in `words`, -1 where there is none."""
        if self._used == 0 or key == 0:
            return -1
        words, mask = self.words, self._mask
        entry: i64 = _spread(key) & mask
        while True:
            found = words[entry * WORDS]
            if found == key:
                return entry * WORDS
            if found == 0:
                return -1
            entry = (entry + 1) & mask

    def prefetch(self, key: i64) -> i64:
        """Read the entry that `find` reads first, so that the processor has it; what is returned means nothing."""
        if self._used == 0:
            return 0
        words = self.words
        at: i64 = (_spread(key) & self._mask) * WORDS
        return words[at] | words[at + 3]

    def put(self, key: i64, first: i64, second: i64, third: i64) -> None:
        """Set an entry; it is left out if it would lie too far from where it is looked for."""
        if key == 0:
            return
        if self._used * 10 >= (self._mask + 1) * 7 or self._mask == 0:
            self._resize((self._mask + 1) * 2)
        words, mask = self.words, self._mask
        entry: i64 = _spread(key) & mask
        steps: i64 = 0
        while words[entry * WORDS] != 0 and words[entry * WORDS] != key:
            entry = (entry + 1) & mask
            steps += 1
            if steps == _LONGEST_SEARCH:
                self.is_whole = False
                return
        at: i64 = entry * WORDS
        if words[at] == 0:
            self._used += 1
            words[at] = key
        words[at + 1] = first
        words[at + 2] = second
        words[at + 3] = third

    def drop(self, key: i64) -> None:
        """Take an entry out, if it is there; those that were put behind it for its sake move up."""
        at = self.find(key)
        if at < 0:
            return
        words, mask = self.words, self._mask
        hole: i64 = at // WORDS
        entry: i64 = hole
        while True:
            entry = (entry + 1) & mask
            key = words[entry * WORDS]
            if key == 0:
                break
            if ((entry - _spread(key)) & mask) >= ((entry - hole) & mask):
                _move(words, entry * WORDS, words, hole * WORDS)
                hole = entry
        words[hole * WORDS] = 0
        self._used -= 1
        if self._used * 8 < mask and mask >= _FEWEST_ENTRIES:
            self._resize((mask + 1) // 2)

    def invalidate_all(self) -> None:
        """Set the third value of all entries to `STALE`."""
        words = self.words
        at: i64 = 3
        end: i64 = len(words)
        while at < end:
            words[at] = STALE
            at += WORDS

    def _resize(self, entries: i64) -> None:
        old = self.words
        entries = max(entries, _FEWEST_ENTRIES)
        words = _zeros(entries * WORDS)
        mask = entries - 1
        at: i64 = 0
        end: i64 = len(old)
        while at < end:
            key = old[at]
            if key != 0:
                entry: i64 = _spread(key) & mask
                while words[entry * WORDS] != 0:
                    entry = (entry + 1) & mask
                _move(old, at, words, entry * WORDS)
            at += WORDS
        self.words, self._mask = words, mask


class Source(Protocol):
    """Who tells of the sessions of some numbers."""

    @property
    def is_ready(self) -> bool:
        """Whether they are known, and kept up."""


@final
class RouteCache:
    """The cached routes of all numbers of a host, by the number."""

    __slots__ = ("_accounts", "_free", "_room", "_sources", "now", "numbers", "ready", "tables", "touched")

    def __init__(self) -> None:
        self.now: i64 = 0
        """The time of the last `at`."""
        self.ready: i64 = 0
        """The sources that were ready then, a bit each."""
        self.numbers = FlatTable()
        """By `pack` of a number: the index of its table in `tables`, its account, the bit of its source or 0."""
        self.tables: list[FlatTable] = []
        """The cached routes of each number: `pack` of an identifier → partner, number shown, end."""
        self.touched: i64 = 0
        """Means nothing: keeps a compiler from leaving the prefetch out."""
        self._sources: list[Source] = []
        self._free: list[int] = []
        self._accounts: dict[str, int] = {}
        self._room = vec[i64]()

    def at(self, now: float) -> "RouteCache":
        """Set the time, UTC epoch seconds, and who is ready; return itself."""
        self.now = int(now)
        ready: i64 = 0
        bit: i64 = 1
        for source in self._sources:
            if source.is_ready:
                ready |= bit
            bit += bit  # 1 << 61 is compiled to a shift of 32 bits
        self.ready = ready
        return self

    def room(self, words: i64) -> vec[i64]:
        """Return scratch space of at least n integers, valid until the next call."""
        if len(self._room) < words:
            self._room = _zeros(words)
        return self._room

    def account(self, account_sid: str | None) -> i64:
        """Return what stands for an account; None = all."""
        if account_sid is None:
            return ANY_ACCOUNT
        return self._accounts.setdefault(account_sid, len(self._accounts))

    def open(self, proxy: Address, account_sid: str, source: Source | None = None) -> FlatTable | None:
        """Return an empty table for the routes of a number; None for one that cannot have any, such as a short code.

        They are not read while `source`, who tells of its sessions, is not ready.
        """
        key = pack(proxy)
        if key == 0:
            return None
        bit = 0 if source is None else self._bit_of(source)
        if bit < 0:
            return None
        self.close(proxy)
        table = FlatTable()
        if self._free:
            place = self._free.pop()
            self.tables[place] = table
        else:
            place = len(self.tables)
            self.tables.append(table)
        self.numbers.put(key, place, self.account(account_sid), bit)
        return table

    def _bit_of(self, source: Source) -> i64:
        """Return the bit of a source, old or new; -1 where there are too many."""
        if source not in self._sources:
            if len(self._sources) == _MOST_SOURCES:
                return -1
            self._sources.append(source)
        bit: i64 = 1
        for other in self._sources:
            if other is source:
                break
            bit += bit
        return bit

    def close(self, proxy: Address) -> None:
        """Forget a number, if it is there."""
        at = self.numbers.find(pack(proxy))
        if at >= 0:
            place = int(self.numbers.words[at + 1])
            self.tables[place] = FlatTable()
            self._free.append(place)
            self.numbers.drop(pack(proxy))


def cache_if_compiled() -> RouteCache | None:
    """Return a route cache where it is of use."""
    return RouteCache() if IS_COMPILED else None


def is_surely_canonical(key: i64) -> bool:
    """Tell whether `e164.canonical` leaves a packed number as it is: Mexico's and Argentina's may change."""
    digits: i64 = (key >> 60) & 15
    if digits < 2:  # noqa: PLR2004 - a country code of two digits
        return True
    country: i64 = (key >> ((digits - 2) * 4)) & 0xFF
    return country != 0x52 and country != 0x54  # noqa: PLR1714, PLR2004 - a set would be made; +52 and +54


def put_route(  # noqa: PLR0917 - called for every new route, by place
    table: FlatTable, identifier: Address, to: Address, caller_id: Address, until: int
) -> None:
    """Cache that an identifier reaches `to`, who sees `caller_id`, before a time; what cannot be packed is left out."""
    partner, shown = pack(to), pack(caller_id)
    if partner != 0 and shown != 0:
        table.put(pack(identifier), partner, shown, until)


def invalidate(table: FlatTable, identifier: Address) -> None:
    """Make questions of an identifier be looked up in full."""
    table.put(pack(identifier), 0, 0, STALE)


def evict(table: FlatTable, identifier: Address) -> None:
    """Remove the entry of an identifier, which is a stranger from now on."""
    table.drop(pack(identifier))


def _zeros(count: i64) -> vec[i64]:
    words = vec[i64](capacity=count)
    while count > 0:
        words = append(words, i64(0))
        count -= 1
    return words


def _spread(key: i64) -> i64:
    """Spread keys that are close to each other over all integers below 2 ** 38."""
    low = (key & 0x7FFFFFFF) * 0x5A82799D
    high = ((key >> 31) & 0x1FFFFFFF) * 0x6ED9EBA1
    return (low ^ high) >> 24


def _move(old: vec[i64], start: i64, words: vec[i64], to: i64) -> None:
    words[to] = old[start]
    words[to + 1] = old[start + 1]
    words[to + 2] = old[start + 2]
    words[to + 3] = old[start + 3]
