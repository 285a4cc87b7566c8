"""The short ways through a usual INVITE end where the long ones do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.addresses import BadAddress, number_in, number_of, read_address
from engine.channels.sip.message import read_any
from engine.channels.sip.usual import read_usual
from tests.channels.sip.fuzz import mutated
from tests.channels.sip.messages import ALICE, PROXY, invite, offering, parts
from tests.channels.sip.test_second_opinion import requests

USUAL = offering(
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK7;rport\r\nVia: SIP/2.0/UDP [2001:db8::1];branch=z9, SIP/2.0/TCP a",
    b'From: "Trunk" <sip:' + ALICE + b"@carrier.example;user=phone>;tag=1",
    b"P-Asserted-Identity: <sip:" + ALICE + b"@carrier.example>",
    b"P-Asserted-Identity: <tel:" + ALICE + b">",
    b"Contact: <sip:a@192.0.2.1>",
    b"X-Anything: , \t",
)
"""As a switch sends it."""


def test_a_usual_invite_is_read_the_short_way() -> None:
    """To the same request."""
    request = read_usual(USUAL)

    assert request is not None
    assert parts(request) == parts(read_any(USUAL))
    assert len(request.echo.vias) == 2
    assert len(request.asserted) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1",
        b"Via: SIP/2.0/TLS a.example;BRANCH=z9hG4bK1;Rport;received=192.0.2.9;x",
        b"Via: SIP/2.0/UDP a;branch=z9hG4bK1;branch;rport=5;rport",
        b"From: Bob <sip:a@b>",
        b'From: ""<sip:a@b>;tag=1',
        b"Max-Forwards: 0",
        b"Content-Length: 00",
        b"-Content-Length",
    ],
)
def test_what_else_is_usual_is_read_the_short_way(line: bytes) -> None:
    """To the same request."""
    request = read_usual(invite(line))

    assert request is not None
    assert parts(request) == parts(read_any(invite(line)))


@pytest.mark.parametrize(
    "data",
    [
        invite(b"To: <sip:a@b>;tag=1"),
        invite(b"f: <sip:a@b>;tag=1"),
        invite(b"X-Other: 1\r\n folded"),
        invite(b"X-Other: a\nb"),
        invite(b"X-Other: a\rb"),
        invite(b"X-Other: a\n\nb"),
        invite(b"Require: 100rel"),
        invite(b"remote-party-ID: <sip:a@b>"),
        invite(b"Call-ID: a b"),
        invite(b"Content-Length: 9"),
        invite(b"Max-Forwards: 256"),
        invite(b"CSeq: 2147483648 INVITE"),
        invite(b"CSeq: 1 INVITED"),
        invite(b"CSeq: 1 OPTIONS"),
        invite(b"Via: SIP/2.0/UDP a;branch="),
        invite(b"Via: SIP/2.0/UDP a b"),
        invite(b'From: "a" b <sip:a@b>'),
        invite(b"From: sip:a@b"),
        invite(b"Via: SIP/2.0/UDP [192.0.2.1;]"),
        invite(*(b"X-%d: 1" % number for number in range(256))),
        invite()[:-2],
        invite(start=b"INVITE sip:a@b SIP/7.0"),
        invite(start=b"INVITE  SIP/2.0"),
    ],
)
def test_what_is_not_usual_is_left_to_the_long_way(data: bytes) -> None:
    """Right or wrong."""
    assert read_usual(data) is None


@pytest.mark.parametrize("name", [b"Via", b"From", b"To", b"Call-ID", b"CSeq", b"Max-Forwards", b"Content-Length"])
def test_a_header_that_stands_twice_is_left_to_the_long_way(name: bytes) -> None:
    """But Via, of which every hop writes one."""
    line = next(line for line in USUAL.split(b"\r\n") if line.startswith(name + b":"))
    twice = USUAL.replace(line, line + b"\r\n" + line)

    assert parts(read_usual(twice)) == (parts(read_any(twice)) if name == b"Via" else None)


@given(st.one_of(requests(), st.randoms(use_true_random=False).map(mutated)))
def test_the_short_way_ends_where_the_long_one_does(data: bytes) -> None:
    """Or nowhere."""
    request = read_usual(data)

    assert request is None or parts(request) == parts(read_any(data))


@given(
    st.lists(
        st.sampled_from(
            (
                b'"',
                b"\\",
                b"A b",
                b",",
                b" ",
                b"<",
                b"<sip:",
                b"sips:",
                ALICE,
                PROXY,
                b"@",
                b"h",
                b">",
                b";tag=1",
                b";x",
            )
        ),
        max_size=9,
    ).map(b"".join)
)
def test_a_plain_number_is_the_one_in_the_address(value: bytes) -> None:
    """Or is read the long way."""
    try:
        address = read_address(value, "From")
    except BadAddress:
        assert not number_of(value)
    else:
        assert number_of(value) in {"", number_in(address.uri)}


@pytest.mark.parametrize("before", [b"", b"A ", b'"A, \xc3\xa4" ', b'"A"'])
@pytest.mark.parametrize("behind", [b"", b";tag=1"])
def test_a_plain_number_is_found(before: bytes, behind: bytes) -> None:
    """With a display name before it and a tag behind it."""
    assert number_of(before + b"<sip:" + ALICE + b"@carrier.example:5060;user=phone>" + behind) == ALICE.decode()
