"""Area codes: overlays, neighbours, and that the table is well formed."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.numbers.e164 import country_of
from engine.core.numbers.nanp import area_code, near, overlay_of
from engine.core.numbers.nanp_areas import TERRITORIES

CODES = sorted({code for codes, _, _ in TERRITORIES for code in codes.split()})
codes_of_plus_one = st.sampled_from(CODES)


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("+19728041234", "972"),
        ("whatsapp:+19728041234", "972"),
        ("+442079460018", None),
        ("+1972804123", None),
        ("972804", None),
        ("", None),
    ],
)
def test_only_a_number_in_plus_one_has_an_area_code(address: str, code: str | None) -> None:
    """Three digits after +1, of a whole number."""
    assert area_code(address) == code


@pytest.mark.parametrize(
    ("code", "codes"),
    [
        ("214", {"214", "469", "945", "972"}),
        ("212", {"212", "332", "646", "917"}),
        ("917", {"212", "332", "646", "917", "347", "465", "718", "929"}),
        ("404", {"404", "470", "678", "943"}),
        ("770", {"470", "678", "770", "943"}),
        ("416", {"416", "437", "647", "942"}),
        ("250", {"236", "250", "257", "672", "778"}),
        ("313", {"313", "679"}),
        ("734", {"734"}),
        ("787", {"787", "939"}),
        ("307", {"307"}),
        ("888", {"800", "833", "844", "855", "866", "877", "888"}),
        ("555", {"555"}),
    ],
)
def test_an_overlay_is_every_code_of_the_territory(code: str, codes: set[str]) -> None:
    """As NANPA lists the complexes; a code of two territories joins both, its siblings stay apart."""
    assert overlay_of(code) == codes


@pytest.mark.parametrize(
    ("code", "neighbour"), [("214", "817"), ("212", "201"), ("415", "510"), ("312", "773"), ("404", "770")]
)
def test_neighbouring_territories_are_near(code: str, neighbour: str) -> None:
    """Across a bay or a state line."""
    assert neighbour in near(code) - overlay_of(code)


@pytest.mark.parametrize(("code", "other"), [("214", "713"), ("212", "215"), ("415", "213"), ("604", "403")])
def test_far_territories_are_not_near(code: str, other: str) -> None:
    """Dallas and Houston, New York and Philadelphia."""
    assert other not in near(code)


@given(codes_of_plus_one, codes_of_plus_one)
def test_sharing_and_nearness_go_both_ways(code: str, other: str) -> None:
    """Both relations are symmetric; what shares a territory is near; every code is its own."""
    assert (other in overlay_of(code)) == (code in overlay_of(other))
    assert (other in near(code)) == (code in near(other))
    assert code in overlay_of(code) <= near(code)


def test_the_table_is_well_formed() -> None:
    """Three digits, in order, no code twice in a territory, positions on the map of the plan."""
    for codes, latitude, longitude in TERRITORIES:
        assert all(len(code) == 3 and code.isdigit() and code[0] in "23456789" for code in codes.split())
        assert codes.split() == sorted(set(codes.split()))
        assert -15 < latitude < 63
        assert -171 < longitude < -52 or longitude > 144


def test_no_territory_crosses_a_border() -> None:
    """Every code is of the same country as those it overlays, whatever the country of the plan."""
    for code in CODES:
        countries = {country_of(f"+1{sibling}2345678") for sibling in overlay_of(code)}

        assert len(countries) == 1
        assert None not in countries


def test_every_code_that_the_numbering_plan_data_knows_is_here() -> None:
    """What libphonenumber places in a US state or a Canadian province has a territory."""
    for number in range(200, 1000):
        example = phonenumbers.PhoneNumber(country_code=1, national_number=number * 10_000_000 + 2_345_678)
        if phonenumbers.number_type(example) == phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE:
            assert str(number) in CODES
