"""SIP messages for tests: one plain INVITE, and the same with something else in it."""

from collections.abc import Iterable

ALICE, PROXY = b"+12125550111", b"+14155550100"

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
