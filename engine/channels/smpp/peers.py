"""The peers that the settings name: who binds to whom, over what, and what was agreed on; sans-IO."""

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

import msgspec
from phonenumbers import country_code_for_region

from engine.channels.smpp.segments import LongForm
from engine.channels.smpp.session import Role
from engine.channels.smpp.texts import Alphabet, Reading

LONGEST_CREDENTIAL: Final = 64
"""Characters of a system_id or password: 3.4 has 15 and 8, and longer ones are in use."""


class BindAs(StrEnum):
    """With which binds messages go both ways; closed."""

    TRANSCEIVER = "transceiver"
    PAIR = "pair"
    """A transmitter and a receiver for each connection."""


class ResendUnknown(StrEnum):
    """What becomes of a message that the peer did not answer, so that it may have taken it; closed."""

    NEVER = "never"
    ONCE = "once"


Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Credential = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_CREDENTIAL, pattern="^[\x21-\x7e]*$")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Connections = Annotated[int, msgspec.Meta(ge=1, le=64)]
Window = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=100_000)]
Validity = Annotated[int, msgspec.Meta(ge=0, le=99 * 86_400)]
Ton = Annotated[int, msgspec.Meta(ge=0, le=6)]
ErrorCode = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFF)]
Tlv = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)]


class SmppPeer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[smpp_peers.NAME]`."""

    name: str = ""
    """What routes, logs and commands call it."""
    role: Role
    """What we are: esme = we bind to them, smsc = they bind to us."""
    host: str = ""
    """esme: where they listen."""
    port: Port | None = None
    """esme: 2775, or 3550 with TLS, where it is left out."""
    tls: bool = False
    """esme: TLS from the first octet; smsc: only connections of smpp_tls_listen are theirs."""
    tls_ca: str = ""
    """esme: PEM file of the authorities that sign their certificate; empty = those of the system."""
    networks: tuple[str, ...] = ()
    """smsc, and with `outbind`: where they may connect from; empty = from anywhere."""
    system_id: Credential
    """Who binds."""
    password: str = ""
    password_file: str = ""
    """Where the password is read from instead."""
    password_variable: str = ""
    """The same, a variable of the environment."""
    bind: BindAs = BindAs.TRANSCEIVER
    """esme: how we bind."""
    connections: Connections = 1
    """How many, pairs counted once."""
    window: Window = 10
    """Messages of ours on one connection that wait for responses."""
    messages_per_second: Rate = 0.0
    """That we send them at the most, on all connections together; 0 = no limit."""
    default_alphabet: Alphabet = Alphabet.GSM
    """What data_coding 0 means."""
    ia5_alphabet: Alphabet = Alphabet.GSM
    """What data_coding 1 means."""
    ucs2_little_endian: bool = False
    """They write UCS-2 the wrong way round; it is sent to them likewise."""
    ucs2_under_0: bool = False
    """They write UCS-2 under data_coding 0 too: octets of which every other one is 0."""
    transliterate: bool = False
    """Send look-alikes of characters that the alphabet lacks, rather than UCS-2."""
    prefer_latin1: bool = False
    """Declare texts as Latin-1 that are in both alphabets."""
    message_class: bool = False
    """Pass on that a message is to be shown at once."""
    with_plus: bool = False
    """Send numbers with their plus."""
    short_code_ton: Ton = 3
    """Type of number of short codes that are sent."""
    national: str = ""
    """ISO country in which they write numbers of type 2 (national)."""
    long_messages: LongForm = LongForm.UDH8
    """How long messages are sent to them; all forms are taken."""
    validity_seconds: Validity = 0
    """How long they may try to deliver a message of ours; 0 = as long as they like."""
    resend_unknown: ResendUnknown = ResendUnknown.NEVER
    """What becomes of what they did not answer."""
    temporary_errors: tuple[ErrorCode, ...] = ()
    """Statuses after which a message is tried again, besides 0x08 and 0x64."""
    permanent_errors: tuple[ErrorCode, ...] = ()
    """Statuses that end a message, although others mean by them that it may be tried again."""
    refusal_status: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)] = 0
    """What answers a message that is refused; 0 = it is settled."""
    receipts_by_text: bool = False
    """A text of theirs that reads like a receipt is one, whatever its esm_class."""
    parts_timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 120
    """How long the parts of a long message of theirs wait for each other."""
    outbind: bool = False
    """esme: they may ask us, at smpp_listen, to connect at once."""
    tls_certificate: str = ""
    """esme: PEM file of the certificate chain that we show them."""
    tls_key: str = ""
    """esme: PEM file of its key."""
    id_tlv: Tlv | None = None
    """Optional parameter by which a message of theirs is known again."""
    account: str = ""
    """Account whose numbers they reach; empty = all."""

    def __repr__(self) -> str:
        """Show no password."""
        return f"SmppPeer(name={self.name!r}, role={self.role.value!r}, system_id={self.system_id!r})"

    @property
    def is_esme(self) -> bool:
        """Tell that we bind to them."""
        return self.role is Role.ESME

    @property
    def reading(self) -> Reading:
        """Return how their octets are read."""
        return Reading(self.default_alphabet, self.ia5_alphabet, self.ucs2_little_endian, self.ucs2_under_0)

    @property
    def at_port(self) -> int:
        """Return the port where they listen."""
        return self.port or (_TLS_PORT if self.tls else _PORT)

    def may_come_from(self, address: str) -> bool:
        """Tell whether they may connect from an IP address."""
        if not self.networks:
            return True
        try:
            at = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(at, "ipv4_mapped", None)
        return any((mapped or at) in network for network in map(ip_network, self.networks))


def checked(peer: SmppPeer) -> SmppPeer:
    """Return a peer whose fields go together; raises ValueError with the field's name first."""
    for network in peer.networks:
        _network(network)
    for field in _OF_ESME if not peer.is_esme else _OF_SMSC:
        if getattr(peer, field) and not (field == "networks" and peer.outbind):
            raise ValueError(f"{field} is nothing for the role {peer.role}")
    if peer.is_esme and not peer.host:
        raise ValueError("host is missing")
    _check_tls(peer)
    if both := set(peer.temporary_errors) & set(peer.permanent_errors):
        raise ValueError(f"temporary_errors and permanent_errors both have {min(both)}")
    _check_given_once(peer)
    if peer.national and not country_code_for_region(peer.national):
        raise ValueError(f'national: {peer.national!r} is no ISO country, such as "GB"')
    if peer.account and not (peer.account.startswith("AC") and len(peer.account) == _SID_LENGTH):
        raise ValueError("account is no account SID (AC and 32 hexadecimal digits)")
    return peer


def _check_tls(peer: SmppPeer) -> None:
    for field in ("tls_ca", "tls_certificate", "tls_key"):
        if getattr(peer, field) and not peer.tls:
            raise ValueError(f"{field} needs tls = true")
    if bool(peer.tls_certificate) is not bool(peer.tls_key):
        raise ValueError("tls_certificate and tls_key go together")


def _check_given_once(peer: SmppPeer) -> None:
    given = [one for one in ("password", "password_file", "password_variable") if getattr(peer, one)]
    if len(given) != 1:
        raise ValueError("password is missing" if not given else f"{' and '.join(given)}: one of them is enough")
    if peer.password:
        check_password(peer.password)


def check_password(password: str, *, field: str = "password") -> None:
    """Raise ValueError, without showing it, for what cannot be sent as a password."""
    if not password.isascii() or not password.isprintable() or len(password) > LONGEST_CREDENTIAL:
        raise ValueError(f"{field} has more than {LONGEST_CREDENTIAL} characters, or others than printable ASCII")


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as problem:
        raise ValueError(f"networks: {problem}") from problem


_PORT, _TLS_PORT = 2775, 3550
_OF_ESME = ("host", "port", "tls_ca", "tls_certificate", "tls_key", "outbind")
_OF_SMSC = ("networks",)
_SID_LENGTH = 34
