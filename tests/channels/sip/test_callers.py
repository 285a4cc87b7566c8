"""Who calls and whom: the header that a peer may be believed in, and a stranger where none tells it."""

import pytest

from engine.channels.sip.callers import ANONYMOUS, caller, number_reached
from engine.channels.sip.message import read_message
from engine.channels.sip.requests import Request
from engine.channels.sip.styles import Trust
from tests.channels.sip.messages import invite

NOTHING, ASSERTED = Trust(), Trust(asserted=True)
BOTH = Trust(asserted=True, remote_party=True)

PAI = b'P-Asserted-Identity: "Alice, A" <sip:alice@carrier.example>, <tel:+1-212-555-0122>'
RPID = b"Remote-Party-ID: <sip:+12125550133@h>;party=called, <sip:+12125550144@h>;Party=Calling;privacy=full"
ANONYMOUS_FROM = b'From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'


def read(*more: bytes, start: bytes | None = None) -> Request:
    request = read_message(invite(*more, start=start))
    assert isinstance(request, Request)
    return request


@pytest.mark.parametrize(
    ("headers", "trust", "number"),
    [
        ((), NOTHING, "+12125550111"),
        ((PAI,), NOTHING, "+12125550111"),
        ((PAI,), ASSERTED, "+12125550122"),
        ((PAI, RPID), BOTH, "+12125550122"),
        ((RPID,), ASSERTED, "+12125550111"),
        ((RPID,), BOTH, "+12125550144"),
        ((b"Remote-Party-ID: <sip:+12125550133@h>",), BOTH, "+12125550133"),
        ((b"P-Asserted-Identity: <sip:alice@h>", b"p-asserted-identity: <tel:+12125550155>"), ASSERTED, "+12125550155"),
        ((PAI, ANONYMOUS_FROM, b"Privacy: id"), ASSERTED, "+12125550122"),
        ((PAI, ANONYMOUS_FROM), NOTHING, ANONYMOUS),
        ((b"P-Asserted-Identity: <sip:broken, sip:+12125550122@h",), ASSERTED, "+12125550111"),
    ],
)
def test_who_calls_is_told_by_what_the_peer_may_assert(headers: tuple[bytes, ...], trust: Trust, number: str) -> None:
    """The first identity with a number; an identity that is not trusted is not read."""
    assert caller(read(*headers), trust) == number


@pytest.mark.parametrize(
    "sender",
    [
        b"From: <sip:anonymous@anonymous.invalid>;tag=1",
        b"From: <sip:unavailable@h>;tag=1",
        b"From: <sip:Restricted@h>;tag=1",
        b"From: <sip:carrier.example>;tag=1",
        b"From: <sip:@carrier.example>;tag=1",
        b"From: isbn:2983792873;tag=1",
    ],
)
def test_a_caller_without_a_number_is_a_stranger(sender: bytes) -> None:
    """In whatever words the number is withheld."""
    assert caller(read(sender), BOTH) == ANONYMOUS


def test_the_number_reached_is_that_of_the_request_uri() -> None:
    """To tells what was dialled before the call was forwarded."""
    forwarded = read(b"To: <sip:+14155550199@h>", start=b"INVITE sip:%2B14155550100;npdi@engine.example SIP/2.0")

    assert number_reached(forwarded) == "+14155550100"
    assert number_reached(read(start=b"INVITE sip:engine.example SIP/2.0")) == ""
