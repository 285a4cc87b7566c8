"""What is logged of peers and strangers, who may cause it as often as they like."""

from collections.abc import Hashable
from typing import Final

from engine.core.ports.operations import Clock

SECONDS: Final = 60.0
"""How long the same is not logged again."""

_MOST_KNOWN: Final = 1_000


class LogLimit:
    """Lets the same be logged once a minute."""

    def __init__(self, monotonic: Clock) -> None:
        """Measure by a clock."""
        self._monotonic = monotonic
        self._logged: dict[Hashable, float] = {}

    def may_log(self, what: Hashable) -> bool:
        """Tell whether something may be logged, and note that it is."""
        now = self._monotonic()
        if now - self._logged.get(what, float("-inf")) < SECONDS:
            return False
        if len(self._logged) >= _MOST_KNOWN:
            self._logged.clear()
        self._logged[what] = now
        return True
