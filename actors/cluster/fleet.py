"""The hosts of a cluster as whoever watches over them asks and orders them, and what the operator is told of them."""

from typing import Protocol

import msgspec

from actors.cluster.processor import Waits
from actors.cluster.watch import Beat, HostReport, Member, Node, Sign
from engine.core.ports.membership import AT_ONCE, Tenure


class Order(msgspec.Struct, frozen=True):
    """What a host is told to do; it answers when that is done."""

    verb: str
    """drain, undrain, start (again, after a failure) or stop."""


class Fleet(Protocol):
    """The hosts as their runtime has them."""

    async def node_names(self) -> frozenset[str]:
        """Name the nodes that are up."""

    async def search(self) -> tuple[Node, ...]:
        """Tell the nodes that are up and what lies on them."""

    def here(self) -> str:
        """Name the node that this process runs on."""

    async def launch(self, place: int, node: str, *, tenure: Tenure = AT_ONCE) -> None:
        """Start a host on a node, to be restarted there for ever; until its tenure another one may answer for it."""

    async def beat(self, place: int, beat: Beat) -> HostReport | Sign:
        """Ask a host how it fares."""

    async def order(self, place: int, order: Order, *, timeout_seconds: float) -> bool:
        """Have a host do something; False when it did not in time."""

    def waits(self, place: int) -> Waits:
        """Tell how long a host's threads have waited for a processor so far, if its process can be looked at."""

    async def kill(self, place: int, *, for_good: bool) -> bool:
        """End a host's process; unless it is for good, another is started. False when it could not be."""


class Membership(msgspec.Struct, frozen=True):
    """What the operator is told."""

    epoch: int
    members: tuple[Member, ...]
    now: float
    """Of the clock that the members' times are of."""
    pid: int
    """The supervisor's."""
    node: str = ""
    """Name of the node that was asked, in a cluster on a database; empty = one that keeps files."""
    problem: str = ""
    """What keeps the supervisor from its work."""
    is_refused: bool = False
    """This node may not take part; the problem says why."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes that show life, in a cluster on a database."""
