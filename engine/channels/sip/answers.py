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

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Tag answers with a key of 16 to 64 bytes; servers that answer for one another share it."""
        self._key = key

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
        return hashlib.blake2s(b"\0".join(parts), key=self._key, digest_size=8).hexdigest().encode()


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
    lines = [f"SIP/2.0 {status} {reason or PHRASES[status]}".encode()]
    lines.append(b"Via: " + _seen_from(echo, *source))
    lines += [b"Via: " + via for via in echo.vias[1:]]
    if echo.sender:
        lines.append(b"From: " + echo.sender)
    if echo.to:
        lines.append(b"To: " + echo.to + (b";tag=" + tag if tag else b""))
    if echo.call_id:
        lines.append(b"Call-ID: " + echo.call_id)
    if echo.cseq:
        lines.append(b"CSeq: " + echo.cseq)
    lines += [header.encode() for header in headers]
    lines.append(b"Content-Length: 0\r\n\r\n")
    return b"\r\n".join(lines)


def _seen_from(echo: Echo, host: str, port: int) -> bytes:
    """Return the first Via value with the address that its hop was seen to send from."""
    value, via = echo.vias[0], echo.via
    if via is None or (not via.port_at and _names(via.host, host)):
        return value
    received = b"%b;received=%b%b" % (value[: via.end], host.encode(), value[via.end :])
    return b"%b=%d%b" % (received[: via.port_at], port, received[via.port_at :]) if via.port_at else received


def _names(given: bytes, host: str) -> bool:
    """Tell whether a hop names itself by the address that it sends from."""
    try:
        return ip_address(given.decode("ascii", "replace").strip("[]")) == ip_address(host)
    except ValueError:
        return False


_TRYING = 100
