"""Accepts connections over TLS, and counts each from when it is accepted.

The servers of asyncio tell of a connection once its handshake is over, which a peer may draw out: thousands that say
nothing would hold a descriptor each, and no limit would know of them.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from engine.channels.tls import Certificate

_log = logging.getLogger("maskline.engine")

LEAST_HANDSHAKES: Final = 32
"""Handshakes that may be under way where there is no room: whoever comes then is refused, or takes another's place."""

_MOST_AT_ONCE = 64
"""Connections accepted in one turn of the loop."""
_PAUSE_SECONDS = 1.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TlsListener:
    """One bound socket."""

    def __init__(
        self,
        bound: socket.socket,
        certificate: Certificate,
        *,
        make: Callable[[], asyncio.BaseProtocol],
        room: Callable[[], int],
        crowded: Callable[[], None],
        handshake_seconds: float,
        backlog: int,
    ) -> None:
        """Accept from now on; `make` makes the protocol of each, which hears of it after its handshake.

        `room` tells how many more connections may be open. If more shake hands, and more than `LEAST_HANDSHAKES`, the
        one that does so for longest is ended, and `crowded` is called.
        """
        self._bound = bound
        self._certificate = certificate
        self._make = make
        self._room = room
        self._crowded = crowded
        self._handshake_seconds = handshake_seconds
        self._loop = asyncio.get_running_loop()
        self._handshakes: dict[socket.socket, None] = {}
        """Those under way, the oldest first."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        bound.setblocking(False)  # noqa: FBT003 - takes no name
        bound.listen(backlog)
        self._loop.add_reader(bound, self._accept)

    def close(self) -> None:
        """Accept no more, and end the handshakes under way; a second time does nothing."""
        if self._bound.fileno() < 0:
            return
        self._loop.remove_reader(self._bound)
        if self._pause is not None:
            self._pause.cancel()
        self._bound.close()
        while self._handshakes:
            self._end_oldest()

    def _accept(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                accepted, _address = self._bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                if problem.errno not in _EXHAUSTED:
                    raise
                self._loop.remove_reader(self._bound)
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._go_on)
                return
            accepted.setblocking(False)  # noqa: FBT003 - takes no name
            self._handshakes[accepted] = None
            task = self._loop.create_task(self._shake_hands(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if len(self._handshakes) > max(self._room(), LEAST_HANDSHAKES):
                self._end_oldest()
                self._crowded()

    def _go_on(self) -> None:
        self._loop.add_reader(self._bound, self._accept)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                accepted,
                ssl=self._certificate.context,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except OSError as problem:  # the peer's: no TLS, no end of it, or none that we take
            _log.debug("A TLS handshake failed: %s", problem)
        finally:
            self._handshakes.pop(accepted, None)

    def _end_oldest(self) -> None:
        """Have the transport find that there is nothing more to read: then it closes."""
        oldest = next(iter(self._handshakes))
        del self._handshakes[oldest]
        with contextlib.suppress(OSError):  # it is over already
            oldest.shutdown(socket.SHUT_RDWR)
