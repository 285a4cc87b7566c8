"""The participants of a service's sessions: who joins, changes, leaves, and is sent a message.

Changes of one session go one after the other, in the coordinator's turn. An endpoint that ends is withdrawn from
routing before its end is committed. Source: behaviour 3.5, 3.7.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from actors.control.allocator import Allocator, Histories, is_shared
from actors.control.histories import read_histories
from actors.control.operations import Counted
from actors.control.remote import RemoteTraffic
from actors.control.routes import Routes
from actors.kernel.context import HostContext
from actors.kernel.locks import KeyedLocks
from actors.traffic.directory import Directory
from engine.core.model.changes import ParticipantAdded, ParticipantChanged, ParticipantRemoved
from engine.core.model.errors import ApiError, Code, not_found
from engine.core.model.records import Interaction, Participant, Service, Session
from engine.core.model.requests import ParticipantRequest, ParticipantUpdate
from engine.core.pools.allocation import request_after
from engine.core.ports.observing import SessionOperation
from engine.core.sessions.bindings import ActiveSession, Endpoint, endpoint_of


class Sessions(Protocol):
    """The sessions of a coordinator, as their participants' keeper sees them."""

    @property
    def service(self) -> Service:
        """The service as it is now."""

    def check_present(self) -> None:
        """Refuse with NOT_FOUND what concerns an erased service."""

    async def session(self, session_sid: str) -> Session:
        """Return a session; ApiError NOT_FOUND or UNAUTHORIZED_OPERATION."""

    async def unexpired(self, session_sid: str) -> Session:
        """Return a session as it is now: one past its end is closed first."""

    def active_session(self, session_sid: str) -> ActiveSession | None:
        """Return what routes of a session, if it is active."""


