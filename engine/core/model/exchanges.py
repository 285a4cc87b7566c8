"""What applications were asked and told about a call or message, and what they answered: kept for a day, without texts.

Pure. An exchange is known by the carrier's SID of what it is about; those of one account never show to another.
"""

from hashlib import blake2b

import msgspec

from engine.core.model.records import Interaction


class WebhookExchange(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One request to an application, and what came of it."""

    account_sid: str
    about: str
    """The carrier's SID of the call or message; of what the application sent itself, the interaction's."""
    kind: str
    """`HookKind`, or `OutboxKind.CALLBACK`."""
    end: str
    """`HookEnd` of a hook; of a callback `DeliveryEnd`, as far as this one try goes."""
    url: str
    """Without query, user-info and phone numbers."""
    at: float
    """When it was sent, UTC epoch seconds."""
    seconds: float
    """Until it was answered, or given up."""
    status: int | None = None
    """Of the answer; None when none came."""
    problem: str = ""
    """Why none came, or what was wrong with it."""


class Exchanges(msgspec.Struct, frozen=True):
    """The exchanges about something, in their order."""

    exchanges: tuple[WebhookExchange, ...]
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose exchanges are missing."""


def about(interaction: Interaction) -> str:
    """Return what exchanges about an interaction are known by."""
    return interaction.inbound.resource_sid or interaction.sid


def exchange_key(account_sid: str, about: str) -> bytes:
    """Return what all exchanges about something have in common."""
    return blake2b(f"{account_sid} {about}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
