"""The UDP sockets of the SIP channel: what one readable burst has is read, decided and answered together.

mypyc compiles this.
"""

import asyncio
import socket
from typing import Final, final

from engine.channels.sip.datagrams import MAX_DATAGRAM_BYTES, Batches, Datagram, source_of
from engine.channels.sip.intake import Intake
from engine.channels.sip.switches import Arrival

MOST_UNSENT: Final = 4_096
"""Answers that wait for room in the socket; peers ask again for the others."""

_MOST_SOURCES: Final = 4_096
"""Addresses and ports of peers whose peer is known without a search."""
_BUFFER_BYTES: Final = 4 * 1024 * 1024


@final
class Datagrams:
    """One UDP socket."""

    def __init__(self, intake: Intake, bound: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Read a bound socket."""
        self._intake = intake
        self._socket = bound
        self._loop = loop
        self._unsent: list[Datagram] = []
        self._is_full = False
        """The socket had no room for an answer."""
        self._will_send = False
        """What is unsent will be sent in this turn."""
        self._sources: dict[bytes, Arrival] = {}
        bound.setblocking(False)  # noqa: FBT003 - takes no name
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        self._batches = Batches(bound)
        loop.add_reader(bound, self._read)

    def close(self) -> None:
        """Read no more; send what there is room for."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._is_full = True
        while self._unsent and (count := self._batches.send(self._unsent)):
            del self._unsent[:count]
        self._socket.close()

    def put(self, name: bytes, data: bytes) -> None:
        """Send an answer in this turn."""
        if len(data) > MAX_DATAGRAM_BYTES or len(self._unsent) >= MOST_UNSENT:
            return
        self._unsent.append((data, name))
        if not self._will_send:
            self._will_send = True
            self._loop.call_soon(self._send)

    def _read(self) -> None:
        self._will_send = True
        intake = self._intake
        now = intake.monotonic()
        last: Arrival | None = None
        for data, name in self._batches.receive():
            arrival = self._sources.get(name) or self._find(name)
            if arrival is None:
                continue
            if arrival is not last:
                last = arrival
                intake.hear(arrival, now=now)
            intake.take(data, arrival, now=now)
        self._send()

    def _find(self, name: bytes) -> Arrival | None:
        source = source_of(name)
        peer = self._intake.peers.find(source[0])
        if peer is None:
            self._intake.stranger(source[0])
            return None
        if len(self._sources) >= _MOST_SOURCES:
            self._sources.clear()
        arrival = Arrival(peer, source, is_reliable=False, reply=_Back(self, name).reply)
        self._sources[name] = arrival
        return arrival

    def _send(self) -> None:
        """Send the answers of this turn together."""
        self._will_send = False
        if not self._is_full:
            self._write()
        self._intake.turned()

    def _write(self) -> None:
        while self._unsent and (count := self._batches.send(self._unsent)):
            del self._unsent[:count]
        is_full = bool(self._unsent)
        if is_full != self._is_full:
            self._is_full = is_full
            if is_full:
                self._loop.add_writer(self._socket, self._write)
            else:
                self._loop.remove_writer(self._socket)


@final
class _Back:
    """The way back to an address."""

    def __init__(self, datagrams: Datagrams, name: bytes) -> None:
        self._datagrams = datagrams
        self._name = name

    def reply(self, data: bytes) -> None:
        """Send an answer there."""
        self._datagrams.put(self._name, data)
