"""What channels have in common: the messages that leave through some of them, and how each try of that ended.

A channel is a folder beside this module: a protocol by which traffic enters and leaves. What it parses, verifies and
renders is its own.
"""

from typing import Protocol, runtime_checkable

import msgspec

from engine.core.model.records import Address, LegStatus
from engine.outbound.delivery import Delivery


class OutMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be sent."""

    key: str
    """Names it in every try: the idempotency key."""
    account_sid: str
    """On whose behalf."""
    interaction_sid: str
    """KI… whose outbound leg it is; what reports the leg later names it."""
    sender: Address
    """The proxy number it leaves from."""
    to: Address
    """The real number, in the form to dial."""
    body: str
    media: tuple[str, ...] = ()
    """URLs of its media."""


class OutHangUp(msgspec.Struct, frozen=True):
    """A running call that is to be ended."""

    key: str
    """Names it in every try: the idempotency key."""
    account_sid: str
    """On whose behalf."""
    call_sid: str
    """CallSid of the inbound leg."""


class Sent(Delivery, frozen=True, kw_only=True):
    """How one try to send a message ended."""

    status: LegStatus | None = None
    """State of the leg as far as the peer told when it took the message; None = it did not tell."""
    resource_sid: str = ""
    """What the peer calls the message; empty = it did not tell."""


@runtime_checkable
class SendsMessages(Protocol):
    """A channel through which messages leave."""

    async def send(self, message: OutMessage) -> Sent:
        """Try once; never raises for what the peer does."""


@runtime_checkable
class EndsCalls(Protocol):
    """A channel that can end a running call."""

    async def end_call(self, call: OutHangUp) -> Delivery:
        """Try once; a call that has ended already counts as ended."""
