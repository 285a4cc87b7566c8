"""Which other hosts are known to be down, so that nobody waits for their answers."""

import time
from typing import Final

from actors.cluster.watch import BEAT_SECONDS
from engine.core.model.errors import PeerUnavailable
from engine.core.model.placement import host_name

_HEARD_SECONDS: Final = 2 * BEAT_SECONDS
"""How long a host that has asked is taken to be up: the word of the supervisor that follows may be of before it."""


class KnownDown:
    """The part of `actors.cluster.hosted.ClusterPeers` that is the same however hosts are asked."""

    def __init__(self, me: int) -> None:
        """Speak for the host at place `me`, and know of none that it is down."""
        self.me = me
        """The place of this host."""
        self._down: frozenset[int] = frozenset()
        self._down_until = 0.0
        self._heard_until: dict[int, float] = {}

    def expect_down(self, places: tuple[int, ...], *, seconds: float) -> None:
        """Answer for hosts that are known to be down, for so long, without asking them."""
        self._down = frozenset(places) - {self.me}
        self._down_until = time.monotonic() + seconds

    def heard(self, place: int) -> None:
        """Note that a host has just asked something: it is up, whatever was said of it before that."""
        self._heard_until[place] = time.monotonic() + _HEARD_SECONDS

    def demand_up(self, host: int) -> None:
        """Raise PeerUnavailable for a host that is known to be down."""
        if host in self._down and self._heard_until.get(host, 0.0) < time.monotonic() < self._down_until:
            raise PeerUnavailable(f"{host_name(host)} is down")
