"""Forms of owned numbers, as the neighbouring 2010 API has them: to own one, to change it, to find it; sans-IO.

Source: the 2010 API's IncomingPhoneNumber and ShortCode resources. What that API does with a number's calls and
messages is its carrier's here, so the parameters for it are refused unless they ask for nothing.
"""

import re
from enum import StrEnum

import msgspec

from engine.api.forms import MAX_NAME
from engine.core.model.errors import ApiError
from engine.core.model.requests import NumberFilter, NumberRequest, NumberUpdate
from engine.core.numbers.e164 import parse_proxy_number
from engine.formats.fields import Field, Form, address, choice, flag, text
from engine.formats.values import API_VERSION, restore_plus

MAX_OWNED_FRIENDLY_NAME = 64

_SEPARATORS = re.compile(r"[ \-.()]+")
_PATTERN = re.compile(r"\+?[0-9*]+")

_NOTHING: frozenset[str] = frozenset()
_IDLE: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(("VoiceUrl", "VoiceFallbackUrl", "VoiceApplicationSid", "TrunkSid"), _NOTHING),
    **dict.fromkeys(("SmsUrl", "SmsFallbackUrl", "SmsApplicationSid", "StatusCallback"), _NOTHING),
    **dict.fromkeys(("AreaCode", "AccountSid", "EmergencyAddressSid"), _NOTHING),
    **dict.fromkeys(("VoiceMethod", "VoiceFallbackMethod", "SmsMethod", "SmsFallbackMethod"), None),
    **dict.fromkeys(("StatusCallbackMethod", "AddressSid", "BundleSid", "IdentitySid"), None),
    "ApiVersion": frozenset({API_VERSION}),
    "EmergencyStatus": frozenset({"Inactive"}),
    "VoiceCallerIdLookup": frozenset({"false"}),
    "VoiceReceiveMode": frozenset({"voice"}),
}
"""Methods say nothing without a URL; addresses and bundles are for the leasing of a number, which is not ours."""

_SETTINGS = (
    text("FriendlyName", "friendly_name", max_length=MAX_OWNED_FRIENDLY_NAME),
    flag("StopFiltering", "stop_filtering"),
)

OWN_NUMBER = Form(
    NumberRequest, (address("PhoneNumber", "address", max_length=MAX_NAME, is_required=True), *_SETTINGS), idle=_IDLE
)
UPDATE_OWNED_NUMBER = Form(NumberUpdate, _SETTINGS, idle=_IDLE)


_CODE_IDLE: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(("SmsUrl", "SmsFallbackUrl"), _NOTHING),
    **dict.fromkeys(("SmsMethod", "SmsFallbackMethod"), None),
    "ApiVersion": frozenset({API_VERSION}),
}
UPDATE_SHORT_CODE = Form(NumberUpdate, _SETTINGS, idle=_CODE_IDLE)


class Origin(StrEnum):
    """Who hosts a number; all of ours are hosted."""

    TWILIO = "twilio"
    HOSTED = "hosted"


class OwnedNumberQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which phone numbers are asked for."""

    number: NumberFilter = NumberFilter()
    friendly_name: str | None = None
    beta: bool = True
    """Numbers new to the platform too; none of ours is."""
    origin: Origin | None = None

    @property
    def wanted(self) -> NumberFilter:
        """The same for the control plane."""
        return msgspec.structs.replace(self.number, friendly_name=self.friendly_name)


def _number(value: str) -> NumberFilter:
    """Read a whole number, in any spelling, or digits of one with "*" for any one digit; ValueError."""
    plain = _SEPARATORS.sub("", restore_plus(value))
    if _PATTERN.fullmatch(plain) is None:
        raise ValueError('expected a phone number, or part of one: digits, with "*" for any one')
    if plain.startswith("+") and "*" not in plain:
        try:
            return NumberFilter(address=parse_proxy_number(plain))
        except ApiError:
            pass  # the beginning of one
    return NumberFilter(pattern=plain)


LIST_OWNED_NUMBERS = Form(
    OwnedNumberQuery,
    (
        Field(name="PhoneNumber", attribute="number", parse=_number, schema={"type": "string", "maxLength": MAX_NAME}),
        text("FriendlyName", "friendly_name", max_length=MAX_OWNED_FRIENDLY_NAME),
        flag("Beta", "beta"),
        choice("Origin", "origin", Origin),
    ),
)


class ShortCodeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which short codes are asked for."""

    number: str | None = None
    friendly_name: str | None = None

    @property
    def wanted(self) -> NumberFilter:
        """The same for the control plane."""
        return NumberFilter(address=self.number, friendly_name=self.friendly_name, is_short_code=True)


def _digits(value: str) -> str:
    """Read a short code; one that is none is found nowhere."""
    return value.strip()


LIST_SHORT_CODES = Form(
    ShortCodeQuery,
    (
        Field(name="ShortCode", attribute="number", parse=_digits, schema={"type": "string", "maxLength": MAX_NAME}),
        text("FriendlyName", "friendly_name", max_length=MAX_OWNED_FRIENDLY_NAME),
    ),
)
