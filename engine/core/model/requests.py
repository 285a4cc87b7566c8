"""What the control plane is asked to do, as plain values: one Struct per operation that carries fields.

Made by `engine.api` from forms after syntax checks (types, lengths, enumerations); the rules check the rest.
"""

import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from engine.core.model.records import (
    Address,
    Capability,
    GeoMatchLevel,
    Mode,
    NumberSelectionBehavior,
    ProxyNumber,
    ServiceOptions,
    SessionStatus,
)


def given(request: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that a request names, with their values; those that are UNSET are left as they are."""
    return {field: value for field in request.__struct_fields__ if (value := getattr(request, field)) is not UNSET}


class ServiceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Create or update a service; on create, UNSET means the default."""

    unique_name: str | UnsetType = UNSET
    default_ttl_seconds: int | UnsetType = UNSET
    callback_url: str | UnsetType | None = UNSET
    intercept_callback_url: str | UnsetType | None = UNSET
    out_of_session_callback_url: str | UnsetType | None = UNSET
    geo_match_level: GeoMatchLevel | UnsetType = UNSET
    number_selection_behavior: NumberSelectionBehavior | UnsetType = UNSET
    chat_instance_sid: str | UnsetType | None = UNSET
    inserts_mexican_one: bool | UnsetType = UNSET
    """Operator's setting; not on the public wire."""
    options: ServiceOptions | UnsetType = UNSET
    """Operator's setting; not on the public wire."""


class ParticipantRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Add a participant."""

    identifier: str
    """As the application wrote it; parsed by the rules."""
    friendly_name: str | None = None
    proxy_identifier: str | None = None
    """The pool number chosen by the application."""
    proxy_identifier_sid: str | None = None
    """The same by PN."""
    fail_on_participant_conflict: bool = False


class ParticipantUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Change a participant, where the service lets it (an extension)."""

    identifier: str | UnsetType = UNSET
    friendly_name: str | UnsetType | None = UNSET
    proxy_identifier: str | UnsetType = UNSET
    proxy_identifier_sid: str | UnsetType = UNSET


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Create a session."""

    unique_name: str | None = None
    date_expiry: float | None = None
    ttl_seconds: int | None = None
    """None = the service's default."""
    mode: Mode = Mode.VOICE_AND_MESSAGE
    status: SessionStatus = SessionStatus.OPEN
    participants: tuple[ParticipantRequest, ...] = ()
    fail_on_participant_conflict: bool = False
    """Be strict although the account is permissive, in this request; nothing of it is kept."""


class SessionUpdate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Change, close or re-open a session."""

    date_expiry: float | UnsetType | None = UNSET
    """None clears it."""
    ttl_seconds: int | UnsetType = UNSET
    status: SessionStatus | UnsetType = UNSET
    fail_on_participant_conflict: bool | UnsetType = UNSET


class NumberRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Own a number."""

    address: str
    """E.164, or the digits of a short code."""
    iso_country: str | None = None
    """None = read from the number; required for a short code."""
    capabilities: Capability = Capability.ALL
    friendly_name: str | None = None
    """None = the national display form."""
    stop_filtering: bool = True


class NumberUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Change an owned number."""

    friendly_name: str | UnsetType = UNSET
    capabilities: Capability | UnsetType = UNSET
    stop_filtering: bool | UnsetType = UNSET


class NumberFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which owned numbers a list is asked for; None = whatever it is."""

    address: str | None = None
    """This number in canonical form, and no other."""
    pattern: str | None = None
    """Part of a number: digits, perhaps "+" before them, and "*" for any one digit."""
    friendly_name: str | None = None
    is_short_code: bool = False
    """Short codes, else phone numbers."""

    def __call__(self, number: ProxyNumber) -> bool:
        """Tell whether a number is asked for."""
        return (
            number.is_short_code == self.is_short_code
            and self.address in {None, number.address}
            and self.friendly_name in {None, number.friendly_name}
            and (self.pattern is None or has_part(number.address, self.pattern))
        )


def has_part(address: Address, pattern: str) -> bool:
    """Tell whether a number holds what a pattern of `NumberFilter` says."""
    return re.search(re.escape(pattern).replace(r"\*", "[0-9]"), address) is not None


class TokenRotation(msgspec.Struct, frozen=True, kw_only=True):
    """Give an account a fresh token."""

    overlap_seconds: float = 86_400.0
    """How long the token before is good as well, and signs what we send; 0 = from now on only the fresh one is."""
    is_instead: bool = False
    """While two are good: the fresh one takes the place of the newer, which nobody uses."""


class AccountUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Change an account's settings."""

    friendly_name: str | UnsetType = UNSET
    allow_participant_conflict: bool | UnsetType = UNSET
    respect_sms_stop_filter: bool | UnsetType = UNSET
    argentina: bool | UnsetType = UNSET
    debugger_url: str | UnsetType | None = UNSET
