"""Addresses: phone numbers in canonical E.164, channel addresses, short codes; parsed, shown, dialled and masked.

`parse_…`, `country_of` and `national_display` are for the control path and ask libphonenumber whether a number can
exist; `canonical`, `dial_form` and the `is_…` tests are exact string rules for traffic and never do. Which country may
serve which is `engine.core.numbers.countries`. Source: behaviour 2.3, 3.5, 14.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import E164, Address
from engine.core.numbers.nanp import area_code, overlay_of

CHANNELS: Final = frozenset({"whatsapp", "messenger", "viber"})
"""Schemes of channel addresses (`whatsapp:+1…`); `whatsapp` names a person by phone number, the others by an id."""

_NON_GEOGRAPHIC_REGION = "001"
_CANONICAL_LENGTH: Final = 13
"""Characters of a canonical Mexican or Argentine number: "+", country code (2), national number (10)."""
_INSERTED_LENGTH: Final = 14
"""The same with the mobile digit inserted."""

_SEPARATORS = re.compile(r"[ \-.()]+")
_E164_SHAPE = re.compile(r"\+[1-9][0-9]{6,14}")
UNCLEAR: Final = 'has no "+": write the country code behind one, or set writes_digits for the carrier'
"""What is wrong with a number reached that `is_unclear`."""

ABROAD: Final = "00"
"""What stands for the "+" in most countries."""

_LONGEST_SHORT_CODE = 8
_BARE_DIGITS = re.compile(r"[1-9][0-9]{8,14}")
_WRITTEN = re.compile(rf"(?:\+|{ABROAD})[ \-.]*([1-9][0-9 \-.()/]{{6,24}})", re.ASCII)
_TEL_URI = re.compile(r"tel:([^;]*)(?:;.*)?", re.IGNORECASE | re.ASCII)
_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_CHAT_CHANNEL = re.compile(r"CH[0-9a-fA-F]{32}")
_ARGENTINE = re.compile(r"\+54(?:11|[23][0-9])[0-9]{8}")
_NANP = re.compile(r"\+1([2-9][0-9]{2})([0-9]{3})([0-9]{4})")
_RUN = re.compile(r"\d+")
_LONGEST_NUMBER = 15
"""Digits of E.164; in a longer run there may be two numbers."""
_HIDDEN = 4


_KINDS = (
    "general_desc",
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)
"""What a plan of libphonenumber has patterns for: all numbers, then those of each type."""


def parse_identifier(text: str) -> Address:
    """Read a participant's identifier: a phone number, a channel address or a chat channel's SID.

    The number must exist in its country's numbering plan. Raises ApiError IDENTIFIER_INVALID.
    """
    if is_chat_channel(text.strip()):
        return text.strip()
    scheme, colon, rest = text.partition(":")
    if colon:
        return _parse_channel(scheme.strip().lower(), rest, text)
    return _parse_person(text)


def parse_proxy_number(text: str) -> E164:
    """Read a phone number that we own.

    It need only be well formed for its country, since the carrier that leased it knows better than a numbering plan
    of some months ago. Raises ApiError NUMBER_INVALID.
    """
    number = _parse(text)
    if number is None or phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        raise ApiError(Code.NUMBER_INVALID, f"{mask_address(text)} is not a phone number in E.164 form")
    return _format(number)


def parse_short_code(text: str) -> Address:
    """Read the digits of a short code; raises ApiError NUMBER_INVALID."""
    digits = text.strip()
    if _SHORT_CODE.fullmatch(digits) is None:
        raise ApiError(Code.NUMBER_INVALID, f"{mask_address(text)} is not a short code of 3 to 8 digits")
    return digits


def canonical(text: str) -> str:
    """Bring an address that traffic carries to the form in which we keep it; cheap, never fails.

    Removes the mobile "1" of Mexico and "9" of Argentina and restores a "+" that form decoding made a space. Reads
    `tel:`, "00" in the place of the "+", and separators. Bare digits stay as they are (`is_unclear`).
    """
    if text.startswith("+"):
        return _canonical_number(text if text[1:].isdigit() else _unwritten(text.rstrip()))
    if text.startswith("whatsapp:"):
        return "whatsapp:" + _canonical_number(_space_as_plus(text[9:]))
    return _canonical_number(_unwritten(_space_as_plus(text)))


def is_unclear(text: str) -> bool:
    """Tell whether a text may be a number without its "+", or one as it is written at home.

    15551234567 is a number in +1, but also a Chinese mobile number; short codes have fewer digits.
    """
    return not text.startswith("+") and len(text) > _LONGEST_SHORT_CODE and _BARE_DIGITS.fullmatch(text) is not None


def with_plus(text: str) -> str:
    """Read a number of a carrier that writes all of them without "+"."""
    return "+" + text if is_unclear(text) else text


def bare(text: str) -> str:
    """Bring an identifier, however its separators are set, to the form that tells whose it is; cheap, never fails."""
    text = canonical(text)
    if text.startswith("+") and text[1:].isdigit():  # as nearly all are
        return text
    return canonical(_SEPARATORS.sub("", text))


def country_of(address: Address) -> str | None:
    """Tell the ISO country of a canonical address, or None when it has none or cannot be known."""
    address = address.removeprefix("whatsapp:")
    return _region_of(address) if address.startswith("+") else None


def national_display(address: Address) -> str:
    """Write a number as its own country does, such as "(555) 555-5555"; other addresses stay as they are."""
    nanp = _NANP.fullmatch(address)
    if nanp is not None:
        return f"({nanp[1]}) {nanp[2]}-{nanp[3]}"
    number = _parse(address) if address.startswith("+") else None
    return address if number is None else phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)


def dial_form(address: Address, *, inserts_mexican_one: bool, argentina: bool) -> Address:
    """Return the form in which an outbound leg dials a canonical address; cheap.

    `inserts_mexican_one` puts "1" after +52, for calls and texts. `argentina` puts "9" after +54: pass it for calls
    only, a text must go without. Numbers that cannot be mobile (free-phone, premium) stay as they are.
    """
    if not address.startswith(("+52", "+54")) or len(address) != _CANONICAL_LENGTH:
        return address
    if address.startswith("+52"):
        return "+521" + address[3:] if inserts_mexican_one and address[3:6] not in {"800", "900"} else address
    return "+549" + address[3:] if argentina and address[3] in "123" else address


def mask_address(text: str) -> str:
    """Hide the last four digits of every run of digits, so that no whole number is ever written down.

    Of a run that is too long for one number, the first four are shown. For what is or should be an address; in other
    texts, `engine.core.numbers.masking.mask_text` leaves dates, SIDs and the like whole.
    """
    if text[:1] == "+" and _HIDDEN < len(text) <= _LONGEST_NUMBER and text[1:].isdecimal():  # as nearly all are
        return text[:-_HIDDEN] + "X" * _HIDDEN
    return _RUN.sub(_hidden, text)


def is_channel(address: Address) -> bool:
    """Tell an address of a messaging channel (`whatsapp:…`) from a phone number."""
    return ":" in address


def is_chat_channel(address: Address) -> bool:
    """Tell the SID of a chat channel (`CH…`)."""
    return _CHAT_CHANNEL.fullmatch(address) is not None


def _hidden(run: re.Match[str]) -> str:
    digits = run[0]
    shown = _HIDDEN if len(digits) > _LONGEST_NUMBER else max(0, len(digits) - _HIDDEN)
    return digits[:shown] + "X" * (len(digits) - shown)


def _canonical_number(text: str) -> str:
    if len(text) == _INSERTED_LENGTH and text.startswith(("+521", "+549")):
        return text[:3] + text[4:]
    return text


def _unwritten(text: str) -> str:
    """Read a number that is written for people or as a URI (RFC 3966); anything else stays as it is."""
    uri = _TEL_URI.fullmatch(text)
    written = _WRITTEN.fullmatch((text if uri is None else uri[1]).replace("(0)", ""))
    if written is None:
        return text
    number = "+" + "".join(character for character in written[1] if character.isdigit())
    return number if _E164_SHAPE.fullmatch(number) is not None else text


def _space_as_plus(text: str) -> str:
    stripped = text.strip()
    return "+" + stripped if text.startswith(" ") and "1" <= stripped[:1] <= "9" else stripped


def _parse_channel(scheme: str, rest: str, text: str) -> Address:
    if scheme == "whatsapp":
        return "whatsapp:" + _parse_person(rest)
    name = rest.strip()
    if scheme not in CHANNELS or not name or any(character.isspace() for character in name):
        raise ApiError(Code.IDENTIFIER_INVALID, f"{mask_address(text)} is not an address of a known channel")
    return f"{scheme}:{name}"


@lru_cache(maxsize=4096)  # asked twice for one who joins: before their history is read, and when they are admitted
def _parse_person(text: str) -> E164:
    plain = bare(text)
    if _american_numbers().fullmatch(plain) is not None:
        return E164(plain)
    number = _parse(text)
    if number is not None:
        address = _format(number)
        # Kept without the mobile "9", most Argentine mobiles are outside the plan's patterns (behaviour 14).
        if _ARGENTINE.fullmatch(address) is not None or any(map(phonenumbers.is_valid_number, _readings(number))):
            return address
    raise ApiError(
        Code.IDENTIFIER_INVALID,
        f"{mask_address(text)} is not a valid, reachable phone number: give it in E.164 form, such as +14155550100",
    )


@lru_cache(maxsize=4096)
def _parse(text: str) -> PhoneNumber | None:
    number = bare(text)
    if _E164_SHAPE.fullmatch(number) is None:
        return None
    if _NANP.fullmatch(number) is not None:
        return PhoneNumber(country_code=1, national_number=int(number[2:]))  # as phonenumbers.parse, at a tenth
    try:
        return phonenumbers.parse(number, None)
    except NumberParseException:
        return None


def _format(number: PhoneNumber) -> E164:
    return E164(canonical(phonenumbers.format_number(number, PhoneNumberFormat.E164)))


def _readings(number: PhoneNumber) -> Iterator[PhoneNumber]:
    """Yield the number, then the same with the other area codes of its territory.

    NANPA opens overlays before libphonenumber knows them (a dozen in 2026); their older siblings it does know.
    """
    yield number
    address = _format(number)
    code = area_code(address)
    if code is not None:
        for sibling in overlay_of(code) - {code}:
            yield PhoneNumber(country_code=1, national_number=int(sibling + address[5:]))


@cache
def _american_numbers() -> re.Pattern[str]:
    """Return what matches the numbers, of whatever type, that are valid in the United States.

    libphonenumber looks through the plans of +1 one by one, a dozen patterns each, this one first; it is asked thrice
    for a participant. Here the same patterns are one.
    """
    plan = PhoneMetadata.metadata_for_region("US")
    kinds = [getattr(plan, kind) for kind in _KINDS]
    general, *known = [kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern]
    return re.compile(rf"\+1(?=[0-9]{{10}}\Z)(?=(?:{general})\Z)(?:{'|'.join(known)})")


@lru_cache(maxsize=4096)
def _region_of(number: str) -> str | None:
    if _american_numbers().fullmatch(number) is not None:
        return "US"
    parsed = _parse(number)
    if parsed is None:
        return None
    regions = filter(None, map(phonenumbers.region_code_for_number, _readings(parsed)))
    return next((region for region in regions if region != _NON_GEOGRAPHIC_REGION), None)
