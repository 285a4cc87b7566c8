"""What hosts write to each other on a connection: frames within TLS, and the proof that both are of one cluster.

Sans-IO. One host asks and the other answers; for asks the other way there is another connection. Whoever asks has
connected, over TLS 1.3, and takes no certificate but the one that the cluster's directory names. Integers are
big-endian. Both write frames:

    length of the message (4 octets) | number (4) | kind (1) | message

1. The host that is asked sends a CHALLENGE: the name of this protocol with its version, and 32 random octets.
2. The one that asks sends a PROOF: its place (2 octets), and the HMAC-SHA256, under the cluster's secret, of the name
   of the protocol, the challenge, the SHA-256 of the certificate that it was shown, its place and the place that it
   means to ask. So a proof is good for one connection to one process, and of no use to whoever may get to see it.
3. The answer is ADMITTED, or REFUSED with why, in English; then the connection is closed. Until here messages are
   short, the number is 0, and there is little time.
4. Then come ASKs, under numbers that are not in use. Each is answered under its number, in any order: with an ANSWER,
   with NOT_RUNNING by a host that does not serve, or with FAILED, of which its log tells.
"""

import hmac
import ssl
from enum import IntEnum
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

MOST_MESSAGE_BYTES: Final = 256 * 2**20
"""The largest message: the registry travels whole, with some 400 octets for each number."""
MOST_GREETING_BYTES: Final = 256
"""The largest message before a host is admitted."""
CHALLENGE_BYTES: Final = 32

_PROTOCOL: Final = b"maskline-peers/1\n"
_HEAD: Final = Struct(">IIB")
_PLACE_BYTES: Final = 2
_READ_BYTES: Final = 16_384
"""A record of TLS has no more."""

LEAST_SECRET_BYTES: Final = 16


class Kind(IntEnum):
    """What a frame is; other numbers may come."""

    CHALLENGE = 0
    PROOF = 1
    ADMITTED = 2
    REFUSED = 3
    ASK = 4
    ANSWER = 5
    NOT_RUNNING = 6
    FAILED = 7


class BadPeer(ValueError):  # noqa: N818 - names who is at fault
    """The other end does not keep to what is written here; the message says how."""


class Frame(NamedTuple):
    """One frame."""

    number: int
    kind: int
    message: bytes


def head(number: int, kind: int, length: int) -> bytes:
    """Return what goes before a message of that length."""
    return _HEAD.pack(length, number, kind)


class FrameReader:
    """Cuts a stream of bytes into frames."""

    __slots__ = ("_kept", "_needed", "limit")

    def __init__(self, limit: int) -> None:
        """Take messages of up to `limit` bytes; it may be changed between frames."""
        self.limit = limit
        self._kept = bytearray()
        self._needed = _HEAD.size

    def read(self, data: bytes) -> list[Frame]:
        """Return the frames that end in `data`; raises BadPeer when one is too long."""
        if self._kept:
            self._kept += data
            if len(self._kept) < self._needed:
                return []
            data = bytes(self._kept)
            self._kept.clear()
        frames, at, end = [], 0, len(data)
        self._needed = _HEAD.size
        while end - at >= _HEAD.size:
            length, number, kind = _HEAD.unpack_from(data, at)
            if length > self.limit:
                raise BadPeer(f"a message of {length} bytes where {self.limit} are the most")
            start = at + _HEAD.size
            if start + length > end:
                self._needed = _HEAD.size + length
                break
            at = start + length
            frames.append(Frame(number, kind, data[start:at]))
        self._kept += memoryview(data)[at:]
        return frames


def demand_secret(secret: bytes) -> None:
    """Raise ValueError for what is no secret."""
    if len(secret) < LEAST_SECRET_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes where {LEAST_SECRET_BYTES} are the least")


def challenge_message(challenge: bytes) -> bytes:
    """Write a challenge."""
    return _PROTOCOL + challenge


def read_challenge(message: bytes) -> bytes:
    """Read a challenge; raises BadPeer when it is none, or one of another version."""
    challenge = message.removeprefix(_PROTOCOL)
    if len(challenge) == len(message) or len(challenge) != CHALLENGE_BYTES:
        raise BadPeer("it speaks another protocol, or another version of it")
    return challenge


def proof_message(secret: bytes, challenge: bytes, certificate: bytes, *, source: int, target: int) -> bytes:
    """Prove to the host at `target`, which showed the certificate of that SHA-256, that `source` is of its cluster."""
    place = source.to_bytes(_PLACE_BYTES)
    said = (_PROTOCOL, challenge, certificate, place, target.to_bytes(_PLACE_BYTES))
    return place + hmac.digest(secret, b"".join(said), "sha256")


def read_proof(message: bytes, secret: bytes, challenge: bytes, certificate: bytes, *, target: int) -> int:
    """Return the place of whoever sent a proof; raises BadPeer when it proves nothing."""
    source = int.from_bytes(message[:_PLACE_BYTES])
    if not hmac.compare_digest(message, proof_message(secret, challenge, certificate, source=source, target=target)):
        raise BadPeer("it does not have the cluster's secret")
    return source


class TlsPipe:
    """One end of a TLS connection, without its socket; `outgoing` is to be sent after each call."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        """Begin a connection; the client's end has something to send at once."""
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_side=is_server)
        self.is_secured = False
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Take what came from the other end; returns what it said. Raises ssl.SSLError."""
        self._received.write(data)
        if not self.is_secured and not self._shake_hands():
            return b""
        said: list[bytes] = []
        try:
            while part := self._tls.read(_READ_BYTES):
                said.append(part)
        except ssl.SSLWantReadError:
            pass
        return said[0] if len(said) == 1 else b"".join(said)

    def send(self, data: bytes | memoryview) -> None:
        """Say something to the other end."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]

    def outgoing(self) -> bytes:
        """Return what is to be sent."""
        return self._to_send.read()

    def peer_certificate(self) -> bytes:
        """Return the SHA-256 of the certificate that the other end has shown."""
        return sha256(self._tls.getpeercert(binary_form=True) or b"").digest()

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.is_secured = True
        return True
