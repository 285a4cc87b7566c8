"""The coordinator of one service: allocates proxy numbers, enforces the conflict rules, changes all bindings.

It reads first, decides in one turn, reserves what it decided in the same turn, commits, publishes the bindings and
only then answers; what a read may have outlasted is checked after it. A session that ends is withdrawn from routing
before its end is committed: if in doubt, do not route. Changes of one session go one after the other. Source:
behaviour 3 to 8.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from msgspec import UNSET

from actors.control.allocator import Allocator, Histories
from actors.control.erasures import Erasures
from actors.control.histories import InTurn, read_histories
from actors.control.operations import Counted, update_asked
from actors.control.participation import Participation, forget_expired
from actors.control.remote import RemoteTraffic
from actors.control.routes import Routes
from actors.kernel.context import HostContext
from actors.kernel.locks import KeyedLocks
from actors.kernel.registry import Registry
from actors.traffic.coordinators import Expiry
from actors.traffic.directory import Directory
from actors.traffic.outbox_entries import hang_up
from engine.core.model.changes import (
    BatchKeyUsed,
    Change,
    InteractionErased,
    ServiceErased,
    SessionChanged,
    SessionCreated,
    SessionErased,
)
from engine.core.model.errors import ApiError, Code, StoreUnavailable, not_found
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Account,
    Address,
    ClosedReason,
    Interaction,
    Participant,
    ProxyNumber,
    Service,
    Session,
    SessionStatus,
)
from engine.core.model.requests import SessionRequest, SessionUpdate
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.e164 import mask_address
from engine.core.pools.allocation import not_in_service
from engine.core.pools.pool import PoolState
from engine.core.ports.observing import OperationEnd, SessionOperation
from engine.core.routing.legs import was_answered
from engine.core.sessions.batch import ItemKey
from engine.core.sessions.bindings import ActiveSession, active_session
from engine.core.sessions.expiry import expiry_reason
from engine.core.sessions.lifecycle import closing, new_session, plan_update, session_after

EXPIRY_RETRY_SECONDS = 1.0
"""How long an expired session waits for the store that could not close it."""


class ServiceCoordinator:
    """One service with its pool, its sessions and its bindings."""

    def __init__(
        self,
        service: Service,
        *,
        context: HostContext,
        registry: Registry,
        owns: Callable[[str], bool],
        directory: Directory,
        routes: Routes,
        remote: RemoteTraffic,
        erasures: Erasures,
        watch: Callable[[ActiveSession, float | None], None],
        unwatch: Callable[[ActiveSession], None],
        calls_of: Callable[[str], Awaitable[Iterable[Interaction]]],
    ) -> None:
        """Coordinate a service.

        `watch` puts a session into the expiry sweep, to be looked at at its end or then, `unwatch` takes it out;
        `calls_of` returns the open calls of a session.
        """
        self.service = service
        self.is_erased = False
        self._context = context
        self._registry = registry
        self._directory = directory
        self._routes = routes
        self._remote = remote
        self._erasures = erasures
        self._watch = watch
        self._unwatch = unwatch
        self._calls_of = calls_of
        self._allocator = Allocator(context, service=lambda: self.service, account=self._account, owns=owns)
        self._active: dict[str, ActiveSession] = {}
        self._locks = KeyedLocks()
        self._names = KeyedLocks()
        self._in_turn = InTurn()
        self.participation = Participation(
            context, self, self._allocator, self._locks, directory=directory, routes=routes, remote=remote
        )

    # -- the service and its pool --------------------------------------------------------------------------------

    async def erase(self) -> None:
        """Erase the service with all its sessions; its numbers leave the pool."""
        self.check_present()
        self.is_erased = True
        await self._routes.withdraw(*self._active.values())
        try:
            await self._registry.write(ServiceErased(self.service.sid, self._context.clock()))
        except BaseException:
            self.is_erased = False
            await self._routes.publish(*self._active.values())
            for session in self._active.values():
                self._watch(session, None)  # the sweep passes over what does not route
            raise
        for session in self._active.values():
            self._unwatch(session)
        self._active.clear()

    def check_room(self, *, is_reserved: bool, number_sid: str) -> None:
        """Refuse one more reserved (or unreserved) number with POOL_FULL; warn with 80624 when room gets short."""
        self.check_present()
        if self._allocator.pool.check_room(is_reserved=is_reserved):
            self._notify(Code.POOL_NEARLY_FULL, "The pool is at 85 % of its limit", resource_sid=number_sid)

    def number_joined(self, number: ProxyNumber) -> None:
        """Let a pooled number be selected, or take over its changed record."""
        if self.is_erased:
            return
        if self._allocator.pool.get_by_sid(number.sid) is None:
            self._allocator.pool.add(number)
        else:
            self._allocator.pool.replace(number)

    def number_left(self, number_sid: str) -> None:
        """Let a number that is out of the pool be selected no more."""
        if self._allocator.pool.get_by_sid(number_sid) is not None:
            self._allocator.pool.remove(number_sid)

    def number_leaves(self, number: ProxyNumber) -> None:
        """Let a number be selected no more, and not route; NUMBER_IN_ACTIVE_SESSIONS while it is in use."""
        in_use = self._allocator.pool.in_use(number.address)
        if in_use:
            problem = f"{mask_address(number.address)} is used by {in_use} active sessions; reserve it and let them end"
            raise ApiError(Code.NUMBER_IN_ACTIVE_SESSIONS, problem)
        self._allocator.pool.remove(number.sid)
        self._directory.close(number.address)

    def number_stays(self, number: ProxyNumber) -> None:
        """Undo `number_leaves`."""
        self.number_joined(number)
        self._directory.open(number)

    def pool_number(self, number_sid: str) -> ProxyNumber:
        """Return a number of the pool; ApiError NOT_FOUND."""
        number = None if self.is_erased else self._allocator.pool.get_by_sid(number_sid)
        if number is None:
            raise not_found(
                f"{self._path}/{'ShortCodes' if number_sid.startswith('SC') else 'PhoneNumbers'}/{number_sid}"
            )
        return number

    def number_at(self, address: Address) -> ProxyNumber:
        """Return a number of the pool by its address; ApiError PROXY_IDENTIFIER_NOT_IN_SERVICE."""
        number = self._allocator.pool.get(address)
        if number is None:
            raise not_in_service(address)
        return number

    def pool_numbers(self) -> Iterable[ProxyNumber]:
        """Walk the pool."""
        return self._allocator.pool

    def in_use(self, number: ProxyNumber) -> int:
        """Count the active sessions that use a number; one whose participants share it counts once."""
        return self._allocator.pool.in_use(number.address)

    @property
    def active_sessions(self) -> int:
        """Count the sessions that route."""
        return len(self._active)

    @property
    def busiest(self) -> Address | None:
        """Who has the most numbers of the pool."""
        return self._allocator.busiest

    @property
    def idle_numbers(self) -> tuple[ProxyNumber, ...]:
        """The numbers of the pool that no active session uses."""
        return self._allocator.pool.idle()

    @property
    def pool_state(self) -> PoolState:
        """How full the pool is."""
        return self._allocator.pool_state

    # -- sessions ------------------------------------------------------------------------------------------------

    def reload(self, sessions: Sequence[ActiveSession]) -> None:
        """Take up active sessions that the store holds, in the order of activation."""
        self._allocator.reload(sessions)
        self._routes.restore(sessions)
        for session in sessions:
            self._active[session.sid] = session
            self._watch(session, None)

    def reloaded(self) -> None:
        """Note that all sessions that the store holds are taken up."""
        self._allocator.reloaded()

    async def create_session(self, request: SessionRequest) -> Session:
        """Make a session with its participants, all or nothing."""
        session, _ = await self.create_with_participants(request)
        return session

    @Counted(SessionOperation.CREATE)
    async def create_with_participants(
        self, request: SessionRequest, *, key: ItemKey | None = None
    ) -> tuple[Session, tuple[Participant, ...]]:
        """Make a session, as `create_session`, and return its participants too; `key` is committed with it."""
        self.check_present()
        session = new_session(
            request,
            sid=self._context.id_factory(SidKind.SESSION),
            service_sid=self.service.sid,
            account_sid=self.service.account_sid,
            default_ttl_seconds=self.service.default_ttl_seconds,
            now=self._context.clock(),
        )
        beside = self._used(key, session.sid)
        if session.unique_name is None:
            participants = await self._create(session, request, beside)
        else:
            async with self._names.hold(session.unique_name):
                participants = await self._create(session, request, beside)
        if session.is_active:
            await self._activate(session, participants)
        return session, participants

    async def _create(
        self, session: Session, request: SessionRequest, beside: tuple[Change, ...]
    ) -> tuple[Participant, ...]:
        """Give a session's participants their numbers, and commit it."""
        histories = await self._in_turn.read(self._read_for(session, request))
        self.check_present()
        is_strict = request.fail_on_participant_conflict
        participants = self._allocator.join(session, request.participants, histories=histories, asks_strict=is_strict)
        self._allocator.reserve(participants if session.is_active else ())
        try:
            await self._context.store.write((SessionCreated(session, participants), *beside))
        except BaseException:
            self._allocator.release(participants if session.is_active else ())
            raise
        return participants

    async def _read_for(self, session: Session, request: SessionRequest) -> Histories:
        """Read what has to be known before numbers are chosen; raises ApiError where the name is taken."""
        if session.unique_name is not None:
            await self._check_name_is_free(session.unique_name)
        return await read_histories(self._context.store, self.service.sid, self._allocator, request.participants)

    def _used(self, key: ItemKey | None, session_sid: str) -> tuple[Change, ...]:
        if key is None:
            return ()
        return (BatchKeyUsed(self.service.sid, key, session_sid, self._context.clock()),)

    async def session(self, session_sid: str) -> Session:
        """Return a session of this service; NOT_FOUND, or UNAUTHORIZED_OPERATION for one of a sister service."""
        session = await self._context.store.session(session_sid) if is_sid(session_sid, SidKind.SESSION) else None
        if session is None or self.is_erased or session.account_sid != self.service.account_sid:
            raise not_found(f"{self._path}/Sessions/{session_sid}")
        if session.service_sid != self.service.sid:
            raise not_in_this_service(session_sid, self.service.sid)
        return session

    async def session_sid(self, sid_or_name: str) -> str:
        """Return the SID that a SID or a unique name stands for; SESSION_NAME_NOT_FOUND."""
        if is_sid(sid_or_name, SidKind.SESSION):
            return sid_or_name
        session_sid = await self._context.store.session_sid_by_name(self.service.sid, sid_or_name)
        if session_sid is None:
            raise ApiError(Code.SESSION_NAME_NOT_FOUND, "The service has no session with this unique name")
        return session_sid

    async def _saved(self, session_sid: str) -> Session:
        """Return a session as it was just committed, unless the service was erased since."""
        session = await self._context.store.session(session_sid)
        if session is None:
            raise not_found(f"{self._path}/Sessions/{session_sid}")
        return session

    @Counted(update_asked)
    async def update_session(self, session_sid: str, update: SessionUpdate, *, key: ItemKey | None = None) -> Session:
        """Change, close or re-open a session; `key` is committed with it, also when nothing changes."""
        async with self._locks.hold(session_sid):
            session = await self.unexpired(session_sid)
            plan = plan_update(session, update, now=self._context.clock())
            beside = self._used(key, session_sid)
            if plan.change is None:
                if beside:
                    await self._context.store.write(beside)
                return session
            if plan.reopens:
                is_strict = self._allocator.is_strict(asked=update.fail_on_participant_conflict is True)
                await self._reopen(session, plan.change, beside, is_strict=is_strict)
            elif plan.closes:
                await self._end(session_sid, plan.change, beside)
            else:
                await self._context.store.write((plan.change, *beside))
                await self._take_over(plan.change)
            return await self._saved(session_sid)

    @Counted(SessionOperation.DELETE)
    async def delete_session(self, session_sid: str) -> None:
        """Erase a session with its participants and interactions."""
        async with self._locks.hold(session_sid):
            await self.session(session_sid)
            await self._erase_session(session_sid)

    async def erase_if_closed(self, session_sid: str, *, before: float) -> bool:
        """Erase a session that is still closed and was so before a time; tell whether it was."""
        async with self._locks.hold(session_sid):
            session = await self._context.store.session(session_sid)
            if session is None or session.is_active or session.date_ended is None or session.date_ended >= before:
                return False
            await self._erase_session(session_sid)
            return True

    async def close_after_call(self, interaction: Interaction) -> None:
        """Close the session of a call that was answered and has ended (an extension)."""
        if not was_answered(interaction) or interaction.session_sid not in self._active:
            return
        with suppress(ApiError):  # it was closed or erased meanwhile
            await self.update_session(interaction.session_sid, SessionUpdate(status=SessionStatus.CLOSED))

    async def expire(self, active: ActiveSession) -> Expiry:
        """Close a session whose end has come; a store that cannot is asked again later."""
        async with self._locks.hold(active.sid):
            try:
                return await self._close_expired(active)
            except StoreUnavailable:
                self._context.observer.operated(SessionOperation.EXPIRE, OperationEnd.UNAVAILABLE)
                self._watch(active, self._context.clock() + EXPIRY_RETRY_SECONDS)
                return Expiry.OVER
            finally:
                active.is_ending = False

    def sessions(self) -> Iterable[ActiveSession]:
        """Walk the active sessions."""
        return self._active.values()

    def active_session(self, session_sid: str) -> ActiveSession | None:
        """Return what routes of a session, if it is active."""
        return self._active.get(session_sid)

    # -- interactions ---------------------------------------------------------------------------

    async def interaction(self, session_sid: str, interaction_sid: str) -> Interaction:
        """Return an interaction of a session; NOT_FOUND."""
        await self.session(session_sid)
        interaction: Interaction | None = None
        if is_sid(interaction_sid, SidKind.INTERACTION):
            interaction = await self._context.store.interaction(interaction_sid)
            if interaction is None:
                interaction = await self._remote.interaction(interaction_sid)
        if interaction is None or interaction.session_sid != session_sid:
            raise not_found(f"{self._path}/Sessions/{session_sid}/Interactions/{interaction_sid}")
        return interaction

    async def delete_interaction(self, session_sid: str, interaction_sid: str) -> None:
        """Erase an interaction."""
        await self.interaction(session_sid, interaction_sid)
        await self._remote.erase_interaction(interaction_sid)
        await self._context.store.write((InteractionErased(interaction_sid),))

    # -- joining, bindings and ends ---------------------------------------------------------------------------------

    async def _activate(self, session: Session, participants: tuple[Participant, ...]) -> None:
        active = active_session(session, participants)
        self._active[session.sid] = active
        self._watch(active, None)
        if not self.is_erased:
            await self._routes.publish(active)

    async def _take_over(self, change: SessionChanged) -> None:
        active = self._active.get(change.session_sid)
        if active is None:
            return
        if change.ttl_seconds is not UNSET:
            active.ttl_seconds = change.ttl_seconds
        if change.date_expiry is not UNSET:
            active.date_expiry = change.date_expiry
        self._watch(active, None)
        await self._routes.amend(active)

    async def _reopen(
        self, session: Session, change: SessionChanged, beside: tuple[Change, ...], *, is_strict: bool
    ) -> None:
        participants = await self._live(session.sid)
        self.check_present()
        self._allocator.check_return(participants, is_strict=is_strict)
        self._allocator.reserve(participants)
        try:
            await self._context.store.write((change, *beside))
        except BaseException:
            self._allocator.release(participants)
            raise
        await self._activate(session_after(session, change), participants)

    async def _end(self, session_sid: str, change: Change, beside: tuple[Change, ...] = ()) -> ActiveSession | None:
        """Stop routing a session, commit why, remove its bindings; if the commit fails it routes again."""
        active = self._active.get(session_sid)
        erasing: tuple[int, ...] = ()
        if active is not None:
            await self._routes.withdraw(active)
        try:
            hang_ups = await self._hang_ups(session_sid)
            if isinstance(change, SessionErased):
                await self._hang_up_elsewhere(active)  # while the records of its calls are there
                erasing = await self._erasures.concerned(session_sid)
            await self._context.write((change, *beside, *self._erasures.planned(session_sid, erasing)), hang_ups)
        except BaseException:
            if active is not None and not self.is_erased:
                await self._routes.publish(active)
                self._watch(active, None)
            raise
        if erasing:
            await self._erasures.erase(session_sid, erasing)
        if active is not None and self._active.pop(session_sid, None) is not None:
            await self._routes.withdraw(active)  # an erasure of the service that failed meanwhile published it again
            self._unwatch(active)
            self._allocator.release_session(active)
            if not isinstance(change, SessionErased):
                await self._hang_up_elsewhere(active)
        return active

    def _account(self) -> Account:
        return self._registry.accounts[self.service.account_sid]

    async def _hang_ups(self, session_sid: str) -> tuple[OutboxEntry, ...]:
        """Return the ends of a session's running calls, where the service wants them ended with it."""
        if not self.service.options.hangs_up_on_close:
            return ()
        calls = await self._calls_of(session_sid)
        return tuple(entry for call in calls for entry in hang_up(call, self._context))

    async def _hang_up_elsewhere(self, active: ActiveSession | None) -> None:
        if active is not None and self.service.options.hangs_up_on_close:
            await self._remote.hang_up(active.sid)

    async def _erase_session(self, session_sid: str) -> None:
        participants = await self._context.store.participants(session_sid)
        await self._end(session_sid, SessionErased(session_sid))
        for participant in participants:
            forget_expired(self._routes, participant)

    async def unexpired(self, session_sid: str) -> Session:
        """Return a session as it is now: one past its end is closed first."""
        session = await self.session(session_sid)
        active = self._active.get(session_sid)
        if active is None or not active.is_expired(self._context.clock()):
            return session
        await self._close_expired(active)
        return await self.session(session_sid)

    async def _close_expired(self, active: ActiveSession) -> Expiry:
        """Close a session if its end has come for sure; it routes nothing while that is found out.

        OVER: it is closed, here or by somebody else meanwhile, or its end has come but the clock may have jumped.
        NOT_OVER: something passed that restarted its ttl, before it was asked or on a host that had not told yet.
        UNSURE: a host did not say what passed there; it is asked again.
        """
        if self._active.get(active.sid) is not active:
            return Expiry.OVER
        if not active.is_expired(self._context.clock()):
            self._watch(active, None)
            await self._routes.amend(active)  # whoever asks has not heard of what restarted its ttl
            return Expiry.NOT_OVER
        is_certain = await self._routes.withdraw(active) or active.has_fixed_end
        now = self._context.clock()
        if not is_certain or not active.is_expired(self._context.sure_now()):
            is_over = active.is_expired(now)  # if the clock has jumped, it does not route, and is closed later
            await self._routes.publish(active)
            self._watch(active, None if is_certain else now + EXPIRY_RETRY_SECONDS)
            return Expiry.NOT_OVER if not is_over else Expiry.OVER if is_certain else Expiry.UNSURE
        reason: ClosedReason = expiry_reason(date_expiry=active.date_expiry)
        # before the commit: whoever calls meanwhile learns that it expired
        published = self._routes.publish_expired(active)
        try:
            await self._end(active.sid, closing(active.sid, reason, at=now))
        finally:
            await published
        self._context.observer.expired(self._context.clock() - (active.expires_at or now))
        return Expiry.OVER

    async def _live(self, session_sid: str) -> tuple[Participant, ...]:
        participants = await self._context.store.participants(session_sid)
        return tuple(participant for participant in participants if participant.date_deleted is None)

    async def _check_name_is_free(self, unique_name: str) -> None:
        owner = await self._context.store.session_sid_by_name(self.service.sid, unique_name)
        if owner is not None:
            raise ApiError(Code.SESSION_NAME_TAKEN, "Another session of the service has this UniqueName")

    def check_present(self) -> None:
        """Refuse with NOT_FOUND what concerns an erased service."""
        if self.is_erased:
            raise not_found(self._path)

    @property
    def _path(self) -> str:
        return f"/Services/{self.service.sid}"

    def _notify(self, code: Code, message: str, *, session_sid: str | None = None, resource_sid: str | None) -> None:
        self._context.notify(
            code,
            message,
            account_sid=self.service.account_sid,
            service_sid=self.service.sid,
            session_sid=session_sid,
            resource_sid=resource_sid,
        )


def not_in_this_service(session_sid: str, service_sid: str) -> ApiError:
    """Return the refusal of an odd mix of SIDs of one account (80610)."""
    return ApiError(Code.UNAUTHORIZED_OPERATION, f"Session {session_sid} does not belong to service {service_sid}")
