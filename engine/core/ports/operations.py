"""The ports where the adapters meet: what `api`, `ingress`, `actors`, `storage` and `telemetry` ask of one another.

`engine.app` wires implementations to them; the adapters never import each other.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from engine.core.model.changes import Change
from engine.core.model.errors import Code, Level, StoreUnavailable
from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import (
    Account,
    AccountHoldings,
    Address,
    ApiKey,
    DebuggerEvent,
    Interaction,
    Kind,
    Participant,
    ProxyNumber,
    Service,
    Session,
    WebhookTrace,
)
from engine.core.model.requests import (
    AccountUpdate,
    NumberFilter,
    NumberRequest,
    NumberUpdate,
    ParticipantRequest,
    ParticipantUpdate,
    ServiceRequest,
    SessionRequest,
    SessionUpdate,
    TokenRotation,
)
from engine.core.ports.notes import Note
from engine.core.routing.resolved import Resolved
from engine.core.routing.route_cache import RouteCache
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Question, ReportOutcome, SessionWanted
from engine.core.sessions.batch import BatchItem, ItemResult, KeyUse
from engine.core.sessions.bindings import ActiveSession
from engine.core.sessions.search import FoundInteractions, FoundSessions, InteractionSought, SessionSought

Record = TypeVar("Record")

Clock = Callable[[], float]
"""UTC epoch seconds."""


class PageCursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page of a list starts; at most one of `after` and `before` is given."""

    limit: int
    """Records on the page, 1 to 100."""
    after: str | None = None
    """The last SID of the page before."""
    before: str | None = None
    """The first SID of the page after."""
    is_part_enough: bool = False
    """In a cluster: a page without the records of hosts that do not answer is wanted rather than none."""


class Page(msgspec.Struct, Generic[Record], frozen=True):
    """One page of a list, in the list's order."""

    records: tuple[Record, ...]
    has_next: bool
    has_previous: bool
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose records are missing."""


class PoolEntry(msgspec.Struct, frozen=True):
    """A number in a service's pool."""

    number: ProxyNumber
    in_use: int
    """Active sessions that use it; one whose two participants share it counts once."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an event of this sender on this number goes where it goes; numbers masked."""

    proxy: Address
    sender: str
    """Masked to its last four digits."""
    account_sid: str | None = None
    service_sid: str | None = None
    call: Decision
    """What a call would meet now; `to` masked."""
    message: Decision
    """What a message would meet now; `to` masked."""
    session: Session | None = None
    """The live session, or the last one that paired this sender and number."""
    expires_at: float | None = None
    """When the live session ends if nothing more passes."""
    story: tuple[str, ...] = ()
    """The steps of the decision, a sentence each."""


class Registry(msgspec.Struct, frozen=True):
    """Everything a host reads whole at start, without sessions."""

    accounts: tuple[Account, ...]
    api_keys: tuple[ApiKey, ...]
    services: tuple[Service, ...]
    numbers: tuple[ProxyNumber, ...]


class OutboxFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries the operator means; None = any."""

    account_sid: str | None = None
    service_sid: str | None = None
    session_sid: str | None = None
    is_dead: bool | None = None
    created_before: float | None = None
    error: str | None = None
    """Text that the last error contains."""


class AlertFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which debugger events are listed; None = any."""

    level: Level | None = None
    code: int | None = None
    service_sid: str | None = None
    session_sid: str | None = None
    resource_sid: str | None = None
    since: float | None = None
    """At or after, UTC epoch seconds; `before` likewise."""
    before: float | None = None


class OutboxDepth(msgspec.Struct, frozen=True):
    """How full the outbox is."""

    pending: int
    dead: int
    oldest: float | None
    """When the oldest pending entry was committed."""


Passed = tuple[Address, Kind, str, bytes]
"""A call or message that came: the number reached, the kind and the platform's SID, and the 16 bytes of its KI…."""

