"""What this host's number actors know of sessions whose coordinators are on another host.

One replica per other host. It believes what the stream says, in order, once each; until a stream is complete the
numbers concerned are "not ready", and so they are when the other host has not been heard of for the length of a lease.
Times are kept here by this host's clock, told and reported by the coordinators': `offset` lies between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

import msgspec

from actors.cluster.offset import is_apart
from actors.kernel.yielding import yielding
from actors.traffic.directory import Directory
from actors.traffic.stream import (
    GUARD_SECONDS,
    LEASE_SECONDS,
    Batch,
    Begun,
    Checked,
    Completed,
    Expired,
    ExpiredForgotten,
    Operation,
    Routed,
    Taken,
    Touch,
    Withdrawn,
)
from engine.core.model.records import Address
from engine.core.ports.operations import Clock
from engine.core.sessions.bindings import ActiveSession, Endpoint

WITHDRAWN_KEPT = 10_000
"""Sessions withdrawn lately that are kept for the ends of their calls."""


class BindingReplica:
    """The sessions of one other host's coordinators, as far as numbers of this host are in them."""

    def __init__(
        self,
        directory: Directory,
        *,
        incarnation: str,
        is_here: Callable[[Address], bool],
        wait_for_commits: Callable[[Collection[str]], Awaitable[None]],
        reload: Callable[["BindingReplica"], Awaitable[None]],
        clock: Clock,
        monotonic: Clock,
    ) -> None:
        """Begin with nothing.

        `wait_for_commits` waits for what is being committed in sessions; `reload` reads back what the number actors
        answered before this host started, once the sessions are known.
        """
        self.sessions: dict[str, ActiveSession] = {}
        self.offset = 0.0
        """How far this host's clock is ahead of the coordinators', seconds."""
        self._withdrawn: dict[str, ActiveSession] = {}
        self._directory = directory
        self._incarnation = incarnation
        self._is_here = is_here
        self._wait_for_commits = wait_for_commits
        self._reload = reload
        self._clock = clock
        self._monotonic = monotonic
        self._stream = ""
        self._upon = 0.0
        self._applied = 0
        self._building: dict[str, Routed] | None = None
        self._is_complete = self._is_reloaded = False
        self._serves_until = 0.0
        self._touched: dict[str, Touch] = {}
        self._reported: dict[str, Touch] = {}
        self._report = 0
        self._turn = asyncio.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether its sessions route: the stream was complete, and the other host was heard of lately."""
        return self._is_complete and self._monotonic() < self._serves_until - GUARD_SECONDS

    def find(self, session_sid: str) -> ActiveSession | None:
        """Return a session, also one withdrawn lately: its end may not come to pass, and its calls go on."""
        return self.sessions.get(session_sid) or self._withdrawn.get(session_sid)

    def touch(self, session: ActiveSession, at: float) -> None:
        """Take note of an interaction that is on disk, for the coordinator."""
        theirs = at - self.offset
        touch = Touch(session.service_sid, session.sid, theirs, theirs)
        self._touched[session.sid] = touch.beside(self._touched.get(session.sid))

    def service_erased(self, service_sid: str) -> None:
        """Forget the sessions of a service that is gone; its numbers' actors are."""
        for session in tuple(self.sessions.values()):
            if session.service_sid == service_sid:
                del self.sessions[session.sid]

    async def take(self, batch: Batch) -> Taken:
        """Carry out what is new in a batch, and tell what has passed."""
        async with self._turn:
            if batch.taken == self._report:
                self._reported.clear()
            if batch.offset is not None and is_apart(batch.offset, self.offset):
                await self._go_by(batch.offset)
            applied = await self._apply(batch)
            withdrawn = {one.sid for one in batch.operations if isinstance(one, Withdrawn)}
            if withdrawn:
                await self._wait_for_commits(withdrawn)
            if batch.echo is not None and self._is_complete:
                self._serves_until = max(self._serves_until, batch.echo + LEASE_SECONDS)
            return self._told(applied)

    async def _go_by(self, offset: float) -> None:
        """Translate all times anew: a clock was set, or one runs faster than the other."""
        by, self.offset = offset - self.offset, offset
        async for session in yielding((*self.sessions.values(), *self._withdrawn.values())):
            now = self._clock()
            session.idle_since = min(session.idle_since + by, now)  # what has passed since is of the clock as it is
            if session.kept_idle_since:
                session.kept_idle_since = min(session.kept_idle_since + by, now)
            if session.date_expiry is not None:
                session.date_expiry += by
            self._directory.reset_routes(session.endpoints)

    async def _apply(self, batch: Batch) -> int:
        """Return the number of the last operation carried out, 0 when the stream must begin anew."""
        if batch.incarnation != self._stream:
            if not batch.operations or not isinstance(batch.operations[0], Begun) or batch.upon < self._upon:
                return 0
            self._stream, self._applied, self._upon = batch.incarnation, 0, batch.upon
        skipped = self._applied + 1 - batch.first
        if skipped < 0:
            self._stream = ""
            return 0
        for operation in batch.operations[skipped:]:
            if isinstance(operation, Completed):
                await self._swap()
            else:
                self._carry_out(operation)
            self._applied += 1
        return self._applied

    def _carry_out(self, operation: Operation) -> None:
        match operation:
            case Begun():
                self._building = {}
            case Routed() if self._building is not None:
                self._building[operation.sid] = operation
            case Routed():
                self._route(operation)
            case Withdrawn(sid):
                self._withdraw(sid)
            case Expired(sid, pairs):
                for identifier, proxy in pairs:
                    self._directory.remember_expired(proxy, identifier, sid)
            case ExpiredForgotten(sid, identifier, proxy):
                self._directory.forget_expired(sid, identifier, proxy)
            case Completed() | Checked():
                pass

    async def _swap(self) -> None:
        """Let what was said since the stream began take the place of what held before."""
        building = self._building or {}
        self._is_complete = False  # the loop turns before all is in its place
        gone = {sid for sid in self.sessions if sid not in building}
        async for sid in yielding(gone):
            self._withdraw(sid)
        if gone:
            await self._wait_for_commits(gone)
        async for operation in yielding(building.values()):
            self._route(operation)
        if not self._is_reloaded:
            await self._reload(self)
        self._is_reloaded = self._is_complete = True
        self._building = None

    def _route(self, told: Routed) -> None:
        said, session = _by_clock_ahead(told, self.offset), self.sessions.get(told.sid)
        self._withdrawn.pop(said.sid, None)
        if not any(self._is_here(endpoint.proxy) for endpoint in said.endpoints):
            self._withdraw(said.sid)
            return
        if session is None:
            session = self.sessions[said.sid] = _as_replica(said)
            self._bind(session, said.endpoints)
            return
        gone = [endpoint for endpoint in session.endpoints if endpoint not in said.endpoints]
        come = [endpoint for endpoint in said.endpoints if endpoint not in session.endpoints]
        self._unbind(session, gone)
        self._directory.reset_routes((*session.endpoints, *said.endpoints))
        session.set_endpoints(said.endpoints)
        session.ttl_seconds, session.date_expiry = said.ttl_seconds, said.date_expiry
        session.idle_since = max(session.idle_since, said.idle_since)
        if session.activation != said.activation:
            self._unbind(session, [endpoint for endpoint in session.endpoints if endpoint not in come])
            session.activation, come = said.activation, list(said.endpoints)
        self._bind(session, come)

    def _withdraw(self, sid: str) -> None:
        session = self.sessions.pop(sid, None)
        if session is not None:
            self._unbind(session, session.endpoints)
            session.is_bound = False
            if session.is_expired(self._clock()):
                self._remember_expired(session)  # most likely that is why; if not, it is published again
            self._withdrawn[sid] = session
            if len(self._withdrawn) > WITHDRAWN_KEPT:
                del self._withdrawn[next(iter(self._withdrawn))]

    def _remember_expired(self, session: ActiveSession) -> None:
        for endpoint in session.endpoints:
            self._directory.remember_expired(endpoint.proxy, endpoint.identifier, session.sid)

    def _bind(self, session: ActiveSession, endpoints: Iterable[Endpoint]) -> None:
        session.is_bound = True
        for endpoint in endpoints:
            if self._is_here(endpoint.proxy) and self._directory.has(
                endpoint.proxy
            ):  # its service may have been erased
                self._directory.bind(endpoint, session)

    def _unbind(self, session: ActiveSession, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            if self._is_here(endpoint.proxy):
                self._directory.unbind(endpoint, session)

    def _told(self, applied: int) -> Taken:
        for sid, touch in self._touched.items():
            self._reported[sid] = touch.beside(self._reported.get(sid))
        self._touched.clear()
        self._report += 1
        return Taken(
            incarnation=self._incarnation,
            applied=applied,
            stamp=self._monotonic(),
            clock=self._clock(),
            report=self._report,
            touches=tuple(self._reported.values()),
        )


def _by_clock_ahead(said: Routed, seconds: float) -> Routed:
    """Return what was said in the times of a clock that is so far ahead."""
    end = None if said.date_expiry is None else said.date_expiry + seconds
    return msgspec.structs.replace(said, idle_since=said.idle_since + seconds, date_expiry=end)


def _as_replica(said: Routed) -> ActiveSession:
    return ActiveSession(
        said.sid,
        said.service_sid,
        said.account_sid,
        said.mode,
        said.endpoints,
        said.idle_since,
        said.ttl_seconds,
        said.date_expiry,
        activation=said.activation,
        is_spread=True,
        is_replica=True,
        unique_name=said.unique_name,
    )
