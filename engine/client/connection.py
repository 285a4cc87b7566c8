"""One connection of a client of the feed: says hello, sends frames, hands on what the server says."""

import asyncio
from collections.abc import Callable

import msgspec

from engine.channels.feed.frames import (
    UNREADABLE,
    Hello,
    Refusal,
    Refused,
    ServerFrame,
    Splitter,
    Terms,
    Welcome,
    framed,
    read_server_frame,
)

_LARGEST_FRAME = 1 << 30

_encode = msgspec.msgpack.Encoder().encode


class Connection(asyncio.Protocol):
    """A connection; nothing is sent before `terms` are known."""

    def __init__(
        self,
        hello: Hello,
        *,
        said: Callable[[ServerFrame], None],
        changed: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        """Say hello; `said` gets every frame, `changed` is called when more may be written, `lost` at the end."""
        self.terms: Terms | None = None
        """What the last welcome said."""
        self.heard_at = 0.0
        """When it last said something, in the loop's time."""
        self._hello = hello
        self._said = said
        self._changed = changed
        self._lost = lost
        self._splitter = Splitter(_LARGEST_FRAME)
        self._next_number = 0
        self._is_paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # a client makes these
        """Say hello."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        self.greet()

    @property
    def is_writable(self) -> bool:
        """Whether the other side takes what it is sent; not from the moment on in which the connection is given up."""
        return not self._is_paused and not self._transport.is_closing()

    def greet(self) -> None:
        """Say hello, again to hear of the directory anew."""
        self.send(_encode(self._hello))

    def send(self, payload: bytes) -> int:
        """Send a frame; returns its number."""
        self._transport.write(framed(payload))
        self._next_number += 1
        return self._next_number - 1

    def data_received(self, data: bytes) -> None:
        """Hand on what was said, to a `said` that raises Refused where it makes no sense; such a server is left."""
        self.heard_at = self._loop.time()
        try:
            for payload in self._splitter.split(data):
                frame = read_server_frame(b"" if isinstance(payload, Refusal) else payload)
                if isinstance(frame, Welcome):
                    self.terms = frame.terms
                self._said(frame)
        except (*UNREADABLE, Refused):
            self._transport.abort()
        else:
            self._changed()

    def pause_writing(self) -> None:
        """Send no more for now."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Send again."""
        self._is_paused = False
        self._changed()

    def eof_received(self) -> bool:
        """Close: the server says nothing more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end."""
        del exc
        self._lost()

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abort()
