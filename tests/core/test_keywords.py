"""Opt-out words: which messages are dropped (behaviour 11.2, 21.14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.numbers.keywords import STOP_WORDS, is_stop_word

PUBLISHED = "STOP UNSUBSCRIBE END CANCEL QUIT STOPALL ARRETT ARRET ARRETE UNSTOP REVOKE OPTOUT"


@pytest.mark.parametrize("word", PUBLISHED.split())
def test_a_published_word_is_dropped_in_any_case(word: str) -> None:
    """Case was settled as insensitive on 2020-09-15."""
    for body in (word, word.lower(), word.title(), f" {word}\r\n", f"\t{word.lower()}" + " " * 500):
        assert is_stop_word(body)


def test_no_other_word_is_dropped() -> None:
    """The list is the published one."""
    assert set(PUBLISHED.lower().split()) == STOP_WORDS


@pytest.mark.parametrize(
    "body",
    [
        "START",
        "start",
        "YES",
        "DEBUT",
        "HELP",
        "INFO",
        "STOPPING",
        "please stop",
        "stop.",
        "stop it",
        "S TOP",
        "opt out",
        "\u017ftop",
        "",
        "   ",
        "stop " * 400,
    ],
)
def test_other_messages_are_forwarded(body: str) -> None:
    """Opt-in and help words, and sentences that contain a stop word."""
    assert not is_stop_word(body)


@given(st.sampled_from(sorted(STOP_WORDS)), st.text(min_size=1).filter(lambda text: text.strip() != ""))
def test_a_word_with_more_text_is_forwarded(word: str, more: str) -> None:
    """Whole messages only."""
    assert not is_stop_word(f"{word} {more}")
