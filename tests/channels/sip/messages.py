"""SIP messages for tests: one plain INVITE, and the same with something else in it."""

from collections.abc import Iterable

from engine.channels.sip.requests import Dropped, Malformed, Request

ALICE, PROXY = b"+12125550111", b"+14155550100"

SDP = (
    b"v=0\r\no=- 3961 3961 IN IP4 198.51.100.20\r\ns=-\r\nc=IN IP4 198.51.100.20\r\nt=0 0\r\n"
    b"m=audio 21592 RTP/AVP 9 8 0 18 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    b"a=ptime:20\r\na=sendrecv\r\na=rtcp:21593\r\na=silenceSupp:off - - - -\r\na=label:1\r\na=content:main\r\n"
)
"""As much as a switch offers with an INVITE."""

LINES = (
    b"INVITE sip:" + PROXY + b"@engine.example SIP/2.0",
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds",
    b"Max-Forwards: 70",
    b"From: <sip:" + ALICE + b"@carrier.example>;tag=1928301774",
    b"To: <sip:" + PROXY + b"@engine.example>",
    b"Call-ID: a84b4c76e66710@pc33.carrier.example",
    b"CSeq: 314159 INVITE",
    b"Content-Length: 0",
)


def joined(lines: Iterable[bytes], body: bytes = b"") -> bytes:
    """Return lines as a message."""
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def invite(*more: bytes, start: bytes | None = None, body: bytes = b"") -> bytes:
    """Return the INVITE; a line of a header that it has takes that one's place, `-Name` takes it away."""
    lines = list(LINES)
    if start is not None:
        lines[0] = start
    for line in more:
        name = line.lstrip(b"-").partition(b":")[0].strip().lower()
        places = [place for place, one in enumerate(LINES) if one.partition(b":")[0].lower() == name]
        if places:
            lines[places[0]] = b"" if line.startswith(b"-") else line
        else:
            lines.append(line)
    return joined(filter(None, lines), body)


def offering(*more: bytes) -> bytes:
    """Return the INVITE with a body, as long as those of switches are."""
    return invite(b"Content-Type: application/sdp", b"Content-Length: %d" % len(SDP), *more, body=SDP)


def parts(read: Request | Malformed | Dropped | None) -> object:
    """Return all that was read of a request, to be held against another reading; else what it is."""
    if not isinstance(read, Request):
        return read
    echo, via = read.echo, read.echo.via
    assert via is not None
    return (
        *(read.method, read.uri, read.cseq_number, read.from_tag, read.to_tag, read.identity),
        *(read.asserted, read.remote_parties, read.requires),
        *(echo.vias, echo.sender, echo.to, echo.call_id, echo.cseq),
        *(via.host, via.branch, via.port_at, via.end),
    )
