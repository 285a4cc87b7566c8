"""Texts that people give: which characters they may hold, and which of them can name a resource.

A name stands in the path by which its resource is read, so it must be one segment there and no SID. Source: behaviour
2.4, RFC 3986 section 3.3.
"""

import re
from typing import Final

from engine.core.model.errors import invalid_parameter
from engine.core.model.sids import is_sid

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_LINES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def check_text(text: str, *, takes_lines: bool = False) -> None:
    """Refuse control characters, NUL first of all; ValueError. `takes_lines` lets tabs and ends of lines be."""
    found = (_CONTROL_IN_LINES if takes_lines else _CONTROL).search(text)
    if found is not None:
        raise ValueError(f"holds the control character U+{ord(found[0]):04X}")


def check_name(text: str) -> None:
    """Refuse a name that no path can name, or that means something else there; ValueError."""
    check_text(text)
    if is_sid(text):
        raise ValueError("looks like a SID, by which something else would be found")
    if "/" in text or text in {".", ".."}:
        raise ValueError('cannot be part of a path: it holds "/", or is "." or ".."')


def check_all(value: object, *, place: str, takes_lines: bool = False) -> None:
    """Check each text of decoded JSON, the names of an object's members too.

    Raises ApiError INVALID_PARAMETER that names the place, such as `rows[3].friendly_name`.
    """
    if isinstance(value, str):
        try:
            check_text(value, takes_lines=takes_lines)
        except ValueError as problem:
            raise invalid_parameter(place or "body", str(problem)) from problem
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            check_all(one, place=f"{place}[{index}]", takes_lines=takes_lines)
    elif isinstance(value, dict):
        for name, one in value.items():
            check_all(name, place=place)
            check_all(one, place=f"{place}.{name}".lstrip("."), takes_lines=takes_lines)
