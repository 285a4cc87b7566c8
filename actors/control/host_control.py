"""The control plane: finds whom a request concerns, within its account, and hands it to that actor.

A change runs to its end even when the caller hangs up, or is told that its commit takes too long: half of it may be on
disk already.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from actors.control.accounts import AccountRegister
from actors.control.batch import SessionBatches
from actors.control.numbers import NumberRegister
from actors.control.remote import RemoteTraffic
from actors.control.services import ServiceRegister
from actors.kernel.context import HostContext
from actors.kernel.paging import merged, page_of
from actors.traffic.coordinators import Coordinators
from actors.traffic.directory import Directory
from actors.traffic.explain import explain
from engine.core.model.changes import EntryRevived, EntrySettled
from engine.core.model.errors import ApiError, MasklineError, not_found, not_known
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Account,
    AccountHoldings,
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
from engine.core.model.sids import SidKind, is_sid
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxFilter, Page, PageCursor
from engine.core.ports.operations import Explanation, PoolEntry
from engine.core.sessions.batch import BatchItem, ItemResult
from engine.core.sessions.search import FoundInteractions, InteractionSought

Result = TypeVar("Result")

ENTRIES_AT_ONCE = 1_000
"""Entries that the operator changes in one commit, so that calls need not wait for a million of them."""

_log = logging.getLogger("maskline.control")


class HostControl:
    """Implements the port `ControlPlane` over the actors of one host."""

    def __init__(
        self,
        context: HostContext,
        *,
        accounts: AccountRegister,
        numbers: NumberRegister,
        services: ServiceRegister,
        directory: Directory,
        coordinators: Coordinators,
        remote: RemoteTraffic,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """Stand before these registers; `catch_up` hears of all that has passed on other hosts."""
        self._context = context
        self._accounts = accounts
        self._numbers = numbers
        self._services = services
        self._directory = directory
        self._batches = SessionBatches(context)
        self._coordinators = coordinators
        self._remote = remote
        self._catch_up = catch_up
        self._running: set[asyncio.Task[Any]] = set()

    async def finish(self) -> None:
        """Wait for the changes whose callers hung up; batches end early."""
        self._batches.stop()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _to_its_end(self, change: Coroutine[Any, Any, Result]) -> Result:
        task = asyncio.ensure_future(change)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=self._context.settings.late_look_seconds)
                if self._context.store.is_late and not task.done():
                    raise not_known()
        except (asyncio.CancelledError, ApiError):
            task.add_done_callback(_log_unforeseen)
            raise
        return task.result()

    # -- accounts ------------------------------------------------------------------------------------------------

    def authenticate(self, username: str, password: str) -> Account | None:
        """Check account SID and token, or API key and secret, in constant time."""
        return self._accounts.authenticate(username, password)

    async def create_account(self, settings: AccountUpdate) -> Account:
        """Make an account with a fresh token."""
        return await self._to_its_end(self._accounts.create(settings))

    async def update_account(self, account_sid: str, settings: AccountUpdate) -> Account:
        """Change an account's settings."""
        return await self._to_its_end(self._accounts.update(account_sid, settings))

    def knows(self, username: str, digest: bytes) -> Account | None:
        """Check as `authenticate`, the SHA-256 of the password instead of it."""
        return self._accounts.knows(username, digest)

    async def rotate_token(self, account_sid: str, rotation: TokenRotation) -> Account:
        """Give an account a fresh token; CONFLICT while two are good already, unless the rotation says otherwise."""
        return await self._to_its_end(self._accounts.rotate_token(account_sid, rotation))

    async def end_previous_token(self, account_sid: str) -> Account:
        """Let only the newest token of an account be good from now on."""
        return await self._to_its_end(self._accounts.end_previous_token(account_sid))

    async def enable_account(self, account_sid: str, *, is_enabled: bool) -> Account:
        """Disable an account, or let it do what it did before."""
        return await self._to_its_end(self._accounts.enable(account_sid, is_enabled=is_enabled))

    def account_holdings(self, account_sid: str) -> AccountHoldings:
        """Tell what an account has."""
        return self._accounts.holdings(account_sid)

    async def delete_account(self, account_sid: str) -> None:
        """Erase an account; CONFLICT unless it is disabled and has neither services nor numbers."""
        await self._to_its_end(self._accounts.delete(account_sid))

    def account(self, account_sid: str) -> Account:
        """Read one account."""
        return self._accounts.get(account_sid)

    def accounts(self) -> tuple[Account, ...]:
        """Read all accounts, oldest first."""
        return self._accounts.all()

    async def create_api_key(self, account_sid: str, friendly_name: str) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is nowhere kept."""
        return await self._to_its_end(self._accounts.create_key(account_sid, friendly_name))

    def api_keys(self, account_sid: str) -> tuple[ApiKey, ...]:
        """Read the keys of an account, oldest first."""
        return self._accounts.keys(account_sid)

    async def revoke_api_key(self, key_sid: str) -> ApiKey:
        """End a key at once."""
        return await self._to_its_end(self._accounts.revoke_key(key_sid))

    # -- owned numbers -------------------------------------------------------------------------------------------

    async def own_number(self, account_sid: str, request: NumberRequest) -> ProxyNumber:
        """Make the account own a number."""
        (result,) = await self.own_numbers(account_sid, (request,))
        if isinstance(result, ApiError):
            raise result
        return result

    async def own_numbers(
        self, account_sid: str, requests: Sequence[NumberRequest]
    ) -> tuple[ProxyNumber | ApiError, ...]:
        """Own many at once in one commit: a number or the ApiError of each request, in order."""
        owner = self._accounts.get(account_sid).sid
        return await self._to_its_end(self._numbers.own(owner, requests))

    def owned_number(self, account_sid: str, number_sid: str) -> ProxyNumber:
        """Read an owned number."""
        return self._numbers.get(account_sid, number_sid)

    def numbers_of(self, account_sid: str | None) -> tuple[ProxyNumber, ...]:
        """Return, for the operator, all that an account owns (None = all accounts), short codes too; in no order."""
        return self._numbers.of(account_sid)

    def owned_numbers_page(self, account_sid: str, cursor: PageCursor, wanted: NumberFilter) -> Page[ProxyNumber]:
        """List the owned numbers that are wanted, newest first."""
        return self._numbers.page(account_sid, cursor, wanted)

    async def update_owned_number(self, account_sid: str, number_sid: str, request: NumberUpdate) -> ProxyNumber:
        """Rename a number or correct its capabilities."""
        return await self._to_its_end(self._numbers.update(account_sid, number_sid, request))

    async def release_number(self, account_sid: str, number_sid: str) -> None:
        """Stop owning a number; refused with CONFLICT while it is in a pool."""
        await self._to_its_end(self._numbers.release(account_sid, number_sid))

    # -- services and pools --------------------------------------------------------------------------------------

    async def create_service(self, account_sid: str, request: ServiceRequest) -> Service:
        """Make a service."""
        return await self._to_its_end(self._services.create(account_sid, request))

    def service(self, account_sid: str, sid_or_name: str) -> Service:
        """Read a service by SID or unique name."""
        return self._services.record(account_sid, sid_or_name)

    def services_page(self, account_sid: str, cursor: PageCursor) -> Page[Service]:
        """List services, newest first."""
        return page_of(self._services.of(account_sid), cursor)

    async def update_service(self, account_sid: str, service_sid: str, request: ServiceRequest) -> Service:
        """Change a service."""
        return await self._to_its_end(self._services.update(account_sid, service_sid, request))

    async def delete_service(self, account_sid: str, service_sid: str) -> None:
        """Erase a service and all in it."""
        await self._to_its_end(self._erase_service(account_sid, service_sid))

    async def _erase_service(self, account_sid: str, service_sid: str) -> None:
        async with self._numbers.turn:
            await self._services.erase(account_sid, service_sid)

    async def add_to_pool(
        self, account_sid: str, service_sid: str, *, number_sid: str | None, address: str | None, is_reserved: bool
    ) -> PoolEntry:
        """Put an owned number into the pool, named by SID or by address."""
        coordinator = self._services.get(account_sid, service_sid)
        number = await self._to_its_end(
            self._numbers.pool(coordinator, number_sid=number_sid, address=address, is_reserved=is_reserved)
        )
        return PoolEntry(number, coordinator.in_use(number))

    async def pool_entry(self, account_sid: str, service_sid: str, number_sid: str) -> PoolEntry:
        """Read a pool entry."""
        coordinator = self._services.get(account_sid, service_sid)
        number = coordinator.pool_number(number_sid)
        return PoolEntry(number, coordinator.in_use(number))

    async def pool_page(
        self, account_sid: str, service_sid: str, cursor: PageCursor, *, short_codes: bool
    ) -> Page[PoolEntry]:
        """List phone numbers or short codes of the pool, newest first."""
        coordinator = self._services.get(account_sid, service_sid)
        wanted = (number for number in coordinator.pool_numbers() if number.is_short_code == short_codes)
        page = page_of(wanted, cursor)
        entries = tuple(PoolEntry(number, coordinator.in_use(number)) for number in page.records)
        return Page(entries, has_next=page.has_next, has_previous=page.has_previous)

    async def reserve(
        self, account_sid: str, service_sid: str, number_sid: str, *, is_reserved: bool | None
    ) -> PoolEntry:
        """Reserve or free a pool entry; None leaves it."""
        coordinator = self._services.get(account_sid, service_sid)
        number = await self._to_its_end(self._numbers.reserve(coordinator, number_sid, is_reserved=is_reserved))
        return PoolEntry(number, coordinator.in_use(number))

    async def remove_from_pool(self, account_sid: str, service_sid: str, number_sid: str) -> None:
        """Take a number out of the pool."""
        await self._to_its_end(self._numbers.unpool(self._services.get(account_sid, service_sid), number_sid))

    # -- sessions ------------------------------------------------------------------------------------------------

    async def create_session(self, account_sid: str, service_sid: str, request: SessionRequest) -> Session:
        """Make a session with its participants."""
        return await self._to_its_end(self._services.get(account_sid, service_sid).create_session(request))

    async def session(self, account_sid: str, service_sid: str, session_sid: str) -> Session:
        """Read a session; a unique name does instead of a SID."""
        coordinator = self._services.get(account_sid, service_sid)
        await self._catch_up()
        return await coordinator.session(await coordinator.session_sid(session_sid))

    async def find_session(self, session_sid: str) -> tuple[Session, tuple[Participant, ...]]:
        """Read any account's session with all its participants, as the operator."""
        store = self._context.store
        session = await store.session(session_sid) if is_sid(session_sid, SidKind.SESSION) else None
        if session is None:
            raise not_found(f"/Sessions/{session_sid}")
        await self._catch_up()
        return await store.session(session_sid) or session, await store.participants(session_sid)

    async def find_interaction(self, interaction_sid: str) -> Interaction:
        """Read any account's interaction, as the operator."""
        is_one = is_sid(interaction_sid, SidKind.INTERACTION)
        interaction = await self._context.store.interaction(interaction_sid) if is_one else None
        if interaction is None:
            raise not_found(f"/Interactions/{interaction_sid}")
        return interaction

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search the interactions of numbers of this host, as the operator."""
        return await self._context.store.find_interactions(account_sid, sought, most=most)

    async def sessions_page(self, account_sid: str, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """List sessions, newest first."""
        self._services.get(account_sid, service_sid)
        await self._catch_up()
        return await self._context.store.sessions_page(service_sid, cursor)

    async def update_session(
        self, account_sid: str, service_sid: str, session_sid: str, update: SessionUpdate
    ) -> Session:
        """Change, close or re-open a session."""
        coordinator = self._services.get(account_sid, service_sid)
        await self._catch_up()
        return await self._to_its_end(coordinator.update_session(session_sid, update))

    async def batch_sessions(
        self, account_sid: str, service_sid: str, items: Sequence[BatchItem]
    ) -> tuple[ItemResult, ...]:
        """Carry out many changes of sessions; returns what each came to."""
        coordinator = self._services.get(account_sid, service_sid)
        await self._catch_up()
        return await self._to_its_end(self._batches.run(coordinator, items))

    async def delete_session(self, account_sid: str, service_sid: str, session_sid: str) -> None:
        """Erase a session."""
        await self._to_its_end(self._services.get(account_sid, service_sid).delete_session(session_sid))

    # -- participants and interactions ---------------------------------------------------------------------------

    async def add_participant(
        self, account_sid: str, service_sid: str, session_sid: str, request: ParticipantRequest
    ) -> Participant:
        """Add a participant to a session."""
        coordinator = self._services.get(account_sid, service_sid)
        return await self._to_its_end(coordinator.participation.add(session_sid, request))

    async def participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> Participant:
        """Read a participant."""
        return await self._services.get(account_sid, service_sid).participation.get(session_sid, participant_sid)

    async def participants_page(
        self, account_sid: str, service_sid: str, session_sid: str, cursor: PageCursor
    ) -> Page[Participant]:
        """List participants."""
        await self._services.get(account_sid, service_sid).session(session_sid)
        return await self._context.store.participants_page(session_sid, cursor)

    async def update_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str, *, update: ParticipantUpdate
    ) -> Participant:
        """Change a participant; METHOD_NOT_ALLOWED unless the service lets it."""
        coordinator = self._services.get(account_sid, service_sid)
        return await self._to_its_end(coordinator.participation.update(session_sid, participant_sid, update))

    async def remove_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> None:
        """Remove a participant; its row stays with the session."""
        coordinator = self._services.get(account_sid, service_sid)
        await self._to_its_end(coordinator.participation.remove(session_sid, participant_sid))

    async def interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> Interaction:
        """Read an interaction."""
        return await self._services.get(account_sid, service_sid).interaction(session_sid, interaction_sid)

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
        coordinator = self._services.get(account_sid, service_sid)
        if participant_sid is None:
            await coordinator.session(session_sid)
        else:
            await coordinator.participation.get(session_sid, participant_sid)
        page = await self._context.store.interactions_page(session_sid, cursor, sent_to=participant_sid)
        others = await self._remote.interactions_pages(session_sid, cursor, participant_sid)
        return merged((page, *others), cursor, is_newest_first=False) if others else page

    async def delete_interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> None:
        """Erase an interaction."""
        coordinator = self._services.get(account_sid, service_sid)
        await self._to_its_end(coordinator.delete_interaction(session_sid, interaction_sid))

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
        coordinator = self._services.get(account_sid, service_sid)
        return await self._to_its_end(
            coordinator.participation.send_message(session_sid, participant_sid, body=body, media=media)
        )

    # -- debugger and outbox -------------------------------------------------------------------------------------

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""
        return await self._context.store.alerts_page(account_sid, wanted, cursor)

    async def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, *, most: int) -> AlertKinds:
        """Count by kind the latest debugger events of an account (None = of all), so many of each host."""
        return await self._context.store.alert_kinds(account_sid, wanted, most=most)

    async def alert(self, account_sid: str | None, event_sid: str) -> DebuggerEvent:
        """Read a debugger event of an account (None = of any)."""
        event = await self._context.store.alert(event_sid) if is_sid(event_sid, SidKind.DEBUGGER_EVENT) else None
        if event is None or account_sid not in {None, event.account_sid}:
            raise not_found(f"/Alerts/{event_sid}")
        return event

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List, as the operator, the outbox, oldest first."""
        return await self._context.store.outbox_page(wanted, cursor)

    async def replay(self, entries: Sequence[OutboxEntry]) -> int:
        """Have dead entries tried again, from the first attempt; returns how many were dead."""
        held = await self._context.store.entries_held([entry.sid for entry in entries])
        dead = [entry for entry in entries if entry.sid in held and entry.date_died is not None]
        revived = [msgspec.structs.replace(one, date_died=None, attempts=0, last_error="") for one in dead]
        for start in range(0, len(dead), ENTRIES_AT_ONCE):
            some = revived[start : start + ENTRIES_AT_ONCE]
            await self._to_its_end(self._context.store.write(tuple(EntryRevived(entry.sid) for entry in some)))
            self._context.egress.outbox.add(some)
        return len(dead)

    async def drop(self, entries: Sequence[OutboxEntry]) -> int:
        """Drop dead entries; returns how many were dead."""
        held = await self._context.store.entries_held([entry.sid for entry in entries])
        dead = [entry.sid for entry in entries if entry.sid in held and entry.date_died is not None]
        for start in range(0, len(dead), ENTRIES_AT_ONCE):
            some = dead[start : start + ENTRIES_AT_ONCE]
            await self._to_its_end(self._context.store.write(tuple(EntrySettled(sid) for sid in some)))
        return len(dead)

    async def explain(self, *, proxy: str, sender: str) -> Explanation:
        """Tell, as the operator, what would happen to a sender on a proxy number, and why; changes nothing."""
        return await explain(proxy, sender, directory=self._directory, coordinators=self._coordinators)


def _log_unforeseen(change: asyncio.Task[Any]) -> None:
    """Take note of how a change ended that nobody waits for any more."""
    failure = None if change.cancelled() else change.exception()
    if failure is not None and not isinstance(failure, MasklineError):
        _log.error("A change failed after its caller hung up", exc_info=failure)
