"""SIDs: a two-letter kind and 32 hex digits; how they are read, checked, packed and made in time order.

Randomness and the clock are arguments. Source: behaviour 2.4.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from struct import Struct
from typing import Final

SID_LENGTH = 34
"""Characters of a SID: the prefix (2) and 32 hex digits."""

_SID = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
_WRITE_HALF: Final[Callable[[int], bytes]] = Struct(">Q").pack


class SidKind(StrEnum):
    """The prefix that tells what a SID names."""

    ACCOUNT = "AC"
    API_KEY = "SK"
    SERVICE = "KS"
    SESSION = "KC"
    PARTICIPANT = "KP"
    INTERACTION = "KI"
    PHONE_NUMBER = "PN"
    SHORT_CODE = "SC"
    CALL = "CA"
    SMS = "SM"
    MMS = "MM"
    CHAT_SERVICE = "IS"
    DEBUGGER_EVENT = "NO"
    OUTBOX_ENTRY = "EF"


IdFactory = Callable[[SidKind], str]
"""Makes a new SID of a kind, later ones sorting after earlier ones."""


def is_sid(text: str, kind: SidKind | None = None) -> bool:
    """Tell whether the text has the form of a SID (of that kind, if one is named)."""
    return _SID.fullmatch(text) is not None and (kind is None or text.startswith(kind))


def pack(sid: str) -> bytes:
    """Return the 16 bytes of a SID whose kind is known from its place."""
    return bytes.fromhex(sid[2:])


def unpack(kind: SidKind, packed: bytes) -> str:
    """Return the SID of 16 bytes."""
    return kind + packed.hex()


def ordered_sid(kind: SidKind, *, milliseconds: int, counter: int, random_bits: int) -> str:
    """Compose a SID that sorts by time: milliseconds below 2**48, counter below 2**16, 64 random bits."""
    return sid_with(kind, milliseconds=milliseconds, counter=counter, random_digits=_WRITE_HALF(random_bits).hex())


def sid_with(kind: SidKind, *, milliseconds: int, counter: int, random_digits: str) -> str:
    """Compose the same with the random bits as 16 hex digits."""
    return kind + _WRITE_HALF(milliseconds << 16 | counter).hex() + random_digits


def first_sid_at(kind: SidKind, *, at: float) -> str:
    """Return the lowest SID that can have been made at that time (UTC epoch seconds)."""
    return ordered_sid(kind, milliseconds=max(0, int(at * 1000)), counter=0, random_bits=0)
