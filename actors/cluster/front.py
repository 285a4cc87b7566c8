"""The control plane of a cluster, the same on every host: finds the host that a request concerns and has it answer.

A service and all its sessions are one host's; what concerns the registry is decided on any. Lists that lie on several
hosts are gathered and stay in order. A host that does not answer makes the request fail with PeerUnavailable.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from actors.cluster.mesh import Mesh
from actors.control.control import Control
from actors.control.coordinator import not_in_this_service
from actors.control.routes import Place
from actors.kernel.gathering import gather_available
from actors.kernel.paging import merged
from engine.core.model.errors import ApiError, Code, PeerUnavailable
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Account,
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
from engine.core.numbers.e164 import canonical
from engine.core.ports.operations import (
    AccountHoldings,
    AlertFilter,
    Explanation,
    OutboxFilter,
    Page,
    PageCursor,
    PoolEntry,
)
from engine.core.sessions.batch import BatchItem, ItemRefused, ItemResult

P = ParamSpec("P")
R = TypeVar("R")

Method = Callable[Concatenate[Control, P], Coroutine[Any, Any, R]]


BATCH_CHUNK = 500
"""Items of a batch in one message: a few milliseconds to read, and as long to answer."""


_NOT_KNOWN = ItemRefused(
    code=Code.UNAVAILABLE,
    message="A host did not answer, and may have carried the item out; send it again, with the same IdempotencyKey",
    http_status=503,
)


class Front:
    """Implements the port `ControlPlane` over the hosts of a cluster."""

    def __init__(self, control: Control, mesh: Mesh, place: Place) -> None:
        """Answer from `control` what is this host's, and ask others through a mesh."""
        self._control = control
        self._mesh = mesh
        self._place = place

    # -- the registry, which every host holds --------------------------------------------------------------------

    def authenticate(self, username: str, password: str) -> Account | None:
        """Check account SID and token, or API key and secret, in constant time."""
        return self._control.authenticate(username, password)

    async def create_account(self, settings: AccountUpdate) -> Account:
        """Make an account with a fresh token."""
        return await self._control.create_account(settings)

    async def update_account(self, account_sid: str, settings: AccountUpdate) -> Account:
        """Change an account's settings."""
        return await self._control.update_account(account_sid, settings)

    def knows(self, username: str, digest: bytes) -> Account | None:
        """Check as `authenticate`, the SHA-256 of the password instead of it."""
        return self._control.knows(username, digest)

    async def rotate_token(self, account_sid: str, rotation: TokenRotation) -> Account:
        """Give an account a fresh token; CONFLICT while two are good already, unless the rotation says otherwise."""
        return await self._control.rotate_token(account_sid, rotation)

    async def end_previous_token(self, account_sid: str) -> Account:
        """Let only the newest token of an account be good from now on."""
        return await self._control.end_previous_token(account_sid)

    async def enable_account(self, account_sid: str, *, is_enabled: bool) -> Account:
        """Disable an account, or let it do what it did before."""
        return await self._control.enable_account(account_sid, is_enabled=is_enabled)

    def account_holdings(self, account_sid: str) -> AccountHoldings:
        """Tell what an account has."""
        return self._control.account_holdings(account_sid)

    async def delete_account(self, account_sid: str) -> None:
        """Erase an account; CONFLICT unless it is disabled and has neither services nor numbers."""
        await self._control.delete_account(account_sid)

    def account(self, account_sid: str) -> Account:
        """Read one account."""
        return self._control.account(account_sid)

    def accounts(self) -> tuple[Account, ...]:
        """Read all accounts, oldest first."""
        return self._control.accounts()

    async def create_api_key(self, account_sid: str, friendly_name: str) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is nowhere kept."""
        return await self._control.create_api_key(account_sid, friendly_name)

    def api_keys(self, account_sid: str) -> tuple[ApiKey, ...]:
        """Read the keys of an account, oldest first."""
        return self._control.api_keys(account_sid)

    async def revoke_api_key(self, key_sid: str) -> ApiKey:
        """End a key at once."""
        return await self._control.revoke_api_key(key_sid)

    async def own_number(self, account_sid: str, request: NumberRequest) -> ProxyNumber:
        """Make the account own a number."""
        return await self._control.own_number(account_sid, request)

    async def own_numbers(
        self, account_sid: str, requests: Sequence[NumberRequest]
    ) -> tuple[ProxyNumber | Exception, ...]:
        """Own many at once in one commit: a number or the ApiError of each request, in order."""
        return await self._control.own_numbers(account_sid, requests)

    def owned_number(self, account_sid: str, number_sid: str) -> ProxyNumber:
        """Read an owned number."""
        return self._control.owned_number(account_sid, number_sid)

    def numbers_of(self, account_sid: str | None) -> tuple[ProxyNumber, ...]:
        """Return, for the operator, all that an account owns (None = all accounts), short codes too; in no order."""
        return self._control.numbers_of(account_sid)

    def owned_numbers_page(self, account_sid: str, cursor: PageCursor, wanted: NumberFilter) -> Page[ProxyNumber]:
        """List owned phone numbers, newest first."""
        return self._control.owned_numbers_page(account_sid, cursor, wanted)

    async def update_owned_number(self, account_sid: str, number_sid: str, request: NumberUpdate) -> ProxyNumber:
        """Rename a number or correct its capabilities."""
        return await self._control.update_owned_number(account_sid, number_sid, request)

    async def release_number(self, account_sid: str, number_sid: str) -> None:
        """Stop owning a number; refused with CONFLICT while it is in a pool."""
        await self._control.release_number(account_sid, number_sid)

    async def create_service(self, account_sid: str, request: ServiceRequest) -> Service:
        """Make a service."""
        return await self._control.create_service(account_sid, request)

    def service(self, account_sid: str, sid_or_name: str) -> Service:
        """Read a service by SID or unique name."""
        return self._control.service(account_sid, sid_or_name)

    def services_page(self, account_sid: str, cursor: PageCursor) -> Page[Service]:
        """List services, newest first."""
        return self._control.services_page(account_sid, cursor)

    # -- a service, which is one host's --------------------------------------------------------------------------

    async def update_service(self, account_sid: str, service_sid: str, request: ServiceRequest) -> Service:
        """Change a service."""
        return await self._at(service_sid, Control.update_service, account_sid, service_sid, request)

    async def delete_service(self, account_sid: str, service_sid: str) -> None:
        """Erase a service and all in it."""
        await self._at(service_sid, Control.delete_service, account_sid, service_sid)

    async def add_to_pool(
        self, account_sid: str, service_sid: str, *, number_sid: str | None, address: str | None, is_reserved: bool
    ) -> PoolEntry:
        """Put an owned number into the pool, named by SID or by address."""
        return await self._at(
            service_sid,
            Control.add_to_pool,
            account_sid,
            service_sid,
            number_sid=number_sid,
            address=address,
            is_reserved=is_reserved,
        )

    async def pool_entry(self, account_sid: str, service_sid: str, number_sid: str) -> PoolEntry:
        """Read a pool entry."""
        return await self._at(service_sid, Control.pool_entry, account_sid, service_sid, number_sid)

    async def pool_page(
        self, account_sid: str, service_sid: str, cursor: PageCursor, *, short_codes: bool
    ) -> Page[PoolEntry]:
        """List phone numbers or short codes of the pool, newest first."""
        return await self._at(service_sid, Control.pool_page, account_sid, service_sid, cursor, short_codes=short_codes)

    async def reserve(
        self, account_sid: str, service_sid: str, number_sid: str, *, is_reserved: bool | None
    ) -> PoolEntry:
        """Reserve or free a pool entry; None leaves it."""
        return await self._at(
            service_sid, Control.reserve, account_sid, service_sid, number_sid, is_reserved=is_reserved
        )

    async def remove_from_pool(self, account_sid: str, service_sid: str, number_sid: str) -> None:
        """Take a number out of the pool."""
        await self._at(service_sid, Control.remove_from_pool, account_sid, service_sid, number_sid)

    async def create_session(self, account_sid: str, service_sid: str, request: SessionRequest) -> Session:
        """Make a session with its participants."""
        return await self._at(service_sid, Control.create_session, account_sid, service_sid, request)

    async def batch_sessions(
        self, account_sid: str, service_sid: str, items: Sequence[BatchItem]
    ) -> tuple[ItemResult, ...]:
        """Carry out many changes of sessions, so many in a message; what a silent host has done is not known."""
        if self._place(service_sid) == self._mesh.me:
            return await self._control.batch_sessions(account_sid, service_sid, items)
        results: list[ItemResult] = []
        for start in range(0, max(len(items), 1), BATCH_CHUNK):
            some = tuple(items[start : start + BATCH_CHUNK])
            try:
                results += await self._at(service_sid, Control.batch_sessions, account_sid, service_sid, some)
            except PeerUnavailable:
                results += [_NOT_KNOWN] * (len(items) - start)
                break
        return tuple(results)

    async def session(self, account_sid: str, service_sid: str, sid_or_name: str) -> Session:
        """Read a session by SID or unique name."""
        return await self._of_session(Control.session, account_sid, service_sid, sid_or_name)

    async def sessions_page(self, account_sid: str, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """List sessions, newest first."""
        return await self._at(service_sid, Control.sessions_page, account_sid, service_sid, cursor)

    async def update_session(
        self, account_sid: str, service_sid: str, session_sid: str, update: SessionUpdate
    ) -> Session:
        """Change, close or re-open a session."""
        return await self._of_session(Control.update_session, account_sid, service_sid, session_sid, update)

    async def delete_session(self, account_sid: str, service_sid: str, session_sid: str) -> None:
        """Erase a session."""
        await self._of_session(Control.delete_session, account_sid, service_sid, session_sid)

    async def add_participant(
        self, account_sid: str, service_sid: str, session_sid: str, request: ParticipantRequest
    ) -> Participant:
        """Add a participant to a session."""
        return await self._of_session(Control.add_participant, account_sid, service_sid, session_sid, request)

    async def participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> Participant:
        """Read a participant."""
        return await self._of_session(Control.participant, account_sid, service_sid, session_sid, participant_sid)

    async def participants_page(
        self, account_sid: str, service_sid: str, session_sid: str, cursor: PageCursor
    ) -> Page[Participant]:
        """List participants."""
        return await self._of_session(Control.participants_page, account_sid, service_sid, session_sid, cursor)

    async def update_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str, *, update: ParticipantUpdate
    ) -> Participant:
        """Change a participant; METHOD_NOT_ALLOWED unless the service lets it."""
        return await self._of_session(
            Control.update_participant,
            account_sid,
            service_sid,
            session_sid,
            participant_sid,
            update=update,
        )

    async def remove_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> None:
        """Remove a participant; its row stays with the session."""
        await self._of_session(Control.remove_participant, account_sid, service_sid, session_sid, participant_sid)

    async def interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> Interaction:
        """Read an interaction."""
        return await self._of_session(Control.interaction, account_sid, service_sid, session_sid, interaction_sid)

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
        return await self._of_session(
            Control.interactions_page,
            account_sid,
            service_sid,
            session_sid,
            cursor,
            participant_sid=participant_sid,
        )

    async def delete_interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> None:
        """Erase an interaction."""
        await self._of_session(Control.delete_interaction, account_sid, service_sid, session_sid, interaction_sid)

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
        """Push a text to a participant from their own proxy number."""
        return await self._of_session(
            Control.send_message,
            account_sid,
            service_sid,
            session_sid,
            participant_sid,
            body=body,
            media=media,
        )

    async def explain(self, *, proxy: str, sender: str) -> Explanation:
        """Tell, as the operator, what would happen to a sender on a proxy number, and why."""
        return await self._at(canonical(proxy), Control.explain, proxy=proxy, sender=sender)

    # -- what lies on every host ---------------------------------------------------------------------------------

    async def find_session(self, session_sid: str) -> tuple[Session, tuple[Participant, ...]]:
        """Read any account's session with all its participants, as the operator."""
        return await self._found(Control.find_session, session_sid)

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""
        pages = await self._pages(cursor, Control.alerts_page, account_sid, wanted, cursor)
        return merged(pages, cursor, is_newest_first=True)

    async def alert(self, account_sid: str | None, event_sid: str) -> DebuggerEvent:
        """Read a debugger event of an account (None = of any)."""
        return await self._found(Control.alert, account_sid, event_sid)

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List, as the operator, the outbox, oldest first."""
        pages = await self._pages(cursor, Control.outbox_page, wanted, cursor)
        return merged(pages, cursor, is_newest_first=False)

    async def replay(self, entries: Sequence[OutboxEntry]) -> int:
        """Have dead entries tried again, from the first attempt; returns how many were dead."""
        return sum(await self._everywhere(Control.replay, tuple(entries)))

    async def drop(self, entries: Sequence[OutboxEntry]) -> int:
        """Drop dead entries; returns how many were dead."""
        return sum(await self._everywhere(Control.drop, tuple(entries)))

    # -- asking --------------------------------------------------------------------------------------------------

    async def _at(self, key: str, method: Method[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        host = self._place(key)
        if host == self._mesh.me:
            return await method(self._control, *args, **kwargs)
        return await self._mesh.ask(host, method, *args, **kwargs)

    async def _of_session(
        self,
        method: Callable[Concatenate[Control, str, str, str, P], Coroutine[Any, Any, R]],
        account_sid: str,
        service_sid: str,
        session_sid: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Ask the host of a service about one of its sessions; UNAUTHORIZED_OPERATION for one of a sister service."""
        try:
            return await self._at(service_sid, method, account_sid, service_sid, session_sid, *args, **kwargs)
        except ApiError as refusal:
            if refusal.code is not Code.NOT_FOUND or not is_sid(session_sid, SidKind.SESSION):
                raise
            await self._check_sister(account_sid, service_sid, session_sid)
            raise

    async def _check_sister(self, account_sid: str, service_sid: str, session_sid: str) -> None:
        try:
            session, _ = await self._found(Control.find_session, session_sid)
        except ApiError:
            return
        if session.account_sid == account_sid and session.service_sid != service_sid:
            self._control.service(account_sid, service_sid)
            raise not_in_this_service(session_sid, service_sid)

    async def _everywhere(self, method: Method[P, R], *args: P.args, **kwargs: P.kwargs) -> list[R]:
        others = (self._mesh.ask(host, method, *args, **kwargs) for host in self._mesh.others)
        return list(await asyncio.gather(method(self._control, *args, **kwargs), *others))

    async def _pages(
        self, cursor: PageCursor, method: Method[P, Page[R]], *args: P.args, **kwargs: P.kwargs
    ) -> list[Page[R]]:
        """Read a page on every host; one that is silent has an empty one where a part is enough."""
        if not cursor.is_part_enough:
            return await self._everywhere(method, *args, **kwargs)
        own = await method(self._control, *args, **kwargs)
        others = {host: self._mesh.ask(host, method, *args, **kwargs) for host in self._mesh.others}
        pages, silent = await gather_available(others)
        return [own, *pages, Page((), has_next=False, has_previous=False, silent=silent)]

    async def _found(self, method: Method[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what one of the hosts has.

        ApiError NOT_FOUND when none does, PeerUnavailable when one that may does not answer.
        """
        refusal: ApiError | PeerUnavailable
        try:
            return await method(self._control, *args, **kwargs)
        except ApiError as problem:
            refusal = problem
        for host in self._mesh.others:
            try:
                return await self._mesh.ask(host, method, *args, **kwargs)
            except ApiError as problem:
                if problem.code is not Code.NOT_FOUND:
                    raise
            except PeerUnavailable as problem:
                refusal = problem
        raise refusal
