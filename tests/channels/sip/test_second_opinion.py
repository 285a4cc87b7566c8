"""Two readers of SIP, ours and the package `sipmessage`, read the same out of the same octets."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.message import read_message
from engine.channels.sip.requests import Request
from tests.channels.sip.messages import invite, joined
from tests.channels.sip.second_opinion import ours, theirs
from tests.channels.sip.test_torture import EXPECTED, message

TOKENS: Final = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=12).map(str.encode)
NAMES: Final = st.one_of(
    st.just(b""),
    st.lists(TOKENS, min_size=1, max_size=3).map(b" ".join),
    st.text('aé<>,;:="\\ ', max_size=8).map(
        lambda text: b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
    ),
)
NUMBERS: Final = st.from_regex(r"\+?[1-9][0-9]{2,14}", fullmatch=True).map(str.encode)
HOSTS: Final = st.sampled_from((b"example.com", b"192.0.2.7", b"[2001:db8::9:1]", b"a-b.example.org"))
PORTS: Final = st.sampled_from((b"", b":5060", b":65535"))
URI_PARAMETERS: Final = st.lists(
    st.sampled_from((b";user=phone", b";transport=tcp", b";lr", b";a=b%41")), max_size=3, unique=True
).map(b"".join)
URIS: Final = st.builds(
    lambda scheme, user, host, port, parameters: scheme + user + b"@" + host + port + parameters,
    st.sampled_from((b"sip:", b"sips:")),
    st.one_of(NUMBERS, st.sampled_from((b"%2B14155550100", b"alice", b"+1-415-555.0100", b"+14155550100;npdi"))),
    HOSTS,
    PORTS,
    URI_PARAMETERS,
)
PARAMETERS: Final = st.lists(
    st.sampled_from((b";x", b" ; y = z", b';q="a\\"b"', b";w=[::1]")), max_size=3, unique=True
).map(b"".join)
TAGS: Final = st.one_of(
    st.just(b""),
    st.builds(lambda name, token: name + token.replace(b"%", b"+"), st.sampled_from((b";tag=", b";tAg=")), TOKENS),
)
ADDRESSES: Final = st.builds(
    lambda name, uri, before, tag, after: name + b" <" + uri + b">" + before + tag + after,
    NAMES,
    URIS,
    PARAMETERS,
    TAGS,
    st.sampled_from((b"", b";z=1")),
)
HOPS: Final = st.builds(
    lambda transport, host, port, branch: b"SIP/2.0/" + transport + b" " + host + port + branch,
    st.sampled_from((b"UDP", b"TCP", b"TLS", b"UNKNOWN")),
    HOSTS,
    PORTS,
    st.sampled_from(
        (b"", b";branch=z9hG4bK1", b";rport;branch=z9hG4bK-.!*_+`'~", b";branch=z9hG4bK2;received=192.0.2.1")
    ),
)
CASES: Final[st.SearchStrategy[Callable[[bytes], bytes]]] = st.sampled_from((bytes, bytes.lower, bytes.upper))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request as its sender may write it, its headers in any order."""
    method = draw(st.sampled_from((b"INVITE", b"OPTIONS", b"BYE", b"CANCEL", b"x-other.1")))
    names = {"From": b"f", "To": b"t", "Call-ID": b"i", "Via": b"v"}
    values = (
        ("Via", b", ".join(draw(st.lists(HOPS, min_size=1, max_size=3)))),
        ("From", draw(ADDRESSES)),
        ("To", draw(ADDRESSES)),
        ("Call-ID", draw(TOKENS) + draw(st.sampled_from((b"", b"@example.com")))),
        ("CSeq", b"%d %b" % (draw(st.integers(0, 2**31 - 1)), method)),
        ("Max-Forwards", b"%d" % draw(st.integers(0, 255))),
        ("X-Other", draw(NAMES)),
    )
    lines = [
        (draw(CASES)(name.encode()) if draw(st.booleans()) else names.get(name, name.encode())) + b": " + value
        for name, value in values
    ]
    return joined((method + b" " + draw(URIS) + b" SIP/2.0", *draw(st.permutations(lines))))


@given(requests())
def test_a_request_is_read_alike(data: bytes) -> None:
    """Whatever is legal in it."""
    request = read_message(data)

    assert isinstance(request, Request), request
    assert theirs(data) == ours(request)


def test_what_both_read_of_the_torture_messages_is_the_same() -> None:
    """The package gives up where lines are folded and where names have blanks behind them."""
    compared = {}
    for name in EXPECTED:
        request, other = read_message(message(name)), theirs(message(name))
        if isinstance(request, Request) and other is not None:
            compared[name] = (ours(request), other)

    assert {name for name, (one, other) in compared.items() if one != other} == set()
    assert len(compared) > len(EXPECTED) // 3


@pytest.mark.parametrize("number", [b"+14155550100", b"%2B14155550100", b"+1-415-555-0100", b"+1(415)5550100"])
def test_a_number_is_read_alike_in_every_form(number: bytes) -> None:
    """E.164, escaped, with separators."""
    data = invite(start=b"INVITE sip:" + number + b"@h;user=phone SIP/2.0")
    request = read_message(data)

    assert isinstance(request, Request)
    other = theirs(data)
    assert other is not None
    assert ours(request).number == other.number == "+14155550100"


@given(st.data())
def test_what_both_read_of_a_broken_request_is_the_same(data: st.DataObject) -> None:
    """Where one of them refuses there is nothing to compare."""
    octets = bytearray(data.draw(requests()))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from((b"", b'"', b"<", b";", b"\\", b" ", b"@"))
        )

    request, other = read_message(bytes(octets)), theirs(bytes(octets))

    if isinstance(request, Request) and other is not None:
        assert ours(request) == other
