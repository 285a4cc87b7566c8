"""SIP messages as a redirect server reads them: one whole message to a request, or to what is wrong with it; sans-IO.

Only the headers that an answer needs are read; an answer repeats them, so their values are kept as they came. Bodies,
Contact and everything else are not looked at. Source: RFC 3261 7, 8.2, 18.2, 20 and 25.1, and RFC 4475 for what must
not break it.
"""

import re
from typing import Final

from engine.channels.sip.addresses import BadAddress, read_address
from engine.channels.sip.headers import AS_WRITTEN, MAX_HEAD_BYTES, MAX_HEADERS, MAX_HOPS, MAX_SEQUENCE, READ
from engine.channels.sip.requests import Dropped, Echo, Malformed, Request, Via
from engine.channels.sip.usual import IS_COMPILED, read_usual


def read_message(data: bytes) -> Request | Malformed | Dropped:
    """Read one whole message: a datagram, or what the framing of a stream cut out."""
    usual = read_usual(data) if IS_COMPILED else None
    return read_any(data) if usual is None else usual


def read_any(data: bytes) -> Request | Malformed | Dropped:
    """Read one whole message, however it is written."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"SIP/"):
        return Dropped.RESPONSE
    if len(head) > MAX_HEAD_BYTES:
        return Dropped.NO_VIA
    if b"\r\n " in head or b"\r\n\t" in head:
        head = _FOLD.sub(b" ", head)
    lines, has_strays = _lines(head)
    fields = _Fields(lines, is_readable=not has_strays)
    echo = fields.echo()
    if echo is None:
        return Dropped.NO_VIA
    method, uri, version = _start(lines[0])
    problem = _first_problem(fields, lines, method=method, is_whole=bool(separator), body_bytes=len(body))
    if version is not None and version != _VERSION:
        return Malformed(505, "Version Not Supported", method, echo)
    if problem:
        return Malformed(400, problem, method, echo)
    try:
        return _request(method, uri, echo, fields)
    except BadAddress as bad:
        return Malformed(400, f"Bad {bad}", method, echo)


class _Fields:
    """The headers that are looked at."""

    __slots__ = ("is_readable", "values")

    def __init__(self, lines: list[bytes], *, is_readable: bool) -> None:
        self.values: dict[bytes, list[bytes]] = {}
        self.is_readable = is_readable
        values = self.values
        for line in lines[1 : MAX_HEADERS + 1]:
            name, colon, value = line.partition(b":")
            wanted = AS_WRITTEN.get(name)
            if wanted is None:
                key = name.rstrip(b" \t").lower()
                wanted = READ.get(key)
                if wanted is None and (not colon or not _TOKEN(key)):
                    self.is_readable = False
            if wanted:
                values.setdefault(wanted, []).append(value.strip(b" \t"))

    def one(self, name: bytes) -> bytes | None:
        """Return the value of a header that stands once; None where it is missing or stands again."""
        found = self.values.get(name)
        return found[0] if found is not None and len(found) == 1 else None

    def many(self, name: bytes) -> tuple[bytes, ...]:
        """Return the values of a header, in their order."""
        return tuple(self.values.get(name, ()))

    def echo(self) -> Echo | None:
        """Return what an answer repeats; None without Via."""
        find = self.values.get
        vias = find(b"via")
        if not vias:
            return None
        sender, to, call_id, cseq = (find(name, _NONE)[0] for name in _NEEDED)
        return Echo(tuple(vias), _read_via(vias[0]), sender, to, call_id, cseq)


def _lines(head: bytes) -> tuple[list[bytes], bool]:
    """Cut a head into lines; tell whether one ends in CR or LF alone, which a lenient reader takes for an end.

    Such a message is refused, and its answer carries no such end on.
    """
    lines = head.split(b"\r\n")
    if head.count(b"\n") == head.count(b"\r") == len(lines) - 1:
        return lines, False
    return _ANY_END(head), True


def _start(line: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Return method, Request-URI and version of a request line; empty, empty and None where it is none."""
    found = _REQUEST_LINE(line)
    return (found[1], found[2], found[3]) if found else (b"", b"", None)


