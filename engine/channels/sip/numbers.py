"""How one peer writes numbers, and what they are in E.164; pure.

What can mean no number, or more than one, is none: the call is refused, not sent to a guess. Source: RFC 3966; which
prefixes and lengths a country has is libphonenumber's knowledge.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec
import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from engine.core.numbers.e164 import canonical

ReadNumber = Callable[[str], str | None]
"""Reads a number as one peer writes it: E.164 or short code; None where it can mean none, or more than one."""

REMEMBERED: Final = 16_384
"""Numbers of one peer whose reading is kept: libphonenumber takes a tenth of a millisecond for one."""


class NumberForms(msgspec.Struct, frozen=True, kw_only=True):
    """The forms of one peer, besides `+` and `00` with the country code, and short codes."""

    national: str = ""
    """ISO country whose national and international prefixes it dials; empty = it writes no national numbers."""
    plus_missing: bool = False
    """It writes the country code without `+`."""


def reader(forms: NumberForms) -> ReadNumber:
    """Return what reads the numbers of a peer."""
    by_digits = lru_cache(REMEMBERED)(lambda digits: _read_digits(digits, forms))

    def read(text: str) -> str | None:
        number = canonical(text)
        if number.startswith("+"):
            return number if _E164(number) else None
        return by_digits(number)

    return read


def without_prefix(number: str, prefixes: tuple[str, ...]) -> str:
    """Take the longest of some prefixes off a number that has one of them in front of it."""
    found = max((one for one in prefixes if number.startswith(one)), key=len, default="")
    return number[len(found) :]


def _read_digits(digits: str, forms: NumberForms) -> str | None:
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
    return found if _E164(found) else ""  # a few of libphonenumber's are longer than E.164 has it


_E164 = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch
_COUNTRY_AND_NUMBER = re.compile(r"[1-9][0-9]{8,14}").fullmatch
_SHORT_CODE = re.compile(r"[0-9]{3,8}").fullmatch
