"""The tables `[sip_peers.NAME]` of the settings file: which switches may ask, and how each writes and reads.

Whatever is wrong is a ValueError that names the key.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import combinations
from typing import Annotated, Any

import msgspec
from phonenumbers import SUPPORTED_REGIONS

from engine.channels.sip.styles import REFUSAL_STATUSES, USUAL_REFUSAL, ContactStyle
from engine.core.model.settings import Quoted, in_words
from engine.core.model.sids import SidKind, is_sid

Network = IPv4Network | IPv6Network

TRANSPORTS = ("", "udp", "tcp", "tls")


class SipPeerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One switch, or several that are set up alike."""

    name: str
    """What metrics and logs call it."""
    networks: tuple[str, ...] = ()
    """Networks (`192.0.2.0/24`, `2001:db8::/32`) or addresses that it sends from."""
    tls_names: tuple[str, ...] = ()
    """Names in the certificate that it shows over TLS, one of them is enough; with networks, both must hold."""
    account: str = ""
    """AC… whose numbers it reaches; empty = those of all accounts, as a carrier of the operator's."""
    trust_pai: bool = False
    """P-Asserted-Identity names the caller: the switch takes off what others asserted."""
    trust_rpid: bool = False
    """Remote-Party-ID does, where there is no asserted identity."""
    national: str = ""
    """ISO country, `US`, whose national and international prefixes its numbers may have."""
    plus_missing: bool = False
    """It writes country codes without `+`."""
    strip_prefixes: tuple[str, ...] = ()
    """What stands before the number reached and is no part of it: tech prefixes such as `9931#`."""
    contact_host: str = ""
    """Host, and port where it is not the transport's own, to redirect to; empty = where the question came from."""
    contact_transport: str = ""
    """`udp`, `tcp` or `tls` where calls must go on over it; empty = the switch chooses."""
    contact_style: ContactStyle = ContactStyle.HEADERS
    """`headers`: the caller id in X-Maskline-Caller-Id; `user`: in the Contact's user part, for Asterisk."""
    refusal_status: int = USUAL_REFUSAL
    """What callers without a session get; one of `REFUSAL_STATUSES`."""
    requests_per_second: Annotated[int, msgspec.Meta(ge=0)] = 0
    """More are answered 503; 0 = any number."""

    @property
    def parsed_networks(self) -> tuple[Network, ...]:
        """The networks."""
        return tuple(map(ip_network, self.networks))


SipPeerTables = dict[str, dict[str, Any]]


def sip_peers_of(tables: SipPeerTables) -> tuple[SipPeerSettings, ...]:
    """Read the tables by their names; raises ValueError."""
    peers = tuple(_peer_of(name, table) for name, table in tables.items())
    for one, other in combinations(peers, 2):
        _check_apart(one, other)
    return peers


def sip_peer_lines(peers: tuple[SipPeerSettings, ...], quoted: Quoted) -> Iterator[str]:
    """Write the tables as lines of TOML, without what is as it is by itself; `quoted` writes a text."""
    for peer in peers:
        yield from _lines(peer, quoted)


def _lines(peer: SipPeerSettings, quoted: Quoted) -> Iterator[str]:
    yield f"[sip_peers.{quoted(peer.name)}]"
    plain = SipPeerSettings(name=peer.name)
    for key in _KEYS:
        value = getattr(peer, key)
        if value == getattr(plain, key):
            continue
        if isinstance(value, tuple):
            yield f"{key} = [{', '.join(map(quoted, value))}]"
        elif isinstance(value, str):
            yield f"{key} = {quoted(str(value))}"
        else:
            yield f"{key} = {str(value).lower()}"


def _peer_of(name: str, table: Mapping[str, Any]) -> SipPeerSettings:
    if not _NAME(name):
        raise ValueError(f"{name!r} cannot be the name of a peer: letters, digits, '-' and '_'")
    if unknown := table.keys() - set(_KEYS):
        raise ValueError(f"sip_peers.{name} has unknown keys {', '.join(sorted(unknown))}")
    for key, value in table.items():
        try:
            msgspec.convert({"name": name, key: value}, SipPeerSettings)
            _CHECKS.get(key, _no_check)(value)
        except msgspec.ValidationError as problem:
            raise ValueError(in_words(problem, f"sip_peers.{name}")) from problem
        except ValueError as problem:
            raise ValueError(f"sip_peers.{name}.{key}: {problem}") from problem
    peer = msgspec.convert({"name": name, **table}, SipPeerSettings)
    if not peer.networks and not peer.tls_names:
        raise ValueError(f"sip_peers.{name}.networks is missing: which addresses does it send from?")
    return peer


def _check_apart(one: SipPeerSettings, other: SipPeerSettings) -> None:
    """Refuse two peers of which an address or a certificate would not tell which one it is."""
    if names := set(one.tls_names) & set(other.tls_names):
        raise ValueError(f"sip_peers.{other.name}.tls_names: {min(names)!r} is sip_peers.{one.name}'s too")
    if one.tls_names or other.tls_names:
        return  # the certificate tells
    for network in one.parsed_networks:
        for another in other.parsed_networks:
            if network.version == another.version and network.overlaps(another):
                raise ValueError(
                    f"sip_peers.{other.name}.networks: {another} overlaps {network} of sip_peers.{one.name}"
                )


def _check_networks(networks: Sequence[str]) -> None:
    for one in networks:
        ip_network(one)


def _check_tls_names(names: Sequence[str]) -> None:
    if not all(names):
        raise ValueError("holds an empty text")


def _check_account(account: str) -> None:
    if account and not is_sid(account, SidKind.ACCOUNT):
        raise ValueError(f"{account!r} is no SID of an account (AC…)")


def _check_national(country: str) -> None:
    if country and country not in SUPPORTED_REGIONS:
        raise ValueError(f"{country!r} is no ISO country, such as US")


def _check_prefixes(prefixes: Sequence[str]) -> None:
    for one in prefixes:
        if not _PREFIX(one):
            raise ValueError(f"{one!r} is no start of a number: digits, + * #")


def _check_host(host: str) -> None:
    found = _HOST(host)
    if host and found is None:
        raise ValueError(f"{host!r} is no host or host:port")
    if found is not None and found["v6"]:
        ip_address(found["v6"])


def _check_transport(transport: str) -> None:
    if transport not in TRANSPORTS:
        raise ValueError(f"must be one of {', '.join(filter(None, TRANSPORTS))}")


def _check_refusal(status: int) -> None:
    if status not in REFUSAL_STATUSES:
        raise ValueError(f"must be one of {', '.join(map(str, REFUSAL_STATUSES))}")


def _no_check(_: Any) -> None:  # noqa: ANN401 - of any key
    """Its type is all that matters."""


_CHECKS: dict[str, Callable[[Any], None]] = {
    "networks": _check_networks,
    "tls_names": _check_tls_names,
    "account": _check_account,
    "national": _check_national,
    "strip_prefixes": _check_prefixes,
    "contact_host": _check_host,
    "contact_transport": _check_transport,
    "refusal_status": _check_refusal,
}
_KEYS = tuple(name for name in SipPeerSettings.__struct_fields__ if name != "name")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_PREFIX = re.compile(r"[0-9+*#]{1,32}").fullmatch
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?").fullmatch
