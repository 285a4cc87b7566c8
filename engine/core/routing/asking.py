"""Explanations for people: numbers are read as people write them, and a swap of from and to is noticed.

Traffic is never read this way: there a number without "+" may be anybody's.
"""

from collections.abc import Iterator

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from engine.core.model.records import Address
from engine.core.numbers.e164 import ABROAD, bare, country_of
from engine.core.ports.operations import ControlPlane, Explanation

_AMERICAN = "US"
_ABROAD = (ABROAD, "011")
"""What people dial before a country code."""


def readings(text: str, *, home: str | None = None) -> tuple[Address, ...]:
    """Return what a text may mean, the likeliest first: as traffic would carry it, then as people of `home` write it.

    `home` is an ISO country; without one, ten digits may be a number of +1. Empty for an empty text.
    """
    return tuple(dict.fromkeys(_readings(text.strip().removeprefix("tel:"), home)))


async def explained(control: ControlPlane, *, to: str, sender: str) -> Explanation:
    """Explain the first reading that is known: of `to` one in a pool, of `sender` one that has or had a session there.

    Raises ApiError as `ControlPlane.explain` does.
    """
    likeliest, *others = readings(to) or (to,)
    unknown = await _of_sender(control, likeliest, sender)
    if unknown.account_sid is not None:
        return unknown
    for proxy in others:
        explanation = await _of_sender(control, proxy, sender)
        if explanation.account_sid is not None:
            return explanation
    return unknown


async def swapped(control: ControlPlane, *, to: str, sender: str) -> Explanation | None:
    """Explain the other way round; None where the number of `sender` is in no pool either."""
    explanation = await explained(control, to=sender, sender=to)
    return None if explanation.account_sid is None else explanation


async def _of_sender(control: ControlPlane, proxy: Address, sender: str) -> Explanation:
    plausible = readings(sender, home=country_of(proxy)) or (sender,)
    explanations = [await control.explain(proxy=proxy, sender=one) for one in plausible]
    known = (one for one in explanations if one.session is not None)
    international = (one for one, address in zip(explanations, plausible, strict=True) if address.startswith("+"))
    return next(known, None) or next(international, explanations[0])


def _readings(text: str, home: str | None) -> Iterator[Address]:
    number = bare(text)
    if not number:
        return
    yield number
    if not number.isdigit():
        return
    for prefix in _ABROAD:
        if number.startswith(prefix):
            yield f"+{number.removeprefix(prefix)}"
    for written, region in ((f"+{number}", None), (number, home or _AMERICAN)):
        try:
            read = phonenumbers.parse(written, region)
        except NumberParseException:
            continue
        if phonenumbers.is_possible_number(read):
            yield bare(phonenumbers.format_number(read, PhoneNumberFormat.E164))