PassedElsewhere = tuple[bytes, float, float, bool]
"""One in a session of another host: the 16 bytes of its KC…, begin, last change, whether it is an ended call."""


class Store(Protocol):
    """Durable records of one host. Point reads are synchronous and see every commit that was acknowledged."""

    def commit(self, changes: Sequence[Change], done: Callable[[StoreUnavailable | None], None]) -> None:
        """Commit the changes with the next group, all or none, in the order of the calls.

        `done` is called on the event loop, after the commit, with None or with why nothing was committed.
        """

    async def write(self, changes: Sequence[Change]) -> None:
        """Commit and wait; raises StoreUnavailable."""

    @property
    def is_writable(self) -> bool:
        """Whether the last commit (or probe) succeeded."""

    def registry(self) -> Registry:
        """Read accounts, keys, services and numbers."""

    def registry_version(self) -> int:
        """Tell which version of the registry is held; 0 = none was ever counted. Read it before `registry`."""

    def active_sessions(self) -> Iterator[ActiveSession]:
        """Walk the active sessions in the order of activation, each with its live participants' endpoints."""

    def passed_since(self, at: float) -> Iterator[Sequence[Passed]]:
        """Walk the calls and messages that came at or after a time, oldest first, some hundreds at a time."""

    def passed_elsewhere_since(self, at: float) -> Iterator[Sequence[PassedElsewhere]]:
        """Walk those of them in sessions whose records are on other hosts."""

    def open_calls(self) -> Iterator[Interaction]:
        """Walk the calls whose inbound leg has not ended."""

    def session(self, session_sid: str) -> Session | None:
        """Read one session."""

    def session_sid_by_name(self, service_sid: str, unique_name: str) -> str | None:
        """Find the session that owns a name."""

    def batch_key(self, service_sid: str, digest: bytes) -> KeyUse | None:
        """Find what an idempotency key was used for."""

    async def oldest_batch_key(self) -> float | None:
        """Tell when the oldest idempotency key was used, for retention."""

    def note(self, channel: str, key: bytes) -> Note | None:
        """Read a committed note of a channel, expired or not."""

    def latest_notes(self, channel: str, prefix: bytes, limit: int) -> Sequence[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not."""

    async def oldest_note(self) -> float | None:
        """Tell when the first note expires."""

    def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, the removed ones too, oldest first."""

    def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read one interaction."""

    def last_session_of(self, service_sid: str, identifier: Address, proxy: Address) -> Session | None:
        """Find the newest session, active or not, in which the identifier held the proxy number."""

    def proxies_held_before(self, service_sid: str, identifier: Address) -> dict[Address, float]:
        """Tell which proxy numbers an identifier has had, each with when it was last given."""

    async def sessions_page(self, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """List sessions, newest first."""

    async def participants_page(self, session_sid: str, cursor: PageCursor) -> Page[Participant]:
        """List participants (removed ones too), newest first."""

    async def interactions_page(
        self, session_sid: str, cursor: PageCursor, *, sent_to: str | None = None
    ) -> Page[Interaction]:
        """List interactions, oldest first; with `sent_to`, the message interactions of that participant only."""

    async def sessions_closed_before(self, at: float, *, limit: int) -> tuple[str, ...]:
        """Find sessions that ended before a time, for retention."""

    async def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name the queues that have pending entries."""

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read pending (not dead) entries of a queue, oldest first, from after a SID."""

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List entries, oldest first."""

    def planned_erasures(self) -> tuple[str, ...]:
        """Name the erased sessions of which other hosts may have something."""

    async def entries_held(self, entry_sids: Sequence[str]) -> frozenset[str]:
        """Tell which of these entries are in the outbox, pending or dead."""

    async def outbox_depth(self) -> OutboxDepth:
        """Count the outbox."""

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""

    def alert(self, event_sid: str) -> DebuggerEvent | None:
        """Read one debugger event."""

    async def find_sessions(self, service_sids: Sequence[str], sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of these services, newest first."""

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search the interactions of an account (None = of all), newest first, for a bounded time."""


class InterceptVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an intercept hook came to."""

    is_blocked: bool = False
    """It answered 403."""
    is_failed: bool = False
    """It could not be asked in time, or its answer was no answer; `trace` tells (80908)."""
    body: str | None = None
    """Text that it wants sent instead, from a JSON answer."""
    trace: WebhookTrace | None = None


class OutOfSessionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an out-of-session hook came to; at most one of `twiml` and `wanted` is given."""

    twiml: str | None = None
    """A parsed and checked document."""
    wanted: SessionWanted | None = None
    code: Code | None = None
    """80905 neither one nor the other, 80913 no 2xx, 12100 / 12300 bad TwiML, 11200 / 11205 not reached."""
    trace: WebhookTrace | None = None


class OutOfSessionCase(msgspec.Struct, frozen=True, kw_only=True):
    """An event that met no session, and the last session that paired sender and number."""

    event: InboundEvent
    service_sid: str
    account_sid: str
    session: Session | None = None
    inbound: Participant | None = None
    outbound: Participant | None = None


class Hooks(Protocol):
    """The webhooks that decide about an event while it waits; implemented by `engine.webhooks`, never raises."""

    async def intercept(
        self, url: str, interaction: Interaction, *, may_rewrite: bool, timeout_seconds: float
    ) -> InterceptVerdict:
        """Ask an InterceptCallbackUrl (behaviour 12.3)."""

    async def out_of_session(self, url: str, case: OutOfSessionCase, *, timeout_seconds: float) -> OutOfSessionVerdict:
        """Ask an OutOfSessionCallbackUrl (behaviour 12.4, 13)."""


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


class DataPlane(Protocol):
    """Where ingress hands its events."""

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event; `answer` is called once, at once or after the commit, on the event loop."""

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take a leg's state; `answer` gets None when the store is unavailable and the platform should retry."""

    def signing_tokens(self, proxy: Address) -> tuple[str, ...]:
        """Return the auth tokens of the account that owns a proxy number in a pool; none = it is in no pool."""

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Return the auth tokens of an account that are good now, first the one that signs what we send."""

    def owner_of(self, proxy: Address) -> str | None:
        """Return the SID of the account that owns a number, in a pool or not."""


class RemoteSend(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message that another host was to send."""

    result: bytes = b""
    """What it says, in the form that both sides of the channel know; empty = it did not tell."""
    may_be_taken: bool = False
    """Without a result: it may have been sent."""


class EgressPlane(DataPlane, Protocol):
    """What the outbox may ask besides."""

    async def send_elsewhere(self, channel: str, sender: str, key: str, message: bytes) -> RemoteSend:
        """Have the host on which a channel is placed send a message through one of its senders, once for each key."""


class FeedPlane(DataPlane, Protocol):
    """What the feed may ask besides."""

    def resolve(self, event: InboundEvent) -> Decision | None:
        """Tell what would become of an event now, with nothing recorded; None where another host owns the number."""

    def resolve_elsewhere(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Do the same about a number of another host; `answer` is called once, later."""

    def resolve_all(
        self, questions: Sequence[Question], *, account_sid: str | None, fills_cache: bool = False
    ) -> Resolved | None:
        """Resolve many at once for an account (None = for all); None where another host owns one of the numbers.

        `fills_cache` puts what is found into the route cache.
        """

    def route_cache(self) -> RouteCache | None:
        """Return what answers plain questions in this turn; None where each is looked up in full."""

    def settle(self, done: Callable[[], None]) -> None:
        """Call `done`, later, when nothing that was received or reported before this waits for its commit any more.

        Whatever is unanswered by then waits for a webhook of an application or for another host.
        """


class ControlPlane(Protocol):
    """What the REST interface and the operator's commands may ask.

    Everything is scoped by account; what is not visible there raises ApiError NOT_FOUND. A refused request raises
    ApiError and changes nothing; a failed commit raises StoreUnavailable. Whatever returns has been committed.
    """

    def authenticate(self, username: str, password: str) -> Account | None:
        """Check account SID and token, or API key and secret, in constant time."""

    async def create_account(self, settings: AccountUpdate) -> Account:
        """Make an account with a fresh token."""

    async def update_account(self, account_sid: str, settings: AccountUpdate) -> Account:
        """Change an account's settings."""

    def knows(self, username: str, digest: bytes) -> Account | None:
        """Check as `authenticate`, the SHA-256 of the password instead of it."""

    async def rotate_token(self, account_sid: str, rotation: TokenRotation) -> Account:
        """Give an account a fresh token; CONFLICT while two are good already, unless the rotation says otherwise."""

    async def end_previous_token(self, account_sid: str) -> Account:
        """Let only the newest token of an account be good from now on."""

    async def enable_account(self, account_sid: str, *, is_enabled: bool) -> Account:
        """Disable an account, or let it do what it did before."""

    def account_holdings(self, account_sid: str) -> AccountHoldings:
        """Tell what an account has."""

    async def delete_account(self, account_sid: str) -> None:
        """Erase an account; CONFLICT unless it is disabled and has neither services nor numbers."""

    def account(self, account_sid: str) -> Account:
        """Read one account."""

    def accounts(self) -> tuple[Account, ...]:
        """Read all accounts, oldest first."""

    async def create_api_key(self, account_sid: str, friendly_name: str) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is nowhere kept."""

    def api_keys(self, account_sid: str) -> tuple[ApiKey, ...]:
        """Read the keys of an account, oldest first."""

    async def revoke_api_key(self, key_sid: str) -> ApiKey:
        """End a key at once."""

    async def own_number(self, account_sid: str, request: NumberRequest) -> ProxyNumber:
        """Make the account own a number."""

    async def own_numbers(
        self, account_sid: str, requests: Sequence[NumberRequest]
    ) -> tuple[ProxyNumber | Exception, ...]:
        """Own many at once in one commit: a number or the ApiError of each request, in order."""

    def owned_number(self, account_sid: str, number_sid: str) -> ProxyNumber:
        """Read an owned number."""

    def numbers_of(self, account_sid: str | None) -> tuple[ProxyNumber, ...]:
        """Return, for the operator, all that an account owns (None = all accounts), short codes too; in no order."""

    def owned_numbers_page(self, account_sid: str, cursor: PageCursor, wanted: NumberFilter) -> Page[ProxyNumber]:
        """List the owned numbers that are wanted, newest first."""

    async def update_owned_number(self, account_sid: str, number_sid: str, request: NumberUpdate) -> ProxyNumber:
        """Rename a number or correct its capabilities."""

    async def release_number(self, account_sid: str, number_sid: str) -> None:
        """Stop owning a number; refused with CONFLICT while it is in a pool."""

    async def create_service(self, account_sid: str, request: ServiceRequest) -> Service:
        """Make a service."""

    def service(self, account_sid: str, sid_or_name: str) -> Service:
        """Read a service by SID or unique name."""

    def services_page(self, account_sid: str, cursor: PageCursor) -> Page[Service]:
        """List services, newest first."""

    async def update_service(self, account_sid: str, service_sid: str, request: ServiceRequest) -> Service:
        """Change a service."""

    async def delete_service(self, account_sid: str, service_sid: str) -> None:
        """Erase a service and all in it."""

    async def add_to_pool(
        self, account_sid: str, service_sid: str, *, number_sid: str | None, address: str | None, is_reserved: bool
    ) -> PoolEntry:
        """Put an owned number into the pool, named by SID or by address."""

    async def pool_entry(self, account_sid: str, service_sid: str, number_sid: str) -> PoolEntry:
        """Read a pool entry."""

    async def pool_page(
        self, account_sid: str, service_sid: str, cursor: PageCursor, *, short_codes: bool
    ) -> Page[PoolEntry]:
        """List phone numbers or short codes of the pool, newest first."""

    async def reserve(
        self, account_sid: str, service_sid: str, number_sid: str, *, is_reserved: bool | None
    ) -> PoolEntry:
        """Reserve or free a pool entry; None leaves it."""

    async def remove_from_pool(self, account_sid: str, service_sid: str, number_sid: str) -> None:
        """Take a number out of the pool."""

    async def create_session(self, account_sid: str, service_sid: str, request: SessionRequest) -> Session:
        """Make a session with its participants."""

    async def batch_sessions(
        self, account_sid: str, service_sid: str, items: Sequence[BatchItem]
    ) -> tuple[ItemResult, ...]:
        """Carry out many changes of sessions, those that touch the same things in their order; see `ItemResult`.

        What fails, even the disk, is the result of its item; only a service that is not there is raised.
        """

    async def session(self, account_sid: str, service_sid: str, session_sid: str) -> Session:
        """Read a session; a unique name does instead of a SID."""

    async def sessions_page(self, account_sid: str, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """List sessions, newest first."""

    async def update_session(
        self, account_sid: str, service_sid: str, session_sid: str, update: SessionUpdate
    ) -> Session:
        """Change, close or re-open a session."""

    async def delete_session(self, account_sid: str, service_sid: str, session_sid: str) -> None:
        """Erase a session."""

    async def add_participant(
        self, account_sid: str, service_sid: str, session_sid: str, request: ParticipantRequest
    ) -> Participant:
        """Add a participant to a session."""

    async def participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> Participant:
        """Read a participant."""

    async def participants_page(
        self, account_sid: str, service_sid: str, session_sid: str, cursor: PageCursor
    ) -> Page[Participant]:
        """List participants."""

    async def remove_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> None:
        """Remove a participant; its row stays with the session."""

    async def interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> Interaction:
        """Read an interaction."""

    async def interactions_page(
        self,
        account_sid: str,
        service_sid: str,
        session_sid: str,
        cursor: PageCursor,
        *,
        participant_sid: str | None = None,
    ) -> Page[Interaction]:
        """List interactions, oldest first; with a participant, the message interactions sent to it."""

    async def delete_interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> None:
        """Erase an interaction."""

    async def send_message(
        self,
        account_sid: str,
        service_sid: str,
        session_sid: str,
        participant_sid: str,
        *,
        body: str,
        media: tuple[str, ...],
    ) -> Interaction:
        """Push a text to a participant from their own proxy number; left `queued` until egress takes it."""

    async def find_session(self, session_sid: str) -> tuple[Session, tuple[Participant, ...]]:
        """Read, as the operator, a session of any account and its participants, the removed ones too, oldest first."""

    async def find_interaction(self, interaction_sid: str) -> Interaction:
        """Read, as the operator, an interaction of any account."""

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search, as the operator, the interactions of an account (None = of all), newest first."""

    async def update_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str, *, update: ParticipantUpdate
    ) -> Participant:
        """Change a participant; METHOD_NOT_ALLOWED unless the service lets it."""

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""

    async def alert(self, account_sid: str | None, event_sid: str) -> DebuggerEvent:
        """Read a debugger event of an account (None = of any)."""

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List, as the operator, the outbox, oldest first."""

    async def replay(self, entries: Sequence[OutboxEntry]) -> int:
        """Have dead entries tried again, from the first attempt; returns how many were dead."""

    async def drop(self, entries: Sequence[OutboxEntry]) -> int:
        """Drop dead entries; returns how many were dead."""

    async def explain(self, *, proxy: str, sender: str) -> Explanation:
        """Tell, as the operator, what would happen to a sender on a proxy number, and why; changes nothing."""
