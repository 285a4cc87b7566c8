"""What the actors of a host are asked by other hosts, and how they ask.

`HostNumbers` is served for number actors, `HostCoordinators` for coordinators; `OtherHosts` and `ClusterCoordinators`
are how the other kind of actor reaches them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from actors.cluster.derived import AsksOwners, fills_in
from actors.cluster.replica import BindingReplica
from actors.cluster.rpc import HostRpc
from actors.control.remote import ForSessions, NothingElsewhere
from actors.control.routes import Place
from actors.control.services import ServiceRegister
from actors.kernel.context import HostContext
from actors.kernel.gathering import reason_of
from actors.traffic.coordinators import Coordinators, Expiry, LastSession
from actors.traffic.directory import Directory
from actors.traffic.outbox_entries import hang_up
from actors.traffic.recorded import RecordedInteractions
from actors.traffic.stream import Batch, Taken
from engine.core.model.changes import InteractionErased, SessionErased
from engine.core.model.errors import not_found
from engine.core.model.records import Address, Interaction, Participant, Session
from engine.core.pools.allocation import session_wanted
from engine.core.ports.lists import Page, PageCursor
from engine.core.routing.traffic import AnswerReport, Decision, InboundEvent, LegReport, ReportOutcome, SessionWanted
from engine.core.sessions.bindings import Endpoint

_log = logging.getLogger("maskline.host")


class HostNumbers:
    """What coordinators and listeners of other hosts ask of the number actors and interactions here."""

    def __init__(
        self,
        context: HostContext,
        *,
        directory: Directory,
        recorded: RecordedInteractions,
        replicas: Mapping[int, BindingReplica],
        decide: Callable[[Sequence[InboundEvent], float], Awaitable[tuple[Decision | None, ...]]],
        resolve: Callable[[InboundEvent], Decision | None],
        report: Callable[[LegReport, AnswerReport], None],
    ) -> None:
        """Answer for these."""
        self._context = context
        self._directory = directory
        self._recorded = recorded
        self._replicas = replicas
        self._decide = decide
        self._resolve = resolve
        self._report = report

    async def take(self, batch: Batch) -> Taken:
        """Take what a coordinator's host says of bindings."""
        return await self._replicas[batch.source].take(batch)

    async def decide(self, events: tuple[InboundEvent, ...], patience_seconds: float) -> tuple[Decision | None, ...]:
        """Decide about events; None for one that is not decided in that time: it is to be asked about again."""
        return await self._decide(events, patience_seconds)

    async def resolve(self, events: tuple[InboundEvent, ...]) -> tuple[Decision | None, ...]:
        """Tell what would become of events; None for a number that is not here."""
        return tuple(map(self._resolve, events))

    async def knows(self, report: LegReport) -> bool:
        """Tell whether the leg is one of an interaction here."""
        return await self._recorded.knows(report)

    async def named(self, report: LegReport) -> tuple[str, ...]:
        """Return the interactions here of which a report that does not say the number reached may be."""
        return await self._recorded.named(report)

    async def report(self, report: LegReport) -> ReportOutcome | None:
        """Take a leg's state."""
        taken: asyncio.Future[ReportOutcome | None] = asyncio.get_running_loop().create_future()

        def take(outcome: ReportOutcome | None) -> None:
            if not taken.done():
                taken.set_result(outcome)

        self._report(report, take)
        return await taken

    async def push(
        self, proxy: Address, participant_sid: str, session_sid: str, *, body: str, media: tuple[str, ...]
    ) -> Interaction:
        """Record a message of the application to the participant of a number here."""
        actor = self._directory.find(proxy)
        session = None if actor is None or actor.source is None else actor.source.sessions.get(session_sid)
        endpoints = () if session is None else session.endpoints
        endpoint = next((endpoint for endpoint in endpoints if endpoint.participant_sid == participant_sid), None)
        if actor is None or session is None or endpoint is None:
            raise not_found(f"/Sessions/{session_sid}/Participants/{participant_sid}")
        return await actor.push(session, endpoint, body=body, media=media)

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Find an interaction here."""
        return await self._context.store.interaction(interaction_sid)

    async def interactions_page(self, session_sid: str, cursor: PageCursor, sent_to: str | None) -> Page[Interaction]:
        """Read a page of a session's interactions here."""
        return await self._context.store.interactions_page(session_sid, cursor, sent_to=sent_to)

    async def erase_interaction(self, interaction_sid: str) -> None:
        """Erase an interaction."""
        await self._context.store.write((InteractionErased(interaction_sid),))

    async def erase_sessions(self, session_sids: tuple[str, ...]) -> None:
        """Erase the interactions of sessions."""
        await self._context.store.write(tuple(map(SessionErased, session_sids)))

    async def settle_sessions(self, session_sids: tuple[str, ...]) -> None:
        """Wait for the interactions of sessions that are being committed here."""
        await self._recorded.settle(session_sids)

    async def hang_up(self, session_sid: str) -> None:
        """End the running calls of a session."""
        calls = await self._recorded.calls_of(session_sid)
        entries = tuple(entry for call in calls for entry in hang_up(call, self._context))
        if entries:
            await self._context.write((), entries)


