"""What is read of a SIP message, what is refused, and that nothing in one can do harm (RFC 3261, RFC 4475)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.addresses import split_addresses
from engine.channels.sip.message import read_message
from engine.channels.sip.requests import Dropped, Malformed, Request
from tests.channels.sip.messages import LINES, invite, joined


def read(data: bytes) -> Request:
    request = read_message(data)
    assert isinstance(request, Request), request
    return request


def status(data: bytes) -> int:
    refused = read_message(data)
    assert isinstance(refused, Malformed), refused
    return refused.status


def test_a_plain_invite_is_read() -> None:
    """Method, URI, tags, and every header that its answer repeats."""
    request = read(invite())

    assert (request.method, request.uri) == (b"INVITE", b"sip:+14155550100@engine.example")
    assert (request.cseq_number, request.from_tag, request.to_tag) == (314159, b"1928301774", b"")
    assert request.echo.vias == (b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds",)
    assert request.echo.via is not None
    assert (request.echo.via.host, request.echo.via.branch) == (b"192.0.2.1", b"z9hG4bK776asdhds")
    assert request.echo.call_id == b"a84b4c76e66710@pc33.carrier.example"


def test_a_tortuous_invite_is_read() -> None:
    """Folded lines, odd white space and case, compact and unknown names, escaped quotes (RFC 4475 3.1.1.1)."""
    request = read(
        joined(
            (
                b"INVITE sip:14155550100@engine.example;unknownparam SIP/2.0",
                b"TO :\r\n sip:14155550100@engine.example ;   tag    = 1918181833n",
                b'from   : "J Rosenberg \\\\\\""       <sip:+12125550111@carrier.example>\r\n  ;\r\n  tag = 98asjd8',
                b"MaX-fOrWaRdS: 0068",
                b"i: wsinv.ndaksdj@192.0.2.1",
                b"l   : 4",
                b"cseq: 0009\r\n  INVITE",
                b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw",
                b"s :",
                b"NewFangledHeader:   newfangled value\r\n continued newfangled value",
                b"UnknownHeaderWithUnusualValue: ;;,,;;,;",
                b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP/2.0/UDP b",
            ),
            b"v=0\r",
        )
    )

    assert (request.from_tag, request.to_tag, request.cseq_number) == (b"98asjd8", b"1918181833n", 9)
    assert len(request.echo.vias) == 2
    assert request.echo.via is not None
    assert (request.echo.via.host, request.echo.via.branch) == (b"192.0.2.2", b"390skdjuw")


INTERESTING = (
    b"CSeq: 1 !interesting-Method0123456789_*+`.%indeed'~",
    b"Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bK-.!%66*_+`'~",
    b'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn\'t+it$/crazy?,/;;*@example.com>',
    b"From: token1~` token2'+_ token3*%!.- <sip:a@b>;fromParam''~+*_!.-%=\"\xd1\x80\";tag=_t~1'+`*%!-.",
)
"""Every character that is legal somewhere (RFC 4475 3.1.1.2)."""


@pytest.mark.parametrize(
    "message",
    [
        invite(*INTERESTING, start=b"!interesting-Method0123456789_*+`.%indeed'~ sip:a@b SIP/2.0"),
        invite(b"Via: SIP/2.0/UDP 192.0.2.1"),
        invite(b"Via: SIP/2.0/UDP [2001:db8::9:1]:5060;branch=z9hG4bKas3-111"),
        invite(b"Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKzyx;maddr=192.0.2.1;ttl=16"),
        invite(b"Max-Forwards: 0"),
        invite(b"-Max-Forwards"),
        invite(b"-Content-Length"),
        invite(b"Date: Fri, 01 Jan 2010 16:00:00 EST"),
        invite(b"From: isbn:2983792873;tag=1"),
        invite(b"From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43"),
        invite(b"Content-Length: 3", body=b"v=0 and a second request behind it"),
    ],
    ids=range(11),
)
def test_what_is_unusual_but_right_is_read(message: bytes) -> None:
    """RFC 4475 3.1.1 and 3.3, RFC 5118, RFC 2543."""
    assert read(message).method


@pytest.mark.parametrize(
    "message",
    [
        invite(start=b"INVITE <sip:user@example.com> SIP/2.0"),
        invite(start=b"INVITE sip:user@example.com; lr SIP/2.0"),
        invite(start=b"INVITE  sip:user@example.com  SIP/2.0"),
        invite(start=b"INVITE sip:user@example.com SIP/2.0  "),
        invite(b"Via: SIP/2.0/UDP 192.0.2.15;;,;,,"),
        invite(b'To: "Mr. J. User <sip:j.user@example.com>'),
        invite(b"From: <sip:caller@example.net>;;;;tag=1"),
        invite(b"CSeq: 36893488147419103232 INVITE"),
        invite(b"CSeq: 1 OPTIONS"),
        invite(b"Max-Forwards: 300"),
        invite(b"Content-Length: -999"),
        invite(b"Content-Length: 9999", body=b"v=0"),
        invite(b"-From"),
        invite(b"-To"),
        invite(b"-Call-ID"),
        invite(b"-CSeq"),
        invite(b"Call-ID: with space"),
        joined((*LINES, b"Call-ID: another@192.0.2.1")),
        joined((*LINES, b"l: 0")),
        joined((*LINES, b"No colon here")),
        joined((*LINES, *(b"X-%d: 1" % place for place in range(257)))),
        b"\n".join(LINES).replace(b"\n", b"\r\n", 1) + b"\r\n\r\n",
        invite()[:-2],
    ],
)
def test_what_is_wrong_is_refused(message: bytes) -> None:
    """RFC 4475 3.1.2 and 3.3; the answer has what could be read."""
    assert status(message) == 400


def test_another_version_is_refused() -> None:
    """By its own status (RFC 4475 3.1.2.16)."""
    assert status(invite(start=b"INVITE sip:t@example.com SIP/7.0")) == 505


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe\r\n\r\n", Dropped.RESPONSE),
        (b"SIP/2.0 4294967301 better not break the receiver\r\n\r\n", Dropped.RESPONSE),
        (invite(b"-Via"), Dropped.NO_VIA),
        (b"", Dropped.NO_VIA),
        (b"\r\n\r\n", Dropped.NO_VIA),
        (b"\x00\x01\x00\x08\x21\x12\xa4\x42", Dropped.NO_VIA),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Dropped.NO_VIA),
        (invite(b"Subject: " + b"x" * 70_000), Dropped.NO_VIA),
    ],
)
def test_what_cannot_be_answered_is_dropped(message: bytes, reason: Dropped) -> None:
    """Responses, other protocols, and who does not say where from."""
    assert read_message(message) is reason


def test_a_message_cut_anywhere_is_refused_or_dropped() -> None:
    """Never read as something else."""
    whole = invite(b"Content-Length: 3", body=b"v=0")

    cut = [read_message(whole[:end]) for end in range(len(whole))]

    assert [one for one in cut if isinstance(one, Request)] == []


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\n\r"])
def test_no_answer_carries_on_what_a_lenient_reader_takes_for_a_line(end: bytes) -> None:
    """CR and LF stand for nothing but the end of a line: a display name with one would bring its own Contact."""
    refused = read_message(invite(b'From: "x' + end + b"Contact: <sip:+19005550100@h>" + end + b'" <sip:a@b>;tag=1'))

    assert isinstance(refused, Malformed)
    assert refused.status == 400
    assert not {*b"\r\n"} & {*refused.echo.sender}


@pytest.mark.parametrize("filling", [b" ", b"\t", b";", b",", b"<", b'"', b"\\", b"a", b";a", b'="', b"\r\n "])
@pytest.mark.parametrize(
    "name", [b"Via: SIP/2.0/UDP a", b"From: ", b"To: <sip:a@b>", b"P-Asserted-Identity: ", b"CSeq: 1"]
)
def test_a_long_header_is_read_in_one_pass(name: bytes, filling: bytes) -> None:
    """None makes work that grows with its square; the test's own time limit would end it."""
    message = invite(name + filling * (60_000 // len(filling)))

    for _ in range(20):
        found = read_message(message)
        if isinstance(found, Request):
            for value in found.asserted:
                split_addresses(value)


@given(st.data())
def test_nothing_in_a_message_can_do_harm(data: st.DataObject) -> None:
    """Whatever octets change, it is read, refused or dropped; what is read has all that an answer repeats."""
    message = bytearray(invite(b"P-Asserted-Identity: <tel:+12125550111>", b'To: "B" <sip:1@b;x=1>;y="z";tag=1'))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))

    found = read_message(bytes(message))

    if isinstance(found, Request):
        assert found.echo.via is not None
        assert found.echo.sender
        assert found.echo.to
        assert found.echo.call_id
        assert b"\n" not in b"".join((*found.echo.vias, found.echo.sender, found.echo.to, found.uri, found.method))
