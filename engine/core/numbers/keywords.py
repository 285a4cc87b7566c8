"""Opt-out words: messages that are dropped instead of forwarded.

Only the whole message counts. START, YES, DEBUT and the help words are ordinary text. Source: behaviour 11.2 (the later
of the two published lists).
"""

from typing import Final

STOP_WORDS: Final = frozenset(
    {
        "stop",
        "unsubscribe",
        "end",
        "cancel",
        "quit",
        "stopall",
        "arrett",
        "arret",
        "arrete",
        "unstop",
        "revoke",
        "optout",
    }
)
"""In lower case; UNSTOP is the one opt-in word that is not forwarded either."""

_LONGEST = max(map(len, STOP_WORDS))


def is_stop_word(body: str) -> bool:
    """Tell whether a message is nothing but an opt-out word, in any case and with any white space around it."""
    word = body.strip()
    return len(word) <= _LONGEST and word.lower() in STOP_WORDS
