"""What a cluster's runtime and the composition root tell each other: where a host runs, and how one is made.

Free of any runtime; `actors.ray.cluster` is the one there is.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from actors.cluster.fleet import Fleet, Membership, Order
from actors.cluster.watch import Beat, HostReport
from engine.core.model.errors import MasklineError
from engine.core.ports.membership import AT_ONCE, Tenure


class ClusterUnreachable(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The runtime, or the supervisor in it, does not answer; the message says which and what to do."""


class HostPlacement(msgspec.Struct, frozen=True):
    """Where a host runs."""

    place: int
    node: str
    """The runtime's name of the node."""
    node_address: str
    """IP address of the node."""
    placing: str
    """One for each time that the host was placed on a node; the same for all restarts there."""
    tenure: Tenure = AT_ONCE
    """When it may answer at the earliest, where another node may have carried it."""


class Hosted(Protocol):
    """A host as the composition root makes it."""

    def start(self) -> None:
        """Begin to start; how far it came is in the report."""

    def report(self, beat: Beat) -> HostReport:
        """Take the supervisor's word and tell how it fares."""

    async def order(self, order: Order) -> None:
        """Do as told; returns when it is done."""


class ClusterSupervisor(Protocol):
    """A supervisor as the composition root makes it."""

    def start(self) -> None:
        """Watch from now on."""

    def membership(self) -> Membership:
        """Tell who the hosts are and how they fare."""

    async def revive(self) -> None:
        """Start what failed, was drained or has no node."""

    async def order(self, place: int, verb: str, *, timeout_seconds: float) -> bool:
        """Have a host drain or undrain; False when it did not in time."""

    async def move(self, place: int, node: str, *, timeout_seconds: float) -> bool:
        """Have a host go on on another node; False when it did not in time, or cannot."""

    async def stop(self, *, timeout_seconds: float) -> None:
        """Stop the hosts in order."""


MakeHost = Callable[[bytes, HostPlacement], Hosted]
MakeSupervisor = Callable[[bytes, Fleet], ClusterSupervisor]
FindPlaces = Callable[[bytes], frozenset[int]]


class Makers(msgspec.Struct, frozen=True):
    """What the composition root hands in; each is importable on every node, and takes what the cluster runs by."""

    host: MakeHost
    supervisor: MakeSupervisor
    places: FindPlaces
    """Tells which hosts' files lie on the node where it is called."""
