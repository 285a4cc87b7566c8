"""Webhook forms, events and signatures: held against urllib and the official SDK's validator."""

from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from engine.channels.twiml.forms import (
    MAX_ADDRESS,
    MAX_FIELDS,
    MAX_RESOURCE_SID,
    MalformedForm,
    call_event,
    leg_report,
    message_event,
    parse_form,
    status_query,
)
from engine.core.model.errors import ApiError
from engine.core.model.records import Kind, LegStatus
from engine.core.numbers.e164 import parse_identifier
from engine.formats.signatures import Form, signature

INTERACTION = "KI" + "a" * 32
CALL = {"From": "+14155550100", "To": "+14155550199", "CallSid": "CA" + "1" * 32}
MESSAGE = {"From": "+14155550100", "To": "+14155550199", "MessageSid": "SM" + "1" * 32, "Body": "hi"}
REPORT = {"AccountSid": "AC" + "1" * 32, "CallSid": "CA" + "2" * 32, "CallStatus": "ringing"}

PAIRS = st.lists(st.tuples(st.text(), st.text()))
FEW_NAMES = st.lists(st.tuples(st.sampled_from(["From", "To", "a"]), st.text(max_size=3)))
"""Names that come twice."""

FORM_LIKE = st.lists(
    st.sampled_from(
        ["a", "B", "=", "&", "+", "%", "%2B", "%2b", "%25", "2B", "%26", "%3D", "%C3", "%BC", "ü", " ", "\0", "%00"]
    )
).map("".join)
"""Bodies of the pieces that decoders get wrong."""


