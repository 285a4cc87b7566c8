"""Addresses: what is accepted, how it is kept, shown, dialled and masked."""

import re

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.errors import ApiError, Code
from engine.core.numbers.e164 import (
    _american_numbers,
    canonical,
    country_of,
    dial_form,
    is_channel,
    is_chat_channel,
    is_unclear,
    mask_address,
    national_display,
    parse_identifier,
    parse_proxy_number,
    parse_short_code,
    with_plus,
)
from engine.core.numbers.nanp import overlay_of

CHAT_CHANNEL = "CH" + "0a" * 16

digits = st.text("0123456789", min_size=10, max_size=10)
numbers = st.one_of(
    digits.map("+1{}".format),
    digits.map("+44{}".format),
    digits.map("+52{}".format),
    digits.map("+54{}".format),
    digits.map("+521{}".format),
    digits.map("+549{}".format),
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("+19728041234", "+19728041234"),
        (" 19728041234", "+19728041234"),
        ("  19728041234 ", "+19728041234"),
        ("+1 (972) 804-1234", "+19728041234"),
        ("+44 (0)20 7946 0018", "+442079460018"),
        ("+5215512345678", "+525512345678"),
        ("+525512345678", "+525512345678"),
        ("+5492231234567", "+542231234567"),
        ("+542231234567", "+542231234567"),
        ("+5491123456789", "+541123456789"),
        ("+390612345678", "+390612345678"),
        ("whatsapp:+19728041234", "whatsapp:+19728041234"),
        ("whatsapp: 19728041234", "whatsapp:+19728041234"),
        ("WhatsApp:+5215512345678", "whatsapp:+525512345678"),
        ("messenger:1234567890", "messenger:1234567890"),
        ("viber:abc/DEF==", "viber:abc/DEF=="),
        (CHAT_CHANNEL, CHAT_CHANNEL),
    ],
)
def test_an_identifier_is_kept_in_canonical_form(text: str, kept: str) -> None:
    """Every way to write a person ends in one address (behaviour 2.3, 3.5, 14)."""
    assert parse_identifier(text) == kept
    assert canonical(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "hello",
        "19728041234",
        "9728041234",
        "12345",
        "+15551234567",
        "+1972804123",
        "+197280412345",
        "+1800FLOWERS",
        "+19728041234;ext=5",
        "tel:+19728041234",
        "sip:alice@example.com",
        "whatsapp:",
        "whatsapp:+15551234567",
        "messenger:",
        "messenger:a b",
        "CH123",
        "+9991234567",
        "+\u0661\u0669\u0667\u0662\u0668\u0660\u0664\u0661\u0662\u0663\u0664",
        "+5411123",
    ],
)
def test_an_identifier_that_nobody_can_have_is_refused(text: str) -> None:
    """Numbers outside the numbering plan, such as +1 555, and unknown schemes are 80404 (behaviour 3.5)."""
    with pytest.raises(ApiError) as refusal:
        parse_identifier(text)

    assert refusal.value.code is Code.IDENTIFIER_INVALID


@pytest.mark.parametrize("text", ["+16792345678", "+18372345678", "+14652345678"])
def test_an_overlay_younger_than_the_numbering_plan_data_is_accepted(text: str) -> None:
    """Opened in 2025 and 2026; their numbers are as good as those of the codes they overlay."""
    assert parse_identifier(text) == text
    assert country_of(text) == "US"


def test_an_overlay_takes_no_number_that_its_siblings_cannot_have() -> None:
    """No exchange begins with 1."""
    with pytest.raises(ApiError):
        parse_identifier("+16791345678")


@given(st.integers(min_value=2_000_000_000, max_value=9_999_999_999))
def test_the_short_way_to_read_plus_one_agrees_with_the_long_one(national: int) -> None:
    """A number in +1 is accepted exactly when phonenumbers.parse says it is valid (or an overlay's sibling is)."""
    parsed = phonenumbers.parse(f"+1{national}", None)
    is_valid = phonenumbers.is_valid_number(parsed)

    try:
        kept = parse_identifier(f"+1{national}")
    except ApiError:
        assert not is_valid
    else:
        assert kept == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        assert is_valid or overlay_of(kept[2:5]) != {kept[2:5]}


