"""The store as the actors and the outbox see it: what is committed, and what is read back."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from math import inf
from typing import Final, Protocol

import msgspec

from engine.core.model.changes import Change, RegistryChange
from engine.core.model.errors import StoreUnavailable
from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import (
    Account,
    Address,
    ApiKey,
    DebuggerEvent,
    Interaction,
    Kind,
    Participant,
    ProxyNumber,
    Service,
    Session,
)
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxDepth, OutboxFilter, OutboxKinds, Page, PageCursor
from engine.core.ports.notes import Note
from engine.core.sessions.batch import KeyUse
from engine.core.sessions.bindings import ActiveSession
from engine.core.sessions.search import FoundInteractions, FoundSessions, InteractionSought, SessionSought

Passed = tuple[Address, Kind, str, bytes]
"""A call or message that came: the number reached, the kind and the platform's SID, and the 16 bytes of its KI…."""

PassedElsewhere = tuple[bytes, float, float, bool]
"""One in a session of another host: the 16 bytes of its KC…, begin, last change, whether it is an ended call."""


Lease = Callable[[], bool]
"""Tells whether no other process can be this host yet; otherwise nothing may be answered but "not ready"."""


LATE_LOOKS: Final = 8
"""How often within the time after which a commit is late it is looked who waits for one."""


class Registry(msgspec.Struct, frozen=True):
    """Everything a host reads whole at start, without sessions."""

    accounts: tuple[Account, ...]
    api_keys: tuple[ApiKey, ...]
    services: tuple[Service, ...]
    numbers: tuple[ProxyNumber, ...]


class HeldRegistry(msgspec.Struct, frozen=True):
    """The registry in one version."""

    version: int
    registry: Registry


class RegistryNews(msgspec.Struct, frozen=True):
    """What has become of the registry since a version of it."""

    version: int
    """To which the changes lead."""
    changes: tuple[RegistryChange, ...]


