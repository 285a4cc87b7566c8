"""Datagrams in batches: many read or sent with one call of the kernel, which Python's own sockets have no way to.

Linux alone has the calls. Source: recvmmsg(2), sendmmsg(2), ip(7), ipv6(7).
"""

import ctypes
import errno
import socket
import sys
from collections.abc import Sequence
from typing import Final

MOST: Final = 64
"""Datagrams of one call, so that others of the loop get their turn."""

MAX_DATAGRAM_BYTES: Final = 65_535

Datagram = tuple[bytes, bytes]
"""Its octets, and the address at the other end as the kernel writes it."""


class _Part(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("parts", ctypes.POINTER(_Part)),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class _Slots:
    """Room for the datagrams of one call; the system gives the pages that are touched."""

    def __init__(self, name_bytes: int) -> None:
        self._octets, self._names = bytearray(MOST * MAX_DATAGRAM_BYTES), bytearray(MOST * name_bytes)
        self._name_bytes = name_bytes
        self._data = memoryview(self._octets)
        messages, parts = bytearray(MOST * ctypes.sizeof(_Message)), bytearray(MOST * ctypes.sizeof(_Part))
        self.messages = (_Message * MOST).from_buffer(messages)
        self._received = memoryview(messages).cast("I")[
            _Message.length.offset // _UINT :: ctypes.sizeof(_Message) // _UINT
        ]
        """Octets of each after a call that receives."""
        self._sent = memoryview(parts).cast("P")[1::2]
        """Octets of each before a call that sends."""
        octets, names = (ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in (self._octets, self._names))
        self._parts = (_Part * MOST).from_buffer(parts)
        for place in range(MOST):
            self._parts[place] = _Part(octets + place * MAX_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES)
            part = ctypes.pointer(self._parts[place])
            self.messages[place] = _Message(_Header(names + place * name_bytes, name_bytes, part, 1))

    def put(self, place: int, datagram: Datagram) -> None:
        """Write a datagram into a place."""
        data, name = datagram
        start, size = place * MAX_DATAGRAM_BYTES, len(data)
        self._data[start : start + size] = data
        start = place * self._name_bytes
        self._names[start : start + self._name_bytes] = name
        self._sent[place] = size

    def get(self, place: int) -> Datagram:
        """Read the datagram at a place."""
        start, name = place * MAX_DATAGRAM_BYTES, place * self._name_bytes
        data = self._data[start : start + self._received[place]].tobytes()
        return data, bytes(self._names[name : name + self._name_bytes])


class Batches:
    """Reads and sends the datagrams of one socket, none of which it waits for."""

    def __init__(self, bound: socket.socket) -> None:
        """Use a bound socket of IPv4 or IPv6."""
        library = ctypes.CDLL(None, use_errno=True)
        self._receive, self._send = library.recvmmsg, library.sendmmsg
        self._descriptor = bound.fileno()
        name_bytes = _NAME_BYTES[bound.family]
        self._received, self._sent = _Slots(name_bytes), _Slots(name_bytes)

    def receive(self) -> list[Datagram]:
        """Return what has come, `MOST` at the most; nothing also where the system tells of an error, such as ICMP's."""
        slots = self._received
        count = self._receive(self._descriptor, slots.messages, MOST, socket.MSG_DONTWAIT, None)
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


_UINT: Final = ctypes.sizeof(ctypes.c_uint)
_NAME_BYTES: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
_WITHOUT_ROOM: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})
