"""Addresses in SIP headers, and the numbers in them: name-addr, addr-spec, `sip:`, `sips:` and `tel:`; sans-IO.

Nothing is cut at a comma or semicolon that stands in quotes or angle brackets. Source: RFC 3261 19.1, 20.10 and 25.1;
RFC 3966.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from mypy_extensions import i64

from engine.channels.sip.octets import DIGIT, URI, VALUE, end_of
from engine.channels.sip.requests import HeaderAddress
from engine.core.model.errors import MasklineError


class BadAddress(MasklineError):  # noqa: N818 - names a state of the header
    """A header cannot be read; the text is its name."""


def read_address(value: bytes, header: str) -> HeaderAddress:
    """Read a header that holds one address. Raises BadAddress, with the header's name, where it does not."""
    found = _NAME_ADDRESS(value) or _ADDRESS(value)
    if found is None:
        raise BadAddress(header)
    parameters = {one[1].lower(): (one[2] or b"") for one in _PARAMETER(found["parameters"])}
    return HeaderAddress(found["uri"], parameters)


def split_addresses(value: bytes) -> list[bytes]:
    """Cut a header that may hold several addresses at the commas between them; into none where one cannot be read."""
    if not _LIST(value):
        return []
    return [one for one in (part.strip(b" \t") for part in _ELEMENTS(value)) if one]


def scheme(uri: bytes) -> bytes:
    """Return the scheme of a URI in lower case; empty where it has none."""
    found = _SCHEME(uri)
    return found[1].lower() if found else b""


def number_in(uri: bytes) -> str:
    """Return the telephone number of a URI as it is written, with its plus but without separators; else empty.

    Read from the user part (`sip:`, `sips:`) or the whole (`tel:`), each escape decoded once, without parameters. A
    local number with a context of digits is put behind it.
    """
    start = 4 if uri.startswith(b"sip:") else 5 if uri.startswith(b"sips:") else 0
    stop = _end_of_number(uri, start) if start else 0
    return uri[start:stop].decode() if stop and uri.find(b"@", stop + 1) < 0 else _read_number(uri)


def number_of(value: bytes) -> str:
    """Return the number of a header that holds one address with a plain one; empty for others, right or wrong.

    It is the one that `number_in` finds in that address.
    """
    before = value.find(b"<sip:")
    if before < 0 or (before and not _is_name(value[:before])):
        return ""
    start: i64 = before + 5
    stop = _end_of_number(value, start)
    if not stop:
        return ""
    end: i64 = len(value)
    at = end_of(value, stop + 1, end, URI)
    if at == end or value[at] != _GREATER or value.find(b"@", stop + 1, at) >= 0:
        return ""
    tag = at + 1 + len(_TAG)
    if at + 1 < end and (not value.startswith(_TAG, at + 1) or tag == end or end_of(value, tag, end, VALUE) != end):
        return ""
    return value[start:stop].decode()


def _end_of_number(uri: bytes, start: i64) -> i64:
    """Return where a user part of digits ends, maybe with a plus before them, at an @; 0 where it is anything else."""
    size: i64 = len(uri)
    at = start
    if at < size and uri[at] == _PLUS:
        at += 1
    stop = end_of(uri, at, size, DIGIT)
    return stop if at < stop <= at + _MOST_DIGITS and stop < size and uri[stop] == _AT else 0


def _is_name(before: bytes) -> bool:
    """Tell whether a display name stands before an address, and nothing that needs a closer look."""
    name = before.rstrip(b" \t")
    if name.startswith(b'"'):
        return name.find(b'"', 1) == len(name) - 1 > 0 and b"\\" not in name
    return not name.translate(None, _OF_NAMES)


def _read_number(uri: bytes) -> str:
    rest = uri.partition(b":")[2]
    match scheme(uri):
        case b"sip" | b"sips":
            user, at, _ = rest.rpartition(b"@")
            subscriber = user.partition(b":")[0] if at else b""
        case b"tel":
            subscriber = rest
        case _:
            return ""
    plain = unquote_to_bytes(subscriber) if b"%" in subscriber else subscriber
    number, _, parameters = plain.partition(b";")
    digits = number.translate(None, _SEPARATORS)
    context = _CONTEXT(parameters) if parameters else None
    if context and not digits.startswith(b"+"):
        digits = context[1].translate(None, _SEPARATORS) + digits
    return digits.decode() if _DIGITS(digits) else ""


_TOKEN_CHARACTERS = rb"[A-Za-z0-9.!%*_+`'~-]"
_QUOTED = rb'"(?:[^"\\]|\\.)*+"'
_PARAMETERS = (
    rb"(?P<parameters>(?:[ \t]*+;[ \t]*+"
    + _TOKEN_CHARACTERS
    + rb"++(?:[ \t]*+=[ \t]*+(?:"
    + _QUOTED
    + rb'|[^\x00- \x7f;"]++))?+)*+)[ \t]*+'
)
_NAME_ADDRESS = re.compile(
    rb"(?:" + _QUOTED + rb'[ \t]*+|[^"<>]*+)<(?P<uri>[^<>\x00- \x7f]++)>' + _PARAMETERS, re.DOTALL
).fullmatch
_ADDRESS = re.compile(rb'(?P<uri>[A-Za-z][A-Za-z0-9+.-]*+:[^<>\x00- \x7f;"]++)' + _PARAMETERS, re.DOTALL).fullmatch
_PARAMETER = re.compile(
    rb";[ \t]*(" + _TOKEN_CHARACTERS + rb"+)(?:[ \t]*=[ \t]*(" + _QUOTED + rb'|[^\x00- \x7f;"]+))?'
).finditer
_ELEMENT = rb"(?:" + _QUOTED + rb'|<[^<>]*+>|[^",<>])++'
_ELEMENTS = re.compile(_ELEMENT, re.DOTALL).findall
_LIST = re.compile(rb"(?:" + _ELEMENT + rb"|,)*+", re.DOTALL).fullmatch
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*):").match
_CONTEXT = re.compile(rb"(?:^|;)phone-context=(\+[0-9().-]+)(?:;|$)", re.IGNORECASE).search
_DIGITS = re.compile(rb"\+?[0-9*#]{1,64}").fullmatch
_SEPARATORS: Final = b"-.() "
_OF_NAMES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -."
_TAG: Final = b";tag="
_MOST_DIGITS: Final = 64
_GREATER: Final = 0x3E
_AT: Final = 0x40
_PLUS: Final = 0x2B
