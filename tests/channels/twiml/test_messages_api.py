"""The requests that a carrier's messages API gets, and what is believed of its answers."""

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.twiml.messages_api import (
    CarrierAnswer,
    authorization,
    call_url,
    carrier_answer,
    message_form,
    messages_url,
)
from engine.core.model.records import LegStatus

AC = "AC" + "a" * 32
STATUS_URL = "https://mask.example/inbound/status?interaction=KI1&leg=outbound"


def form_of(*, body: str = "hi there", media: tuple[str, ...] = ()) -> dict[str, list[str]]:
    form = message_form(sender="+15105550001", to="+14155550100", body=body, media=media, status_url=STATUS_URL)
    return parse_qs(form.decode(), strict_parsing=True)


def test_a_message_is_sent_with_our_status_url() -> None:
    """From, To, Body and where its state is to be reported."""
    form = form_of()

    assert form == {
        "From": ["+15105550001"],
        "To": ["+14155550100"],
        "Body": ["hi there"],
        "StatusCallback": [STATUS_URL],
    }


def test_media_are_repeated_and_need_no_text() -> None:
    """Each address is one MediaUrl."""
    form = form_of(body="", media=("https://m/1", "https://m/2"))

    assert form["MediaUrl"] == ["https://m/1", "https://m/2"]
    assert "Body" not in form


def test_addresses_are_those_of_the_2010_api() -> None:
    """Whatever the base ends with, and whatever a carrier calls its calls."""
    assert messages_url("https://api.example/", AC) == f"https://api.example/2010-04-01/Accounts/{AC}/Messages.json"
    assert (
        call_url("https://api.example", AC, "CA/1") == f"https://api.example/2010-04-01/Accounts/{AC}/Calls/CA%2F1.json"
    )
    assert authorization("AC1", "secret") == "Basic QUMxOnNlY3JldA=="


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"sid": "SM1", "status": "queued", "error_code": null}', CarrierAnswer(sid="SM1", status=LegStatus.QUEUED)),
        (b'{"sid": "SM1", "status": "floating"}', CarrierAnswer(sid="SM1")),
        (
            b'{"code": 21610, "message": "Unsubscribed recipient", "status": 400}',
            CarrierAnswer(code=21610, message="Unsubscribed recipient"),
        ),
        (
            b'{"sid": "SM1", "status": "failed", "error_code": 30003}',
            CarrierAnswer(sid="SM1", status=LegStatus.FAILED, code=30003),
        ),
        (b"<html>", CarrierAnswer()),
        (b"[]", CarrierAnswer()),
        (b"", CarrierAnswer()),
    ],
)
def test_answers_are_read(body: bytes, answer: CarrierAnswer) -> None:
    """What is missing or malformed reads as nothing."""
    assert carrier_answer(body) == answer


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_reader(body: bytes) -> None:
    """A carrier may say whatever it likes."""
    carrier_answer(body)
