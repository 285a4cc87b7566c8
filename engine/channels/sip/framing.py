"""Cuts a stream into SIP messages, by Content-Length only; bounded, sans-IO.

Source: RFC 3261 18.3 (framing), RFC 5626 3.5.1 (keep-alive: a double CRLF is answered by a single one).
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from engine.channels.sip.headers import MAX_HEAD_BYTES

MAX_BODY_BYTES: Final = 65_536
"""Body of a message on a stream; bodies are not read."""

PONG: Final = b"\r\n"
"""What answers a keep-alive."""


class KeepAlive(msgspec.Struct, frozen=True):
    """The peer asks whether the connection lives."""


class Unframed(msgspec.Struct, frozen=True):
    """Where the next message begins cannot be told: answer this one if it can be, then close."""

    message: bytes
    """What there is of it."""


Piece = bytes | KeepAlive | Unframed
"""A whole message, or what stands in its place."""


class Splitter:
    """What came on one connection and is not a whole message yet."""

    __slots__ = ("_buffer", "_searched", "is_broken")

    def __init__(self) -> None:
        """Begin between two messages."""
        self.is_broken = False
        """Nothing more is read after an `Unframed`."""
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what is whole now that these octets have come."""
        self._buffer += data
        while not self.is_broken and (piece := self._next()) is not None:
            yield piece

    def _next(self) -> Piece | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            if buffer.startswith(b"\r\n\r\n"):
                del buffer[:4]
                return KeepAlive()
            if len(buffer) < len(b"\r\n\r\n") and b"\r\n\r\n".startswith(buffer):
                return None
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end > MAX_HEAD_BYTES:
            self._searched = len(buffer)
            return self._break() if len(buffer) > MAX_HEAD_BYTES else None
        lengths = _LENGTHS(bytes(buffer[:end]))
        if len(lengths) != 1 or not lengths[0].isdigit() or int(lengths[0]) > MAX_BODY_BYTES:
            return self._break()
        whole = end + 4 + int(lengths[0])
        if len(buffer) < whole:
            self._searched = end
            return None
        message = bytes(buffer[:whole])
        del buffer[:whole]
        self._searched = 0
        return message

    def _break(self) -> Unframed:
        self.is_broken = True
        message = bytes(self._buffer)
        self._buffer.clear()
        return Unframed(message)


_LENGTHS = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*:(?:\r\n)?[ \t]*([^\s]{0,10})(?=[ \t]*(?:\r\n|$))", re.IGNORECASE
).findall
