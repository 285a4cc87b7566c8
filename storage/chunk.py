"""Active sessions as plain values that go from process to process (`storage.sqlite.read_in_subprocess`).

A chunk says once what many sessions share: the SIDs of services and accounts, and proxy numbers. Rows name these by
their place among all that were said so far. Not compiled: msgspec would not find the types of the fields.
"""

from typing import Final

import msgspec

CHUNK_SESSIONS: Final = 1_000
"""Sessions of a chunk, but for the last."""

EndpointRow = tuple[str, str, int]
"""SID, identifier, and the place of the proxy number."""

SessionRow = tuple[str, int, int, int, float, int, float | None, str | None, list[EndpointRow]]
"""SID, the places of service and account, mode, idle since, ttl, date of expiry, unique name, endpoints."""


class Chunk(msgspec.Struct, array_like=True, gc=False):
    """Some sessions."""

    shared: list[str]
    """What sessions share and was not said before."""
    rows: list[SessionRow]
