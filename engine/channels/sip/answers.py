"""SIP answers: what a request came to, as the bytes that go back; sans-IO.

An answer is made of the request alone, its To tag too: every retransmission gets the same bytes, and nothing has to be
remembered. Source: RFC 3261 8.2.6, 8.2.7, 17.2 and 18.2.1; RFC 3581.
"""

import hashlib
from collections.abc import Sequence
from ipaddress import ip_address

from engine.channels.sip.requests import Echo, Request

ALLOW = "Allow: INVITE, ACK, CANCEL, OPTIONS"
"""Header of answers to OPTIONS and to methods that are not taken."""

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
        """Tag answers with a key of 16 to 64 bytes; servers that answer for one another share it."""
        self._keyed = hashlib.blake2s(key=key, digest_size=8)

    def answer(
        self, request: Request, status: int, source: tuple[str, int], *, headers: Sequence[str] = (), reason: str = ""
    ) -> bytes:
        """Return an answer to a request that came from an address and port; `headers` are whole lines."""
        tag = b"" if request.to_tag or status == _TRYING else self._tag(request)
        return answer(request.echo, status, source, headers=headers, reason=reason, tag=tag)

    def _tag(self, request: Request) -> bytes:
        echo = request.echo
        branch = b"" if echo.via is None else echo.via.branch
        parts = (echo.call_id, request.from_tag, str(request.cseq_number).encode(), branch)
        tag = self._keyed.copy()
        tag.update(b"\0".join(parts))
        return tag.hexdigest().encode()


def answer(
    echo: Echo,
    status: int,
    source: tuple[str, int],
    *,
    headers: Sequence[str] = (),
    reason: str = "",
    tag: bytes = b"",
) -> bytes:
    """Return an answer made of what could be read of a request; a header that is missing there is missing here."""
    start = f"SIP/2.0 {status} {reason}\r\nVia: ".encode() if reason else _STARTS[status]
    vias, sender, to, call_id, cseq = echo.vias, echo.sender, echo.to, echo.call_id, echo.cseq
    return b"".join(
        (
            start,
            _seen_from(echo, *source),
            b"\r\nVia: ".join((b"", *vias[1:])) if len(vias) > 1 else b"",
            b"\r\nFrom: " if sender else b"",
            sender,
            b"\r\nTo: " if to else b"",
            to,
            b";tag=" if tag and to else b"",
            tag if to else b"",
            b"\r\nCall-ID: " if call_id else b"",
            call_id,
            b"\r\nCSeq: " if cseq else b"",
            cseq,
            "\r\n".join(("", *headers)).encode(),
            b"\r\nContent-Length: 0\r\n\r\n",
        )
    )


def _seen_from(echo: Echo, host: str, port: int) -> bytes:
    """Return the first Via value with the address that its hop was seen to send from."""
    value, via = echo.vias[0], echo.via
    if via is None or (not via.port_at and _names(via.host, host)):
        return value
    seen = b";received=" + host.encode() + value[via.end :]
    if not via.port_at:
        return value[: via.end] + seen
    return value[: via.port_at] + b"=" + str(port).encode() + value[via.port_at : via.end] + seen


def _names(given: bytes, host: str) -> bool:
    """Tell whether a hop names itself by the address that it sends from."""
    if given == host.encode() or ":" not in host:  # an address of IPv4 is written in one way only
        return given == host.encode()
    try:
        return ip_address(given.decode("ascii", "replace").strip("[]")) == ip_address(host)
    except ValueError:
        return False


_STARTS = {status: f"SIP/2.0 {status} {phrase}\r\nVia: ".encode() for status, phrase in PHRASES.items()}
_TRYING = 100
