"""A message as it came once: what it says, in short, and what the engine calls it; sans-IO."""

from hashlib import blake2b
from struct import Struct
from typing import Final

import msgspec

from engine.channels.smpp.pdu import ShortMessage, Tag


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """A message, or a part of one, as it came once."""

    digest: bytes
    """Of all that it says."""
    sid: str
    """What the engine calls it."""
    at: float
    """When it came, UTC epoch seconds."""
    is_part: bool = False
    """Of a long message."""


def digest_of(message: ShortMessage) -> bytes:
    """Return what two messages have in common that may be one."""
    told = (
        message.source,
        message.destination,
        message.esm_class,
        message.data_coding,
        message.payload,
        [message.optional.get(tag) for tag in _SAR] if message.optional else _NO_SAR,
    )
    return blake2b(_ENCODE(told), digest_size=16).digest()


def sid_for(digest: bytes, *told: object) -> str:
    """Return a name for a message that nothing else has; the same for the same."""
    return "smpp-" + blake2b(digest + repr(told).encode(), digest_size=16).hexdigest()


def sid_at(digest: bytes, peer: str, at: float, *, connection: int, sequence: int) -> str:
    """Return the same for a message that came from a peer at a time, over a connection and in its place there."""
    place = _PLACE.pack(at, connection, sequence)
    return "smpp-" + blake2b(digest + place + peer.encode(), digest_size=16).hexdigest()


_SAR: Final = (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)
_NO_SAR: Final = (None, None, None)
_PLACE = Struct(">dQI")
_ENCODE = msgspec.msgpack.Encoder().encode
