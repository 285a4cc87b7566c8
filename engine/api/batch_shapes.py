"""A batch of changes of sessions on the REST wire: NDJSON or a JSON array in, a result per item out; sans-IO.

Each item is decoded straight into the Struct of its operation, which is also its description in the OpenAPI document.
What is no JSON makes the whole batch unreadable; what is no item is a refusal of that item alone.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from hashlib import blake2b
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec

from engine.api.forms import MAX_FRIENDLY_NAME, MAX_NAME, MAX_PROXY_IDENTIFIER
from engine.api.shapes import ParticipantShape, SessionShape
from engine.api.show import participant_shape, session_shape
from engine.core.model.errors import ApiError, invalid_parameter
from engine.core.model.records import Mode, SessionStatus
from engine.core.model.requests import ParticipantRequest, SessionRequest, SessionUpdate
from engine.core.model.sids import SidKind
from engine.core.model.texts import check_all, check_name
from engine.core.sessions.batch import (
    DIGEST_BYTES,
    MAX_ITEMS,
    BatchItem,
    CreateItem,
    ItemKey,
    ItemRefused,
    ItemResult,
    UpdateItem,
)
from engine.core.sessions.lifecycle import MAX_TTL_SECONDS
from engine.formats.fields import JsonSchema, sid_pattern
from engine.formats.values import parse_date

MAX_KEY = 255
"""Characters of an idempotency key."""

MAX_ITEM_BYTES = 32_768
"""Bytes of an item as it is written; the longest fields, all of them escaped, take fewer."""

_CREATED, _DONE = 201, 200

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TTL_SECONDS)]
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]
_Date = Annotated[str, msgspec.Meta(examples=["2031-07-30T20:00:00Z"], extra_json_schema={"format": "date-time"})]
_SessionSid = Annotated[str, msgspec.Meta(pattern=sid_pattern(SidKind.SESSION))]
_NumberSid = Annotated[str, msgspec.Meta(pattern=sid_pattern(SidKind.PHONE_NUMBER, SidKind.SHORT_CODE))]


class BatchForm(StrEnum):
    """How a batch and its results are written; the values are media types."""

    ARRAY = "application/json"
    LINES = "application/x-ndjson"


class _Item(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal", forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """How an item, and what stands in it, is written."""


class BatchParticipant(_Item, frozen=True, kw_only=True):
    """A participant of a session that is made."""

    identifier: _Name
    friendly_name: Annotated[str, msgspec.Meta(max_length=MAX_FRIENDLY_NAME)] | None = None
    proxy_identifier: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PROXY_IDENTIFIER)] | None = None
    proxy_identifier_sid: _NumberSid | None = None
    fail_on_participant_conflict: bool = False


class BatchCreate(_Item, frozen=True, kw_only=True, tag_field="Operation", tag="create"):
    """Make a session; `Operation` may be left out."""

    idempotency_key: _Key | None = None
    unique_name: _Name | None = None
    date_expiry: _Date | None = None
    ttl: _Seconds | None = None
    mode: Mode = Mode.VOICE_AND_MESSAGE
    status: SessionStatus = SessionStatus.OPEN
    participants: tuple[BatchParticipant, ...] = ()
    fail_on_participant_conflict: bool = False


class BatchUpdate(_Item, frozen=True, kw_only=True, tag_field="Operation", tag="update"):
    """Change, close or re-open a session, named by `Sid` or by `UniqueName`; a `DateExpiry` of null clears it."""

    idempotency_key: _Key | None = None
    sid: _SessionSid | None = None
    unique_name: _Name | None = None
    date_expiry: _Date | msgspec.UnsetType | None = msgspec.UNSET
    ttl: _Seconds | msgspec.UnsetType = msgspec.UNSET
    status: SessionStatus | msgspec.UnsetType = msgspec.UNSET
    fail_on_participant_conflict: bool | msgspec.UnsetType = msgspec.UNSET


class BatchClose(_Item, frozen=True, kw_only=True, tag_field="Operation", tag="close"):
    """Close a session, named by `Sid` or by `UniqueName`."""

    idempotency_key: _Key | None = None
    sid: _SessionSid | None = None
    unique_name: _Name | None = None


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What became of one item."""

    index: int
    """Its place in the batch, from 0."""
    status: int
    """As a request of its own would have been answered."""
    code: int | None = None
    """Why it was refused."""
    message: str | None = None
    session: SessionShape | None = None
    """The session as it is now."""
    participants: tuple[ParticipantShape, ...] | None = None
    """Those of a session that was made."""
    repeated: bool = False
    """Its key was used before; nothing was done again."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    operation: Literal["create", "update", "close"] = msgspec.field(default="create", name="Operation")


_Written = BatchCreate | BatchUpdate | BatchClose

_head: Final = msgspec.json.Decoder(_Head)
_DECODERS: Final[dict[str, msgspec.json.Decoder[_Written]]] = {
    "create": msgspec.json.Decoder(BatchCreate),
    "update": msgspec.json.Decoder(BatchUpdate),
    "close": msgspec.json.Decoder(BatchClose),
}
_encode: Final = msgspec.json.Encoder().encode

_LINE: Final = re.compile(rb"[^\r\n]+")
_ARRAY: Final = re.compile(rb"[ \t\r\n]*\[")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A string, ended or not, or a bracket; every byte is looked at once."""
_MAY_BE_CONTROL: Final = (b"\\", b"\x7f", b"\xc2")
"""An escape, or how those begin that JSON lets stand without one: no text of an item without them holds a control
character, and most items have none."""
_BLANK: Final = b" \t\r\n"


