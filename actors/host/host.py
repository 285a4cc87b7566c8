"""The host: carries the actors of one process, starts and stops them, and tells how they fare.

It decides nothing about masking. `Host.control` is the control plane, `Host.traffic` the data plane.
"""

import asyncio
import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

from actors.cluster.console import HostConsole, cluster_console
from actors.cluster.node import ClusterNode
from actors.cluster.reload import reload_calls, reload_passed
from actors.host.parts import HostParts
from actors.host.traffic import HostTraffic
from actors.host.upkeep import Background
from actors.kernel.context import HostContext
from engine.core.model.errors import PeerUnavailable
from engine.core.model.exchanges import WebhookExchange
from engine.core.model.hosts import Peers
from engine.core.model.overview import ConsolePlane, HostFigures, HostStatus, ReadFigures
from engine.core.model.placement import host_name
from engine.core.model.records import DebuggerEvent, Service
from engine.core.pools.pool import PoolState
from engine.core.ports.operations import ControlPlane
from engine.core.routing.route_cache import RouteCache
from engine.core.sessions.bindings import ActiveSession

YOUNG_OBJECTS = 50_000
"""Objects made since the last look for garbage, at which there is one: a call leaves none that needs it, and a look at
every 700, as Python has it, takes a twentieth of the processor. A look goes through what is under way, a hundredth of a
second for 800 texts, however many were made: at every 20,000 that was a fifteenth."""

LOAD_CHUNK = 1_000
"""Sessions that are loaded between two turns of the loop."""

_LOOK_SECONDS = 0.25


def _by_service(sessions: Iterable[ActiveSession]) -> dict[str, list[ActiveSession]]:
    found: defaultdict[str, list[ActiveSession]] = defaultdict(list)
    for session in sessions:
        found[session.service_sid].append(session)
    return found


