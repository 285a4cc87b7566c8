"""What is typed into the search is understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.numbers.e164 import mask_address
from engine.core.sessions.search import SessionSought, read_search


@pytest.mark.parametrize(
    ("text", "sought"),
    [
        ("ride-1", SessionSought(name="ride-1")),
        (" +1 415 555 0110 ", SessionSought(name="+1 415 555 0110", whole="+14155550110")),
        ("14155550110", SessionSought(name="14155550110", whole="+14155550110")),
        ("+5215512345678", SessionSought(name="+5215512345678", whole="+525512345678")),
        ("+1415555XXXX", SessionSought(name="+1415555XXXX", beginning="1415555")),
        ("0110", SessionSought(name="0110", ending="0110")),
        ("whatsapp:+14155550110", SessionSought(name="whatsapp:+14155550110", whole="whatsapp:+14155550110")),
    ],
)
def test_a_text_is_read_as_what_it_looks_like(text: str, sought: SessionSought) -> None:
    """And as a name in any case."""
    assert read_search(text) == sought


@pytest.mark.parametrize("text", ["", "  ", "x" * 201])
def test_nothing_and_too_much_are_no_search(text: str) -> None:
    """Not even by name."""
    assert read_search(text) is None


@given(st.from_regex(r"\+[1-9][0-9]{6,12}", fullmatch=True).filter(lambda number: number[1:4] not in {"521", "549"}))
def test_a_number_is_found_by_the_form_in_which_it_is_shown(number: str) -> None:
    """What pages and logs show can be pasted into the search."""
    sought = read_search(mask_address(number))

    assert sought is not None
    assert sought.beginning == number[1:-4]
