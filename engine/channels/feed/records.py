"""Events as they stand in files: an object a line (NDJSON), or MessagePack maps one after the other; sans-IO.

An object has the fields of its event (`engine.channels.feed.events`) by name, its kind as `event`, and maybe when it
came as `at`.
"""

import re
from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_
from typing import Any, Final

import msgspec

from engine.channels.feed.events import Call, Event, Message, Resolve, Status
from engine.channels.feed.frames import UNREADABLE, Refusal, Refused
from engine.core.ports.observing import FeedProblem

MAX_RECORD_BYTES: Final = 1_048_576
"""Bytes of one record."""


class Record(msgspec.Struct, frozen=True):
    """An event of a file, or what is wrong with it."""

    place: int
    """Line in the file, or number of the map, from 1."""
    event: Event | Refusal
    at: float | None = None
    """When it came, in seconds of any clock."""


def read_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """Read NDJSON; empty lines are skipped."""
    for place, line in enumerate(lines, 1):
        if len(line) > MAX_RECORD_BYTES:
            yield Record(place, _refusal(f"a record has at most {MAX_RECORD_BYTES} bytes"))
        elif line.strip():
            yield Record(place, *_read(_json, line))


def read_maps(chunks: Iterable[bytes]) -> Iterator[Record]:
    """Read MessagePack maps; after what is no MessagePack nothing more is read."""
    place, held = 0, b""
    for chunk in chunks:
        held += chunk
        at = 0
        try:
            while (end := _end(held, at)) is not None:
                place += 1
                yield Record(place, *_read(_msgpack, held[at:end]))
                at = end
        except Refused as problem:
            yield Record(place + 1, problem.refusal)
            return
        held = held[at:]
        if len(held) > MAX_RECORD_BYTES:
            yield Record(place + 1, _refusal(f"a record has at most {MAX_RECORD_BYTES} bytes"))
            return
    if held:
        yield Record(place + 1, _refusal("the file ends within it"))


def _read(decoder: Any, data: bytes) -> tuple[Event | Refusal, float | None]:  # noqa: ANN401 - the two decoders have no common type
    try:
        record = decoder.decode(data)
        *fields, at = msgspec.structs.astuple(record)
        event: Event = _SHAPES[type(record)](*fields)
        if isinstance(event, Status):
            event.report(None)
        else:
            event.event(None)
    except msgspec.ValidationError as problem:
        return _explained(str(problem)), None
    except Refused as problem:
        return problem.refusal, None
    except UNREADABLE as problem:
        return _refusal(str(problem)), None
    return event, at


def _explained(problem: str) -> Refusal:
    missing = re.search(r"missing required field `(\w+)`", problem)
    if missing is not None:
        return Refusal(FeedProblem.MISSING_FIELD, missing[1], problem)
    named = re.search(r"unknown field `(\w+)`", problem) or re.search(r"at `\$\.(\w+)", problem)
    field = "" if named is None else named[1]
    return Refusal(FeedProblem.UNKNOWN_EVENT if field == _KIND else FeedProblem.BAD_FIELD, field, problem)


def _refusal(detail: str) -> Refusal:
    return Refusal(FeedProblem.UNKNOWN_EVENT, detail=detail)


# -- where a map ends ------------------------------------------------------------------------------------------------

_WIDTHS = {
    0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4,
    0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4,
}  # fmt: skip
"""First byte to bytes of the length that follows it."""

_FIXED = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
"""First byte to bytes of the value that follows it."""

_EXTENSIONS = frozenset({0xC7, 0xC8, 0xC9})
_ARRAYS, _MAPS = frozenset({0xDC, 0xDD}), frozenset({0xDE, 0xDF})


def _end(data: bytes, at: int) -> int | None:
    """Return where the value ends that begins at a place; None where more is needed. Raises Refused."""
    left = 1
    while left:
        if at >= len(data):
            return None
        size, items = _head(data, at)
        if size is None:
            return None
        at += size
        left += items - 1
    return at if at <= len(data) else None


def _head(data: bytes, at: int) -> tuple[int | None, int]:
    """Return the bytes of a value without the values in it, None where more is needed, and how many those are."""
    first = data[at]
    if first < 0x80 or first >= 0xE0:  # noqa: PLR2004 - a small integer
        return 1, 0
    if first < 0xA0:  # noqa: PLR2004 - a small map or array
        count = first & 0x0F
        return 1, 2 * count if first < 0x90 else count  # noqa: PLR2004 - a map
    if first < 0xC0:  # noqa: PLR2004 - a short string
        return 1 + (first & 0x1F), 0
    if first in _FIXED:
        return 1 + _FIXED[first], 0
    width = _WIDTHS.get(first)
    if width is None:
        raise Refused(FeedProblem.NOT_MSGPACK, f"0x{first:02x} begins no value")
    if at + 1 + width > len(data):
        return None, 0
    length = int.from_bytes(data[at + 1 : at + 1 + width])
    if first in _ARRAYS or first in _MAPS:
        return 1 + width, length * (2 if first in _MAPS else 1)
    return 1 + width + length + (first in _EXTENSIONS), 0


# -- codecs ----------------------------------------------------------------------------------------------------------

_KIND, _AT = "event", "at"


def _record_of(shape: type[Event]) -> type[msgspec.Struct]:
    """Return the same fields as an object that names its kind."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(shape):
        default = () if field.default is msgspec.NODEFAULT else (field.default,)
        fields.append((field.name, field.type, *default))
    fields.append((_AT, float | None, None))
    return msgspec.defstruct(
        f"{shape.__name__}Record",
        fields,
        tag=shape.__struct_config__.tag,
        tag_field=_KIND,
        frozen=True,
        forbid_unknown_fields=True,
    )


_SHAPES: dict[type, Any] = {_record_of(shape): shape for shape in (Call, Message, Resolve, Status)}
_any_record: Any = reduce(or_, _SHAPES)
_json, _msgpack = msgspec.json.Decoder(_any_record), msgspec.msgpack.Decoder(_any_record)
