"""A message as it came once: what it says, in short, and what the engine calls it; sans-IO."""

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Final

import msgspec

from engine.channels.smpp.pdu import ShortMessage, Tag
from engine.core.structs import Row


class Arrival(Row, frozen=True, array_like=True):
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
    payload, sar = message.octets, _NO_SAR
    if message.optional:
        payload, sar = message.payload, tuple([message.optional.get(tag) for tag in _SAR])
    told = (message.source, message.destination, message.esm_class, message.data_coding, payload, sar)
    return blake2b(_ENCODE(told), digest_size=16).digest()


def sid_for(digest: bytes, *told: object) -> str:
    """Return a name for a message that nothing else has; the same for the same."""
    return "smpp-" + blake2b(digest + repr(told).encode(), digest_size=16).hexdigest()


def sid_at(digest: bytes, peer: str, at: float, *, connection: int, sequence: int) -> str:
    """Return one for a message that came from a peer at a time, over a connection and in its place there.

    Of Python's hash, since nobody has to find it again: keyed anew in each process, and so it tells nobody the digest.
    """
    first, second = hash((digest, at, connection, sequence)), hash((peer, sequence, connection, at, digest))
    return "smpp-" + _WRITE_HASHES(first, second).hex()


_SAR: Final = (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)
_NO_SAR: Final[tuple[bytes | None, ...]] = (None, None, None)
_WRITE_HASHES: Final[Callable[[int, int], bytes]] = Struct(">qq").pack
_ENCODE: Final = msgspec.msgpack.Encoder().encode
