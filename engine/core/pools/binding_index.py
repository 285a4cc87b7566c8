"""The bindings of one service's active sessions, by identifier: which proxy numbers each identifier has.

In strict mode a binding exists once at most; in permissive mode (behaviour 7) several sessions may have the same one.
"""

from collections.abc import Iterator

from engine.core.model.records import Address


class BindingIndex:
    """The bindings of a service; each that is added is removed once."""

    __slots__ = ("_held", "_levels", "_single", "most_held")

    def __init__(self) -> None:
        """Start with no bindings."""
        self._held: dict[Address, tuple[Address, ...]] = {}
        self._single: dict[Address, tuple[Address, ...]] = {}
        # One shared tuple per proxy number: most people hold exactly one number, by the hundred thousand.
        self.most_held = 0
        """How many numbers the identifier has that holds the most."""
        self._levels = [0]
        # How many identifiers hold 0 (not counted), 1, 2, … numbers.

    def proxies_of(self, identifier: Address) -> tuple[Address, ...]:
        """Return the proxy numbers of an identifier; one that it has in two sessions is there twice."""
        return self._held.get(identifier, ())

    def add(self, identifier: Address, proxy: Address) -> None:
        """Add the binding of an active session."""
        held = self._held.get(identifier)
        if held is None:
            self._held[identifier] = self._single.setdefault(proxy, (proxy,))
            self._move(0, 1)
        else:
            self._held[identifier] = (*held, proxy)
            self._move(len(held), len(held) + 1)

    def remove(self, identifier: Address, proxy: Address) -> None:
        """Remove the binding of a session that ended; KeyError or ValueError is our bug."""
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

    @property
    def busiest(self) -> Address | None:
        """An identifier that has the most numbers; walks all up to it."""
        return next((one for one, held in self._held.items() if len(held) == self.most_held), None)

    def items(self) -> Iterator[tuple[Address, Address]]:
        """Walk all bindings as (identifier, proxy number)."""
        for identifier, held in self._held.items():
            for proxy in held:
                yield identifier, proxy
