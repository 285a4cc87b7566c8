"""What was read of SIP messages, as records; apart from what is compiled, which would not keep them frozen."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class HeaderAddress(msgspec.Struct, frozen=True, gc=False):
    """The address that a header holds."""

    uri: bytes
    """Without angle brackets."""
    parameters: Mapping[bytes, bytes]
    """Of the header, not of the URI, by their names in lower case; of a flag the value is empty."""


class Via(msgspec.Struct, frozen=True, gc=False):
    """The topmost hop, which the answer goes back to."""

    host: bytes
    """As the sender names itself."""
    branch: bytes
    """Its transaction; empty where there is none (RFC 2543)."""
    port_at: int
    """Where in the first Via value the port it sends from belongs; 0 = it did not ask for it (RFC 3581)."""
    end: int
    """Where in the first Via value the first hop ends."""


class Echo(msgspec.Struct, frozen=True, gc=False):
    """What every answer repeats: header values, as they came."""

    vias: tuple[bytes, ...]
    """Topmost first; each may hold several hops."""
    via: Via | None
    """The topmost hop; None where it cannot be read."""
    sender: bytes
    """From."""
    to: bytes
    call_id: bytes
    cseq: bytes


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request that can be answered by its meaning."""

    method: bytes
    uri: bytes
    """Request-URI."""
    echo: Echo
    cseq_number: int
    from_tag: bytes
    """Empty where there is none (RFC 2543)."""
    to_tag: bytes
    """Of a request within a dialog; else empty."""
    asserted: tuple[bytes, ...] = ()
    """P-Asserted-Identity, a value a line."""
    remote_parties: tuple[bytes, ...] = ()
    """Remote-Party-ID, a value a line."""
    requires: tuple[bytes, ...] = ()
    """Require, a value a line."""


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """A request that is refused as it stands."""

    status: int
    """400 or 505."""
    reason: str
    """Phrase of the answer; says nothing of what came."""
    method: bytes
    """Empty where it cannot be read."""
    echo: Echo


class Dropped(StrEnum):
    """Why a message gets no answer; closed."""

    RESPONSE = "response"
    """We send no requests, so no response is ours."""
    NO_VIA = "no-via"
    """Nobody to answer, or no SIP at all."""


class Key(msgspec.Struct, frozen=True):
    """What an INVITE, its repetitions, its CANCEL and its ACK have in common."""

    peer: str
    call_id: bytes
    cseq_number: int
    branch: bytes
