"""A connection between hosts as both ends have it: TLS and frames on a socket, written once a turn of the loop."""

import asyncio
import socket
import ssl
from typing import Final, cast

from engine.cluster.peer_wire import MOST_GREETING_BYTES, BadPeer, Frame, FrameReader, TlsPipe, head

MOST_UNDER_WAY: Final = 10_000
"""Asks that are under way on one connection at a time."""
MOST_WAITING_BYTES: Final = 64 * 2**20
"""Messages that wait to be sent, or are being answered, on one connection, in bytes; a single one may be larger."""

_BUFFERED_BYTES: Final = 2**20
"""Of what was written and the system has not taken, past which no more is."""
_PROBES: Final = 3
_WRITTEN_BYTES: Final = 2**18
"""What is encrypted at a time: memory that is used again is faster than much of it."""


class PeerConnection(asyncio.Protocol):
    """One end; what is to be done with frames is its heirs'."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        """Begin when the socket is connected."""
        self._pipe = TlsPipe(context, is_server=is_server)
        self._reader = FrameReader(MOST_GREETING_BYTES)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self.is_write_paused = False
        self.is_over = False

    # -- what heirs do -------------------------------------------------------------------------------------------

    def _secured(self) -> None:
        """The other end has shown a certificate, if it is the server's; raises BadPeer."""

    def _take(self, frame: Frame) -> None:
        """A frame came; raises BadPeer."""
        raise NotImplementedError

    def _ended(self, problem: Exception | None) -> None:
        """It is over; called once."""
        raise NotImplementedError

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self._transport = cast("asyncio.Transport", transport)
        if self.is_over:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(_BUFFERED_BYTES)
        self._transmit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it is over."""
        self._end(exc)

    def end(self, problem: Exception | None = None) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
        self._end(problem)

    def _end(self, problem: Exception | None) -> None:
        if not self.is_over:
            self.is_over = True
            self._out.clear()
            self._ended(problem)

    def _close(self, problem: Exception | None = None) -> None:
        """Close when what is put so far has been sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
        self._end(problem)

    # -- reading -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if not self.is_over:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        pipe = self._pipe
        was_secured = pipe.is_secured
        try:
            said = pipe.receive(data)
            if not was_secured:
                self._transmit()
                if pipe.is_secured:
                    self._secured()
            for frame in self._reader.read(said):
                self._take(frame)
                if self.is_over:
                    return
        except (ssl.SSLError, BadPeer) as problem:
            self._out.clear()
            self._transmit()  # TLS says why
            self._close(problem)

    # -- writing -------------------------------------------------------------------------------------------------

    def _put(self, number: int, kind: int, message: bytes = b"") -> None:
        """Send a frame at the end of this turn of the loop, with all that it puts besides."""
        if self.is_over:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(head(number, kind, len(message)))
        self._out.append(message)

    def _flush(self) -> None:
        if self._out:
            out, self._out = memoryview(b"".join(self._out)), []
            for at in range(0, len(out), _WRITTEN_BYTES):
                self._pipe.send(out[at : at + _WRITTEN_BYTES])
                self._transmit()

    def _transmit(self) -> None:
        outgoing = self._pipe.outgoing()
        if outgoing and self._transport is not None:
            self._transport.write(outgoing)

    def pause_writing(self) -> None:
        """Write no more to an end that does not read."""
        self.is_write_paused = True

    def resume_writing(self) -> None:
        """Write again."""
        self.is_write_paused = False


def watch(connected: socket.socket, *, timeout_seconds: float) -> None:
    """Have the system end a connection whose other end takes nothing, or is silent while idle, for about that long.

    Sockets that are accepted inherit it from the one that listens. Only Linux keeps to it.
    """
    seconds = max(1, round(timeout_seconds))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", seconds),
        ("TCP_KEEPINTVL", max(1, seconds // _PROBES)),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", seconds * 1000),
    ):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
