"""The framer alone: bytes in, requests out, however the bytes are cut."""

import re
from contextlib import suppress
from http import HTTPStatus

import pytest
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from engine.http.framing import CHUNKED, Framer, Unreadable, origin_form

Request = tuple[bytes, bytes, bytes]
"""Method, target, body."""

GET = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nabc\r\n\r\ndefg"
CHUNKS = (
    b"POST /three HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n4\r\n\r\n\r\n\r\n0\r\nT: u\r\n\r\n"
)
UPGRADE = (
    b"PUT /four HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nGET"  # a body
)
MANY = [
    (GET, (b"GET", b"/one", b"")),
    (LENGTH, (b"POST", b"/two", b"abc\r\n\r\ndefg")),
    (CHUNKS, (b"POST", b"/three", b"abc\r\n\r\n")),
    (UPGRADE, (b"PUT", b"/four", b"GET")),
]


def read(framer: Framer, parts: list[bytes], found: list[Request] | None = None) -> list[Request]:
    """Feed parts and collect the requests that come of them, in order."""
    found = [] if found is None else found
    body = b""
    is_in_body = False
    for part in parts:
        framer.feed(part)
        while True:
            if not is_in_body:
                if not framer.head():
                    break
                body, is_in_body = framer.content, not framer.is_whole
            else:
                body += framer.body()
                is_in_body = not framer.is_whole
                if is_in_body:
                    break
            if not is_in_body:
                found.append((framer.method, framer.target, body))
    return found


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at these places."""
    places = sorted({one % (len(data) + 1) for one in cuts})
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True) if begin < end]


@given(chosen=st.lists(st.sampled_from(MANY), min_size=1, max_size=6), cuts=st.lists(st.integers(0, 1000), max_size=12))
def test_requests_are_the_same_however_they_are_cut(chosen: list[tuple[bytes, Request]], cuts: list[int]) -> None:
    """Pipelined, in one piece or in many; no byte of one is taken for another's."""
    data = b"".join(sent for sent, _ in chosen)

    found = read(Framer(), cut(data, cuts))

    assert found == [request for _, request in chosen]


def test_requests_may_come_byte_by_byte() -> None:
    """Each of them, one behind the other."""
    data = b"".join(sent for sent, _ in MANY)

    found = read(Framer(), [data[at : at + 1] for at in range(len(data))])

    assert found == [request for _, request in MANY]


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
@example(
    data=b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\nGET", cuts=[]
)
def test_no_bytes_do_harm(data: bytes, cuts: list[int]) -> None:
    """They are requests, or the start of one, or refused; and the cuts change nothing of which."""
    outcomes: list[tuple[list[Request], HTTPStatus | None]] = []
    for parts in (cut(data, cuts), [data]):
        found: list[Request] = []
        try:
            read(Framer(), parts, found)
            outcomes.append((found, None))
        except Unreadable as problem:
            outcomes.append((found, problem.status))

    assert outcomes[0] == outcomes[1]


class Messages:
    """What llhttp alone makes of bytes."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, bytes]] = []
        self._target = self._body = b""

    def on_message_begin(self) -> None:
        """Begin a message."""
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        """Keep its target."""
        self._target += url

    def on_body(self, body: bytes) -> None:
        """Keep its body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Keep it."""
        self.found.append((self._target, self._body))


def as_1_1(data: bytes) -> bytes:
    """Write 1.1 for a later minor version: we read such a request as of 1.1 (RFC 9110 6.2), llhttp does not."""
    return re.sub(rb" HTTP/1\.[2-9]\r\n", b" HTTP/1.1\r\n", data, count=1)


@given(
    sent=st.sampled_from([LENGTH, CHUNKS]), at=st.integers(0, 200), put=st.binary(max_size=2), cuts=st.integers(0, 200)
)
@example(sent=LENGTH, at=LENGTH.index(b"1\r\n"), put=b"2", cuts=0)
def test_damaged_requests_are_read_by_both_readers_alike_or_refused(
    sent: bytes, at: int, put: bytes, cuts: int
) -> None:
    """A byte of a head replaced: no request is found that llhttp alone, which is handed everything, does not find."""
    at %= sent.index(b"\r\n\r\n")
    data = sent[:at] + put + sent[at + 1 :] + GET
    alone = Messages()
    with suppress(HttpParserError, HttpParserUpgrade):
        HttpRequestParser(alone).feed_data(as_1_1(data))
    found: list[Request] = []

    with suppress(Unreadable):
        read(Framer(), cut(data, [cuts]), found)

    assert [(target, body) for _, target, body in found] == alone.found[: len(found)]


def test_what_stands_behind_a_request_waits_as_bytes() -> None:
    """Nothing of it is looked at before it is asked for."""
    framer = Framer()
    framer.feed(GET + b"\x00 this is no HTTP" + b"x" * 1000)

    assert framer.head()
    assert framer.unread == 1017
    with pytest.raises(Unreadable):
        framer.head()


def test_a_body_is_read_as_it_comes() -> None:
    """Of a length and of chunks; what is told twice is told once."""
    framer = Framer()
    framer.feed(LENGTH[:-6])

    assert (framer.head(), framer.is_whole, framer.length) == (True, False, 11)
    assert (framer.body(), framer.body(), framer.is_whole) == (b"abc\r\n", b"", False)
    framer.feed(LENGTH[-6:] + CHUNKS[:-12])
    assert (framer.body(), framer.is_whole) == (b"\r\ndefg", True)
    assert (framer.head(), framer.length, framer.body(), framer.is_whole) == (True, CHUNKED, b"abc\r\n\r\n", False)
    framer.feed(CHUNKS[-12:])
    assert (framer.body(), framer.is_whole, framer.unread) == (b"", True, 0)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"http://a/b", (b"a", b"/b")),
        (b"HTTPS://a:1", (b"a:1", b"/")),
        (b"http://[::1]:8080/x/y", (b"[::1]:8080", b"/x/y")),
        (b"http:///b", None),
        (b"http://u:p@a/b", None),
        (b"ftp://a/b", None),
        (b"a:80", None),
        (b"*", None),
    ],
)
def test_an_absolute_target_is_split(target: bytes, parts: tuple[bytes, bytes] | None) -> None:
    """Into authority and path."""
    assert origin_form(target) == parts
