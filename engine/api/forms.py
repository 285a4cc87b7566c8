"""The forms of the REST interface: which fields each operation takes, as tables; sans-IO.

`Participants` comes repeated, each value a JSON object, or as one JSON array of objects. Source: behaviour 3, 4, 5.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import GeoMatchLevel, Mode, NumberSelectionBehavior, SessionStatus
from engine.core.model.requests import (
    ParticipantRequest,
    ParticipantUpdate,
    ServiceRequest,
    SessionRequest,
    SessionUpdate,
)
from engine.core.model.sids import SidKind, is_sid
from engine.formats.fields import (
    MAX_URL,
    Field,
    Form,
    address,
    choice,
    date,
    flag,
    repeated,
    seconds,
    sid,
    sid_pattern,
    text,
    unique_name,
    url,
)
from engine.formats.values import FormValues, parse_url

MAX_NAME = 191
MAX_FRIENDLY_NAME = 255
MAX_PROXY_IDENTIFIER = 255
MAX_BODY = 65_536
"""Characters of a message; carriers take fewer and say so."""


class PoolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Put an owned number into a pool."""

    number_sid: str | None = None
    """PN… or SC…"""
    address: str | None = None
    """The same by its digits."""
    is_reserved: bool = False


class ReserveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Reserve or free a pool entry."""

    is_reserved: bool | None = None
    """None leaves it."""


class MessageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Push a text to a participant."""

    body: str = ""
    media: tuple[str, ...] = ()


def _pooled_sid(value: str) -> str:
    if not is_sid(value, SidKind.PHONE_NUMBER):
        raise ApiError(Code.NUMBER_SID_INVALID, "Sid is not the SID of a phone number: expected PN and 32 hex digits")
    return value


def _media(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(parse_url(value, max_length=MAX_URL) for value in values if value)


_STRICT = flag("FailOnParticipantConflict", "fail_on_participant_conflict", aliases=("ReturnErrorOnDuplicateRequest",))
_STATUS = choice("Status", "status", SessionStatus, misspellings={"in-progess": SessionStatus.IN_PROGRESS})
_SERVICE_SETTINGS = (
    seconds("DefaultTtl", "default_ttl_seconds"),
    url("CallbackUrl", "callback_url"),
    choice("GeoMatchLevel", "geo_match_level", GeoMatchLevel),
    choice("NumberSelectionBehavior", "number_selection_behavior", NumberSelectionBehavior),
    url("InterceptCallbackUrl", "intercept_callback_url"),
    url("OutOfSessionCallbackUrl", "out_of_session_callback_url"),
    sid("ChatInstanceSid", "chat_instance_sid", SidKind.CHAT_SERVICE, is_clearable=True),
)

_OLD_NAME = ("FriendlyName",)
"""What a service's UniqueName was called until 2017-12."""

CREATE_SERVICE = Form(
    ServiceRequest, (unique_name(max_length=MAX_NAME, is_required=True, aliases=_OLD_NAME), *_SERVICE_SETTINGS)
)
UPDATE_SERVICE = Form(ServiceRequest, (unique_name(max_length=MAX_NAME, aliases=_OLD_NAME), *_SERVICE_SETTINGS))

_OLD_TYPE = {"ParticipantType": frozenset({"phone"})}
"""What SDKs of 2017 sent; other types took calls or messages alone, which a session's mode says today."""

ADD_PARTICIPANT = Form(
    ParticipantRequest,
    (
        address("Identifier", "identifier", max_length=MAX_NAME, is_required=True),
        text("FriendlyName", "friendly_name", max_length=MAX_FRIENDLY_NAME),
        address("ProxyIdentifier", "proxy_identifier", max_length=MAX_PROXY_IDENTIFIER),
        sid("ProxyIdentifierSid", "proxy_identifier_sid", SidKind.PHONE_NUMBER, SidKind.SHORT_CODE),
        _STRICT,
    ),
    idle=_OLD_TYPE,
)

UPDATE_PARTICIPANT = Form(
    ParticipantUpdate,
    (
        address("Identifier", "identifier", max_length=MAX_NAME),
        text("FriendlyName", "friendly_name", max_length=MAX_FRIENDLY_NAME, is_clearable=True),
        address("ProxyIdentifier", "proxy_identifier", max_length=MAX_PROXY_IDENTIFIER),
        sid("ProxyIdentifierSid", "proxy_identifier_sid", SidKind.PHONE_NUMBER, SidKind.SHORT_CODE),
    ),
    idle=_OLD_TYPE,
)


def read_participants(values: Sequence[str]) -> tuple[ParticipantRequest, ...]:
    """Read every value as a JSON object or an array of them; raises ValueError or, for a field, ApiError."""
    objects = [entry for value in values if value for entry in _objects(value)]
    return tuple(
        ADD_PARTICIPANT.read(_as_form(entry), prefix=f"Participants[{index}].") for index, entry in enumerate(objects)
    )


_PARTICIPANTS = repeated(
    "Participants",
    "participants",
    read_participants,
    {"type": "string", "contentMediaType": "application/json", "examples": ['{"Identifier": "+14155550100"}']},
)

CREATE_SESSION = Form(
    SessionRequest,
    (
        unique_name(max_length=MAX_NAME),
        date("DateExpiry", "date_expiry"),
        seconds("Ttl", "ttl_seconds"),
        choice("Mode", "mode", Mode),
        _STATUS,
        _PARTICIPANTS,
        _STRICT,
    ),
)
UPDATE_SESSION = Form(
    SessionUpdate, (date("DateExpiry", "date_expiry"), seconds("Ttl", "ttl_seconds"), _STATUS, _STRICT)
)

ADD_PHONE_NUMBER = Form(
    PoolRequest,
    (
        Field(
            name="Sid",
            attribute="number_sid",
            parse=_pooled_sid,
            schema={"type": "string", "pattern": sid_pattern(SidKind.PHONE_NUMBER)},
        ),
        address("PhoneNumber", "address", max_length=MAX_NAME),
        flag("IsReserved", "is_reserved"),
    ),
    at_least_one=("Sid", "PhoneNumber"),
)
ADD_SHORT_CODE = Form(
    PoolRequest,
    (sid("Sid", "number_sid", SidKind.SHORT_CODE, is_required=True), flag("IsReserved", "is_reserved")),
)
RESERVE = Form(ReserveRequest, (flag("IsReserved", "is_reserved"),))

SEND_MESSAGE = Form(
    MessageRequest,
    (
        text("Body", "body", max_length=MAX_BODY, takes_lines=True),
        repeated("MediaUrl", "media", _media, {"type": "string", "format": "uri", "maxLength": MAX_URL}),
    ),
    at_least_one=("Body", "MediaUrl"),
)


def _objects(value: str) -> list[dict[str, Any]]:
    try:
        decoded = msgspec.json.decode(value, type=dict[str, Any] | list[dict[str, Any]])
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError("expected a JSON object, or one JSON array of objects") from problem
    return decoded if isinstance(decoded, list) else [decoded]


def _as_form(entry: dict[str, Any]) -> FormValues:
    values: FormValues = {}
    for key, value in entry.items():
        name = "".join(part[:1].upper() + part[1:] for part in key.split("_"))  # other spellings as a courtesy
        if value is None:
            continue
        if name in values:
            raise ValueError(f"{name} is given more than once")
        if isinstance(value, bool):
            values[name] = ["true" if value else "false"]
        elif isinstance(value, str | int):
            values[name] = [str(value)]
        else:
            raise ValueError(f"{name} must be a string")  # noqa: TRY004 - wrong in the request, not in the code
    return values
