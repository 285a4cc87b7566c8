"""Datagrams in batches: many read or sent with one call of the kernel, which Python's own sockets have no way to.

Linux alone has the calls. Source: recvmmsg(2), sendmmsg(2), ip(7), ipv6(7).
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

MOST: Final = 64
"""Datagrams of one call, so that others of the loop get their turn."""

MAX_DATAGRAM_BYTES: Final = 65_535

Datagram = tuple[bytes, bytes]
"""Its octets, and the address at the other end as the kernel writes it."""


class _Slots:
    """Room for the datagrams of one call; the system gives the pages that are touched."""

    def __init__(self, name_bytes: int) -> None:
        self._name_bytes = name_bytes
        self._slot_bytes = name_bytes + MAX_DATAGRAM_BYTES
        self._room = bytearray(MOST * self._slot_bytes)
        """For each the address, then the octets."""
        self._layouts: dict[int, struct.Struct] = {}
        """Of a slot, by the octets of its datagram."""
        self._messages, self._parts = bytearray(MOST * _MESSAGE.size), bytearray(MOST * _PART.size)
        self.messages = _address_of(self._messages)
        self._received = memoryview(self._messages).cast("I")[_MESSAGE_LENGTH :: _MESSAGE.size // _UINT_BYTES]
        """Octets of each after a call that receives."""
        self._sent = memoryview(self._parts).cast("P")[1::2]
        """Octets of each before a call that sends."""
        room, parts = _address_of(self._room), _address_of(self._parts)
        for place in range(MOST):
            name, part = room + place * self._slot_bytes, place * _PART.size
            _PART.pack_into(self._parts, part, name + name_bytes, MAX_DATAGRAM_BYTES)
            header = (name, name_bytes, parts + part, 1, 0, 0, 0)
            _MESSAGE.pack_into(self._messages, place * _MESSAGE.size, *header, 0)

    def put(self, place: int, datagram: Datagram) -> None:
        """Write a datagram into a place."""
        data, name = datagram
        size = len(data)
        self._layout(size).pack_into(self._room, place * self._slot_bytes, name, data)
        self._sent[place] = size

    def get(self, place: int) -> Datagram:
        """Read the datagram at a place."""
        name, data = self._layout(self._received[place]).unpack_from(self._room, place * self._slot_bytes)
        return data, name

    def _layout(self, size: int) -> struct.Struct:
        found = self._layouts.get(size)
        if found is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            found = self._layouts[size] = struct.Struct(f"{self._name_bytes}s{size}s")
        return found


class Batches:
    """Reads and sends the datagrams of one socket, none of which it waits for."""

    def __init__(self, bound: socket.socket) -> None:
        """Use a bound socket of IPv4 or IPv6."""
        library = ctypes.CDLL(None, use_errno=True)
        self._receive, self._send = library.recvmmsg, library.sendmmsg
        address, count, number = ctypes.c_void_p, ctypes.c_uint, ctypes.c_int
        self._receive.argtypes = (number, address, count, number, address)
        self._send.argtypes = (number, address, count, number)
        self._descriptor = bound.fileno()
        name_bytes = _NAME_BYTES[bound.family]
        self._received, self._sent = _Slots(name_bytes), _Slots(name_bytes)

    def receive(self) -> list[Datagram]:
        """Return what has come, `MOST` at the most; nothing also where the system tells of an error, such as ICMP's."""
        slots = self._received
        count: int = self._receive(self._descriptor, slots.messages, MOST, socket.MSG_DONTWAIT, None)
        return [slots.get(place) for place in range(count)]

    def send(self, datagrams: Sequence[Datagram]) -> int:
        """Send the first `MOST`; return how many are done with, 0 while the socket has no room.

        What cannot be sent is done with, too: whoever misses it asks again.
        """
        slots, size = self._sent, min(len(datagrams), MOST)
        for place in range(size):
            slots.put(place, datagrams[place])
        count: int = self._send(self._descriptor, slots.messages, size, socket.MSG_DONTWAIT)
        if count < 0:
            return 0 if ctypes.get_errno() in _WITHOUT_ROOM else 1
        return count


def source_of(name: bytes) -> tuple[str, int]:
    """Return host and port of an address as the kernel writes it."""
    family = int.from_bytes(name[:2], sys.byteorder)
    octets = name[4:8] if family == socket.AF_INET else name[8:24]
    return socket.inet_ntop(family, octets), int.from_bytes(name[2:4], "big")


def _address_of(room: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(room))


_MOST_LAYOUTS: Final = 4_096
_PART: Final = struct.Struct("@PN")
"""`struct iovec`: where, how many octets."""
_MESSAGE: Final = struct.Struct("@PIPNPNi0P I0P")
"""`struct mmsghdr`: name and its length, parts and how many, control and its length, flags; then octets of all."""
_UINT_BYTES: Final = struct.calcsize("I")
_MESSAGE_LENGTH: Final = struct.calcsize("@PIPNPNi0P") // _UINT_BYTES
_NAME_BYTES: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
_WITHOUT_ROOM: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})
