"""The messages of one connection that were answered of late: their answers may not have arrived when it ends.

In one array of octets: at ten thousand a second they are a hundred thousand, which as objects lie all over the memory.
"""

from struct import Struct
from typing import Final, final

from engine.channels.smpp.arrivals import Arrival

RECENT_SECONDS: Final = 10.0
"""An answer that was written in so many seconds before a connection's end may not have arrived."""


@final
class AnsweredArrivals:
    """Those of the last `RECENT_SECONDS`."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        """Begin with none."""
        self._rows = bytearray()

    def add(self, arrival: Arrival, now: float) -> None:
        """Keep one that is answered now (seconds of a clock that only counts on), and forget what is older."""
        rows = self._rows
        rows += _WRITE(now, arrival.at, arrival.is_part, arrival.digest, arrival.sid.encode())
        over = 0
        while _READ_TIME(rows, over)[0] < now - RECENT_SECONDS:
            over += _ROW_BYTES
        if over:
            del rows[:over]

    def recent(self, now: float) -> list[Arrival]:
        """Return them, in the order in which they were answered."""
        found = []
        for answered_at, at, is_part, digest, sid in _READ_ALL(self._rows):
            if answered_at >= now - RECENT_SECONDS:
                found.append(Arrival(digest, sid.rstrip(b"\0").decode(), at, is_part))
        return found


_ROW: Final = Struct("=dd?16s40s")
"""When it was answered, and its arrival: a digest of arrivals.py has 16 octets, a name 37."""
_ROW_BYTES: Final = _ROW.size
_WRITE: Final = _ROW.pack
_READ_TIME: Final = Struct("=d").unpack_from
_READ_ALL: Final = _ROW.iter_unpack
