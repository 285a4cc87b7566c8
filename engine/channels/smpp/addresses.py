"""Addresses of short messages: type and plan of a number, read to the form in which we keep it, and back; sans-IO.

Source: SMPP 3.4 5.2.5 and 5.2.6.
"""

from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from engine.channels.smpp.pdu import SmeAddress
from engine.core.model.records import Address
from engine.core.numbers.e164 import ABROAD

_UNKNOWN: Final = 0
_INTERNATIONAL: Final = 1
_NATIONAL: Final = 2
_NETWORK: Final = 3
_AS_IT_IS: Final = frozenset({_NETWORK, 5, 6})
"""Short codes of the network, names, abbreviated numbers."""
_E164_PLAN: Final = 1
_FEWEST_DIGITS: Final = 8
"""Of a number whose type is not told: shorter ones are short codes."""


def read_address(address: SmeAddress, *, national: str) -> Address:
    """Return a number with its plus, a short code as it is, or a name; never fails.

    `national` is the ISO country in which national numbers are written; without one they stay as they came.
    """
    digits, ton = address.digits.strip(), address.ton
    if ton in _AS_IT_IS:
        return digits
    if digits.startswith("+"):
        return digits
    if not (digits.isascii() and digits.isdecimal()):
        return digits
    if digits.startswith(ABROAD):
        return "+" + digits.removeprefix(ABROAD)
    if ton == _INTERNATIONAL:
        return "+" + digits
    if ton == _NATIONAL:
        return _from_national(digits, national) if national else digits
    return "+" + digits if len(digits) >= _FEWEST_DIGITS else digits


def write_address(address: Address, *, with_plus: bool = False, short_code_ton: int = _NETWORK) -> SmeAddress:
    """Return an address as it is sent: a number in international form, digits as a short code."""
    if address.startswith("+"):
        return SmeAddress(_INTERNATIONAL, _E164_PLAN, address if with_plus else address[1:])
    return SmeAddress(short_code_ton, _UNKNOWN, address)


@lru_cache(maxsize=4096)
def _from_national(digits: str, country: str) -> Address:
    try:
        number = phonenumbers.parse(digits, country)
    except NumberParseException:
        return digits
    if not phonenumbers.is_possible_number(number):
        return digits
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)
