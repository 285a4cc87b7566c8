"""Names of SIP headers, and how much a message may have of what; data.

Source: RFC 3261 7.3.3 and 20.
"""

from typing import Final

MAX_HEAD_BYTES: Final = 65_536
"""Start line and headers of a message."""

MAX_HEADERS: Final = 256
"""Header lines of a message."""

MAX_HOPS: Final = 255
"""Max-Forwards."""

MAX_SEQUENCE: Final = 2**31 - 1
"""Number of a CSeq."""

_LONG_NAMES: Final = (
    *(b"via", b"from", b"to", b"call-id", b"cseq", b"max-forwards", b"content-length"),
    *(b"require", b"p-asserted-identity", b"remote-party-id"),
)
_COMPACT_NAMES: Final = {b"v": b"via", b"f": b"from", b"t": b"to", b"i": b"call-id", b"l": b"content-length"}

READ: Final = {name: name for name in _LONG_NAMES} | _COMPACT_NAMES
"""The headers that are read, by their names in lower case."""

UNREAD: Final = (
    *(b"Accept", b"Accept-Encoding", b"Accept-Language", b"Alert-Info", b"Allow", b"Allow-Events", b"Authorization"),
    *(b"Contact", b"Content-Disposition", b"Content-Type", b"Date", b"Diversion", b"Expires", b"Geolocation"),
    *(b"History-Info", b"Identity", b"Min-SE", b"Organization", b"P-Access-Network-Info", b"P-Charging-Vector"),
    *(b"P-Early-Media", b"Privacy", b"Record-Route", b"Route", b"Server", b"Session-Expires", b"Session-ID"),
    *(b"Subject", b"Supported", b"Timestamp", b"User-Agent", b"Warning"),
)
"""Headers that are often there and are not read, as most switches write their names."""

AS_WRITTEN: Final = (
    dict.fromkeys(UNREAD, b"")
    | {b"-".join(part.capitalize() for part in name.split(b"-")): name for name in _LONG_NAMES}
    | {b"Call-ID": b"call-id", b"CSeq": b"cseq", b"Remote-Party-ID": b"remote-party-id"}
)
"""Names as most switches write them, which spares a look at their letters; empty for those that are not read."""
