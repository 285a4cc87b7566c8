"""How single values lie on disk: SIDs as bytes, E.164 numbers as integers, enumerations as small integers.

- A SID whose kind follows from its column is its 16 bytes. Where the kind varies (PN or SC; CA, SM or MM) it is a
  *tagged* SID: the two letters and the 16 bytes; what has not the form of a SID stays text.
- An address that is an E.164 number is the integer of its digits; short codes and channel addresses stay text. Columns
  of addresses have no type affinity, so that the short code "12345" stays text.
- What is to be written is a bytearray, not bytes, and `ABSENT`, not None, where the statement makes NULL of it: sqlite3
  looks for adapters of all that is no int, float, str or bytearray, a fifth of a microsecond each.
- Times are REAL, the very float. Enumerations of the large tables are the numbers below: append, never renumber.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from engine.core.model.errors import Level
from engine.core.model.records import Address, Kind, LegStatus, Mode, SessionStatus
from engine.core.model.sids import SID_LENGTH, SidKind, pack, unpack
from engine.core.sessions.modes import MODES

Cell = None | int | float | str | bytes | bytearray
"""A value that SQLite stores."""

ABSENT: Final = bytearray()
"""NULL, in the statements that say so; no column of theirs holds an empty blob."""

SESSION_STATUS: Final[Mapping[SessionStatus, int]] = {
    SessionStatus.OPEN: 0,
    SessionStatus.IN_PROGRESS: 1,
    SessionStatus.CLOSED: 2,
    SessionStatus.FAILED: 3,
    SessionStatus.UNKNOWN: 4,
}
MODE: Final[Mapping[Mode, int]] = {mode: rules.number for mode, rules in MODES.items()}
KIND: Final[Mapping[Kind, int]] = {Kind.VOICE: 0, Kind.MESSAGE: 1}
LEVEL: Final[Mapping[Level, int]] = {Level.ERROR: 0, Level.WARNING: 1}
LEG_STATUS: Final[Mapping[LegStatus | None, int | None]] = {
    None: None,
    LegStatus.ACCEPTED: 0,
    LegStatus.ANSWERED: 1,
    LegStatus.BUSY: 2,
    LegStatus.CANCELED: 3,
    LegStatus.COMPLETED: 4,
    LegStatus.DELETED: 5,
    LegStatus.DELIVERED: 6,
    LegStatus.DELIVERY_UNKNOWN: 7,
    LegStatus.FAILED: 8,
    LegStatus.IN_PROGRESS: 9,
    LegStatus.INITIATED: 10,
    LegStatus.NO_ANSWER: 11,
    LegStatus.QUEUED: 12,
    LegStatus.RECEIVED: 13,
    LegStatus.RECEIVING: 14,
    LegStatus.RINGING: 15,
    LegStatus.SCHEDULED: 16,
    LegStatus.SENDING: 17,
    LegStatus.SENT: 18,
    LegStatus.UNDELIVERED: 19,
    LegStatus.UNKNOWN: 20,
}

SESSION_STATUS_AT: Final = {code: status for status, code in SESSION_STATUS.items()}
MODE_AT: Final = {code: mode for mode, code in MODE.items()}
KIND_AT: Final = {code: kind for kind, code in KIND.items()}
LEG_STATUS_AT: Final = {code: status for status, code in LEG_STATUS.items()}

_from_hex: Final = bytearray.fromhex
_MAX_E164_DIGITS: Final = 15
_SHARED_NUMBERS = 65_536
_SHARED_OWNERS = 8_192


def blob(sid: str) -> bytearray:
    """Return the cell of a SID whose kind its column implies."""
    return _from_hex(sid[2:])


@lru_cache(maxsize=_SHARED_OWNERS)
def owner(sid: str) -> bytearray:
    """Return the same for a service or an account: one cell for all its rows, which nobody may change."""
    return blob(sid)


def key(sid: str | None) -> bytearray | None:
    """Return the same of a SID that may be missing."""
    return None if sid is None else blob(sid)


def lookup_key(kind: SidKind, sid: str) -> bytes | None:
    """Return the cell to look for, None for a text that cannot be the SID of a stored record."""
    if len(sid) != SID_LENGTH or not sid.startswith(kind):
        return None
    try:
        packed = pack(sid)
    except ValueError:
        return None
    return packed if unpack(kind, packed) == sid else None


def tagged(sid: str | None) -> bytearray | str | None:
    """Return the cell of a SID of any kind, ours or a platform's."""
    if sid is None or len(sid) != SID_LENGTH or not sid.isascii():
        return sid
    digits = sid[2:]
    try:
        packed = _from_hex(digits)
    except ValueError:
        return sid
    return bytearray(sid[:2], "ascii") + packed if packed.hex() == digits else sid


def untagged(cell: bytes | bytearray | str) -> str:
    """Return the SID of a tagged cell."""
    return cell if isinstance(cell, str) else cell[:2].decode("ascii") + cell[2:].hex()


def address_cell(address: Address) -> int | str:
    """Return the cell of an address."""
    digits = address[1:]
    is_e164 = (
        address[:1] == "+"
        and digits.isdigit()
        and digits.isascii()
        and digits[0] != "0"
        and len(digits) <= _MAX_E164_DIGITS
    )
    return int(digits) if is_e164 else address


@lru_cache(maxsize=_SHARED_NUMBERS)
def proxy_cell(address: Address) -> int | str:
    """Return the cell of a proxy number, likewise for all that show it."""
    return address_cell(address)


def address_at(cell: int | str) -> Address:
    """Return the address of a cell."""
    return f"+{cell}" if isinstance(cell, int) else cell


@lru_cache(maxsize=_SHARED_NUMBERS)
def proxy_at(cell: int | str) -> Address:
    """Return the address of a proxy number: one string shared by all that show the number."""
    return address_at(cell)


@lru_cache(maxsize=_SHARED_NUMBERS)
def proxy_sid_at(cell: bytes | str) -> str:
    """Return the SID of a proxy number, shared likewise."""
    return untagged(cell)


@lru_cache(maxsize=_SHARED_OWNERS)
def service_at(cell: bytes) -> str:
    """Return the SID of a service, shared likewise."""
    return unpack(SidKind.SERVICE, cell)


@lru_cache(maxsize=_SHARED_OWNERS)
def account_at(cell: bytes) -> str:
    """Return the SID of an account, shared likewise."""
    return unpack(SidKind.ACCOUNT, cell)
