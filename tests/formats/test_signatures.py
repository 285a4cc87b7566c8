"""Signed forms: the bytes and headers that are posted, and signatures as RFC 2104 and the platform compute them."""

import hmac
from base64 import b64encode
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.formats.signatures import (
    Form,
    SignedForm,
    signature,
    signed_form,
    signed_url,
)

URL = "https://app.example.com/hook"


def expected(token: str, text: str) -> bytes:
    return b64encode(hmac.digest(token.encode(), text.encode("utf-8", "surrogateescape"), "sha1"))


@given(
    token=st.text(st.characters(codec="utf-8"), max_size=200),
    fields=st.dictionaries(st.text(), st.text()),
)
def test_a_signature_is_the_hmac_of_url_and_sorted_fields(token: str, fields: dict[str, str]) -> None:
    """Whatever the token's length: one longer than a block is hashed first."""
    text = URL + "".join(name + fields[name] for name in sorted(fields))

    assert signature(token, URL, Form(fields)) == expected(token, text)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 128])
def test_tokens_around_the_length_of_a_block_are_keys_of_hmac(length: int) -> None:
    """64 octets are the longest key that is taken as it is."""
    token = "k" * length

    assert signature(token, URL, Form({"a": "1"})) == expected(token, URL + "a1")


def test_a_signature_is_the_one_of_the_platforms_documentation() -> None:
    """Their example, computed with their library."""
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }

    signed = signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", Form(fields))

    assert signed == b"RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_the_order_of_fields_changes_no_signature() -> None:
    """They are sorted by name, each with its own value, also when the same names came in another order before."""
    first = signature("t", URL, Form({"b": "2", "a": "1", "c": "3"}))
    second = signature("t", URL, Form({"c": "3", "a": "1", "b": "2"}))

    assert first == second == expected("t", URL + "a1b2c3")
    assert signature("t", URL, Form({"b": "x", "a": "y", "c": "z"})) == expected("t", URL + "aybxcz")


def test_of_repeated_parameters_each_value_is_signed_once() -> None:
    """Name and value that both came before count once; values of a name are sorted."""
    form = Form({"a": "1"}, (("b", "2"), ("a", "3"), ("a", "1"), ("b", "2")))

    assert signature("t", URL, form) == expected("t", URL + "a1a3b2")


def test_bytes_of_a_url_that_are_no_text_are_signed_as_they_came() -> None:
    """A query may hold any; they are kept as lone surrogates."""
    url = URL + "?a=" + b"\xff".decode("utf-8", "surrogateescape")

    assert signature("t", url, Form({})) == b64encode(hmac.digest(b"t", URL.encode() + b"?a=\xff", "sha1"))


def test_each_of_url_token_and_fields_counts() -> None:
    form = Form({"a": "1"})

    signatures = {
        signature("t", URL, form),
        signature("u", URL, form),
        signature("t", URL + "/", form),
        signature("t", URL, Form({"a": "2"})),
        signature("t", URL, Form({"b": "1"})),
        signature("t", URL, Form({})),
    }

    assert len(signatures) == 6


def test_a_form_is_posted_with_its_type_signature_and_token() -> None:
    """All that is sent, byte by byte."""
    posted = signed_form(
        URL,
        {"Body": "ü & +", "To": "+14155550100", "Empty": ""},
        token="secret",
        idempotency_token="EF1",
    )

    assert posted == SignedForm(
        b"Body=%C3%BC+%26+%2B&To=%2B14155550100&Empty=",
        {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "X-Twilio-Signature": expected("secret", URL + "Bodyü & +EmptyTo+14155550100").decode(),
            "I-Twilio-Idempotency-Token": "EF1",
        },
    )


@pytest.mark.parametrize("text", ["\ud800", "a\udfffü", "\udcff&="])
def test_a_lone_surrogate_is_sent_and_signed_as_a_question_mark(text: str) -> None:
    """No form can carry one; names are cleaned like values, and the receiver computes what we signed."""
    sent = text.encode("utf-8", "replace").decode()

    posted = signed_form(URL, {text: text, "b": "ü"}, token="t", idempotency_token="EF1")

    read = dict(parse_qsl(posted.body.decode(), strict_parsing=True))
    assert read == {sent: sent, "b": "ü"}
    assert posted.headers["X-Twilio-Signature"].encode() == signature("t", URL, Form(read))


@pytest.mark.parametrize("text", ["abc09", "a b", "a=b", "ü", "²", "%", "a.b-c_d~e", "/?:@", "\0\n"])
def test_a_value_arrives_as_it_was(text: str) -> None:
    """Letters and digits are sent as they are, all else escaped."""
    posted = signed_form(URL, {"v" + text: text}, token="t", idempotency_token="EF1")

    assert posted.body.isascii()
    assert parse_qsl(posted.body.decode(), strict_parsing=True) == [("v" + text, text)]


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://example.com", "https://example.com/"),
        ("https://example.com?a=1", "https://example.com/?a=1"),
        ("https://me:pass@Example.COM:81/A?b=C#d", "https://example.com:81/A?b=C"),
        ("https://me@you@example.com/a", "https://example.com/a"),
        ("http://example.com/a/", "http://example.com/a/"),
    ],
)
def test_a_url_is_signed_as_its_receiver_sees_it(url: str, seen: str) -> None:
    """Credentials and fragment stay with us; the path is at least a slash and keeps its case."""
    assert signed_url(url) == seen
    assert signed_form(url, {}, token="t", idempotency_token="EF1").headers["X-Twilio-Signature"] == (
        expected("t", seen).decode()
    )
