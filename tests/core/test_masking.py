"""What may be shown of a text: never a whole phone number, and otherwise all of it."""

import re
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.core.model.sids import SidKind, ordered_sid
from engine.core.numbers.masking import mask_text

DIGITS = st.from_regex(r"[1-9][0-9]{9,14}", fullmatch=True)
ADDRESS_OR_DATE = re.compile(r"^\d{1,3}(?:\.\d{1,3}){3}\D*$|^\d{4}-\d\d-\d\d\D*$")
"""What cannot be told from an address of a machine or a day."""
SEPARATORS = st.sampled_from(["", " ", "-", ".", "\u00a0", ") ", " ("])
AROUND = st.sampled_from(
    ["{}", "call {} back", "order-{}", "tel:{}?x=y", "CA{}", "x{}y", "\ufeff{}", "process {}", "{}X"]
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+14155550110", "+1415555XXXX"),
        ("ride 4155550110, twice", "ride 415555XXXX, twice"),
        ("whatsapp:+14155550110", "whatsapp:+1415555XXXX"),
        ("1415555011014155550111", "1415XXXXXXXXXXXXXXXXXX"),
        ("call from +14155550123 to +442079460123.", "call from +1415555XXXX to +44207946XXXX."),
        ("(212) 555-0122, 212.555.0122", "(XXX) XXX-XXXX, XXX.XXX.XXXX"),
        ("https://x.test/%2B12125550122", "https://x.test/%2B1212555XXXX"),
        ("?to=%2B1%20212%20555%200133", "?to=%2BX%20XXX%20XXX%20XXXX"),
        ("http://12125550133.invalid", "http://1212555XXXX.invalid"),
        ("CA12125550133", "CA1212555XXXX"),
        ("442.079.460.123", "XXX.XXX.XXX.XXX"),
        ("4155-55-01 10", "XXXX-XX-XX XX"),
        ("process 1415555 0110", "process 141XXXX XXXX"),
        (None, ""),
    ],
)
def test_what_looks_like_a_number_loses_its_last_digits(text: str | None, shown: str) -> None:
    """However it is written."""
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "order 123456 of 2026-11-26",
        "2026-11-26T10:11:12Z, 2026-11-26 10:11:12.123456",
        "http://192.168.100.200:8080 answered 503",
        "/v1/Services, 2010-04-01",
        "host-1 runs, process 4194303",
        "6ba7b810-9dad-11d1-80b4-00c04fd43012",
        "+1415555XXXX holds +44207946XXXX",
    ],
)
def test_nothing_else_is_touched(text: str) -> None:
    """Dates, addresses of machines, processes, SIDs of other platforms, and what is masked already."""
    assert mask_text(text) == text


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.sampled_from(SidKind))
def test_a_sid_is_no_number(milliseconds: int, counter: int, bits: int, kind: SidKind) -> None:
    """Although many have long runs of digits."""
    sid = ordered_sid(kind, milliseconds=milliseconds, counter=counter, random_bits=bits)

    assert mask_text(f"session {sid}.") == f"session {sid}."


@given(DIGITS, st.lists(SEPARATORS, min_size=14, max_size=14), AROUND, st.booleans())
def test_no_number_stays_whole(digits: str, separators: list[str], around: str, is_encoded: bool) -> None:  # noqa: FBT001 - drawn
    """Its last four digits are gone, wherever people or URLs break it."""
    written = "".join(digit + separator for digit, separator in zip(digits, separators, strict=False))
    assume(ADDRESS_OR_DATE.search(written) is None)
    text = around.format(quote(written) if is_encoded else written)

    shown = re.sub(r"%[0-9A-F]{2}", "", mask_text(text)) if is_encoded else mask_text(text)

    assert digits[:-3] not in re.sub(r"\D", "", shown)


@given(st.text("0123456789+ACKabc-. ", max_size=60))
def test_seven_digits_in_a_row_never_stay(text: str) -> None:
    """Outside a SID, a UUID and what is masked."""
    assert re.search("[0-9]{7}", re.sub(r"[0-9]+(?=X)", "", mask_text(text))) is None


@given(st.text("0123456789+ACKabcX-. ", max_size=60))
def test_what_is_masked_stays_as_it_is(text: str) -> None:
    """A message that names masked numbers may pass through here once more."""
    assert mask_text(mask_text(text)).count("X") >= mask_text(text).count("X")