class MultiDict(dict[str, str]):
    """The interface by which the SDK's validator reads repeated parameters."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def getall(self, name: str) -> list[str]:
        """Return all values of a name."""
        return [value for other, value in self._pairs if other == name]


def pairs_of(form: Form) -> list[tuple[str, str]]:
    return list(form.fields.items() if form.pairs is None else form.pairs)


# -- forms ---------------------------------------------------------------------------------------------------------


@given(PAIRS | FEW_NAMES)
def test_every_form_is_read_as_urllib_reads_it(pairs: list[tuple[str, str]]) -> None:
    """Names, values, order and duplicates, blanks kept."""
    form = parse_form(urlencode(pairs).encode())

    assert pairs_of(form) == pairs
    assert form.fields == dict(pairs)


@given(FORM_LIKE.map(str.encode) | st.binary())
def test_every_body_is_read_as_urllib_reads_it(body: bytes) -> None:
    """Also what no encoder would write: half escapes, bare names, bytes that are no UTF-8."""
    expected = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)

    form = parse_form(body)

    assert pairs_of(form) == expected
    assert form.fields == dict(expected)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"a=%2B1415", "+1415"),
        (b"a=%2b1415", "+1415"),
        (b"a=+1415", " 1415"),
        (b"a=%252B1415", "%2B1415"),
        (b"a=%25252B", "%252B"),
        (b"a=1%2B%31", "1+1"),
        (b"a=%C3%BC", "ü"),
        ("a=ü".encode(), "ü"),
        (b"a=%FF", "\ufffd"),
        (b"a=\xff", "\ufffd"),
        (b"a=100%", "100%"),
        (b"a==b=c", "=b=c"),
        (b"a", ""),
        (b"&&a=&", ""),
        (b"%61=x", "x"),
        (b"a=1&a=2", "2"),
    ],
)
def test_escapes_are_undone_once(body: bytes, value: str) -> None:
    """An escaped plus is a plus, a raw one a blank, an escaped escape stays one."""
    assert parse_form(body).fields == {"a": value}


def test_an_empty_body_is_an_empty_form() -> None:
    """Not an error yet: what is missing is named later."""
    assert parse_form(b"") == Form({})


def test_a_form_of_too_many_fields_is_refused() -> None:
    """Reading it would hold up everybody else."""
    with pytest.raises(MalformedForm, match=r"^form: "):
        parse_form(b"a&" * MAX_FIELDS)


# -- signatures ----------------------------------------------------------------------------------------------------


def test_the_published_vector_is_signed_alike() -> None:
    """Behaviour 12.6."""
    form = Form(
        {
            "CallSid": "CA1234567890ABCDE",
            "Caller": "+14158675310",
            "Digits": "1234",
            "From": "+14158675310",
            "To": "+18005551212",
        }
    )

    signed = signature("12345", "https://example.com/myapp.php?foo=1&bar=2", form)

    assert signed == b"L/OH5YylLD5NRKLltdqwSvS0BnU="


@given(PAIRS | FEW_NAMES)
def test_the_official_validator_accepts_every_signature(pairs: list[tuple[str, str]]) -> None:
    """Sorted names, of a repeated name its distinct values in order; any Unicode."""
    url = "https://masks.example.com/inbound/voice?a=b"

    signed = signature("token", url, parse_form(urlencode(pairs).encode())).decode()

    assert signed == RequestValidator("token").compute_signature(url, MultiDict(pairs))
    assert RequestValidator("token").validate(url, MultiDict(pairs), signed)


@given(PAIRS)
def test_the_way_of_escaping_does_not_change_the_signature(pairs: list[tuple[str, str]]) -> None:
    """Blanks as plus or as %20: what is signed is the decoded form."""
    body = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    expected = signature("token", "https://a.example", parse_form(urlencode(pairs).encode()))

    assert signature("token", "https://a.example", parse_form(body.encode())) == expected


# -- events --------------------------------------------------------------------------------------------------------


def test_a_call_is_read() -> None:
    """Sender, number reached and SID are all that a call needs."""
    event = call_event(CALL)

    assert (event.kind, event.sender, event.proxy) == (Kind.VOICE, CALL["From"], CALL["To"])
    assert event.resource_sid == CALL["CallSid"]


def test_a_message_is_read_with_its_media() -> None:
    """As many media as NumMedia says, in order."""
    event = message_event({**MESSAGE, "NumMedia": "2", "MediaUrl0": "https://a/0", "MediaUrl1": "https://a/1"})

    assert (event.kind, event.body, event.media) == (Kind.MESSAGE, "hi", ("https://a/0", "https://a/1"))


@pytest.mark.parametrize("count", ["", "0", "00"])
def test_a_message_without_media_is_read(count: str) -> None:
    """Whichever way none is written; the body may be empty or missing."""
    event = message_event({"From": "+1", "To": "+2", "SmsSid": "SM1", "NumMedia": count})

    assert (event.body, event.media, event.resource_sid) == ("", (), "SM1")


@pytest.mark.parametrize("form", [{"MediaUrl0": "https://a/0"}, {"MediaUrl0": "https://a/0", "NumMedia": "0"}])
def test_media_without_a_count_are_media(form: dict[str, str]) -> None:
    """Some platforms do not count them; none is lost without a word."""
    event = message_event({**MESSAGE, **form, "MediaUrl1": "https://a/1", "MediaUrl3": "https://a/3"})

    assert event.media == ("https://a/0", "https://a/1")


@pytest.mark.parametrize("count", ["12", ""])
def test_the_first_ten_media_pass_and_the_rest_is_told(count: str) -> None:
    """As many as a message has on the platform."""
    urls = tuple(f"https://a/{index}" for index in range(12))
    event = message_event({**MESSAGE, "NumMedia": count, **{f"MediaUrl{n}": url for n, url in enumerate(urls)}})

    assert (event.media, event.media_left_out) == (urls[:10], 2)


WITHHELD = [
    "anonymous", "Anonymous", "ANONYMOUS", "Restricted", "unknown", "UNKNOWN", "Unavailable", "unavailable",
    "Private", "private", "Blocked", "withheld", "No Caller ID", "+266696687", "266696687", "+7378742833",
    "7378742833", "+2562533", "2562533", "+8656696", "8656696", "+86282452253", "86282452253",
    "sip:anonymous@anonymous.invalid", "<sip:anonymous@anonymous.invalid>", "anonymous@anonymous.invalid",
    "sip:unavailable@unknown.invalid", "+", "0", "+0", "00000000", "-", "P", "O", "N/A", "null", " ", "",
]  # fmt: skip
"""How platforms and networks withhold a caller: in words, on the keypad ("ANONYMOUS" is 266696687), by RFC 3323."""


@pytest.mark.parametrize("given", [*WITHHELD, None])
def test_a_caller_whose_number_is_withheld_is_read(given: str | None) -> None:
    """However it is written, or not there at all; it is nobody's number."""
    form = {**CALL} if given is None else {**CALL, "From": given}
    if given is None:
        del form["From"]

    assert call_event(form).sender == (given or "anonymous")
    with pytest.raises(ApiError):
        parse_identifier(given or "anonymous")


