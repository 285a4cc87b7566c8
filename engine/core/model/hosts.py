"""The hosts of a cluster: how they fare, where they are reached, and how one of them asks the others."""

from enum import StrEnum
from typing import Protocol

import msgspec


class HostState(StrEnum):
    """How a host fares; closed."""

    UNKNOWN = "unknown"
    """Nothing was heard of it since the supervisor started."""
    UNPLACED = "unplaced"
    """No node carries it; the problem says why."""
    STARTING = "starting"
    """It opens its file and loads."""
    READY = "ready"
    WAITING = "waiting"
    """It listens, but its disk refuses commits or its numbers are not rebuilt."""
    STOPPING = "stopping"
    """It finishes what is in flight."""
    DRAINED = "drained"
    """The operator took it out."""
    FAILED = "failed"
    """It cannot start and does not try again by itself; the problem says why."""
    DOWN = "down"
    """Ray does not reach its process, or it was killed, and Ray starts another."""
    UNREACHABLE = "unreachable"
    """Nothing on its node answers; it may serve on there."""


class HostAddress(msgspec.Struct, frozen=True):
    """Where one host of a cluster is reached."""

    name: str
    """As `engine.core.model.placement` weighs it: "host-0" and so on."""
    feed: str
    """host:port of its feed; empty while it has none."""
    peers: str = ""
    """host:port where other hosts ask it; empty while that is not known. Not told over the feed, nor is the next."""
    certificate: str = ""
    """SHA-256 of the certificate that it shows there, in hexadecimal; a new one with each of its processes."""


class HostDirectory(msgspec.Struct, frozen=True):
    """Who the hosts are; which of them owns a number follows from `engine.core.model.placement`."""

    epoch: int
    """Grows with every change of an address."""
    me: int
    """The place of the host that is asked."""
    hosts: tuple[HostAddress, ...]
    """All hosts, in the order of their places."""
    shards: int = 0
    """With how many shards keys are placed; 0 = each key is placed for itself."""


class Peers(Protocol):
    """The other hosts of a cluster, as one of them sees them."""

    @property
    def me(self) -> int:
        """The place of this host."""

    @property
    def count(self) -> int:
        """How many hosts there are."""

    async def ask(self, host: int, message: bytes) -> bytes:
        """Have a host answer a message; it may be carried out twice, or carried out and not answered.

        Raises:
            PeerUnavailable: no answer came; whether the message was carried out is not known.
        """
