"""INVITEs as most switches write them, read an octet at a time: what `engine.channels.sip.message` reads, or nothing.

Every header stands once, but Via and P-Asserted-Identity, under its long name and on one line; others are left to that
module, right or wrong. mypyc compiles this one. Interpreted it reads the same too slowly to be of use.
"""

from typing import Final, final

from librt.strings import read_i64_le
from mypy_extensions import i64, mypyc_attr

from engine.channels.sip.headers import MAX_HEAD_BYTES, MAX_HEADERS, MAX_HOPS, MAX_SEQUENCE, READ, UNREAD
from engine.channels.sip.octets import DIGIT, DISPLAY, HOST, PARAMETER, TOKEN, URI, VALUE, VISIBLE, end_of
from engine.channels.sip.requests import Echo, Request, Via

IS_COMPILED: Final = not __file__.endswith(".py")
"""Whether this is the compiled module."""


def read_usual(data: bytes) -> Request | None:
    """Read one whole message; None unless it is an INVITE without a To tag, of the usual form."""
    if not data.startswith(b"INVITE "):
        return None
    size: i64 = len(data)
    at: i64 = len(b"INVITE ")
    stop = end_of(data, at, size, URI)
    if stop == at or not _has(data, stop, _VERSION):
        return None
    found = _Found(data[at:stop])
    at = stop + len(_VERSION)
    count: i64 = 0
    while at < size and data[at] != _CR:
        colon = end_of(data, at, size, TOKEN)
        stop = _end_of_line(data, colon, size)
        count += 1
        if colon == at or stop > MAX_HEAD_BYTES or not _has(data, stop, _END) or data[colon] != _COLON:
            return None
        name = _name_of(data, at, colon)
        if name < 0 or (name != _UNREAD and not found.take(name, data, colon + 1, stop)):
            return None
        at = stop + 2
    if count == 0 or count > MAX_HEADERS or not _has(data, at, _END):
        return None
    return found.request(size - at - 2)


