"""Who holds which proxy number: the (identifier, proxy number) pairs of one service's active sessions.

In strict mode a pair is held at most once; in permissive mode (behaviour 7) it may be held several times.
"""

from collections.abc import Iterator

from engine.core.records import Address


class Holdings:
    """The active pairs of a service; every hold is let go once."""

    __slots__ = ("_held", "_single")

    def __init__(self) -> None:
        """Start with no pairs."""
        self._held: dict[Address, tuple[Address, ...]] = {}
        self._single: dict[Address, tuple[Address, ...]] = {}
        # One shared tuple per proxy number: most people hold exactly one number, by the hundred thousand.

    def of(self, identifier: Address) -> tuple[Address, ...]:
        """Return the proxy numbers that an identifier holds; one held twice is there twice."""
        return self._held.get(identifier, ())

    def hold(self, identifier: Address, proxy: Address) -> None:
        """Note that an active session pairs them."""
        held = self._held.get(identifier)
        if held is None:
            self._held[identifier] = self._single.setdefault(proxy, (proxy,))
        else:
            self._held[identifier] = (*held, proxy)

    def let_go(self, identifier: Address, proxy: Address) -> None:
        """Note that an active session that paired them ended; KeyError or ValueError is our bug."""
        held = list(self._held[identifier])
        held.remove(proxy)
        if not held:
            del self._held[identifier]
        elif len(held) == 1:
            self._held[identifier] = self._single.setdefault(held[0], (held[0],))
        else:
            self._held[identifier] = tuple(held)

    def pairs(self) -> Iterator[tuple[Address, Address]]:
        """Walk all pairs."""
        for identifier, held in self._held.items():
            for proxy in held:
                yield identifier, proxy
