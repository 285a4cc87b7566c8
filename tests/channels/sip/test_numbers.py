"""Number forms: what each peer writes is one number or none, never a guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.addresses import number_in
from engine.channels.sip.numbers import reader, without_prefix
from engine.channels.sip.styles import NumberForms

PLAIN = NumberForms()
AMERICAN, BRITISH, NORWEGIAN = (NumberForms(national=country) for country in ("US", "GB", "NO"))
DIGITS = NumberForms(plus_missing=True)
BOTH = NumberForms(national="US", plus_missing=True)


@pytest.mark.parametrize(
    ("forms", "uri", "number"),
    [
        (PLAIN, "sip:+14155550100@h;user=phone", "+14155550100"),
        (PLAIN, "tel:+1-415-555-0100", "+14155550100"),
        (PLAIN, "sip:+1(415)555.0100@h", "+14155550100"),
        (PLAIN, "sip:%2B14155550100@h", "+14155550100"),
        (PLAIN, "sips:+14155550100:secret@h:5061", "+14155550100"),
        (PLAIN, "sip:+14155550100;npdi;rn=+14155550999;cic=0288;isup-oli=00@h", "+14155550100"),
        (PLAIN, "tel:5550100;phone-context=+1415", "+14155550100"),
        (PLAIN, "sip:0014155550100@h", "+14155550100"),
        (PLAIN, "sip:20500@h", "20500"),
        (PLAIN, "sip:14155550100@h", None),
        (PLAIN, "sip:4155550100@h", None),
        (PLAIN, "sip:+123@h", None),
        (PLAIN, "sip:+0123456789@h", None),
        (DIGITS, "sip:14155550100@h", "+14155550100"),
        (DIGITS, "sip:447911123456@h", "+447911123456"),
        (DIGITS, "sip:20500@h", "20500"),
        (AMERICAN, "sip:4155550100@h", "+14155550100"),
        (AMERICAN, "sip:14155550100@h", "+14155550100"),
        (AMERICAN, "sip:011442079460000@h", "+442079460000"),
        (AMERICAN, "sip:20500@h", "20500"),
        (BRITISH, "sip:02079460000@h", "+442079460000"),
        (BRITISH, "sip:0014155550100@h", "+14155550100"),
        (NORWEGIAN, "sip:22334455@h", "+4722334455"),
        (BOTH, "sip:4155550100@h", "+14155550100"),
        (BOTH, "sip:14155550100@h", "+14155550100"),
        (BOTH, "sip:447911123456@h", "+447911123456"),
        (BOTH, "sip:20500@h", "20500"),
        (PLAIN, "sip:+5215512345678@h", "+525512345678"),
    ],
)
def test_a_number_is_read_as_the_peer_writes_it(forms: NumberForms, uri: str, number: str | None) -> None:
    """Or not at all."""
    assert reader(forms)(number_in(uri.encode())) == number


def test_what_may_be_two_numbers_is_none() -> None:
    """Digits that are a number at home, and another one with the country code that they begin with."""
    german, digits = NumberForms(national="DE"), NumberForms(plus_missing=True)

    readings = [
        reader(forms)("6566123456") for forms in (german, digits, NumberForms(national="DE", plus_missing=True))
    ]

    assert readings == ["+496566123456", "+6566123456", None]


def test_the_longest_prefix_is_taken_off() -> None:
    """Once, and only from the front."""
    prefixes = ("99", "9931#")

    assert without_prefix("9931#+14155550100", prefixes) == "+14155550100"
    assert without_prefix("99+14155550100", prefixes) == "+14155550100"
    assert without_prefix("+14155550199", prefixes) == "+14155550199"


def test_a_number_that_is_longer_than_e164_is_none() -> None:
    """Some German ones are valid to libphonenumber with sixteen digits."""
    assert reader(NumberForms(national="DE"))("020100000000000") is None


@given(
    st.text("0123456789+*#", max_size=20),
    st.sampled_from(["", "US", "GB", "DE", "NO", "MX", "AR", "IT"]),
    st.booleans(),
)
def test_a_reading_is_a_number_and_reads_as_itself(text: str, national: str, plus_missing: bool) -> None:  # noqa: FBT001 - drawn
    """E.164 or a short code; and whoever writes it so means the same."""
    read = reader(NumberForms(national=national, plus_missing=plus_missing))

    number = read(text)

    assert number is None or (number.startswith("+") and number[1:].isdigit()) or (number.isdigit() and len(number) < 9)
    assert number is None or read(number) == number