@pytest.mark.parametrize("name", ["To", "CallSid"])
def test_a_call_names_the_field_that_is_missing_empty_or_too_long(name: str) -> None:
    """One field, named first, so that the carrier's log tells what to mend."""
    limit = MAX_RESOURCE_SID if name == "CallSid" else MAX_ADDRESS
    for wrong in (None, "", "x" * (limit + 1)):
        fields = {key: value for key, value in {**CALL, name: wrong}.items() if value is not None}

        with pytest.raises(MalformedForm, match=f"^{name}: "):
            call_event(fields)

    call_event({**CALL, name: "x" * limit})


@pytest.mark.parametrize("sid", ["CA 1", "CA\n1", "CAé", "CA\x00"])
def test_a_sid_is_printable_ascii_without_blanks(sid: str) -> None:
    """It is logged and kept as a key."""
    with pytest.raises(MalformedForm, match=r"^CallSid: is no SID$"):
        call_event({**CALL, "CallSid": sid})


@pytest.mark.parametrize(
    "sid",
    [
        "b2a0f2c4-6a3e-4a0e-9d5b-2f6a1c7e8d90",
        "{B2A0F2C4-6A3E-4A0E-9D5B-2F6A1C7E8D90}",
        "1732882086.1234@pbx-1.example.com",
        "urn:uuid:b2a0f2c4-6a3e-4a0e-9d5b-2f6a1c7e8d90",
        "1001",
        "!~",
    ],
)
def test_a_sid_may_have_punctuation(sid: str) -> None:
    """Other platforms send UUIDs, switches what they number calls by; the same in reports."""
    assert call_event({**CALL, "CallSid": sid}).resource_sid == sid
    assert message_event({**MESSAGE, "MessageSid": sid}).resource_sid == sid
    assert leg_report({**REPORT, "CallSid": sid}, "").resource_sid == sid


@pytest.mark.parametrize("name", ["To", "MessageSid"])
def test_a_message_names_the_field_that_is_empty(name: str) -> None:
    """As a call does."""
    with pytest.raises(MalformedForm, match=f"^{name}: "):
        message_event({**MESSAGE, name: ""})


@pytest.mark.parametrize("count", ["-1", "x", "٣", "1000", "1.0", "0001", " 1"])
def test_a_number_of_media_that_is_none_is_named(count: str) -> None:
    """Three plain digits at most."""
    with pytest.raises(MalformedForm, match=r"^NumMedia: "):
        message_event({**MESSAGE, "NumMedia": count})


@pytest.mark.parametrize(("given", "named"), [({}, "MediaUrl0"), ({"MediaUrl0": "https://a"}, "MediaUrl1")])
def test_the_first_medium_without_url_is_named(given: dict[str, str], named: str) -> None:
    """A message is not forwarded with a part of it lost."""
    with pytest.raises(MalformedForm, match=f"^{named}: is missing$"):
        message_event({**MESSAGE, "NumMedia": "2", **given})


# -- leg reports ---------------------------------------------------------------------------------------------------


def test_a_report_of_our_own_status_url_names_interaction_and_leg() -> None:
    """The query that a dialled leg is given comes back with its reports."""
    report = leg_report({**REPORT, "CallStatus": "completed", "CallDuration": "17"}, status_query(INTERACTION))

    assert (report.kind, report.interaction_sid, report.is_outbound) == (Kind.VOICE, INTERACTION, True)
    assert (report.status, report.duration_seconds) == (LegStatus.COMPLETED, 17)
    assert (report.account_sid, report.resource_sid) == (REPORT["AccountSid"], REPORT["CallSid"])