def read_items(body: bytes, form: BatchForm) -> Iterator[BatchItem | ApiError]:
    """Walk the items of a batch: what each asks for, or why that cannot be.

    Raises:
        ApiError: INVALID_PARAMETER at the first item that is no JSON or too long, naming its line or place, and at the
            first one above `MAX_ITEMS`.
    """
    for index, text in enumerate(_lines(body) if form is BatchForm.LINES else _objects(body)):
        if index == MAX_ITEMS:
            raise invalid_parameter("body", f"more than {MAX_ITEMS} items")
        try:
            _check_length(text)
            yield _read_item(index, text)
        except (ValueError, msgspec.DecodeError, RecursionError) as problem:
            place = f"line {_line_number(body, index)}" if form is BatchForm.LINES else f"item {index}"
            raise invalid_parameter("body", f"{place} cannot be read: {problem}") from problem


def result_shape(index: int, item: BatchItem | ApiError, result: ItemResult | ApiError, base: str) -> BatchResult:
    """Show what became of an item."""
    if isinstance(result, ItemRefused | ApiError):
        return BatchResult(index=index, status=result.http_status, code=int(result.code), message=result.message)
    people = result.participants
    return BatchResult(
        index=index,
        status=_CREATED if isinstance(item, CreateItem) else _DONE,
        session=session_shape(result.session, base),
        participants=None if people is None else tuple(participant_shape(one, base) for one in people),
        repeated=result.is_repeat,
    )


def item_schemas() -> tuple[list[JsonSchema], dict[str, JsonSchema]]:
    """Describe the forms of an item: references to components, and these components."""
    references, components = msgspec.json.schema_components(
        (BatchCreate, BatchUpdate, BatchClose), ref_template="#/components/schemas/{name}"
    )
    components["BatchCreate"].pop("required")  # `Operation` is create when it is left out
    return [*references], components


def _lines(body: bytes) -> Iterator[bytes]:
    """Walk the lines of NDJSON, without the empty ones."""
    return (found[0] for found in _LINE.finditer(body))


def _line_number(body: bytes, index: int) -> int:
    """Tell on which line, from 1, an item of NDJSON stands."""
    found = next(islice(_LINE.finditer(body), index, None))
    return body.count(b"\n", 0, found.start()) + 1


def _objects(body: bytes) -> Iterator[bytes]:
    """Walk the objects of a JSON array without looking into them; raises ApiError where it is no array of objects.

    One by one, so that a body of five million items costs no more than the first ten thousand.
    """
    begun = _ARRAY.match(body)
    if begun is None:
        raise invalid_parameter("body", "expected a JSON array of objects")
    depth, count, start, end = 1, 0, 0, begun.end()
    for token in _TOKEN.finditer(body, end):
        mark = token[0]
        if depth > 1 and token.start() - start > MAX_ITEM_BYTES:
            yield body[start : token.start()]
        if mark in {b"{", b"["}:
            if depth == 1:
                start = token.start()
                _check_gap(body[end:start], count)
            depth += 1
        elif mark in {b"}", b"]"}:
            depth -= 1
            if depth == 1:
                yield body[start : token.end()]
                count, end = count + 1, token.end()
            elif depth == 0:
                if mark == b"}" or body[end : token.start()].strip(_BLANK) or body[token.end() :].strip(_BLANK):
                    raise invalid_parameter("body", f"the JSON array does not end after {count} items")
                return
    raise invalid_parameter("body", f"the JSON array does not end after {count} items")


