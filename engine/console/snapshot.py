"""A reading of all hosts, shared by those who look at about the same time."""

import asyncio

import msgspec

from engine.console.rates import Rates, TrafficLine
from engine.core.model.overview import ConsolePlane, HostStatus
from engine.core.ports.operations import Clock

FRESH_SECONDS = 1.0
"""For so long a reading of the hosts serves everybody who looks on."""


class Seen(msgspec.Struct, frozen=True):
    """A reading of all hosts."""

    at: float
    """Monotonic seconds."""
    hosts: tuple[HostStatus, ...]
    traffic: tuple[TrafficLine, ...]


class HostSnapshot:
    """Reads the hosts, once for all who ask at about the same time."""

    def __init__(self, plane: ConsolePlane, monotonic: Clock) -> None:
        """Read through a port."""
        self._plane = plane
        self._monotonic = monotonic
        self._rates = Rates()
        self._turn = asyncio.Lock()
        self._seen: Seen | None = None

    async def read(self) -> Seen:
        """Return how the hosts fare, as of a moment ago."""
        async with self._turn:
            if self._seen is None or self._monotonic() - self._seen.at >= FRESH_SECONDS:
                hosts = await self._plane.hosts()
                now = self._monotonic()  # a host that does not answer has taken its time
                self._seen = Seen(now, hosts, self._rates.lines(hosts, now=now))
            return self._seen
