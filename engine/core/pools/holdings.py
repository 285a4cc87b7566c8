"""Who holds which proxy number: the (identifier, proxy number) pairs of one service's active sessions.

In strict mode a pair is held at most once; in permissive mode (behaviour 7) it may be held several times.
"""

from collections.abc import Iterator

from engine.core.model.records import Address


class Holdings:
    """The active pairs of a service; every hold is let go once."""

    __slots__ = ("_held", "_levels", "_single", "most_held")

    def __init__(self) -> None:
        """Start with no pairs."""
        self._held: dict[Address, tuple[Address, ...]] = {}
        self._single: dict[Address, tuple[Address, ...]] = {}
        # One shared tuple per proxy number: most people hold exactly one number, by the hundred thousand.
        self.most_held = 0
        """How many numbers the identifier has that holds the most."""
        self._levels = [0]
        # How many identifiers hold 0 (not counted), 1, 2, … numbers.

    def of(self, identifier: Address) -> tuple[Address, ...]:
        """Return the proxy numbers that an identifier holds; one held twice is there twice."""
        return self._held.get(identifier, ())

    def hold(self, identifier: Address, proxy: Address) -> None:
        """Note that an active session pairs them."""
        held = self._held.get(identifier)
        if held is None:
            self._held[identifier] = self._single.setdefault(proxy, (proxy,))
            self._move(0, 1)
        else:
            self._held[identifier] = (*held, proxy)
            self._move(len(held), len(held) + 1)

    def let_go(self, identifier: Address, proxy: Address) -> None:
        """Note that an active session that paired them ended; KeyError or ValueError is our bug."""
        held = list(self._held[identifier])
        held.remove(proxy)
        self._move(len(held) + 1, len(held))
        if not held:
            del self._held[identifier]
        elif len(held) == 1:
            self._held[identifier] = self._single.setdefault(held[0], (held[0],))
        else:
            self._held[identifier] = tuple(held)

    def _move(self, before: int, after: int) -> None:
        """Count an identifier that holds more, or fewer, than before, and keep `most_held` right."""
        levels = self._levels
        if after == len(levels):
            levels.append(0)
        levels[before] -= 1
        levels[after] += 1
        if after > self.most_held or (before == self.most_held and not levels[before]):
            self.most_held = after

    def pairs(self) -> Iterator[tuple[Address, Address]]:
        """Walk all pairs."""
        for identifier, held in self._held.items():
            for proxy in held:
                yield identifier, proxy
