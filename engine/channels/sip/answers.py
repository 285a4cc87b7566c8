"""SIP answers: what a request came to, as the bytes that go back; sans-IO.

An answer is made of the request alone, its To tag too: every retransmission gets the same bytes, and nothing has to be
remembered. Source: RFC 3261 8.2.6, 8.2.7, 17.2 and 18.2.1; RFC 3581.
"""

import hashlib
from ipaddress import ip_address
from typing import Final

from librt.strings import BytesWriter

from engine.channels.sip.requests import Echo, Request, Seen

ALLOW = "\r\nAllow: INVITE, ACK, CANCEL, OPTIONS"
"""Header line of answers to OPTIONS and to methods that are not taken."""

PHRASES = {
    100: "Trying",
    200: "OK",
    302: "Moved Temporarily",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "Version Not Supported",
    603: "Decline",
}


class Answering:
    """Makes the answers of one server."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        """Tag answers with a key of 16 to 32 bytes; servers that answer for one another share it."""
        # BLAKE2 needs no more than a key in front, which fits into one block with what most calls are known by; its own
        # keyed mode hashes a block for the key alone, in each copy.
        self._keyed = hashlib.blake2b(key, digest_size=8)

    def answer(self, request: Request, status: int, seen: Seen, *, lines: bytes = b"", reason: str = "") -> bytes:
        """Return an answer to a request that was seen to come from somewhere; `lines` are whole, an end before each."""
        tag = b"" if request.to_tag or status == _TRYING else self._tag(request)
        return answer(request.echo, status, seen, lines=lines, reason=reason, tag=tag)

    def _tag(self, request: Request) -> bytes:
        tag = self._keyed.copy()
        tag.update(request.identity)
        return tag.hexdigest().encode()


def answer(echo: Echo, status: int, seen: Seen, *, lines: bytes = b"", reason: str = "", tag: bytes = b"") -> bytes:
    """Return an answer made of what could be read of a request; a header that is missing there is missing here."""
    out = BytesWriter()
    out.write(f"SIP/2.0 {status} {reason}\r\nVia: ".encode() if reason else _STARTS[status])
    _write_hop(out, echo, seen)
    for value in echo.vias[1:]:
        out.write(b"\r\nVia: ")
        out.write(value)
    _write_header(out, b"\r\nFrom: ", echo.sender)
    _write_header(out, b"\r\nTo: ", echo.to)
    if tag and echo.to:
        out.write(b";tag=")
        out.write(tag)
    _write_header(out, b"\r\nCall-ID: ", echo.call_id)
    _write_header(out, b"\r\nCSeq: ", echo.cseq)
    out.write(lines)
    out.write(b"\r\nContent-Length: 0\r\n\r\n")
    return out.getvalue()


def _write_header(out: BytesWriter, name: bytes, value: bytes) -> None:
    if value:
        out.write(name)
        out.write(value)


def _write_hop(out: BytesWriter, echo: Echo, seen: Seen) -> None:
    """Write the first Via value with the address that its hop was seen to send from."""
    value, via = echo.vias[0], echo.via
    host, port = seen
    if via is None or (not via.port_at and _names(via.host, host)):
        out.write(value)
        return
    if via.port_at:
        out.write(value[: via.port_at])
        out.write(b"=")
        out.write(port)
    out.write(value[via.port_at : via.end])
    out.write(b";received=")
    out.write(host)
    out.write(value[via.end :])


def _names(given: bytes, host: bytes) -> bool:
    """Tell whether a hop names itself by the address that it sends from."""
    if given == host or b":" not in host:  # an address of IPv4 is written in one way only
        return given == host
    try:
        return ip_address(given.decode("ascii", "replace").strip("[]")) == ip_address(host.decode())
    except ValueError:
        return False


_STARTS: Final = {status: f"SIP/2.0 {status} {phrase}\r\nVia: ".encode() for status, phrase in PHRASES.items()}
_TRYING: Final = 100
