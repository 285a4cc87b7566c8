"""Which switch a message is of, and whether it may ask once more; told the time, sans-IO. mypyc compiles this."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from engine.channels.sip.numbers import reader
from engine.channels.sip.styles import AnswerStyle, NumberForms, Trust
from engine.channels.sip.switches import Peer
from engine.channels.sip.tables import Network, SipPeerSettings
from engine.core.rate import SlidingWindow

_WINDOW_SECONDS = 1
_REMEMBERED = 4_096
"""Addresses whose peer is known without a search, strangers among them."""


class Peers:
    """The peers by their networks, and over TLS by the names in their certificates."""

    def __init__(
        self,
        peers: Sequence[tuple[Peer, Sequence[Network]]],
        *,
        rates: Sequence[int] = (),
        tls_names: Sequence[Sequence[str]] = (),
    ) -> None:
        """Know peers by networks, which do not overlap; `rates` are each one's requests per second (0 = any number).

        Who has TLS names is only known by one of them, and by its networks too if it has any.
        """
        named = [tuple(names) for names in tls_names] or [()] * len(peers)
        self._networks = [
            (network, peer)
            for (peer, networks), names in zip(peers, named, strict=True)
            if not names
            for network in networks
        ]
        self._named = {
            name.lower(): (peer, networks)
            for (peer, networks), names in zip(peers, named, strict=True)
            for name in names
        }
        self.names = tuple(peer.name for peer, _ in peers)
        """Of all peers, in their order."""
        self._known: dict[str, Peer | None] = {}
        self._limits = {
            peer.name: SlidingWindow(rate_per_second=rate, window_seconds=_WINDOW_SECONDS)
            for (peer, _), rate in zip(peers, rates, strict=False)
            if rate
        }

    @classmethod
    def of(cls, settings: Sequence[SipPeerSettings]) -> "Peers":
        """Know the peers that the settings have."""
        return cls(
            [(peer_of(one), one.parsed_networks) for one in settings],
            rates=[one.requests_per_second for one in settings],
            tls_names=[one.tls_names for one in settings],
        )

    def find(self, host: str) -> Peer | None:
        """Return the peer that sends from an address; None for a stranger."""
        if host not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[host] = self._search(host)
        return self._known[host]

    def find_named(self, host: str, names: Iterable[str]) -> Peer | None:
        """Return the peer that sends from an address and has shown a good certificate with these names, maybe none."""
        for name in names:
            found = self._named.get(name.lower())
            if found is not None:
                peer, networks = found
                if not networks or any(_address(host) in network for network in networks):
                    return peer
        return self.find(host)

    def may_ask(self, peer: Peer, *, now: float) -> bool:
        """Tell whether a peer is within its rate, and count the request if so."""
        limit = self._limits.get(peer.name)
        return limit is None or limit.take(None, now=now).is_allowed

    def _search(self, host: str) -> Peer | None:
        address = _address(host)
        return next((peer for network, peer in self._networks if address in network), None)


def peer_of(settings: SipPeerSettings) -> Peer:
    """Return a peer as the settings have it."""
    return Peer(
        name=settings.name,
        style=AnswerStyle(
            contact_host=settings.contact_host,
            contact_transport=settings.contact_transport,
            contact_style=settings.contact_style,
            refusal_status=settings.refusal_status,
        ),
        trust=Trust(asserted=settings.trust_pai, remote_party=settings.trust_rpid),
        read_number=reader(NumberForms(national=settings.national, plus_missing=settings.plus_missing)),
        strip_prefixes=settings.strip_prefixes,
        account_sid=settings.account or None,
    )


def _address(host: str) -> IPv4Address | IPv6Address:
    """Return an address, one of IPv4 also where an IPv6 socket got it."""
    address = ip_address(host.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
