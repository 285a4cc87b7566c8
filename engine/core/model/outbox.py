"""The outbox: callbacks, messages, receipts, hang-ups, committed with the decision, delivered by `engine.webhooks`.

Delivery is at least once, in order per session, with the entry's SID as idempotency key. Source: behaviour
12 and 16.
"""

import re
from typing import NamedTuple

import msgspec

from engine.core.model.records import Address, DebuggerEvent, Interaction, LegStatus, RawText

_AUTHORITY_END = re.compile("[/?#]")
_PATH_END = re.compile("[?#]")


class OutboxCallback(msgspec.Struct, frozen=True, kw_only=True, tag="callback"):
    """Tell the application's CallbackUrl about an interaction (behaviour 12.2)."""

    url: str
    """CallbackUrl of the service at that moment."""
    interaction: Interaction
    """The interaction as it was then."""
    session_name: str | None = None
    """UniqueName of the session, for services with richer callbacks."""
    is_rich: bool = False
    """Add what the service asked for beyond the 18 fields."""


class OutboxMessage(msgspec.Struct, frozen=True, kw_only=True, tag="message"):
    """Send a message through a carrier."""

    carrier: str
    """Name of the carrier in the settings."""
    interaction_sid: str
    """KI… whose outbound leg this is."""
    sender: Address
    """The proxy number it leaves from."""
    to: Address
    """The real number, in the form to dial."""
    body: str
    """Text."""
    media: tuple[str, ...] = ()
    """URLs of its media."""
    raw: RawText | None = None
    """The same text as it came."""
    valid_until: float | None = None
    """After which it is not to be sent, UTC epoch seconds."""


class OutboxAlert(msgspec.Struct, frozen=True, kw_only=True, tag="alert"):
    """Tell an account's debugger webhook about an event (behaviour 16)."""

    url: str
    """The account's debugger webhook at that moment."""
    event: DebuggerEvent
    """What happened."""


class OutboxHangUp(msgspec.Struct, frozen=True, kw_only=True, tag="hang-up"):
    """End a running call through a carrier."""

    carrier: str
    """Name of the carrier in the settings."""
    call_sid: str
    """CallSid of the inbound leg."""


class OutboxReceipt(msgspec.Struct, frozen=True, kw_only=True, tag="receipt"):
    """Tell a peer of ours what became of a message that it sent, and asked about."""

    carrier: str
    """Name of the peer in the settings."""
    resource_sid: str
    """MessageSid of the inbound leg."""
    status: LegStatus
    """State of the outbound leg."""
    at: float
    """Since when, UTC epoch seconds."""


ToApplication = OutboxCallback | OutboxAlert
"""What is posted to a URL of an application; closed."""

ToCarrier = OutboxMessage | OutboxHangUp | OutboxReceipt
"""What goes through a carrier, by its name in the settings; closed."""

OutboxContent = ToApplication | ToCarrier
"""What an entry of the outbox can be; closed."""


class QueueKey(NamedTuple):
    """What entries are queued by: one account never waits for another, nor one destination for another."""

    account_sid: str
    """On whose behalf."""
    destination: str
    """As `OutboxEntry.destination`."""


class OutboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the outbox, and how far its delivery has come."""

    sid: str
    """EF…, made in time order; the idempotency key of its delivery."""
    account_sid: str
    """On whose behalf."""
    service_sid: str | None = None
    """KS…, if it concerns a service."""
    session_sid: str | None = None
    """KC…, if it concerns a session; entries of one session are delivered one after the other."""
    content: OutboxContent
    """What is to be done."""
    date_created: float
    """When it was committed."""
    attempts: int = 0
    """Deliveries tried."""
    last_error: str = ""
    """Why the last one failed; no phone numbers."""
    date_died: float | None = None
    """When it was given up; it waits in the dead-letter list until it is replayed or dropped."""
    date_next: float | None = None
    """When it is tried again, while its host runs; None: it was not tried yet, or is dead."""

    @property
    def kind(self) -> str:
        """The tag of its content, such as `callback`."""
        return str(type(self.content).__struct_config__.tag)

    @property
    def interaction_sid(self) -> str | None:
        """The interaction that it is about, KI…; None for a hang-up, a receipt and a debugger event."""
        match self.content:
            case OutboxCallback(interaction=interaction):
                return interaction.sid
            case OutboxMessage(interaction_sid=sid):
                return sid
            case _:
                return None

    @property
    def path(self) -> str:
        """The path of its URL, without the query; empty for a carrier's."""
        if isinstance(self.content, ToCarrier):
            return ""
        _, _, rest = self.content.url.partition("://")
        _, _, path = _PATH_END.split(rest, maxsplit=1)[0].partition("/")
        return f"/{path}"

    @property
    def destination(self) -> str:
        """What it may share a fate with: scheme, host and port of its URL, or its carrier."""
        return destination_of(self.content)

    @property
    def queue(self) -> QueueKey:
        """The queue that it waits in."""
        return QueueKey(self.account_sid, self.destination)


def destination_of(content: OutboxContent) -> str:
    """Return the destination of a duty: `https://host:port` or `carrier:NAME`."""
    if isinstance(content, ToCarrier):
        return f"carrier:{content.carrier}"
    scheme, _, rest = content.url.partition("://")
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2]}".lower()
