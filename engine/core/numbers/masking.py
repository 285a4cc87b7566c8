"""What may be shown of a text that people, applications or carriers wrote: never a whole phone number.

Logs, the operator's commands, the console, kept webhooks and error messages all show such texts through `mask_text`.
What stays whole: SIDs, UUIDs, IPv4 addresses, dates and times, process ids, and numbers that are masked already.
"""

import re

from engine.core.numbers.e164 import mask_address

_BETWEEN = r"(?:[ \u00a0\u2009\u202f.()\-\u2010-\u2013]|%[0-9A-Fa-f]{2}){0,3}"
"""What people and URLs write between the digits of a number."""

_ENDS = rf"(?!{_BETWEEN}\d)"
"""No further digit follows as those of one number do."""
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

_ENCODED = re.compile("(%..)")
_KEPT_OR_NUMBER = re.compile(
    rf"""
    (?P<kept>
        \b[A-Z]{{2}}[0-9a-fA-F]{{32}}\b
      | \b[0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}\b
      | (?<![\d.]){_OCTET}(?:\.{_OCTET}){{3}}{_ENDS}
      | (?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?{_ENDS}
      | (?<=process[ ])\d{{1,7}}{_ENDS}
      | (?<!\d)\d{{3,9}}XXXX\b
      | %[0-9A-Fa-f]{{2}}
    )
    | \d(?:{_BETWEEN}\d){{6,}}
    """,
    re.VERBOSE,
)


def mask_text(text: str | None) -> str:
    """Mask what looks like a phone number: seven digits or more, however they are grouped, encoded or joined."""
    return "" if text is None else _KEPT_OR_NUMBER.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    if found.lastgroup == "kept":
        return found[0]
    return "".join(part if part[:1] == "%" else mask_address(part) for part in _ENCODED.split(found[0]))
