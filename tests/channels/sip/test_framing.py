"""How a stream is cut into messages, wherever its octets are parted, and that it stays bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.framing import MAX_BODY_BYTES, KeepAlive, Piece, Splitter, Unframed
from engine.channels.sip.headers import MAX_HEAD_BYTES
from tests.channels.sip.messages import invite

BODY = invite(b"Content-Length: 5", body=b"v=0\r\n")
FOLDED = invite(b"-Content-Length", b"L :\r\n  0")
STREAM = BODY + b"\r\n\r\n" + invite() + b"\r\n" + FOLDED + BODY
PIECES: list[Piece] = [BODY, KeepAlive(), invite(), FOLDED, BODY]


def fed(*parts: bytes) -> list[Piece]:
    splitter = Splitter()
    return [piece for part in parts for piece in splitter.feed(part)]


def test_messages_are_cut_by_their_length() -> None:
    """With keep-alives and stray line ends between them."""
    assert fed(STREAM) == PIECES


def test_it_makes_no_difference_where_a_stream_is_parted() -> None:
    """Before or behind any octet."""
    assert [at for at in range(len(STREAM)) if fed(STREAM[:at], STREAM[at:]) != PIECES] == []


def test_octets_may_come_one_by_one() -> None:
    """As from a slow peer."""
    assert fed(*(bytes([octet]) for octet in STREAM)) == PIECES


@pytest.mark.parametrize(
    "message",
    [
        invite(b"-Content-Length"),
        invite(b"Content-Length: -1"),
        invite(b"Content-Length: 1 2"),
        invite(b"Content-Length: 99999999999"),
        invite(b"Content-Length: " + str(MAX_BODY_BYTES + 1).encode()),
        invite(b"X: 1\r\nl: 0"),
        b"x" * (MAX_HEAD_BYTES + 1),
    ],
)
def test_where_no_length_tells_the_end_the_stream_is_broken(message: bytes) -> None:
    """What came is handed on once, and nothing behind it is read."""
    splitter = Splitter()

    assert list(splitter.feed(message)) == [Unframed(message)]
    assert splitter.is_broken
    assert list(splitter.feed(invite())) == []


def test_a_length_within_another_header_is_none() -> None:
    """Of a folded line, or of a name that ends like it."""
    message = invite(b"Subject: a\r\n l: 7", b"X-Content-Length: 8")

    assert fed(message) == [message]


@given(st.lists(st.binary(max_size=30) | st.just(b"\r\n") | st.just(invite()), max_size=12))
def test_nothing_in_a_stream_can_do_harm(parts: list[bytes]) -> None:
    """It is cut or broken; no octet is handed on twice."""
    pieces = fed(*parts)

    handed = [
        piece.message if isinstance(piece, Unframed) else piece for piece in pieces if not isinstance(piece, KeepAlive)
    ]
    assert sum(map(len, handed)) <= sum(map(len, parts))
    assert all(piece in b"".join(parts) for piece in handed)
