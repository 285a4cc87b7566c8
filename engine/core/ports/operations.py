"""What is asked of hosts: the data plane (events, questions, reports) and the control plane (all else).

`engine.app` wires implementations to the ports; the adapters never import each other.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Account,
    AccountHoldings,
    Address,
    ApiKey,
    DebuggerEvent,
    Interaction,
    Participant,
    ProxyNumber,
    Service,
    Session,
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
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxFilter, Page, PageCursor
from engine.core.ports.outgoing import RemoteSend
from engine.core.routing.resolved import Resolved
from engine.core.routing.route_cache import RouteCache
from engine.core.routing.traffic import AnswerReport, Decision, InboundEvent, LegReport, Question
from engine.core.sessions.batch import BatchItem, ItemResult
from engine.core.sessions.search import FoundInteractions, InteractionSought

Clock = Callable[[], float]
"""UTC epoch seconds."""


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
    sender_sid: str | None = None
    """KP… of the sender in it: masked, both people may look the same."""
    partner_sid: str | None = None
    """KP… of the other one, if there is just one."""
    expires_at: float | None = None
    """When the live session ends if nothing more passes."""
    story: tuple[str, ...] = ()
    """The steps of the decision, a sentence each."""


class DataPlane(Protocol):
    """Where ingress hands its events."""

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event; `answer` is called once, at once or after the commit, on the event loop."""

    def report(self, report: LegReport, answer: AnswerReport) -> None:
        """Take a leg's state; `answer` gets None when the store is unavailable and the platform should retry."""

    def signing_tokens(self, proxy: Address) -> tuple[str, ...]:
        """Return the auth tokens of the account that owns a proxy number in a pool; none = it is in no pool."""

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Return the auth tokens of an account that are good now, first the one that signs what we send."""

    def owner_of(self, proxy: Address) -> str | None:
        """Return the SID of the account that owns a number, in a pool or not."""


class EgressPlane(DataPlane, Protocol):
    """What the outbox may ask besides."""

    def report_at_hand(self, report: LegReport, answer: AnswerReport) -> bool:
        """Take a leg's state as `report` does, where that needs no reading; tells whether it does.

        Once it is answered with an outcome, the outbox entry that it names has ended on this host's disk.
        """

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

    async def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, *, most: int) -> AlertKinds:
        """Count by kind the latest debugger events of an account (None = of all), so many of each host."""

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