class Store(Protocol):
    """Durable records of one host, or, where it `is_shared`, of all hosts of a cluster.

    Shared, a row belongs to the host that owns its shard: the service's of sessions, participants and batch keys, the
    number's of interactions, and of an outbox entry one of the host that added it. A host *walks*, delivers, erases in
    time and counts its own rows only, so that sums over hosts are the truth. A *point* read, a list or a search sees
    the rows of all, and is asked of any one host. Each method says which it is, unless what it reads is the same.

    A point read (of one record, or of the few that belong to one) sees every commit that was acknowledged before it
    began. It may suspend, as a database elsewhere does, or not, as a file here: whoever reads reads first, and then
    decides, reserves and commits in one turn of the loop, as what was read may be old by the next. It may be begun
    outside of a task (`engine.at_once`), so it waits for futures of the loop and nothing else. It raises
    StoreUnavailable.
    """

    def commit(
        self,
        changes: Sequence[Change],
        done: Callable[[StoreUnavailable | None], None],
        late: Callable[[], None] | None = None,
    ) -> None:
        """Commit the changes with the next group, all or none, in the order of the calls.

        `done` is called on the event loop, once the outcome is known, with None or with why nothing was committed. If
        that takes longer than whoever asks should wait, `late` is called before it, perhaps several times.
        """

    async def write(self, changes: Sequence[Change]) -> None:
        """Commit and wait; raises StoreUnavailable.

        Without changes it waits for the commits before it, and no longer than these are late.
        """

    @property
    def is_shared(self) -> bool:
        """Whether all hosts of a cluster see the same tables, of which each walks the rows of its shards."""

    @property
    def is_writable(self) -> bool:
        """Whether the last commit (or probe) succeeded, and none is late."""

    @property
    def lease_until(self) -> float:
        """Until when no other process can be this host, by `engine.runtime.steady`; always inf where none ever can."""

    @property
    def not_before(self) -> float:
        """From when on no other process may answer for this host, by the same clock; 0: since it was opened."""

    @property
    def is_late(self) -> bool:
        """Whether the outcome of a commit has been awaited for too long: until it is known, others raise StoreLate."""

    async def held_registry(self) -> HeldRegistry:
        """Read accounts, keys, services and numbers, of which each host holds all, while the loop goes on.

        And which version that is; 0 = none was ever counted.
        """

    async def registry_news(self, after: int) -> RegistryNews | None:
        """Read the changes of the registry since a version; None: they are not kept, read the whole."""

    def active_sessions(self) -> Iterator[ActiveSession]:
        """Walk this host's active sessions in the order of activation, each with its live participants' endpoints."""

    def passed_since(self, at: float) -> Iterator[Sequence[Passed]]:
        """Walk this host's calls and messages that came at or after a time, oldest first, some hundreds at a time."""

    def passed_elsewhere_since(self, at: float) -> Iterator[Sequence[PassedElsewhere]]:
        """Walk those of them in sessions that other hosts coordinated."""

    def open_calls(self) -> Iterator[Interaction]:
        """Walk this host's calls whose inbound leg has not ended."""

    async def session(self, session_sid: str) -> Session | None:
        """Read one session."""

    async def session_sid_by_name(self, service_sid: str, unique_name: str) -> str | None:
        """Find the session that owns a name."""

    async def batch_key(self, service_sid: str, digest: bytes) -> KeyUse | None:
        """Find what an idempotency key was used for."""

    async def oldest_batch_key(self) -> float | None:
        """Tell when the oldest idempotency key of all was used, for retention by the one host that erases them."""

    async def note(self, channel: str, key: bytes) -> Note | None:
        """Read a committed note of a channel, expired or not."""

    async def latest_notes(self, channel: str, prefix: bytes, limit: int) -> Sequence[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not: a point read."""

    async def notes_under(self, channel: str, prefix: bytes, limit: int) -> Sequence[tuple[bytes, Note]]:
        """Read the same as a list, which may take longer and holds up no point read."""

    async def oldest_note(self) -> float | None:
        """Tell when the first note of all expires, for the one host that erases them."""

    async def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, the removed ones too, oldest first."""

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read one interaction."""

    async def last_session_of(self, service_sid: str, identifier: Address, proxy: Address) -> Session | None:
        """Find the newest session, active or not, in which the identifier held the proxy number."""

    async def proxies_held_before(
        self, service_sid: str, identifiers: Sequence[Address]
    ) -> dict[Address, dict[Address, float]]:
        """Tell which proxy numbers each of one or more identifiers has had, and when it was given last."""

    async def sessions_page(self, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """List sessions, newest first."""

    async def participants_page(self, session_sid: str, cursor: PageCursor) -> Page[Participant]:
        """List participants (removed ones too), newest first."""

    async def interactions_page(
        self, session_sid: str, cursor: PageCursor, *, sent_to: str | None = None
    ) -> Page[Interaction]:
        """List interactions, oldest first; with `sent_to`, the message interactions of that participant only."""

    async def sessions_closed_before(self, at: float, *, limit: int) -> tuple[str, ...]:
        """Find this host's sessions that ended before a time, for retention."""

    async def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name the queues that have pending entries of this host."""

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read this host's pending (not dead) entries of a queue, oldest first, from after a SID."""

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List entries, oldest first."""

    async def planned_erasures(self) -> tuple[str, ...]:
        """Name the erased sessions of which hosts may have something, whichever host erased them."""

    async def entries_held(self, entry_sids: Sequence[str]) -> frozenset[str]:
        """Tell which of these entries are in the outbox, pending or dead, and this host's to deliver."""

    async def outbox_depth(self) -> OutboxDepth:
        """Count this host's entries."""

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""

    async def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, *, most: int) -> AlertKinds:
        """Count by kind the latest debugger events of an account (None = of all), at most so many."""

    async def alert(self, event_sid: str) -> DebuggerEvent | None:
        """Read one debugger event."""

    async def outbox_kinds(self, wanted: OutboxFilter, *, most: int) -> OutboxKinds:
        """Count by kind the oldest entries of the outbox that are meant, at most so many; for a bounded time."""

    async def numbers_had(self, sought: Mapping[str, Collection[Address]]) -> Mapping[str, frozenset[Address]]:
        """Tell which of these numbers, by service SID, a session on record has had; without what no time was for."""

    async def find_sessions(self, service_sids: Sequence[str], sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of these services, newest first."""

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search the interactions of an account (None = of all), newest first, for a bounded time."""


def lease_of(store: Store, steady: Callable[[], float], *, since: float = 0.0) -> Lease | None:
    """Return the lease of whoever keeps its records in a store, which begins at a time; None: it needs none."""
    return None if store.lease_until == inf else lambda: since <= steady() < store.lease_until


class ServedStore(Store, Protocol):
    """A store as whoever opened it has it."""

    @property
    def backlog(self) -> int:
        """Count the changesets that wait for a group commit to begin."""

    @property
    def unknown_outcomes(self) -> int:
        """Count the commits whose outcome had to be asked for."""

    @property
    def leases_lost(self) -> int:
        """Count how often the lease ran out before it was renewed."""

    @property
    def lacks(self) -> str:
        """Say what it lacks to be on as many machines as the settings ask; nothing: empty."""

    async def start(self) -> None:
        """Bind to the running loop."""

    async def close(self) -> None:
        """Commit what is queued, and let everything go."""

    def loading(self) -> AbstractContextManager[None]:
        """Raise MasklineError for what cannot be understood of the rows that are read meanwhile."""

    def deliveries_held(self) -> bool:
        """Tell whether no delivery may leave, since this is a copy that the operator has not released."""
