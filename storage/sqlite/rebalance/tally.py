"""Counts and digests of rows: two sets of rows in any order, in any number of files, are compared by them.

A row's digest is the first 8 bytes of the SHA-256 of its cells as a MessagePack array; a table's is their sum modulo
2 ** 64.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from storage.rows import Fetched

_BYTES = 8
_encode = msgspec.msgpack.Encoder().encode


class Tally(msgspec.Struct):
    """How many rows there were, and the sum of their digests."""

    rows: int = 0
    total: int = 0

    def add(self, rows: Iterable[Fetched]) -> None:
        """Take rows in."""
        total = self.total
        count = 0
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the count is wanted after the loop
            total += int.from_bytes(sha256(_encode(row)).digest()[:_BYTES])
        self.rows += count
        self.total = total % (1 << 8 * _BYTES)

    @property
    def digest(self) -> str:
        """The sum in 16 hexadecimal digits."""
        return f"{self.total:016x}"