@given(st.integers(min_value=200, max_value=999), st.integers(min_value=0, max_value=9_999_999))
def test_a_valid_number_in_plus_one_is_where_the_library_says(area: int, line: int) -> None:
    """The United States are found the short way, the other twenty-odd countries the long one."""
    address = f"+1{area}{line:07d}"
    parsed = phonenumbers.parse(address, None)

    if phonenumbers.is_valid_number(parsed):
        assert country_of(address) == phonenumbers.region_code_for_number(parsed)
    else:
        assert _american_numbers().fullmatch(address) is None


def test_a_refusal_does_not_repeat_the_number() -> None:
    """The message masks the last four digits."""
    with pytest.raises(ApiError, match=re.escape("+1555123XXXX")):
        parse_identifier("+15551234567")


def test_a_number_that_we_own_need_only_be_well_formed() -> None:
    """A leased number of a block younger than our numbering plan data is accepted."""
    assert parse_proxy_number(" 15551234567") == "+15551234567"
    assert parse_proxy_number("+5215512345678") == "+525512345678"


@pytest.mark.parametrize("text", ["", "5551234567", "+1555", "+15551234", "+1555123456789", "+9991234567", "12345"])
def test_a_malformed_number_that_we_would_own_is_refused(text: str) -> None:
    """80406 names a number that is not E.164 (behaviour 3.2)."""
    with pytest.raises(ApiError) as refusal:
        parse_proxy_number(text)

    assert refusal.value.code is Code.NUMBER_INVALID


def test_a_short_code_is_three_to_eight_digits() -> None:
    """Short codes have no plus and no country in them."""
    assert parse_short_code(" 894546 ") == "894546"
    for text in ("", "12", "123456789", "+12345", "12a45"):
        with pytest.raises(ApiError) as refusal:
            parse_short_code(text)
        assert refusal.value.code is Code.NUMBER_INVALID


@pytest.mark.parametrize(
    ("carried", "kept"),
    [
        ("+15551234567", "+15551234567"),
        (" 15551234567", "+15551234567"),
        ("+15551234567 ", "+15551234567"),
        ("+5215512345678", "+525512345678"),
        (" 5215512345678", "+525512345678"),
        ("+525512345678", "+525512345678"),
        ("+5491123456789", "+541123456789"),
        ("+541123456789", "+541123456789"),
        ("whatsapp:+5215512345678", "whatsapp:+525512345678"),
        ("whatsapp: 15551234567", "whatsapp:+15551234567"),
        ("messenger:123", "messenger:123"),
        ("15551234567", "15551234567"),
        ("tel:+19728041234", "+19728041234"),
        ("TEL:+1-972-804-1234;phone-context=x", "+19728041234"),
        ("0019728041234", "+19728041234"),
        ("+1 (972) 804-1234", "+19728041234"),
        ("+1.972.804.1234 ", "+19728041234"),
        ("00 44 (0)20 7946 0018", "+442079460018"),
        ("005215512345678", "+525512345678"),
        ("00000000", "00000000"),
        ("001", "001"),
        ("tel:20500", "tel:20500"),
        ("tel:tel:+19728041234", "tel:tel:+19728041234"),
        ("+1972804123412345678", "+1972804123412345678"),
        ("+1 972 x", "+1 972 x"),
        ("894546", "894546"),
        ("anonymous", "anonymous"),
        ("", ""),
        (" ", ""),
    ],
)
def test_traffic_is_brought_to_the_form_that_we_keep(carried: str, kept: str) -> None:
    """Inbound variants meet the stored number; what could be two numbers is left alone."""
    assert canonical(carried) == kept


@pytest.mark.parametrize(
    ("text", "unclear"),
    [
        ("19728041234", True),
        ("123456789", True),
        ("12345678", False),
        ("+19728041234", False),
        ("01234567890", False),
        ("1" * 16, False),
        ("anonymous", False),
        ("", False),
    ],
)
def test_bare_digits_are_a_number_only_where_the_carrier_writes_all_so(text: str, *, unclear: bool) -> None:
    """Short codes have fewer, and what begins with 0 is no number with its country code."""
    assert is_unclear(text) is unclear
    assert with_plus(text) == ("+" + text if unclear else text)


