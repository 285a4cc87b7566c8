"""Which switch an address belongs to, and whether it may ask yet another time; told the time, sans-IO."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from engine.channels.sip.redirector import Peer
from engine.core.rate import SlidingWindow

Network = IPv4Network | IPv6Network

_WINDOW_SECONDS = 1
_REMEMBERED = 4_096
"""Addresses whose peer is known without a search, strangers among them."""


class Peers:
    """The peers by their networks."""

    def __init__(self, peers: Sequence[tuple[Peer, Sequence[Network]]], *, rates: Sequence[int] = ()) -> None:
        """Know peers by networks, which do not overlap; `rates` are each one's requests per second (0 = any number)."""
        self._networks = [(network, peer) for peer, networks in peers for network in networks]
        self._known: dict[str, Peer | None] = {}
        self._limits = {
            peer.name: SlidingWindow(rate_per_second=rate, window_seconds=_WINDOW_SECONDS)
            for (peer, _), rate in zip(peers, rates, strict=False)
            if rate
        }

    def find(self, host: str) -> Peer | None:
        """Return the peer that sends from an address; None for a stranger."""
        if host not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[host] = self._search(host)
        return self._known[host]

    def may_ask(self, peer: Peer, *, now: float) -> bool:
        """Tell whether a peer is within its rate, and count the request if so."""
        limit = self._limits.get(peer.name)
        return limit is None or limit.take(None, now=now).is_allowed

    def _search(self, host: str) -> Peer | None:
        address = ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        return next((peer for network, peer in self._networks if mapped in network), None)
