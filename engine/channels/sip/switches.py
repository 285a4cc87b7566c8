"""Switches that may ask: what is believed of one, and how it is answered; records."""

from collections.abc import Callable

import msgspec

from engine.channels.sip.decisions import AnswerStyle
from engine.channels.sip.numbers import ReadNumber, without_prefix


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Which headers of a peer name the caller."""

    asserted: bool = False
    """P-Asserted-Identity: the peer is in our trust domain, and took off what others asserted."""
    remote_party: bool = False
    """Remote-Party-ID, where there is no asserted identity."""


Reply = Callable[[bytes], None]
"""Sends one whole message to where a request came from."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A switch that may ask."""

    name: str
    style: AnswerStyle
    trust: Trust = Trust()
    read_number: ReadNumber
    strip_prefixes: tuple[str, ...] = ()
    """What stands before a number reached and is no part of it."""
    account_sid: str | None = None
    """Whose numbers it reaches; None = all accounts', as a carrier of the operator's."""

    def read_reached(self, text: str) -> str | None:
        """Read the number reached; None where it can mean none, or more than one."""
        return self.read_number(without_prefix(text, self.strip_prefixes) if self.strip_prefixes else text)

    def read_caller(self, text: str) -> str:
        """Read who calls; what is no number stays as it is, and is a stranger everywhere."""
        return self.read_number(text) or text


class Arrival(msgspec.Struct, frozen=True):
    """Where a message came from, and how it is answered."""

    peer: Peer
    source: tuple[str, int]
    """Address and port."""
    is_reliable: bool
    """It came over TCP or TLS."""
    reply: Reply
    octets: int = 0
    """Of the message, where it came over UDP."""
