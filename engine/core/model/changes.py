"""What a decision asks the store to commit: small facts, applied in order, all of a batch or none of it.

A change touches only the fields it names, so that traffic (`SessionTouched`) and control (`SessionChanged`) never
overwrite each other.
"""

import msgspec
from msgspec import UNSET, UnsetType

from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Account,
    ApiKey,
    DebuggerEvent,
    Interaction,
    Leg,
    Participant,
    ProxyNumber,
    Service,
    Session,
    SessionStatus,
)
from engine.core.sessions.batch import ItemKey


class AccountSaved(msgspec.Struct, frozen=True, gc=False, tag=True):
    """An account was made or its settings changed."""

    account: Account


class AccountErased(msgspec.Struct, frozen=True, gc=False, tag=True):
    """An account is gone with its keys, debugger events and outbox entries; it had nothing else left."""

    account_sid: str


class ApiKeySaved(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A key was made or revoked."""

    key: ApiKey


class NumberSaved(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A number was bought, renamed, pooled, reserved or unpooled."""

    number: ProxyNumber


class NumberReleased(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A number is no longer owned."""

    number_sid: str


class ServiceSaved(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A service was made or its settings changed."""

    service: Service


class ServiceErased(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A service is gone with sessions, participants and interactions; its numbers leave the pool."""

    service_sid: str
    at: float


class RegistryAdvanced(msgspec.Struct, frozen=True, gc=False):
    """The changes of accounts, keys, services and numbers in this changeset lead to this version of the registry."""

    version: int
    """Counted from 1 by the one host that writes the registry."""


RegistryChange = (
    AccountSaved | AccountErased | ApiKeySaved | NumberSaved | NumberReleased | ServiceSaved | ServiceErased
)
"""A change of what every host knows whole."""


class RegistryRevised(msgspec.Struct, frozen=True, gc=False):
    """Changes that were decided upon a version of the registry that hosts share; they lead to the next.

    RegistryOutrun: the registry has another version by now. It stands alone in its changeset.
    """

    after: int
    changes: tuple[RegistryChange, ...]


class SessionCreated(msgspec.Struct, frozen=True, gc=False):
    """A session and the participants it was made with."""

    session: Session
    participants: tuple[Participant, ...]


class SessionChanged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The control plane changed some fields of a session."""

    session_sid: str
    at: float
    """Becomes date_updated."""
    status: SessionStatus | UnsetType = UNSET
    closed_reason: str | UnsetType | None = UNSET
    ttl_seconds: int | UnsetType = UNSET
    date_expiry: float | UnsetType | None = UNSET
    date_ended: float | UnsetType | None = UNSET
    date_started: float | UnsetType | None = UNSET
    idle_since: float | UnsetType = UNSET


class BatchKeyUsed(msgspec.Struct, frozen=True, gc=False):
    """An item of a batch was carried out under a key; committed with what it did."""

    service_sid: str
    key: ItemKey
    session_sid: str
    at: float


class BatchKeysErased(msgspec.Struct, frozen=True, gc=False):
    """The oldest keys from before a time are known no more (bounded retention), `most` of them."""

    before: float
    most: int


class SessionTouched(msgspec.Struct, frozen=True, gc=False):
    """An interaction passed: open becomes in-progress, the idle clock restarts; of no effect once closed."""

    session_sid: str
    at: float


class SessionErased(msgspec.Struct, frozen=True, gc=False):
    """A session is gone for good, with participants and interactions."""

    session_sid: str


class ErasurePlanned(msgspec.Struct, frozen=True, gc=False):
    """Other hosts are to erase what they have of a session that is gone."""

    session_sid: str


class ErasuresSettled(msgspec.Struct, frozen=True, gc=False):
    """No host has anything of these sessions any more."""

    session_sids: tuple[str, ...]


class ParticipantAdded(msgspec.Struct, frozen=True, gc=False):
    """A participant joined an existing session."""

    participant: Participant


class ParticipantRemoved(msgspec.Struct, frozen=True, gc=False):
    """A participant was removed; the row stays."""

    participant_sid: str
    session_sid: str
    at: float


class ParticipantChanged(msgspec.Struct, frozen=True, gc=False):
    """A participant's identifier, proxy number or friendly name changed; the record as it is now."""

    participant: Participant


class InteractionRecorded(msgspec.Struct, frozen=True, gc=False):
    """A call or message passed."""

    interaction: Interaction
    is_elsewhere: bool = False
    """Another host coordinates the session, and may have its row: service and account are kept with the interaction."""


class InteractionUpdated(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A leg's state was reported."""

    interaction_sid: str
    inbound: Leg
    outbound: Leg
    duration_seconds: int | None
    at: float
    is_outbound_alone: bool = False
    """All but state and SID of the outbound leg is as it was."""


class InteractionErased(msgspec.Struct, frozen=True, gc=False):
    """The application deleted an interaction."""

    interaction_sid: str


class EntryAdded(msgspec.Struct, frozen=True, gc=False):
    """An entry was added to the outbox."""

    entry: OutboxEntry


class EntrySettled(msgspec.Struct, frozen=True, gc=False):
    """Something was delivered, or dropped by the operator: it leaves the outbox."""

    entry_sid: str


class EntryFailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A delivery failed; with `is_dead`, it was the last try."""

    entry_sid: str
    attempts: int
    error: str
    at: float
    is_dead: bool
    next_at: float | None = None
    """When it is tried again, unless a restart comes before."""


class EntryRevived(msgspec.Struct, frozen=True, gc=False):
    """The operator has a dead entry tried again, from the first attempt."""

    entry_sid: str


class AlertRaised(msgspec.Struct, frozen=True, gc=False):
    """An event joined the account's debugger list."""

    event: DebuggerEvent


class AlertsErased(msgspec.Struct, frozen=True, gc=False):
    """Events from before a time left the debugger lists (bounded retention)."""

    before: float


class NoteKept(msgspec.Struct, frozen=True, gc=False):
    """A channel keeps something under a key for a while, in place of what was there."""

    channel: str
    key: bytes
    value: bytes
    until: float
    """UTC epoch seconds."""
    account_sid: str | None = None
    """Whose it is, where it is an account's."""


class NoteDropped(msgspec.Struct, frozen=True, gc=False):
    """A channel keeps nothing under a key any more."""

    channel: str
    key: bytes


class NotesErased(msgspec.Struct, frozen=True, gc=False):
    """Notes that had expired by a time are gone, the oldest `most` of them."""

    before: float
    most: int


Change = (
    AccountSaved
    | AccountErased
    | ApiKeySaved
    | NumberSaved
    | NumberReleased
    | ServiceSaved
    | ServiceErased
    | RegistryAdvanced
    | RegistryRevised
    | SessionCreated
    | SessionChanged
    | BatchKeyUsed
    | BatchKeysErased
    | SessionTouched
    | SessionErased
    | ErasurePlanned
    | ErasuresSettled
    | ParticipantAdded
    | ParticipantRemoved
    | ParticipantChanged
    | InteractionRecorded
    | InteractionUpdated
    | InteractionErased
    | EntryAdded
    | EntrySettled
    | EntryFailed
    | EntryRevived
    | AlertRaised
    | AlertsErased
    | NoteKept
    | NoteDropped
    | NotesErased
)
"""Everything that can be committed."""
