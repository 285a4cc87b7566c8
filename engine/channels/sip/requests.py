"""What was read of SIP messages; mypyc compiles this, since every message is asked for all of its fields."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, final

from mypy_extensions import mypyc_attr

Seen = tuple[bytes, bytes]
"""Address and port that a message was seen to come from."""


@final
@mypyc_attr(acyclic=True)
class HeaderAddress:
    """The address that a header holds."""

    def __init__(self, uri: bytes, parameters: Mapping[bytes, bytes]) -> None:
        """Keep a URI without angle brackets, and the header's parameters, not the URI's.

        Their names are in lower case; of a flag the value is empty.
        """
        self.uri: Final = uri
        self.parameters: Final = parameters


@final
@mypyc_attr(acyclic=True)
class Via:
    """The topmost hop, which the answer goes back to."""

    def __init__(self, host: bytes, branch: bytes, port_at: int, end: int) -> None:
        """Keep where it says that it is, and its transaction."""
        self.host: Final = host
        """As the sender names itself."""
        self.branch: Final = branch
        """Its transaction; empty where there is none (RFC 2543)."""
        self.port_at: Final = port_at
        """Where in the first Via value the port it sends from belongs; 0 = it did not ask for it (RFC 3581)."""
        self.end: Final = end
        """Where in the first Via value the first hop ends."""


@final
@mypyc_attr(acyclic=True)
class Echo:
    """What every answer repeats: header values, as they came."""

    def __init__(  # noqa: PLR0917 - in the order in which they are written
        self, vias: tuple[bytes, ...], via: Via | None, sender: bytes, to: bytes, call_id: bytes, cseq: bytes
    ) -> None:
        """Keep them."""
        self.vias: Final = vias
        """Topmost first; each may hold several hops."""
        self.via: Final = via
        """The topmost hop; None where it cannot be read."""
        self.sender: Final = sender
        """From."""
        self.to: Final = to
        self.call_id: Final = call_id
        self.cseq: Final = cseq


@final
@mypyc_attr(acyclic=True)
class Request:
    """A request that can be answered by its meaning."""

    def __init__(  # noqa: PLR0917 - made in two places
        self,
        method: bytes,
        uri: bytes,
        echo: Echo,
        cseq_number: int,
        from_tag: bytes,
        to_tag: bytes,
        asserted: tuple[bytes, ...] = (),
        remote_parties: tuple[bytes, ...] = (),
        requires: tuple[bytes, ...] = (),
    ) -> None:
        """Keep what was read."""
        self.method: Final = method
        self.uri: Final = uri
        """Request-URI."""
        self.echo: Final = echo
        self.cseq_number: Final = cseq_number
        self.from_tag: Final = from_tag
        """Empty where there is none (RFC 2543)."""
        self.to_tag: Final = to_tag
        """Of a request within a dialog; else empty."""
        self.asserted: Final = asserted
        """P-Asserted-Identity, a value a line."""
        self.remote_parties: Final = remote_parties
        """Remote-Party-ID, a value a line."""
        self.requires: Final = requires
        """Require, a value a line."""
        branch = b"" if echo.via is None else echo.via.branch
        self.identity: Final = b"\0".join((echo.call_id, from_tag, str(cseq_number).encode(), branch))
        """What an INVITE, its repetitions, its CANCEL and its ACK have in common."""


@final
@mypyc_attr(acyclic=True)
class Malformed:
    """A request that is refused as it stands."""

    def __init__(self, status: int, reason: str, method: bytes, echo: Echo) -> None:
        """Refuse it with 400 or 505, and a phrase that says nothing of what came."""
        self.status: Final = status
        self.reason: Final = reason
        self.method: Final = method
        """Empty where it cannot be read."""
        self.echo: Final = echo


class Dropped(StrEnum):
    """Why a message gets no answer; closed."""

    RESPONSE = "response"
    """We send no requests, so no response is ours."""
    NO_VIA = "no-via"
    """Nobody to answer, or no SIP at all."""
