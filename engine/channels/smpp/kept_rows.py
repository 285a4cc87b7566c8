"""Reads rows of notes, which are written as arrays; compiled versions before 2026-12 wrote some of them by name."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from engine.core.structs import Row

_Kept = TypeVar("_Kept", bound=Row)


def row_decoder(kind: type[_Kept]) -> Callable[[bytes], _Kept]:
    """Return what decodes rows of a kind, however they were written. Raises msgspec.ValidationError."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(row: bytes) -> _Kept:
        if not _is_by_name(row):
            return decode(row)
        cells = _BY_NAME(row)
        return msgspec.convert([cells[name] for name in kind.__struct_fields__ if name in cells], kind)

    return read


def _is_by_name(row: bytes) -> bool:
    """Tell by the first octet, which in MessagePack of so few fields is 0x80 and their number."""
    return bytes(row)[:1] in _MAPS


_BY_NAME = msgspec.msgpack.Decoder(dict[str, object]).decode
_MAPS = frozenset(bytes([0x80 + length]) for length in range(16))
