"""Which of many like events are kept: a number a second of each kind, shared out fairly.

So that a stranger who calls without end does not hide the few calls of somebody else that are refused meanwhile. Each
number reached takes no more than it leaves for the others, each caller no more than they leave for the other callers of
that number (dynamic thresholds: Choudhury and Hahne, 1998); and a caller takes a few a minute at most.
"""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Final

MOST_OF_CALLER: Final = 10
"""Events of one kind, number and caller that are kept in a minute."""

_MOST_CALLERS: Final = 10_000
"""Callers of a minute that are remembered; further ones have the share of a second alone."""
_MINUTE: Final = 60


class FairShare:
    """Counts what is kept in this second and minute."""

    def __init__(self, most: int) -> None:
        """Keep so many a second of a kind."""
        self._most = most
        self._second = self._minute = 0
        self._kept: Counter[Hashable] = Counter()
        self._of_callers: Counter[Hashable] = Counter()

    def is_full(self, kind: Hashable, *, number: str | None, caller: str | None, at: float) -> bool:
        """Tell whether `takes` would refuse an event now; what names no number has the whole share of its kind."""
        kept: Mapping[Hashable, int] = self._kept if int(at) == self._second else {}
        room = self._most - kept.get(kind, 0)
        if number is not None:
            room -= kept.get((kind, number), 0)
        if room <= 0 or caller is None:
            return room <= 0
        of_caller = (kind, number, caller)
        of_minute = self._of_callers.get(of_caller, 0) if int(at) // _MINUTE == self._minute else 0
        return of_minute >= MOST_OF_CALLER or kept.get(of_caller, 0) >= room

    def takes(self, kind: Hashable, *, number: str | None, caller: str | None, at: float) -> bool:
        """Tell whether an event is kept, and count it then."""
        self._turn(int(at))
        if self.is_full(kind, number=number, caller=caller, at=at):
            return False
        self._kept[kind] += 1
        if number is not None:
            self._kept[kind, number] += 1
        if caller is not None:
            of_caller = (kind, number, caller)
            self._kept[of_caller] += 1
            if of_caller in self._of_callers or len(self._of_callers) < _MOST_CALLERS:
                self._of_callers[of_caller] += 1
        return True

    def _turn(self, second: int) -> None:
        if second != self._second:
            self._second = second
            self._kept.clear()
            if second // _MINUTE != self._minute:
                self._minute = second // _MINUTE
                self._of_callers.clear()
