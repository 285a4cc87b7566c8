"""Cells of `storage.rows` as PostgreSQL takes them: each column of some rows is one parameter, a binary array.

Made here, since psycopg asks of every value anew what it is. An address is its text, a tagged SID the letters and the
16 bytes; a text that is none has a zero byte before it. What may hold any character is the bytes of its UTF-8, since a
text of PostgreSQL holds no NUL.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final, final

import msgspec
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from engine.core.model.placement import shard_of
from engine.core.model.records import Address
from storage.codec import ABSENT, Cell, address_cell, untagged

_HEADER: Final = Struct(">iiIii").pack
"""Dimensions, whether there are NULLs, the type of the elements, how many they are, where counting begins."""
_EMPTY: Final = Struct(">iiI").pack
_NULL: Final = (-1).to_bytes(4, "big", signed=True)
_FLOAT: Final = Struct(">id").pack
_SMALLINT: Final = Struct(">ih").pack
_INTEGER: Final = Struct(">ii").pack
_BIGINT: Final = Struct(">iq").pack
_TRUE: Final = b"\0\0\0\1\1"
_FALSE: Final = b"\0\0\0\1\0"

_SHARED_SHARDS = 65_536


class Kind(msgspec.Struct, frozen=True):
    """How the cells of a column are encoded."""

    name: str
    """Of the type in SQL."""
    oid: int
    """Of the type in the catalogue of PostgreSQL."""
    element: Callable[[Any], bytes]
    """Makes the element of an array, its length before it."""
    cell_of: Callable[[Any], Cell] | None = None
    """Makes the cell of `storage.codec` of what is read; None: it is that."""


@final
class Column:
    """Some cells of a column, as a parameter."""

    __slots__ = ("data",)

    def __init__(self, kind: Kind, cells: Sequence[Cell]) -> None:
        element = kind.element
        parts = [_NULL if cell is None or cell is ABSENT else element(cell) for cell in cells]
        if not parts:
            self.data = _EMPTY(0, 0, kind.oid)
            return
        parts.insert(0, _HEADER(1, 1, kind.oid, len(parts), 1))
        self.data = b"".join(parts)


class _ColumnDumper(Dumper):
    format = Format.BINARY
    oid = 0  # the statement says what it is

    def dump(self, obj: Column) -> bytes:
        """Return the array."""
        return obj.data


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Have a connection take columns."""
    connection.adapters.register_dumper(Column, _ColumnDumper)


def _measured(data: bytes | bytearray) -> bytes:
    return len(data).to_bytes(4) + data


def _text(cell: str) -> bytes:
    return _measured(cell.encode())


def tagged_cell(cell: bytes | bytearray | str) -> bytes | bytearray:
    """Return the bytes of a tagged SID, or of a SID whose kind its column implies."""
    return b"\0" + cell.encode() if isinstance(cell, str) else cell


def tagged_at(cell: bytes) -> str:
    """Return the SID of these bytes."""
    return cell[1:].decode() if cell[:1] == b"\0" else untagged(cell)


def address_of(address: Address) -> str:
    """Return the cell of an address, which is itself."""
    return address


def _sid(cell: bytes | bytearray | str) -> bytes:
    return _measured(tagged_cell(cell))


def _address(cell: int | str) -> bytes:
    return _text(cell) if isinstance(cell, str) else _measured(b"+%d" % cell)


def _float(cell: float) -> bytes:
    return _FLOAT(8, cell)


def _smallint(cell: int) -> bytes:
    return _SMALLINT(2, cell)


def _integer(cell: int) -> bytes:
    return _INTEGER(4, cell)


def _bigint(cell: int) -> bytes:
    return _BIGINT(8, cell)


def _boolean(cell: object) -> bytes:
    return _TRUE if cell else _FALSE


_BYTEA, _TEXT = 17, 25
_TYPES: Final[Mapping[Kind, str]] = {
    Kind("bytea", _BYTEA, _sid): (
        "sid account_sid service_sid session_sid secret_hash inbound_participant_sid inbound_resource_sid"
        " outbound_participant_sid outbound_resource_sid proxy_identifier_sid resource_sid digest fingerprint key value"
        " duty event"
    ),
    Kind("bytea", _BYTEA, _text, bytes.decode): "body last_error",
    Kind("text", _TEXT, _text): (
        "auth_token friendly_name debugger_url previous_token iso_country unique_name callback_url"
        " intercept_callback_url out_of_session_callback_url geo_match_level number_selection_behavior"
        " chat_instance_sid options closed_reason media destination channel"
    ),
    Kind("text", _TEXT, _address, address_cell): "address identifier proxy_identifier proxy",
    Kind("float8", 701, _float): (
        "date_created date_updated date_expiry date_started date_ended date_last_interaction date_activated"
        " date_deleted date_died date_next date_revoked date_token_ends date_disabled date_pooled date_pool_updated"
        " idle_since at until first_at latest_at last_at"
    ),
    Kind("boolean", 16, _boolean, int): (
        "allow_participant_conflict respect_sms_stop_filter argentina is_reserved stop_filtering inserts_mexican_one"
        " is_open_call"
    ),
    Kind("smallint", 21, _smallint): "status mode kind capabilities inbound_status outbound_status level shard",
    Kind("integer", 23, _integer): "attempts code",
    Kind("bigint", 20, _bigint): "ttl_seconds default_ttl_seconds duration_seconds",
}
KINDS: Final[Mapping[str, Kind]] = {name: kind for kind, names in _TYPES.items() for name in names.split()}
"""How the columns of these names are encoded, in whatever table."""


@lru_cache(maxsize=_SHARED_SHARDS)
def shard_at(key: str) -> int:
    """Return the shard of a key; a proxy number comes again and again."""
    return shard_of(key)


def shard_among(shards: Sequence[int] | None) -> Callable[[str], int]:
    """Return what finds the shard of what a host itself delivers: one of its own, whosever the key is (None = any)."""
    if shards is None:
        return shard_at
    mine = dict(enumerate(shards))
    own = frozenset(shards)

    def shard(key: str) -> int:
        found = shard_at(key)
        return found if found in own else mine[found % len(mine)]

    return shard


def may_be_kept(values: Iterable[object]) -> bool:
    """Tell whether rows can have these values at all: no text of PostgreSQL holds a NUL, which strangers do send."""
    return not any(isinstance(value, str) and "\0" in value for value in values)


@lru_cache(maxsize=512)
def placeholders(text: str) -> str:
    """Put psycopg's marks in place of SQLite's; neither stands in any text or name of ours."""
    return text.replace("?", "%s")
