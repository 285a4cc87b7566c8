"""Switches that may ask: who one is, where a message of it came from, and how that is answered; mypyc compiles this."""

from collections.abc import Callable
from typing import Final, final

from engine.channels.sip.numbers import ReadNumber, without_prefix
from engine.channels.sip.requests import Seen
from engine.channels.sip.styles import AnswerStyle, Trust

Reply = Callable[[bytes], None]
"""Sends one whole message to where a request came from."""


@final
class Peer:
    """A switch that may ask."""

    def __init__(
        self,
        *,
        name: str,
        style: AnswerStyle,
        trust: Trust = Trust(),  # noqa: B008 - frozen
        read_number: ReadNumber,
        strip_prefixes: tuple[str, ...] = (),
        account_sid: str | None = None,
    ) -> None:
        """Know it by its settings.

        `strip_prefixes` is what stands before a number reached and is no part of it; `account_sid` is whose numbers it
        reaches, None for all accounts', as a carrier of the operator's.
        """
        self.name: Final = name
        self.key: Final = name.encode() + b"\0"
        """What tells its calls from those of other peers."""
        self.style: Final = style
        self.trust: Final = trust
        self.read_number: Final = read_number
        self.strip_prefixes: Final = strip_prefixes
        self.account_sid: Final = account_sid

    def read_reached(self, text: str) -> str | None:
        """Read the number reached; None where it can mean none, or more than one."""
        return self.read_number(without_prefix(text, self.strip_prefixes) if self.strip_prefixes else text)

    def read_caller(self, text: str) -> str:
        """Read who calls; what is no number stays as it is, and is a stranger everywhere."""
        return self.read_number(text) or text


@final
class Arrival:
    """Where messages come from, and how they are answered."""

    def __init__(self, peer: Peer, source: tuple[str, int], *, is_reliable: bool, reply: Reply) -> None:
        """Know an address and port of a peer; `is_reliable` is TCP or TLS."""
        self.peer: Final = peer
        self.source: Final = source
        self.is_reliable: Final = is_reliable
        self.reply: Final = reply
        self.seen: Final[Seen] = (source[0].encode(), str(source[1]).encode())