def _check_length(text: bytes) -> None:
    if len(text) > MAX_ITEM_BYTES:
        raise ValueError(f"it is longer than {MAX_ITEM_BYTES} bytes")


def _check_gap(gap: bytes, index: int) -> None:
    if gap.strip(_BLANK) != (b"," if index else b""):
        raise invalid_parameter("body", f"item {index} is no JSON object, or no comma stands before it")


def _read_item(index: int, text: bytes) -> BatchItem | ApiError:
    try:
        operation = _head.decode(text).operation if b'"Operation"' in text else "create"
        written = _DECODERS[operation].decode(text)
        if any(byte in text for byte in _MAY_BE_CONTROL):
            check_all(msgspec.to_builtins(written), place=f"[{index}]")
        return _item_of(written, index)
    except msgspec.ValidationError as problem:
        msgspec.json.decode(text, type=msgspec.Raw)  # raises where it is no JSON behind what was refused
        return _refusal(index, str(problem))
    except ApiError as problem:
        return problem


def _refusal(index: int, problem: str) -> ApiError:
    """Name item and field as `[3].Participants[0].Identifier`; the decoder says where with "at `$…`"."""
    what, _, where = problem.partition(" - at `$")
    return invalid_parameter(f"[{index}]{where.removesuffix('`')}", what[:1].lower() + what[1:])


def _item_of(written: _Written, index: int) -> BatchItem:
    key = None if written.idempotency_key is None else _key(written.idempotency_key, written)
    match written:
        case BatchCreate():
            return CreateItem(request=_creation(written, index), key=key)
        case BatchUpdate():
            return _update(written, index, key)
        case BatchClose():
            return UpdateItem(
                session=_named(written, index), update=SessionUpdate(status=SessionStatus.CLOSED), key=key
            )


def _key(key: str, written: _Written) -> ItemKey:
    return ItemKey(_digest(key.encode()), _digest(_encode(written)))


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=DIGEST_BYTES).digest()


def _creation(written: BatchCreate, index: int) -> SessionRequest:
    return SessionRequest(
        unique_name=_name(written.unique_name, index),
        date_expiry=_date(written.date_expiry, index),
        ttl_seconds=written.ttl,
        mode=written.mode,
        status=written.status,
        participants=tuple(
            ParticipantRequest(
                identifier=one.identifier,
                friendly_name=one.friendly_name,
                proxy_identifier=one.proxy_identifier,
                proxy_identifier_sid=one.proxy_identifier_sid,
                fail_on_participant_conflict=one.fail_on_participant_conflict,
            )
            for one in written.participants
        ),
        fail_on_participant_conflict=written.fail_on_participant_conflict,
    )


def _update(written: BatchUpdate, index: int, key: ItemKey | None) -> UpdateItem:
    date_expiry = written.date_expiry
    return UpdateItem(
        session=_named(written, index),
        update=SessionUpdate(
            date_expiry=date_expiry if isinstance(date_expiry, msgspec.UnsetType) else _date(date_expiry, index),
            ttl_seconds=written.ttl,
            status=written.status,
            fail_on_participant_conflict=written.fail_on_participant_conflict,
        ),
        key=key,
    )


def _name(text: str | None, index: int) -> str | None:
    if text is not None:
        try:
            check_name(text)
        except ValueError as problem:
            raise invalid_parameter(f"[{index}].UniqueName", str(problem)) from problem
    return text


def _named(written: BatchUpdate | BatchClose, index: int) -> str:
    if (written.sid is None) is (written.unique_name is None):
        raise invalid_parameter(f"[{index}].Sid", "give either Sid or UniqueName")
    return written.sid or written.unique_name or ""


def _date(text: str | None, index: int) -> float | None:
    if text is None:
        return None
    try:
        return parse_date(text)
    except ValueError as problem:
        expected = "expected a UTC time such as 2031-07-30T20:00:00Z"
        raise invalid_parameter(f"[{index}].DateExpiry", expected) from problem
