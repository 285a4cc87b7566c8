"""No page shows a whole phone number of a person, wherever it was written."""

import re

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.console.masking import masked
from engine.core.sids import SidKind, ordered_sid
from tests.console.fakes import add_account, explained, furnish, make_console

NUMBERS = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True).filter(lambda one: not one.startswith("+1212"))
"""Of people; proxy numbers, which are of +1212, are shown."""
SIDS = re.compile("[A-Z]{2}[0-9a-f]{32}")
TEXTS = st.sampled_from(["{}", "call {} back", "order-{}", "tel:{}?x=1", "<b>{}</b>", "{}{}"])
FORMS = st.sampled_from([lambda number: number, lambda number: number[1:]])


@settings(max_examples=25)
@given(NUMBERS, NUMBERS, TEXTS, FORMS)
def test_no_page_shows_a_whole_number(first: str, second: str, text: str, form: object) -> None:
    """As an identifier, in names, events, errors, URLs; with or without a plus; for an account and the operator."""
    assert callable(form)
    written = text.format(form(first), form(second)) if text.count("{}") > 1 else text.format(form(first))

    seen = anyio.run(everything_seen, first, second, written)

    for number in (first, second):
        assert number[1:] not in seen


async def everything_seen(first: str, second: str, written: str) -> str:
    """Put numbers wherever they may get, and look at every page."""
    console = make_console()
    account = add_account(console, "a", written)
    held = await furnish(console, account, identifiers=(first, second), name=written, text=written)
    texts = []
    for screen in (await console.screen_of(account), await console.operators_screen()):
        texts += [(await screen.get(path)).text for path in ("", "/live", "/events", "/outbox", *held.paths)]
        typed = (first, first[1:], second, written, first[-4:])
        texts += [(await screen.submit("/search", text=text)).text for text in typed]
        for explanation in (None, explained(held)):
            console.control.explanation = explanation
            texts.append((await screen.submit("/explain", proxy=first, sender=second)).text)
    assert all("</html>" in text or "<section" in text for text in texts)
    return SIDS.sub("", "".join(texts))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+14155550110", "+1415555XXXX"),
        ("ride 4155550110, twice", "ride 415555XXXX, twice"),
        ("whatsapp:+14155550110", "whatsapp:+1415555XXXX"),
        ("1415555011014155550111", "1415XXXXXXXXXXXXXXXXXX"),
        ("order 123456 of 2026-11-26", "order 123456 of 2026-11-26"),
        (None, ""),
    ],
)
def test_what_looks_like_a_number_loses_its_last_digits(text: str | None, shown: str) -> None:
    """And nothing else does."""
    assert masked(text) == shown


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.sampled_from(SidKind))
def test_a_sid_is_no_number(milliseconds: int, counter: int, bits: int, kind: SidKind) -> None:
    """Although many have long runs of digits."""
    sid = ordered_sid(kind, milliseconds=milliseconds, counter=counter, random_bits=bits)

    assert masked(f"session {sid}.") == f"session {sid}."


@given(st.text("0123456789+ACKabc-. ", max_size=60))
def test_seven_digits_in_a_row_never_stay(text: str) -> None:
    """Outside a SID."""
    assert re.search("[0-9]{7}", re.sub(r"[0-9]+(?=X)", "", masked(text))) is None
