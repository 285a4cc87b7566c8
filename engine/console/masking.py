"""What a page may show of a text: never a whole phone number.

Proxy numbers are ours and are shown whole; people's numbers lose their last four digits, in free text too. A run of
seven digits counts as a number, as it does in the messages of the REST interface; the digits of a SID do not.
"""

import re

from engine.core.e164 import mask

_SID_OR_NUMBER = re.compile(r"\b[A-Z]{2}[0-9a-f]{32}\b|\+?[0-9]{7,}")

_LONGEST_NUMBER = 15
"""Digits; in a longer run there may be two numbers."""
_KEPT = 4


def masked(text: str | None) -> str:
    """Mask whatever looks like a phone number in a text that people or applications wrote."""
    return "" if text is None else _SID_OR_NUMBER.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    text = found[0]
    if text[0].isupper():
        return text
    return mask(text) if len(text.removeprefix("+")) <= _LONGEST_NUMBER else text[:_KEPT] + "X" * (len(text) - _KEPT)
