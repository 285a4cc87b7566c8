"""Single values of the REST wire."""

import base64
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.base.deserialize import iso8601_datetime, rfc2822_datetime

from engine.core.model.errors import ApiError, Code
from engine.core.model.sids import SidKind, ordered_sid
from engine.core.ports.lists import PageCursor
from engine.formats.values import (
    OwnHost,
    format_date,
    format_rfc2822,
    page_request,
    page_token,
    parse_date,
    parse_decimal,
    parse_form,
    parse_page_token,
    parse_url,
    path_segment,
    restore_plus,
)

MOMENTS = st.integers(min_value=0, max_value=253402300799)
SIDS = st.builds(
    lambda kind, clock, bits: ordered_sid(kind, milliseconds=clock, counter=0, random_bits=bits),
    st.sampled_from(SidKind),
    st.integers(min_value=0, max_value=2**48 - 1),
    st.integers(min_value=0, max_value=2**64 - 1),
)


@given(MOMENTS)
def test_sdk_parses_every_date_that_we_write(at: int) -> None:
    """To the second."""
    assert iso8601_datetime(format_date(at + 0.75)) == datetime.fromtimestamp(at, UTC)
    assert rfc2822_datetime(format_rfc2822(at)) == datetime.fromtimestamp(at, UTC)
    assert parse_date(format_date(at)) == at


@pytest.mark.parametrize(
    "text",
    [
        "2016-07-31T00:00:00Z",
        "2016-07-31",
        " 2016-07-31T02:00:00+02:00 ",
        "2016-07-31T02:00:00 02:00",
        "2016-07-30T19:00:00-0500",
        "2016-07-31T00:00:00",
        "2016-07-31 00:00:00",
        "20160731T000000Z",
    ],
)
def test_dates_are_read_in_every_form_that_clients_send(text: str) -> None:
    """Date alone is midnight UTC; a raw plus of an offset arrives as a space."""
    assert parse_date(text) == 1_469_923_200.0


@pytest.mark.parametrize("text", ["", "tomorrow", "1969-12-31", "9999-12-31T23:59:59-01:00", "2016-13-01", "16-07-31"])
def test_what_is_no_date_is_refused(text: str) -> None:
    """So are years that could not be written back."""
    with pytest.raises(ValueError, match=r".+"):
        parse_date(text)


@given(st.text(max_size=40))
def test_reading_a_date_never_fails_otherwise(text: str) -> None:
    """Any text gives a time that can be written, or ValueError."""
    try:
        at = parse_date(text)
    except ValueError:
        return
    assert len(format_date(at)) == 20


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_every_urlencoded_form_is_read_back(pairs: list[tuple[str, str]]) -> None:
    """Names keep their values in order, empty ones too."""
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)

    assert parse_form(urlencode(pairs).encode()) == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_a_refusal(body: bytes) -> None:
    """Never another exception, never a lone surrogate."""
    try:
        values = parse_form(body)
    except ApiError:
        return
    for name, sent in values.items():
        "".join([name, *sent]).encode()


@given(SIDS, st.integers(min_value=1, max_value=100))
def test_page_token_leads_to_where_it_was_made(sid: str, limit: int) -> None:
    """In both directions."""
    kind = SidKind(sid[:2])

    assert parse_page_token(page_token(after=sid), kind, limit=limit) == PageCursor(limit=limit, after=sid)
    assert parse_page_token(page_token(before=sid), kind, limit=limit) == PageCursor(limit=limit, before=sid)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_text_is_a_token_or_a_refusal(token: str) -> None:
    """21481, never another exception."""
    with pytest.raises(ApiError) as problem:
        parse_page_token(token, SidKind.SESSION, limit=1)

    assert problem.value.code is Code.BAD_PAGE_TOKEN


def test_page_size_is_clamped_and_defaults() -> None:
    """100 at most, 50 when nothing is said."""
    assert page_request({"PageSize": ["1000"]}, SidKind.SERVICE).cursor == PageCursor(limit=100)
    assert page_request({}, SidKind.SERVICE).cursor == PageCursor(limit=50)


@pytest.mark.parametrize("text", ["", "٣", "1_0", "+1", "0x1", "1e3", "-0"])
def test_only_ascii_digits_are_a_number(text: str) -> None:
    """Python's own int() would take most of these."""
    with pytest.raises(ValueError, match="from 0 to 9"):
        parse_decimal(text, low=0, high=9)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (" 14155550100", "+14155550100"),
        ("whatsapp: 14155550100", "whatsapp:+14155550100"),
        ("+1 415 555 0100", "+1 415 555 0100"),
        ("415 555 0100", "415 555 0100"),
        (" Ann", " Ann"),
        ("", ""),
    ],
)
def test_only_a_leading_blank_before_digits_was_a_plus(sent: str, meant: str) -> None:
    """Blanks within stay."""
    assert restore_plus(sent) == meant


def test_path_segment_is_decoded_once() -> None:
    """What is no UTF-8 names nothing."""
    assert path_segment("a%2Fb%252F") == "a/b%2F"
    assert path_segment("%ff") is None


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("https://masks.example.com", True),
        ("http://masks.example.com/hook?x=1", True),
        ("https://user:word@MASKS.example.com:443/", True),
        ("https://masks.example.com.", True),
        ("https://masks.example.com:8443/", False),
        ("https://example.com/masks.example.com", False),
        ("https://notmasks.example.com", False),
    ],
)
def test_own_host_is_recognised_by_name_and_port(url: str, is_own: bool) -> None:  # noqa: FBT001 - a table
    """Both default ports belong to a public name; another port is another server."""
    assert OwnHost("https://masks.example.com/base").covers(url) is is_own


def test_other_ports_of_a_local_host_are_not_ours() -> None:
    """So that an application on the same machine can be called."""
    own = OwnHost("http://127.0.0.1:8080")

    assert own.covers("http://127.0.0.1:8080/x")
    assert not own.covers("http://127.0.0.1:9000/x")
    assert not own.covers("http://127.0.0.1/x")


@given(st.text(max_size=60).map(lambda text: "http://" + text) | st.text(max_size=60))
def test_any_text_is_a_url_or_a_refusal(text: str) -> None:
    """What passes can be compared with our own host."""
    try:
        url = parse_url(text, max_length=50)
    except ValueError:
        return
    assert url.lower().startswith("http")
    OwnHost("https://masks.example.com").covers(url)
