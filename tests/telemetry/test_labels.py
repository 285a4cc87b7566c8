"""Names that accounts choose, as labels."""

import pytest

from engine.telemetry.labels import LONGEST_NAME, safe_label


@pytest.mark.parametrize("name", ["rides", "Ärzte am See", "shop-2026", "a.b/c 123456"])
def test_an_ordinary_name_is_its_own_label(name: str) -> None:
    """Short figures tell nobody's number."""
    assert safe_label(name) == name


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("+14155550100", "#"),
        ("desk 4155550100", "desk #"),
        ("call (415) 555-0100 now", "call (# now"),
        ("of AC" + "0a" * 16, "of #"),
        ("KS" + "f" * 32 + " and 0049 30 1234567", "# and #"),
    ],
)
def test_what_may_be_a_number_or_a_sid_is_taken_out(name: str, label: str) -> None:
    """However it is written."""
    assert safe_label(name) == label


def test_a_long_name_is_cut() -> None:
    """A label is no place for 191 characters."""
    assert safe_label("x" * 191) == "x" * LONGEST_NAME
