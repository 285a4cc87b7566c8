"""What goes back: what a request brought, where its sender was seen, and the same tag each time."""

import pytest

from engine.channels.sip.answers import PHRASES, Answering, answer
from engine.channels.sip.message import read_message
from engine.channels.sip.requests import Malformed, Request
from tests.channels.sip.messages import invite

SOURCE = (b"192.0.2.1", b"5060")
answering = Answering(b"k" * 16)


def read(message: bytes) -> Request:
    request = read_message(message)
    assert isinstance(request, Request)
    return request


def lines(data: bytes) -> list[bytes]:
    assert data.endswith(b"\r\n\r\n")
    return data[:-4].split(b"\r\n")


def test_an_answer_repeats_what_the_request_brought() -> None:
    """All hops in their order, and a tag of ours behind To."""
    request = read(invite(b"Record-Route: <sip:p.example;lr>", b"v: SIP/2.0/UDP b.example"))

    said = lines(answering.answer(request, 404, SOURCE))

    assert said[0] == b"SIP/2.0 404 Not Found"
    assert said[1:3] == [b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds", b"Via: SIP/2.0/UDP b.example"]
    assert said[3] == b"From: <sip:+12125550111@carrier.example>;tag=1928301774"
    assert said[4].startswith(b"To: <sip:+14155550100@engine.example>;tag=")
    assert said[5:] == [
        b"Call-ID: a84b4c76e66710@pc33.carrier.example",
        b"CSeq: 314159 INVITE",
        b"Content-Length: 0",
    ]


def test_a_retransmission_gets_the_same_bytes_and_another_call_another_tag() -> None:
    """Without anything being remembered; a server with another key tags otherwise."""
    first = answering.answer(read(invite()), 302, SOURCE)

    assert answering.answer(read(invite()), 302, SOURCE) == first
    assert answering.answer(read(invite(b"Call-ID: other")), 302, SOURCE) != first
    assert Answering(b"l" * 16).answer(read(invite()), 302, SOURCE) != first


@pytest.mark.parametrize(
    ("via", "seen"),
    [
        (b"SIP/2.0/UDP 192.0.2.1", b"SIP/2.0/UDP 192.0.2.1"),
        (b"SIP/2.0/UDP host.example;branch=1", b"SIP/2.0/UDP host.example;branch=1;received=192.0.2.1"),
        (b"SIP/2.0/UDP 192.0.2.1;rport", b"SIP/2.0/UDP 192.0.2.1;rport=5060;received=192.0.2.1"),
        (
            b"SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKrport , SIP/2.0/UDP 10.0.0.2;rport",
            b"SIP/2.0/UDP 10.0.0.1;rport=5060;branch=z9hG4bKrport;received=192.0.2.1 , SIP/2.0/UDP 10.0.0.2;rport",
        ),
    ],
)
def test_the_topmost_hop_is_told_where_it_was_seen(via: bytes, seen: bytes) -> None:
    """Its port, where it asks (RFC 3581); its address, where it names another."""
    said = lines(answering.answer(read(invite(b"Via: " + via)), 404, SOURCE))

    assert said[1] == b"Via: " + seen


def test_a_sender_on_ipv6_is_known_by_its_address() -> None:
    """However it is written."""
    request = read(invite(b"Via: SIP/2.0/UDP [2001:DB8::0:1]:5060;branch=z9hG4bK1"))

    assert lines(answering.answer(request, 404, (b"2001:db8::1", b"5060")))[1].endswith(b"z9hG4bK1")
    assert lines(answering.answer(request, 404, (b"2001:db8::2", b"5060")))[1].endswith(b";received=2001:db8::2")


def test_a_provisional_answer_and_one_in_a_dialog_get_no_tag() -> None:
    """100 makes no dialog; whoever has a tag keeps it."""
    within = read(invite(b"To: <sip:1@b>;tag=theirs"))

    assert lines(answering.answer(read(invite()), 100, SOURCE))[3] == b"To: <sip:+14155550100@engine.example>"
    assert lines(answering.answer(within, 481, SOURCE))[3] == b"To: <sip:1@b>;tag=theirs"


def test_what_could_not_be_read_is_answered_with_what_there_is() -> None:
    """Nothing is made up."""
    refused = read_message(invite(b"-From", b"-Call-ID"))
    assert isinstance(refused, Malformed)

    said = lines(answer(refused.echo, refused.status, SOURCE, reason=refused.reason))

    assert said[0] == b"SIP/2.0 400 Bad From"
    assert [line.partition(b":")[0] for line in said[1:]] == [b"Via", b"To", b"CSeq", b"Content-Length"]


def test_headers_are_added_behind_what_is_repeated() -> None:
    """As whole lines; every status has its phrase."""
    said = lines(answering.answer(read(invite()), 302, SOURCE, lines=b"\r\nContact: <sip:+1@h>\r\nX-Maskline-A: b"))

    assert said[0] == b"SIP/2.0 302 Moved Temporarily"
    assert said[-3:] == [b"Contact: <sip:+1@h>", b"X-Maskline-A: b", b"Content-Length: 0"]
    assert all(PHRASES.values())
