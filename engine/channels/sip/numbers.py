"""How one peer writes numbers, and what they are in E.164; pure.

What can mean no number, or more than one, is none: the call is refused, not sent to a guess. mypyc compiles this.
Source: RFC 3966; which prefixes and lengths a country has is libphonenumber's knowledge.
"""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

import phonenumbers
from mypy_extensions import i64
from phonenumbers import NumberParseException, PhoneNumberFormat

from engine.channels.sip.styles import NumberForms
from engine.core.numbers.e164 import canonical

ReadNumber = Callable[[str], str | None]
"""Reads a number as one peer writes it: E.164 or short code; None where it can mean none, or more than one."""

REMEMBERED: Final = 16_384
"""Numbers of one peer whose reading is kept: libphonenumber takes a tenth of a millisecond for one."""


def reader(forms: NumberForms) -> ReadNumber:
    """Return what reads the numbers of a peer."""
    by_digits = lru_cache(REMEMBERED)(partial(_read_digits, forms))
    return partial(_read, by_digits)


def _read(by_digits: ReadNumber, text: str) -> str | None:
    number = canonical(text)
    if number.startswith("+"):
        return number if _is_e164(number) else None
    return by_digits(number)


def _is_e164(number: str) -> bool:
    """Tell whether a plus and digits are a number."""
    size: i64 = len(number)
    if not _FEWEST < size <= _MOST or number[1] == "0":
        return False
    place: i64 = 1
    while place < size:
        digit: i64 = ord(number[place]) - _ZERO
        if digit < 0 or digit > 9:  # noqa: PLR2004 - a digit
            return False
        place += 1
    return True


def without_prefix(number: str, prefixes: tuple[str, ...]) -> str:
    """Take the longest of some prefixes off a number that has one of them in front of it."""
    found = max((one for one in prefixes if number.startswith(one)), key=len, default="")
    return number[len(found) :]


def _read_digits(forms: NumberForms, digits: str) -> str | None:
    """Read what has no `+`."""
    readings = set()
    if forms.national and (number := _valid(digits, forms.national)):
        readings.add(number)
    if forms.plus_missing and _COUNTRY_AND_NUMBER(digits):
        if not forms.national:
            readings.add(canonical("+" + digits))
        elif number := _valid("+" + digits, None):
            readings.add(number)
    if len(readings) == 1:
        return readings.pop()
    return digits if not readings and _SHORT_CODE(digits) else None


def _valid(text: str, country: str | None) -> str:
    """Return the number that a text is when it is dialled in a country; empty where there is none."""
    try:
        number = phonenumbers.parse(text, country)
    except NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    found = canonical(phonenumbers.format_number(number, PhoneNumberFormat.E164))
    return found if _is_e164(found) else ""  # a few of libphonenumber's are longer than E.164 has it


_ZERO: Final = 0x30
_FEWEST: Final = 7
_MOST: Final = 16
"""Characters of a number, the plus among them: more than the first, and no more than the second."""
_COUNTRY_AND_NUMBER = re.compile(r"[1-9][0-9]{8,14}").fullmatch
_SHORT_CODE = re.compile(r"[0-9]{3,8}").fullmatch