@final
@mypyc_attr(acyclic=True)
class _Found:
    """What was read of a message so far."""

    __slots__ = (
        *("asserted", "branch", "call_id", "cseq", "cseq_number", "end", "from_tag", "hops", "host", "length"),
        *("port_at", "sender", "to", "uri", "vias"),
    )

    def __init__(self, uri: bytes) -> None:
        self.uri = uri
        self.vias: list[bytes] = []
        self.asserted: list[bytes] = []
        self.host = self.branch = self.sender = self.from_tag = self.to = self.call_id = self.cseq = b""
        self.port_at: i64 = 0
        self.end: i64 = 0
        self.cseq_number: i64 = 0
        self.hops: i64 = -1
        self.length: i64 = -1

    def take(self, name: i64, data: bytes, start: i64, end: i64) -> bool:
        """Take the value of a header that is read; tell whether it is usual."""
        start += 1
        if start >= end or data[start - 1] != _SPACE or _is_space(data, start) or _is_space(data, end - 1):
            return False
        is_usual = True
        if name == _VIA:
            is_usual = bool(self.vias) or self._take_hop(data, start, end)
            self.vias.append(data[start:end])
        elif name == _FROM:
            tag = _after_address(data, start, end)
            is_usual = not self.sender and tag >= 0
            self.sender = data[start:end]
            self.from_tag = data[tag:end] if tag >= 0 else b""
        elif name == _TO:
            is_usual = not self.to and _after_address(data, start, end) == end
            self.to = data[start:end]
        elif name == _CALL_ID:
            is_usual = not self.call_id and end_of(data, start, end, VISIBLE) == end
            self.call_id = data[start:end]
        elif name == _ASSERTED:
            self.asserted.append(data[start:end])
        else:
            is_usual = self._take_number(name, data, start, end)
        return is_usual

    def _take_number(self, name: i64, data: bytes, start: i64, end: i64) -> bool:
        stop = end_of(data, start, end, DIGIT)
        if stop == start or stop - start > _MOST_DIGITS:
            return False
        number: i64 = 0
        at = start
        while at < stop:
            number = number * 10 + i64(data[at]) - _ZERO
            at += 1
        if name == _CSEQ:
            is_usual = not self.cseq and number <= MAX_SEQUENCE and data[stop:end] == _INVITE
            self.cseq = data[start:end]
            self.cseq_number = number
        elif name == _MAX_FORWARDS:
            is_usual = self.hops < 0 and number <= MAX_HOPS and stop == end
            self.hops = number
        else:
            is_usual = self.length < 0 and stop == end
            self.length = number
        return is_usual

    def _take_hop(self, data: bytes, start: i64, end: i64) -> bool:
        """Read the topmost hop of a Via."""
        if not _has(data, start, _PROTOCOL):
            return False
        at: i64 = start + len(_PROTOCOL)
        stop = end_of(data, at, end, TOKEN)
        if stop == at or data[stop] != _SPACE:
            return False
        at = stop + 1
        if data[at] == _OPEN:
            stop = data.find(_CLOSE, at, end)
            if stop < 0 or stop == at + 1 or data[at + 1 : stop].translate(None, _OF_IPV6):
                return False
            stop += 1
        else:
            stop = end_of(data, at, end, HOST)
        if stop == at:
            return False
        self.host = data[at:stop]
        if data[stop] == _COLON:
            at = stop + 1
            stop = end_of(data, at, end, DIGIT)
            if stop == at or stop - at > _MOST_PORT_DIGITS:
                return False
        at = self._take_parameters(data, start, stop, end)
        self.end = at - start
        return at == end or (at > 0 and data[at] == _COMMA)

    def _take_parameters(self, data: bytes, start: i64, at: i64, end: i64) -> i64:
        """Read the parameters of a hop; return where they end, 0 where one is unusual."""
        while data[at] == _SEMICOLON:
            name = at + 1
            stop = end_of(data, name, end, TOKEN)
            at = stop
            if data[stop] == _EQUALS:
                at = end_of(data, stop + 1, end, VALUE)
                if at == stop + 1:
                    return 0
            if stop == name:
                return 0
            size = stop - name
            if size == len(_BRANCH) and data[name:stop].lower() == _BRANCH:
                # compiled, a slice may not end before it begins
                self.branch = data[stop + 1 : at] if at > stop else b""
            elif size == len(_RPORT) and at == stop and data[name:stop].lower() == _RPORT:
                self.port_at = stop - start
        return at

    def request(self, body_bytes: i64) -> Request | None:
        """Return the request, if nothing is missing."""
        if not (self.vias and self.sender and self.to and self.call_id and self.cseq) or self.length > body_bytes:
            return None
        via = Via(self.host, self.branch, self.port_at, self.end)
        echo = Echo(tuple(self.vias), via, self.sender, self.to, self.call_id, self.cseq)
        return Request(
            b"INVITE",
            self.uri,
            echo,
            self.cseq_number,
            self.from_tag,
            b"",
            tuple(self.asserted) if self.asserted else (),
        )


def _after_address(data: bytes, at: i64, end: i64) -> i64:
    """Read one address in angle brackets, maybe with a tag; return where that begins, or the end, -1 if unusual."""
    if data[at] == _QUOTE:
        at += 1
        while at < end and data[at] != _QUOTE and data[at] != _BACKSLASH:
            at += 1
        if data[at] != _QUOTE:
            return -1
        at += 1
        while _is_space(data, at):
            at += 1
    else:
        at = end_of(data, at, end, DISPLAY)
    if data[at] != _LESS:
        return -1
    stop = end_of(data, at + 1, end, URI)
    if stop == at + 1 or data[stop] != _GREATER:
        return -1
    at = stop + 1
    if at == end:
        return end
    if not _has(data, at, _TAG):
        return -1
    at += len(_TAG)
    return at if at < end and end_of(data, at, end, PARAMETER) == end else -1


