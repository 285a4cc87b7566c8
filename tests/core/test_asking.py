"""Numbers as people write them, for explanations."""

import pytest

from engine.core.routing.asking import readings

PROXY = "+14155550100"


@pytest.mark.parametrize(
    "text",
    [
        PROXY,
        "+1 (415) 555-0100",
        "+1 415.555.0100",
        "14155550100",
        "0014155550100",
        "011 1 415 555 0100",
        "415-555-0100",
        "(415) 555-0100",
        "tel:+1-415-555-0100",
        " 14155550100",
    ],
)
def test_a_number_is_read_as_people_write_it(text: str) -> None:
    """With any separators, with or without its country."""
    assert PROXY in readings(text)


@pytest.mark.parametrize(
    ("text", "home", "meant"),
    [
        ("06 12 34 56 78", "FR", "+33612345678"),
        ("020 7946 0123", "GB", "+442079460123"),
        ("0044 20 7946 0123", "FR", "+442079460123"),
        ("55 1234 5678", "MX", "+525512345678"),
    ],
)
def test_a_national_number_is_one_of_the_country_at_hand(text: str, home: str, meant: str) -> None:
    """That of the proxy number."""
    assert meant in readings(text, home=home)


@pytest.mark.parametrize("text", ["12345", "whatsapp:+14155550100", "anonymous", "+14155550100"])
def test_what_traffic_may_carry_is_meant_first(text: str) -> None:
    """Short codes, channel addresses and withheld numbers too."""
    assert readings(text)[0] == text


def test_nothing_is_no_number() -> None:
    """Nor are separators."""
    assert readings("") == readings(" - ") == ()
