"""What leaves: the outbox, who sends for a number, and what is sent on another host."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Address,
)


class Outbox(Protocol):
    """Where committed entries are handed for delivery; implemented by `engine.webhooks`, never raises."""

    def add(self, entries: Sequence[OutboxEntry]) -> None:
        """Deliver these in time; they are on disk."""


class Carriers(Protocol):
    """Which carrier sends for which proxy number; read from the settings."""

    def sender_for(self, proxy: Address) -> str | None:
        """Return the carrier that sends messages from a number, None = the inbound webhook's answer does."""

    def caller_for(self, proxy: Address) -> str | None:
        """Return the carrier that can end running calls of a number, None = there is none."""


class LocalSenders(Protocol):
    """The senders of this host, for the other hosts; implemented by the composition root."""

    async def send_here(self, sender: str, message: bytes) -> bytes:
        """Send a message; return what became of it, both in the form that both sides of the channel know."""


class RemoteSend(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message that another host was to send."""

    result: bytes = b""
    """What it says, in the form that both sides of the channel know; empty = it did not tell."""
    may_be_taken: bool = False
    """Without a result: it may have been sent."""