def _name_of(data: bytes, at: i64, end: i64) -> i64:
    """Return which header has a name; -1 where the usual way of writing it is another."""
    size = end - at
    if size > _LONGEST_NAME or (_SIZES_READ >> size) & 1 == 0:
        return _UNREAD
    if _has(data, at, _OF_SIZE[size]):
        return _KIND_OF_SIZE[size]
    name = data[at:end]
    known = _NAMES.get(name)
    if known is not None:
        return known
    return -1 if name.lower() in READ else _UNREAD


def _end_of_line(data: bytes, at: i64, end: i64) -> i64:
    """Return where a CR or LF stands, or the end; eight octets at a time where all are visible ASCII or blanks."""
    blanks: i64 = 0x2020202020202020
    low_bits: i64 = 0x7F7F7F7F7F7F7F7F
    while at + 8 <= end:
        octets = read_i64_le(data, at)
        if (octets | (octets - blanks)) & ~low_bits != 0:
            break
        at += 8
    while at < end and data[at] != _CR and data[at] != _LF:
        at += 1
    return at


def _has(data: bytes, at: i64, expected: bytes) -> bool:
    place: i64 = 0
    size: i64 = len(expected)
    if at + size > len(data):
        return False
    while place < size:
        if data[at + place] != expected[place]:
            return False
        place += 1
    return True


def _is_space(data: bytes, at: i64) -> bool:
    return data[at] == _SPACE or data[at] == _TAB


_UNREAD: Final = 0
_VIA: Final = 1
_FROM: Final = 2
_TO: Final = 3
_CALL_ID: Final = 4
_CSEQ: Final = 5
_MAX_FORWARDS: Final = 6
_CONTENT_LENGTH: Final = 7
_ASSERTED: Final = 8
_NAMES: Final = dict.fromkeys(UNREAD, _UNREAD) | {
    b"Via": _VIA,
    b"From": _FROM,
    b"To": _TO,
    b"Call-ID": _CALL_ID,
    b"CSeq": _CSEQ,
    b"Max-Forwards": _MAX_FORWARDS,
    b"Content-Length": _CONTENT_LENGTH,
    b"P-Asserted-Identity": _ASSERTED,
}
_LONGEST_NAME: Final = max(map(len, READ))
_SIZES_READ: Final = sum(1 << size for size in {len(name) for name in READ})
"""How long the names are of the headers that are read, a bit each."""
_OF_SIZE: Final = tuple(
    next((name for name, read in _NAMES.items() if read != _UNREAD and len(name) == size), b"\r")
    for size in range(_LONGEST_NAME + 1)
)
"""By its length a name that is read, as most switches write it; where there is none, what no name holds."""
_KIND_OF_SIZE: Final = tuple(_NAMES.get(name, _UNREAD) for name in _OF_SIZE)
_VERSION: Final = b" SIP/2.0\r\n"
_END: Final = b"\r\n"
_PROTOCOL: Final = b"SIP/2.0/"
_INVITE: Final = b" INVITE"
_TAG: Final = b";tag="
_BRANCH: Final = b"branch"
_RPORT: Final = b"rport"
_OF_IPV6: Final = b"0123456789ABCDEFabcdef:."
_CLOSE: Final = b"]"
_OPEN: Final = 0x5B
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_LESS: Final = 0x3C
_GREATER: Final = 0x3E
_COLON: Final = 0x3A
_SEMICOLON: Final = 0x3B
_COMMA: Final = 0x2C
_EQUALS: Final = 0x3D
_ZERO: Final = 0x30
_SPACE: Final = 0x20
_TAB: Final = 0x09
_CR: Final = 0x0D
_LF: Final = 0x0A
_MOST_DIGITS: Final = 10
_MOST_PORT_DIGITS: Final = 5
