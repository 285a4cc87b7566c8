"""No page shows a whole phone number of a person, wherever it was written."""

import re

import anyio
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.console.fakes import add_account, explained, furnish, make_console

NUMBERS = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True).filter(
    lambda one: not one.startswith("+1212") and "555" not in one
)
"""Of people; proxy numbers, which are of +1212 or have 555 in any eight digits in a row, are shown."""
SIDS = re.compile("[A-Z]{2}[0-9a-f]{32}")
TEXTS = st.sampled_from(["{}", "call {} back", "order-{}", "tel:{}?x=1", "<b>{}</b>", "{}{}"])
FORMS = st.sampled_from([lambda number: number, lambda number: number[1:]])


@settings(max_examples=25)
@given(NUMBERS, NUMBERS, TEXTS, FORMS)
def test_no_page_shows_a_whole_number(first: str, second: str, text: str, form: object) -> None:
    """As an identifier, in names, events, errors, URLs; with or without a plus; for an account and the operator."""
    assert callable(form)
    assume(first == second or (first[1:] not in second and second[1:] not in first))  # all but four digits may be shown
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