class Participation:
    """Who takes part in the sessions of one service."""

    def __init__(
        self,
        context: HostContext,
        sessions: Sessions,
        allocator: Allocator,
        locks: KeyedLocks,
        *,
        directory: Directory,
        routes: Routes,
        remote: RemoteTraffic,
    ) -> None:
        """Keep the participants of sessions; `locks` puts the changes of one session in order."""
        self._context = context
        self._sessions = sessions
        self._allocator = allocator
        self._locks = locks
        self._directory = directory
        self._routes = routes
        self._remote = remote

    @Counted(SessionOperation.ADD_PARTICIPANT)
    async def add(self, session_sid: str, request: ParticipantRequest) -> Participant:
        """Add a participant to an active session."""
        async with self._locks.hold(session_sid):
            session = await self._sessions.unexpired(session_sid)
            present = await self._context.store.participants(session_sid)
            histories = await self._histories(request)
            self._sessions.check_present()
            active = self._sessions.active_session(session_sid)
            if active is None:
                raise session_closed()
            (participant,) = self._allocator.join(session, (request,), present, histories=histories)
            endpoint = endpoint_of(participant)
            is_new_proxy = endpoint.proxy not in active.proxies()
            self._allocator.add(participant.identifier, participant.proxy_identifier, is_new_use=is_new_proxy)
            try:
                await self._context.store.write((ParticipantAdded(participant),))
            except BaseException:
                self._allocator.remove(participant.identifier, endpoint.proxy, is_last_use=is_new_proxy)
                raise
            await self._routes.publish_endpoint(active, endpoint)
            return participant

    async def get(self, session_sid: str, participant_sid: str) -> Participant:
        """Return a participant of a session, a removed one too; NOT_FOUND."""
        await self._sessions.session(session_sid)
        present = await self._context.store.participants(session_sid)
        return self._one_of(present, session_sid, participant_sid)

    def _one_of(self, present: Sequence[Participant], session_sid: str, participant_sid: str) -> Participant:
        for participant in present:
            if participant.sid == participant_sid:
                return participant
        raise self._not_found(session_sid, participant_sid)

    @Counted(SessionOperation.REMOVE_PARTICIPANT)
    async def remove(self, session_sid: str, participant_sid: str) -> None:
        """Remove a participant; removing one again is NOT_FOUND."""
        async with self._locks.hold(session_sid):
            participant = await self.get(session_sid, participant_sid)
            if participant.date_deleted is not None:
                raise self._not_found(session_sid, participant_sid)
            active = self._sessions.active_session(session_sid)
            endpoint = None
            if active is not None:
                endpoint = next(
                    endpoint for endpoint in active.endpoints if endpoint.participant_sid == participant_sid
                )
                await self._routes.withdraw_endpoint(active, endpoint)
            try:
                change = ParticipantRemoved(participant_sid, session_sid, self._context.clock())
                await self._context.store.write((change,))
            except BaseException:
                if active is not None and endpoint is not None:
                    await self._routes.publish_endpoint(active, endpoint)
                raise
            if active is not None and endpoint is not None:
                self._allocator.remove(
                    endpoint.identifier, endpoint.proxy, is_last_use=endpoint.proxy not in active.proxies()
                )
            forget_expired(self._routes, participant)

    @Counted(SessionOperation.UPDATE_PARTICIPANT)
    async def update(self, session_sid: str, participant_sid: str, update: ParticipantUpdate) -> Participant:
        """Change a participant of an active session, where the service lets it; their bindings change with them."""
        if not self._sessions.service.options.participants_may_change:
            raise ApiError(Code.METHOD_NOT_ALLOWED, "The service does not let participants be changed")
        async with self._locks.hold(session_sid):
            session = await self._sessions.unexpired(session_sid)
            present = await self._context.store.participants(session_sid)
            before = self._one_of(present, session_sid, participant_sid)
            if self._sessions.active_session(session_sid) is None:
                raise session_closed()
            if before.date_deleted is not None:
                raise self._not_found(session_sid, participant_sid)
            request = request_after(before, update)
            if self._allocator.keeps_binding(before, request):
                return await self._rename(before, request)
            histories = await self._histories(request)
            self._sessions.check_present()
            active = self._sessions.active_session(session_sid)
            if active is None:
                raise session_closed()
            endpoint = next(endpoint for endpoint in active.endpoints if endpoint.participant_sid == participant_sid)
            with self._unreserved(active, endpoint):
                others = tuple(one for one in present if one is not before)
                (joined,) = self._allocator.join(session, (request,), others, histories=histories)
            after = msgspec.structs.replace(
                joined, sid=before.sid, date_created=before.date_created, date_updated=self._context.clock()
            )
            await self._replace_endpoint(active, endpoint, after)
            return after

    async def _histories(self, request: ParticipantRequest) -> Histories:
        return await read_histories(self._context.store, self._sessions.service.sid, self._allocator, (request,))

    @contextmanager
    def _unreserved(self, active: ActiveSession, endpoint: Endpoint) -> Iterator[None]:
        """Let a choice not see the binding that it may replace, for the length of a block in one turn."""
        is_only_use = not is_shared(active, endpoint)
        self._allocator.remove(endpoint.identifier, endpoint.proxy, is_last_use=is_only_use)
        try:
            yield
        finally:
            self._allocator.add(endpoint.identifier, endpoint.proxy, is_new_use=is_only_use)

    async def _rename(self, before: Participant, request: ParticipantRequest) -> Participant:
        """Commit what of a participant concerns nobody's routing."""
        after = msgspec.structs.replace(before, friendly_name=request.friendly_name, date_updated=self._context.clock())
        await self._context.write((ParticipantChanged(after),))
        return after

    async def _replace_endpoint(self, active: ActiveSession, old: Endpoint, after: Participant) -> None:
        """Reserve the new binding, withdraw the old endpoint, commit, publish the new one.

        The old binding is given up once the commit is there; if that fails it routes again.
        """
        new = endpoint_of(after)
        self._allocator.add(new.identifier, new.proxy, is_new_use=new.proxy not in active.proxies())
        try:
            await self._routes.withdraw_endpoint(active, old)
            await self._context.write((ParticipantChanged(after),))
        except BaseException:
            self._allocator.remove(
                new.identifier, new.proxy, is_last_use=new.proxy not in {*active.proxies(), old.proxy}
            )
            await self._routes.publish_endpoint(active, old)
            raise
        self._allocator.remove(old.identifier, old.proxy, is_last_use=old.proxy not in {*active.proxies(), new.proxy})
        await self._routes.publish_endpoint(active, new)

    @Counted(SessionOperation.SEND_MESSAGE)
    async def send_message(
        self, session_sid: str, participant_sid: str, *, body: str, media: tuple[str, ...]
    ) -> Interaction:
        """Record a message to a participant, from their own proxy number; egress will take it from the queue."""
        await self.get(session_sid, participant_sid)
        active = self._sessions.active_session(session_sid)
        if active is None or not active.is_bound or active.is_expired(self._context.clock()):
            raise session_closed()  # one that is unbound is being closed or erased
        if active.mode_rules.message is not None:
            raise ApiError(Code.IDENTIFIER_TYPE_UNSUPPORTED, f"A {active.mode} session carries no messages")
        endpoint = next(
            (endpoint for endpoint in active.endpoints if endpoint.participant_sid == participant_sid), None
        )
        if endpoint is None:
            raise self._not_found(session_sid, participant_sid)
        if not self._routes.is_here(endpoint.proxy):
            return await self._remote.push(endpoint, session_sid, body=body, media=media)
        actor = self._directory.find(endpoint.proxy)
        if actor is None:
            raise self._not_found(session_sid, participant_sid)
        return await actor.push(active, endpoint, body=body, media=media)

    def _not_found(self, session_sid: str, participant_sid: str) -> ApiError:
        return not_found(
            f"/Services/{self._sessions.service.sid}/Sessions/{session_sid}/Participants/{participant_sid}"
        )


def forget_expired(routes: Routes, participant: Participant) -> None:
    """Let the number of a participant who is gone forget a session of theirs that had expired."""
    routes.forget_expired(participant.session_sid, participant.identifier, participant.proxy_identifier)


def session_closed() -> ApiError:
    """Return the refusal of what asks for an active session."""
    return ApiError(Code.SESSION_CLOSED, "The session is closed; Status=in-progress re-opens it")
