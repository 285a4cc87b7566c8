"""TwiML: whatever people write survives a real XML parser, save what XML cannot carry."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.twiml.answers import EMPTY, REJECT, dial, escape, message

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
"""Lone surrogates and control characters too."""


def carried(text: str) -> str:
    """Return what XML 1.0 can carry of a text: production [2], Char."""
    return "".join(
        character
        if character in "\t\n\r"
        or "\x20" <= character <= "\ud7ff"
        or "\ue000" <= character <= "\ufffd"
        or character >= "\U00010000"
        else "\ufffd"
        for character in text
    )


def parsed(document: bytes) -> ET.Element:
    response = ET.fromstring(document)  # noqa: S314 - our own document
    assert response.tag == "Response"
    return response


@given(ANY_TEXT)
def test_any_body_survives(body: str) -> None:
    """What arrives as text of a message leaves as the same text."""
    document = message(to="+1", sender="+2", body=body, media=(), status_url="https://a.example")

    sent = parsed(document).findtext("Message/Body")

    assert (sent or "") == carried(body)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_attribute_survives(to: str, sender: str, url: str) -> None:
    """White space in an attribute is kept as it is, although XML would make it blanks."""
    sent = parsed(message(to=to, sender=sender, body="", media=(), status_url=url)).find("Message")

    assert sent is not None
    assert sent.attrib == {"to": carried(to), "from": carried(sender), "statusCallback": carried(url)}
    assert len(sent) == 0


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_number_dialled_survives(to: str, caller_id: str, url: str) -> None:
    """No address can add an element or an attribute to a call."""
    [sent] = parsed(dial(to=to, caller_id=caller_id, status_url=url))

    [number] = sent
    assert sent.attrib == {"callerId": carried(caller_id), "answerOnBridge": "true"}
    assert (number.text or "") == carried(to)
    assert number.attrib["statusCallback"] == carried(url)


@given(ANY_TEXT)
def test_escaped_text_has_no_markup_and_no_control_character(text: str) -> None:
    """Even a parser that knows no XML 1.0 meets nothing but printable characters and references."""
    escaped = escape(text)

    assert not set(escaped) & set('<>"')
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in escaped)
    escaped.encode()


@pytest.mark.parametrize("text", ["+14155550100", "héllo", "日本 😀", ""])
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Nothing but markup and control characters is written as a reference."""
    assert escape(text) == text


def test_media_follow_the_body_in_their_order() -> None:
    """A picture message keeps its pictures; an ampersand in a URL is escaped."""
    urls = ("https://a.example/1?x=1&y=2", "https://a.example/2")

    sent = parsed(message(to="+1", sender="+2", body="look", media=urls, status_url="")).find("Message")

    assert sent is not None
    assert [(part.tag, part.text) for part in sent] == [("Body", "look"), ("Media", urls[0]), ("Media", urls[1])]


def test_a_call_is_bridged_when_the_partner_answers_and_every_leg_state_is_reported() -> None:
    """The attributes on which leg reports and unbilled ringing rest."""
    document = dial(to="+15550001", caller_id="+15550002", status_url="https://a.example/inbound/status?x=1&y=2")

    assert document == (
        b'<?xml version="1.0" encoding="UTF-8"?><Response><Dial callerId="+15550002" answerOnBridge="true">'
        b'<Number statusCallback="https://a.example/inbound/status?x=1&amp;y=2"'
        b' statusCallbackEvent="initiated ringing answered completed">+15550001</Number></Dial></Response>'
    )


def test_refusals_are_constant_documents() -> None:
    """A call is rejected before it is answered; a dropped message gets an empty answer."""
    assert [child.tag for child in parsed(REJECT)] == ["Reject"]
    assert len(parsed(EMPTY)) == 0
