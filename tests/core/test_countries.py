"""Whose numbers serve whom: the exceptions of behaviour 6.5."""

import pytest

from engine.core.numbers.countries import SERVED_BY_US, serving_countries

PLUS_44 = {"GB", "GG", "IM", "JE"}


@pytest.mark.parametrize("country", ["AG", "AI", "BM", "BS", "MS", "TC", "VG", "VI"])
def test_eight_island_states_are_served_by_us_numbers(country: str) -> None:
    """Their own numbers serve them as well; theirs serve no one in the US."""
    assert serving_countries(country, joins_us_and_canada=False) == (country, "US")
    assert country not in serving_countries("US", joins_us_and_canada=True)


@pytest.mark.parametrize("country", sorted(PLUS_44))
def test_the_countries_of_plus_44_serve_each_other(country: str) -> None:
    """Any of GB, GG, IM, JE serves any other."""
    assert set(serving_countries(country, joins_us_and_canada=False)) == PLUS_44


def test_us_and_canada_serve_each_other_only_when_joined() -> None:
    """Separate by default, with a switch (behaviour 6.5)."""
    assert "US" not in serving_countries("CA", joins_us_and_canada=False)
    assert "CA" not in serving_countries("US", joins_us_and_canada=False)
    assert "US" in serving_countries("CA", joins_us_and_canada=True)
    assert "CA" in serving_countries("US", joins_us_and_canada=True)


def test_other_countries_of_plus_1_are_served_by_their_own_numbers() -> None:
    """Jamaica is not in the table."""
    assert serving_countries("JM", joins_us_and_canada=True) == ("JM",)
    assert "JM" not in SERVED_BY_US


def test_a_country_with_its_own_dialling_code_serves_itself() -> None:
    """Japan, +81; and what no plan knows is only like itself."""
    assert serving_countries("JP", joins_us_and_canada=True) == ("JP",)
    assert serving_countries("QQ", joins_us_and_canada=True) == ("QQ",)


def test_countries_that_share_a_dialling_code_serve_each_other() -> None:
    """Matching is on the dialling code: Finland and the Åland Islands are both +358."""
    assert "FI" in serving_countries("AX", joins_us_and_canada=False)
    assert "SE" not in serving_countries("AX", joins_us_and_canada=False)