def _first_problem(fields: _Fields, lines: list[bytes], *, method: bytes, is_whole: bool, body_bytes: int) -> str:
    """Return the phrase of what is wrong with the message as a whole; empty if nothing is."""
    if not is_whole or not fields.is_readable or len(lines) > MAX_HEADERS + 1:
        return "Bad Headers"
    if not method:
        return "Bad Request Line"
    for name in _NEEDED:
        if fields.one(name) is None:
            return f"Bad {name.decode().title()}"
    if _number(fields, b"content-length", most=body_bytes) is None:
        return "Bad Content-Length"
    if _number(fields, b"max-forwards", most=MAX_HOPS) is None:
        return "Bad Max-Forwards"
    return ""


def _number(fields: _Fields, name: bytes, *, most: int) -> int | None:
    """Return the number that a header holds, 0 where it is missing; None where it is none, above `most` or repeated."""
    values = fields.values.get(name)
    if values is None:
        return 0
    if len(values) > 1 or len(values[0]) > _MAX_DIGITS or not values[0].isdigit():
        return None
    number = int(values[0])
    return number if number <= most else None


def _request(method: bytes, uri: bytes, echo: Echo, fields: _Fields) -> Request:
    if echo.via is None:
        raise BadAddress("Via")
    cseq = _CSEQ(echo.cseq)
    if cseq is None or cseq[2] != method or int(cseq[1]) > MAX_SEQUENCE:
        raise BadAddress("Cseq")
    if not _CALL_ID(echo.call_id):
        raise BadAddress("Call-Id")
    return Request(
        method=method,
        uri=uri,
        echo=echo,
        cseq_number=int(cseq[1]),
        from_tag=read_address(echo.sender, "From").parameters.get(b"tag", b""),
        to_tag=read_address(echo.to, "To").parameters.get(b"tag", b""),
        asserted=fields.many(b"p-asserted-identity"),
        remote_parties=fields.many(b"remote-party-id"),
        requires=fields.many(b"require"),
    )


def _read_via(value: bytes) -> Via | None:
    found = _VIA(value)
    if found is None:
        return None
    branch, port_at = b"", 0
    start, end = found.span("parameters")
    for parameter in _VIA_PARAMETER(value, start, end):
        name = parameter[1].lower()
        if name == b"branch":
            branch = parameter[2] or b""
        elif name == b"rport" and not parameter[2]:
            port_at = parameter.end(1)
    return Via(found["host"], branch, port_at, end)


_VERSION = b"SIP/2.0"
_FOLD = re.compile(rb"\r\n[ \t]+")
_ANY_END = re.compile(rb"\r\n|\r|\n").split
_TOKEN_CHARACTERS = rb"[A-Za-z0-9.!%*_+`'~-]"
_TOKEN = re.compile(_TOKEN_CHARACTERS + rb"+").fullmatch
_REQUEST_LINE = re.compile(rb"(" + _TOKEN_CHARACTERS + rb"{1,64}) ([^\x00- \x7f<>]+) (SIP/[0-9]+\.[0-9]+)").fullmatch
_CSEQ = re.compile(rb"([0-9]{1,10})[ \t]+(" + _TOKEN_CHARACTERS + rb"+)").fullmatch
_CALL_ID = re.compile(rb"[!-~]+").fullmatch
_VIA = re.compile(
    rb"[Ss][Ii][Pp][ \t]*/[ \t]*2\.0[ \t]*/[ \t]*" + _TOKEN_CHARACTERS + rb"++[ \t]++"
    rb"(?P<host>\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._-]++)(?:[ \t]*+:[ \t]*+[0-9]{1,5})?+"
    rb"(?P<parameters>(?:[ \t]*+;[ \t]*+"
    + _TOKEN_CHARACTERS
    + rb'++(?:[ \t]*+=[ \t]*+(?:"(?:[^"\\]|\\.)*+"|[^\x00- \x7f;,"]++))?+)*+)'
    rb"[ \t]*+(?:,|$)"
).match
_VIA_PARAMETER = re.compile(
    rb";[ \t]*(" + _TOKEN_CHARACTERS + rb'+)(?:[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\x00- \x7f;,"]+))?'
).finditer
_NEEDED: Final = (b"from", b"to", b"call-id", b"cseq")
_NONE: Final = [b""]
_MAX_DIGITS = 10