class HostCoordinators:
    """What number actors of other hosts ask of the coordinators here."""

    def __init__(
        self, context: HostContext, services: ServiceRegister, *, catch_up: Callable[[], Awaitable[None]]
    ) -> None:
        """Answer for these; `catch_up` hears of all that passed elsewhere."""
        self._context = context
        self._services = services
        self._catch_up = catch_up

    async def expire(self, service_sid: str, session_sid: str) -> Expiry:
        """Close a session if its end has come, counting what passed on every host; tell whether it is over."""
        coordinator = self._services.find(service_sid)
        active = None if coordinator is None else coordinator.active_session(session_sid)
        return Expiry.OVER if coordinator is None or active is None else await coordinator.expire(active)

    async def make_session(self, service_sid: str, proxy: Address, event: InboundEvent, wanted: SessionWanted) -> None:
        """Make the session that an out-of-session hook asked for about an event on a number."""
        coordinator = self._services.find(service_sid)
        if coordinator is None:
            raise not_found(f"/Services/{service_sid}")
        await coordinator.create_session(session_wanted(wanted, event, coordinator.number_at(proxy)))

    async def last_session(self, service_sid: str, identifier: Address, proxy: Address) -> LastSession | None:
        """Find the last session in which the identifier held the proxy number."""
        store = self._context.store
        session = await store.last_session_of(service_sid, identifier, proxy)
        return None if session is None else LastSession(session, await store.participants(session.sid))

    async def participants(self, service_sid: str, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, those who left too."""
        del service_sid
        return await self._context.store.participants(session_sid)

    async def session(self, service_sid: str, session_sid: str) -> Session | None:
        """Read a session as it is, counting what passed on every host."""
        del service_sid
        await self._catch_up()
        return await self._context.store.session(session_sid)

    async def idle_since(self, service_sid: str, session_sid: str) -> float | None:
        """Tell what the ttl of an active session counts from, whatever host it passed on; None when it has ended."""
        await self._catch_up()
        coordinator = self._services.find(service_sid)
        active = None if coordinator is None else coordinator.active_session(session_sid)
        return None if active is None else active.idle_since

    async def call_ended(self, interaction: Interaction) -> None:
        """Close the session of a call that has ended, where the service wants that."""
        coordinator = self._services.find(interaction.service_sid)
        if coordinator is not None:
            await coordinator.close_after_call(interaction)


class OtherHosts:
    """Implements `RemoteTraffic` by RPC."""

    def __init__(self, rpc: HostRpc, place: Place) -> None:
        """Ask by RPC; `place` tells which host owns a number."""
        self._rpc = rpc
        self._place = place

    async def push(self, endpoint: Endpoint, session_sid: str, *, body: str, media: tuple[str, ...]) -> Interaction:
        """Record a message of the application to a participant whose number is on another host."""
        host = self._place(endpoint.proxy)
        return await self._rpc.ask_quickly(
            host, HostNumbers.push, endpoint.proxy, endpoint.participant_sid, session_sid, body=body, media=media
        )

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Find an interaction."""
        found = await self._rpc.ask_all(HostNumbers.interaction, interaction_sid)
        return next((one for one in found if one is not None), None)

    async def interactions_pages(
        self, session_sid: str, cursor: PageCursor, sent_to: str | None
    ) -> Sequence[Page[Interaction]]:
        """Read a page of a session's interactions on every other host."""
        return await self._rpc.ask_all(HostNumbers.interactions_page, session_sid, cursor, sent_to)

    async def erase_interaction(self, interaction_sid: str) -> None:
        """Erase an interaction wherever it is."""
        await self._rpc.ask_all(HostNumbers.erase_interaction, interaction_sid)

    def erasers(self) -> Mapping[int, ForSessions]:
        """Return, by host, what has it erase the interactions of sessions that are gone."""
        return self._each(HostNumbers.erase_sessions)

    def settlers(self) -> Mapping[int, ForSessions]:
        """Return, by host, what waits until interactions of sessions that are withdrawn are committed there."""
        return {}

    async def hang_up(self, session_sid: str) -> None:
        """End the running calls of a session."""
        hung_up = (self._rpc.ask_quickly(host, HostNumbers.hang_up, session_sid) for host in self._rpc.others)
        for outcome in await asyncio.gather(*hung_up, return_exceptions=True):
            if isinstance(outcome, BaseException):
                _log.warning("Calls of session %s may go on: %s", session_sid, reason_of(outcome))

    def _each(
        self, method: Callable[[HostNumbers, tuple[str, ...]], Coroutine[Any, Any, None]]
    ) -> Mapping[int, ForSessions]:
        async def ask(host: int, session_sids: tuple[str, ...]) -> None:
            await self._rpc.ask_quickly(host, method, session_sids)

        return {host: partial(ask, host) for host in self._rpc.others}


class SharingHosts(NothingElsewhere, OtherHosts):
    """The same where all hosts see the same tables: what is in them is read and erased here, once for all."""

    def settlers(self) -> Mapping[int, ForSessions]:
        """Return, by host, what waits until interactions of sessions that are withdrawn are committed there."""
        return self._each(HostNumbers.settle_sessions)


@fills_in(Coordinators, HostCoordinators)
class ClusterCoordinators(AsksOwners[HostCoordinators], Coordinators):
    """Implements `Coordinators`: asks those here directly, and those elsewhere by RPC."""

    async def call_ended(self, interaction: Interaction) -> None:
        """Close the session of a call that has ended, where the service wants that."""
        await self._at(interaction.service_sid, HostCoordinators.call_ended, interaction)


class SharingCoordinators(ClusterCoordinators):
    """The same where all hosts see the same tables: what a record alone tells is read here."""

    async def last_session(self, service_sid: str, identifier: Address, proxy: Address) -> LastSession | None:
        """Find the last session in which the identifier held the proxy number."""
        return await self._own.last_session(service_sid, identifier, proxy)

    async def participants(self, service_sid: str, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, those who left too."""
        return await self._own.participants(service_sid, session_sid)


def cluster_coordinators(own: HostCoordinators, rpc: HostRpc, place: Place, *, is_shared: bool) -> Coordinators:
    """Return the coordinators of a cluster, `own` for those that are here; see `Store.is_shared`."""
    kind = SharingCoordinators if is_shared else ClusterCoordinators
    return kind(own, rpc, place)  # type: ignore[abstract] # the methods that are not written are filled in
