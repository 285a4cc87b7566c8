"""Which http and https addresses a client can call; sans-IO, and no look at what they resolve to.

Source: RFC 3986, RFC 1123 (names), RFC 5891 (IDNA).
"""

import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import urlsplit

import idna

SCHEMES = frozenset({"http", "https"})

_MAX_NAME = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def check_url(text: str) -> None:
    """Check an absolute http or https address; raises ValueError, whose text says what is wrong with it."""
    if not text.isprintable() or " " in text:
        raise ValueError("expected an absolute http or https URL without blanks")
    if "\\" in text:
        raise ValueError("expected an absolute http or https URL without a backslash")
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES or not parts.hostname or parts.port == 0:
        raise ValueError("expected an absolute http or https URL")
    if parts.netloc.rpartition("@")[2].startswith("["):
        _check_address(parts.hostname)
    else:
        _check_name(parts.hostname)


def _check_address(text: str) -> None:
    try:
        is_plain = IPv6Address(text).scope_id is None
    except AddressValueError:
        is_plain = False
    if not is_plain:
        raise ValueError("the host is no IPv6 address")


def _check_name(host: str) -> None:
    try:
        name = host if host.isascii() else idna.encode(host).decode("ascii")
    except idna.IDNAError as problem:
        raise ValueError("the host is no international name (IDNA)") from problem
    labels = name.removesuffix(".").split(".")
    if len(name) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the host is no name: expected labels of 1 to 63 letters, digits and hyphens between dots")
    if labels[-1].isdecimal() and not (len(labels) == 4 and all(_is_octet(label) for label in labels)):  # noqa: PLR2004
        raise ValueError("the host is no IPv4 address of four numbers from 0 to 255")


def _is_octet(label: str) -> bool:
    return label.isdecimal() and str(int(label)) == label and int(label) <= 255  # noqa: PLR2004 - a byte