def test_a_report_without_query_is_of_an_inbound_leg() -> None:
    """A number's own status callback knows the call's SID, and which number was reached."""
    report = leg_report({**REPORT, "From": "+14155550100", "To": "+14155550199"}, "")

    assert (report.interaction_sid, report.is_outbound, report.duration_seconds) == (None, False, None)
    assert report.proxy == "+14155550199"


def test_a_report_of_an_outbound_leg_names_no_number_reached() -> None:
    """Its To is whom we have dialled."""
    assert leg_report({**REPORT, "To": "+14155550199"}, status_query(INTERACTION)).proxy is None


@pytest.mark.parametrize(
    "form",
    [
        {"MessageSid": "SM1", "MessageStatus": "delivered"},
        {"MessageSid": "SM1", "SmsSid": "SM1", "MessageStatus": "Delivered", "SmsStatus": "sent"},
        {"SmsSid": "SM1", "SmsStatus": "read"},
        {"CallSid": "", "SmsSid": "SM1", "SmsStatus": "read"},
        {"MessageSid": "", "SmsSid": "SM1", "MessageStatus": "", "SmsStatus": "DELIVERED"},
        {"MessageSid": "SM1", "SmsStatus": "delivered"},
    ],
)
def test_a_status_of_a_message_is_read_by_newer_or_older_names(form: dict[str, str]) -> None:
    """Those of the first platform's older API are enough; whatever it says is read in any case."""
    report = leg_report(form, status_query(INTERACTION))

    assert (report.kind, report.status) == (Kind.MESSAGE, LegStatus.DELIVERED)
    assert (report.resource_sid, report.account_sid) == ("SM1", "")


@pytest.mark.parametrize(
    ("given", "seconds"), [("17", 17), ("17.9", 17), ("0.4", 0), ("17.", 17), ("999999999.5", 999_999_999), ("", None)]
)
def test_a_duration_may_have_a_fraction(given: str, seconds: int | None) -> None:
    """Whole seconds are kept."""
    assert leg_report({**REPORT, "CallDuration": given}, "").duration_seconds == seconds


def test_a_word_that_nobody_knows_is_unknown() -> None:
    """Platforms invent statuses; it is no fault of the form."""
    assert leg_report({**REPORT, "CallStatus": "exploded"}, "").status is LegStatus.UNKNOWN


@pytest.mark.parametrize(
    ("wrong", "query", "named"),
    [
        ({"CallStatus": "delivered"}, "", "CallStatus"),
        ({"CallStatus": "read"}, "", "CallStatus"),
        ({"CallDuration": ".5"}, "", "CallDuration"),
        ({"CallDuration": "1.5.2"}, "", "CallDuration"),
        ({"CallDuration": "nan"}, "", "CallDuration"),
        ({"CallStatus": ""}, "", "CallStatus"),
        ({"CallSid": ""}, "", "CallSid"),
        ({"CallDuration": "-1"}, "", "CallDuration"),
        ({"CallDuration": "1e3"}, "", "CallDuration"),
        ({"CallDuration": "9" * 10}, "", "CallDuration"),
        ({"CallDuration": "٣"}, "", "CallDuration"),
        ({}, "interaction=KC" + "a" * 32, "interaction"),
        ({}, "interaction=KI1", "interaction"),
    ],
)
def test_a_report_names_what_is_wrong(wrong: dict[str, str], query: str, named: str) -> None:
    """Field or query parameter."""
    with pytest.raises(MalformedForm, match=f"^{named}: "):
        leg_report({**REPORT, **wrong}, query)


def test_a_message_report_names_its_status() -> None:
    """A form that is neither of a call nor of a message is taken for a message's."""
    with pytest.raises(MalformedForm, match=r"^MessageStatus: "):
        leg_report({"MessageSid": "SM1"}, "")