class Host:
    """One per process or per Ray actor."""

    def __init__(
        self,
        context: HostContext,
        *,
        peers: Peers | None = None,
        figures: ReadFigures = HostFigures,
        route_cache: RouteCache | None = None,
    ) -> None:
        """Carry actors over the store of a context.

        Without peers, the host is alone; `figures` are shown to the operator; `route_cache`, new, is filled for
        listeners that read it.
        """
        self.parts = parts = HostParts(context, peers=peers, figures=figures, route_cache=route_cache)
        self.traffic = HostTraffic(parts)
        self.control: ControlPlane = parts.control
        self._context = context
        self.lease = context.lease
        """Tells whether this process is still this host; None: nothing else ever can be."""
        self._started_at = 0.0
        self.rebuild_seconds = 0.0
        """How long the last start took until everything was loaded."""
        self._figures = figures
        self._console = HostConsole(
            context, parts.services, parts.history, parts.exchanges, place=parts.me, status=self._status
        )
        self.console: ConsolePlane = self._console
        if parts.rpc is not None:
            self.console = cluster_console(self._console, parts.rpc, is_shared=context.store.is_shared)

    @property
    def is_loaded(self) -> bool:
        """Whether requests can be looked at; changes fail while the store cannot commit."""
        return self.traffic.is_open

    @property
    def is_leased(self) -> bool:
        """Whether no other process can be this host."""
        return self.lease is None or self.lease()

    @property
    def is_answering(self) -> bool:
        """Whether requests may be answered: everything is loaded, and no other process can be this host."""
        return self.traffic.is_open and self.is_leased

    @property
    def is_ready(self) -> bool:
        """Whether traffic is answered: everything is loaded, and the store can commit, for this process alone."""
        return self.is_answering and self._context.store.is_writable

    @property
    def unheard(self) -> tuple[int, ...]:
        """The other hosts of which too little is heard: their services' numbers here do not route, or ours there."""
        return () if self.parts.node is None else self.parts.node.unheard

    @property
    def active_sessions(self) -> int:
        """Count the sessions that route."""
        return sum(coordinator.active_sessions for coordinator in self.parts.services)

    @property
    def services(self) -> Iterable[Service]:
        """All services of all hosts, the oldest first."""
        return self.parts.services.known

    def pools(self) -> Iterator[tuple[Service, PoolState, int]]:
        """Walk the services that are coordinated here: how full the pool is, and how many sessions route."""
        for coordinator in self.parts.services:
            yield coordinator.service, coordinator.pool_state, coordinator.active_sessions

    @property
    def open_calls(self) -> int:
        """Count the calls whose inbound leg has not ended."""
        return self.parts.interaction_log.open_calls

    def clock_offsets(self) -> dict[str, float]:
        """Tell how far the clock of each host is ahead of this one's, seconds, as far as it was measured."""
        if self.parts.node is None or self.parts.rpc is None:
            return {host_name(0): 0.0}
        publishers = self.parts.node.publishers.items()
        measured = {place: one.offset.seconds for place, one in publishers if one.offset.seconds is not None}
        return {host_name(place): seconds for place, seconds in sorted({self.parts.rpc.me: 0.0, **measured}.items())}

    def hosts_heard(self) -> dict[str, bool]:
        """Tell of each host, by its name, whether it is heard here; a host always hears itself."""
        unheard = self.unheard
        count = 1 if self.parts.rpc is None else len(self.parts.rpc.others) + 1
        return {host_name(place): place not in unheard for place in range(count)}

    @property
    def rebuilding_numbers(self) -> int:
        """Count the numbers of this host that wait for their bindings."""
        return sum(not actor.is_ready for actor in self.parts.directory)

    @property
    def limits(self) -> str:
        """Say which part of the traffic a ready host does not serve now; empty while it serves all."""
        waiting = self.rebuilding_numbers
        return f"{waiting} numbers wait for their bindings and answer 503" if waiting else ""

    @property
    def bindings(self) -> int:
        """Count the bindings."""
        return sum(len(actor.bindings) for actor in self.parts.directory)

    def _status(self, name: str) -> HostStatus:
        return HostStatus(
            name=name,
            is_ready=self.is_ready,
            problem=self._problem(),
            started_at=self._started_at,
            active_sessions=self.active_sessions,
            bindings=self.bindings,
            open_calls=self.open_calls,
            waiting_events=self.waiting_events,
            figures=self._figures(),
        )

    def _problem(self) -> str:
        if not self.traffic.is_open:
            return "it is starting or stopping"
        if not self.is_leased:
            return "its lease on its place in the database has run out"
        if not self._context.store.is_writable:
            return "its disk refuses commits"
        if self.unheard:
            return f"too little is heard of {', '.join(map(host_name, self.unheard))}"
        return self.limits

    async def start(self) -> None:
        """Load what the store holds, then begin to sweep; until then traffic is answered not-ready.

        Nor is anything answered while another process may still do so.
        """
        self._started_at = self._context.clock()
        if self.parts.node is not None:
            self.parts.node.speak()
        gc.disable()  # nothing that is loaded is garbage
        try:
            await self._load()
            gc.freeze()
            gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
        finally:
            gc.enable()
        if self.parts.node is None:
            await self._await_tenure()
            self._begin()
        else:
            self.parts.node.listen(self.traffic, self._console)
            self.parts.background.spawn(self._join(self.parts.node))

    async def _join(self, node: ClusterNode) -> None:
        await node.synchronise()
        await self._await_tenure()
        node.serve(self.parts.host_coordinators, self.parts.local)
        self._begin()

    async def _await_tenure(self) -> None:
        while (left := self._context.store.not_before - self._context.steady()) > 0:  # noqa: ASYNC110 - a time
            await asyncio.sleep(min(left, _LOOK_SECONDS))  # the loop's clock stands still while the machine sleeps

    def _begin(self) -> None:
        self.traffic.is_open = True
        self.rebuild_seconds = self._context.clock() - self._started_at
        self.parts.upkeep.begin(self.parts.background)

    async def stop(self) -> None:
        """End the sweeps and wait for the changes under way; the store is the caller's to close."""
        self.traffic.is_open = False
        await self.parts.pending_hooks.finish()
        await self.traffic.finish()
        await self.parts.local.finish()
        if self.parts.node is not None:
            await self.parts.node.leave()
        await Background.guarded(self.parts.upkeep.sweep_alerts)
        await self.parts.background.stop()

    @property
    def waiting_events(self) -> int:
        """Count the events that wait for webhooks of applications."""
        return self.parts.pending_hooks.waiting

    def keep_event(self, event: DebuggerEvent) -> None:
        """Keep a debugger event for its account's list and webhook."""
        self.parts.alerts.keep(event)

    def is_full_of(self, code: int, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        """Tell whether `keep_event` would leave out an event of this kind now; the caller is masked."""
        return self.parts.alerts.is_full(code, account_sid, number=number, caller=caller, at=at)

    def keep_exchange(self, exchange: WebhookExchange) -> None:
        """Keep what an application was asked or told, and answered, for the console."""
        self.parts.exchanges.keep(exchange)

    # -- loading -------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        store = self._context.store
        held = await store.held_registry()
        self.parts.registry.load(held.registry, version=held.version)
        self.parts.reactor.load()
        walk = store.active_sessions()
        while some := tuple(islice(walk, LOAD_CHUNK)):
            for service_sid, sessions in _by_service(some).items():
                coordinator = self.parts.services.find(service_sid)
                if coordinator is not None:
                    coordinator.reload(sessions)
            if self.parts.node is not None:
                await asyncio.sleep(0)  # the other hosts are to hear that this one is there
        for coordinator in self.parts.services:
            coordinator.reloaded()
        await self.parts.history.load()
        reload_calls(self._context, self.parts.interaction_log)
        await reload_passed(self._context, self.parts.interaction_log)
        if self.parts.node is not None:
            await self.parts.node.remote_activity.reload(self._context)

    async def answer(self, source: int, message: bytes) -> bytes:
        """Carry out what the host at that place asks; PeerUnavailable on a host that is alone."""
        if self.parts.rpc is None:
            raise PeerUnavailable(f"Host {source} speaks to a host that is alone")
        return await self.parts.rpc.answer(message)
