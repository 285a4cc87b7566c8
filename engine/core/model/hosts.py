"""The hosts of a cluster: where they are reached, and how one of them asks the others."""

from typing import Protocol

import msgspec


class HostAddress(msgspec.Struct, frozen=True):
    """Where one host of a cluster is reached."""

    name: str
    """As `engine.core.model.placement` weighs it: "host-0" and so on."""
    feed: str
    """host:port of its feed; empty while it has none."""


class HostDirectory(msgspec.Struct, frozen=True):
    """Who the hosts are; which of them owns a number follows from `engine.core.model.placement`."""

    epoch: int
    """Grows with every change of an address."""
    me: int
    """The place of the host that is asked."""
    hosts: tuple[HostAddress, ...]
    """All hosts, in the order of their places."""


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