@given(st.one_of(numbers, st.text(), st.text(" +1259whatsapp:").map(lambda text: text * 3)))
def test_canonical_changes_nothing_twice(text: str) -> None:
    """What is canonical stays so."""
    assert canonical(canonical(text)) == canonical(text)


def test_a_hostile_address_is_taken_in_one_step() -> None:
    """Nested prefixes do not nest the work."""
    assert canonical("whatsapp:" * 10_000).startswith("whatsapp:")


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("+19728041234", "US"),
        ("+14165551234", "CA"),
        ("+18005551234", "US"),
        ("+12684641234", "AG"),
        ("+442079460018", "GB"),
        ("+441481960194", "GG"),
        ("+525512345678", "MX"),
        ("+541123456789", "AR"),
        ("+819012345678", "JP"),
        ("whatsapp:+442079460018", "GB"),
        ("messenger:123", None),
        ("894546", None),
        ("+15551234567", None),
        ("+80012345678", None),
        (CHAT_CHANNEL, None),
        ("anonymous", None),
    ],
)
def test_the_country_of_an_address_is_read_from_its_number(address: str, country: str | None) -> None:
    """US and Canada are told apart; what has no country has none."""
    assert country_of(address) == country


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("+15555555555", "(555) 555-5555"),
        ("+442079460018", "020 7946 0018"),
        ("894546", "894546"),
        ("whatsapp:+15555555555", "whatsapp:+15555555555"),
    ],
)
def test_a_number_is_shown_as_its_country_writes_it(address: str, shown: str) -> None:
    """The default friendly name (behaviour 3.2)."""
    assert national_display(address) == shown


def test_mexican_and_argentine_digits_are_inserted_only_when_asked() -> None:
    """Both insertions are off by default (behaviour 14)."""
    assert dial_form("+525512345678", inserts_mexican_one=False, argentina=False) == "+525512345678"
    assert dial_form("+525512345678", inserts_mexican_one=True, argentina=False) == "+5215512345678"
    assert dial_form("+542231234567", inserts_mexican_one=True, argentina=False) == "+542231234567"
    assert dial_form("+542231234567", inserts_mexican_one=False, argentina=True) == "+5492231234567"


@pytest.mark.parametrize("address", ["+528001234567", "+548001234567", "+19728041234", "messenger:5254", "+5255"])
def test_numbers_that_are_not_mobile_are_dialled_as_they_are(address: str) -> None:
    """Free-phone numbers and other countries take no digit."""
    assert dial_form(address, inserts_mexican_one=True, argentina=True) == address


@given(numbers, st.booleans(), st.booleans())
def test_what_is_dialled_leads_back_to_what_is_kept(text: str, mexican: bool, argentina: bool) -> None:  # noqa: FBT001 - Hypothesis passes by keyword
    """The canonical form undoes the dialled one."""
    kept = canonical(text)

    assert canonical(dial_form(kept, inserts_mexican_one=mexican, argentina=argentina)) == kept


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+19728041234", "+1972804XXXX"),
        ("whatsapp:+19728041234", "whatsapp:+1972804XXXX"),
        ("+1 972 804 1234", "+X XXX XXX XXXX"),
        ("12345", "1XXXX"),
        ("123", "XXX"),
        ("", ""),
        ("anonymous", "anonymous"),
    ],
)
def test_the_last_four_digits_are_hidden(text: str, masked: str) -> None:
    """`+1972804XXXX`, as the API writes it (behaviour 2.5)."""
    assert mask_address(text) == masked


@given(st.text(), numbers, st.text().filter(lambda text: not text[:1].isdecimal()))
def test_no_number_survives_masking(before: str, number: str, after: str) -> None:
    """Wherever it stands, a number is not in the masked text."""
    masked = mask_address(before + number + after)

    assert number not in masked
    assert re.search(r"\d{12}", mask_address(number)) is None


def test_channels_are_told_from_numbers() -> None:
    """Only phone numbers can be called."""
    assert is_channel("whatsapp:+19728041234")
    assert not is_channel("+19728041234")
    assert is_chat_channel(CHAT_CHANNEL)
    assert not is_chat_channel("CH12")
