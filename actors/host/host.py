"""The host: carries the number actors and coordinators of one process, loads them, sweeps what expires.

It decides nothing about masking. `Host.control` is the control plane; the host itself is the data plane.
"""

import asyncio
import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import msgspec

from actors.cluster.between_hosts import HostCoordinators, OtherHosts, cluster_coordinators
from actors.cluster.console import ClusterConsole, HostConsole
from actors.cluster.control import cluster_control
from actors.cluster.node import ClusterNode
from actors.cluster.reload import reload_calls, reload_passed
from actors.cluster.replica import BindingReplica
from actors.cluster.rpc import HostRpc
from actors.control.accounts import AccountRegister
from actors.control.alerts import AlertBook
from actors.control.coordinator import ServiceCoordinator
from actors.control.erasures import Erasures
from actors.control.history import TrafficHistory
from actors.control.host_control import HostControl
from actors.control.numbers import NumberRegister
from actors.control.registry_reactor import RegistryReactor
from actors.control.remote import NoRemoteTraffic, RemoteTraffic
from actors.control.routes import Place, Routes
from actors.control.services import ServiceRegister
from actors.host.upkeep import Background, Upkeep
from actors.kernel.context import Egress, HostContext
from actors.kernel.expiry import ExpiryQueue
from actors.kernel.registry import Registry
from actors.kernel.settings import HostSettings
from actors.traffic.coordinators import Coordinators
from actors.traffic.directory import Directory
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.pending_hooks import PendingHooks
from engine.core.model.errors import PeerUnavailable, StoreUnavailable
from engine.core.model.hosts import Peers
from engine.core.model.overview import ConsolePlane, HostFigures, HostStatus, ReadFigures
from engine.core.model.placement import Placement, host_name
from engine.core.model.records import Address, DebuggerEvent, Interaction, Service
from engine.core.model.sids import IdFactory
from engine.core.pools.pool import PoolState
from engine.core.ports.observing import Observer
from engine.core.ports.operations import Clock, ControlPlane
from engine.core.ports.outgoing import RemoteSend
from engine.core.ports.store import Store
from engine.core.routing.decide import NOT_IN_POOL, REBUILDING, resolve, resolve_all, undecided
from engine.core.routing.resolved import Resolved
from engine.core.routing.route_cache import RouteCache
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Question, ReportOutcome
from engine.core.sessions.bindings import ActiveSession

YOUNG_OBJECTS = 20_000
"""Objects made since the last look for garbage, at which there is one: a call leaves none that needs it, and a look at
every 700, as Python has it, takes a twentieth of the processor."""

LOAD_CHUNK = 1_000
"""Sessions that are loaded between two turns of the loop."""


def _by_service(sessions: Iterable[ActiveSession]) -> dict[str, list[ActiveSession]]:
    found: defaultdict[str, list[ActiveSession]] = defaultdict(list)
    for session in sessions:
        found[session.service_sid].append(session)
    return found


def _alone(_: str) -> int:
    """Place everything on the only host."""
    return 0


class Host:
    """Implements the port `FeedPlane`; one per process or per Ray actor."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        id_factory: IdFactory,
        choose: Callable[[int], int],
        observer: Observer,
        settings: HostSettings | None = None,
        egress: Egress | None = None,
        peers: Peers | None = None,
        figures: ReadFigures = HostFigures,
        route_cache: RouteCache | None = None,
        sure_clock: Clock | None = None,
    ) -> None:
        """Carry actors over a store.

        `choose` returns a random index below n; without egress, the outbox waits; without peers, the host is alone;
        `figures` are shown to the operator; `route_cache`, new, is filled for listeners that read it;
        `sure_clock` says when what cannot be undone may be done, without it the clock does.
        """
        settings, egress = settings or HostSettings(), egress or Egress()
        context = HostContext(store, clock, id_factory, choose, observer, settings, egress, sure_clock=sure_clock)
        rpc = None if peers is None else HostRpc(peers)
        me, place = (0, _alone) if peers is None else (peers.me, Placement(peers.count))
        self._context = context
        self._rpc = rpc
        self._expiries = ExpiryQueue()
        self._registry = Registry(store)
        self._services = ServiceRegister(
            context, self._registry, make=self._coordinator, is_ours=lambda service_sid: place(service_sid) == me
        )
        self._host_coordinators = HostCoordinators(context, self._services, catch_up=self._catch_up)
        own = self._host_coordinators
        self._coordinators: Coordinators = own if rpc is None else cluster_coordinators(own, rpc, place)
        self._remote: RemoteTraffic = NoRemoteTraffic() if rpc is None else OtherHosts(rpc, place)
        self._erasures = Erasures(context.store, self._remote.erasers())
        self._interaction_log = self._new_interaction_log()
        self._pending_hooks = PendingHooks(context, self._interaction_log, self._coordinators)
        self._route_cache = route_cache
        self._directory = self._new_directory(place, me)
        self._routes = Routes(self._directory, me=me, place=place)
        self._accounts = AccountRegister(context, self._registry)
        self._alerts = AlertBook(context, account=self._accounts.find)
        self._numbers = NumberRegister(context, self._registry)
        self._reactor = RegistryReactor(self._registry, self._directory, self._services)
        self._is_loaded = False
        self._started_at = 0.0
        self.rebuild_seconds = 0.0
        """How long the last start took until everything was loaded."""
        self._history = TrafficHistory(context, self._services, place=me, figures=figures)
        self._background = Background()
        self.upkeep = Upkeep(
            context,
            services=self._services,
            expiries=self._expiries,
            interaction_log=self._interaction_log,
            erasures=self._erasures,
            alerts=self._alerts,
            history=self._history,
        )
        self._local = self._new_control()
        self.control: ControlPlane = self._local if rpc is None else cluster_control(self._local, rpc, place)
        self._figures = figures
        self._console = HostConsole(context, self._services, self._history, place=me, status=self._status)
        self.console: ConsolePlane = self._console if rpc is None else ClusterConsole(self._console, rpc)
        self._node = None if rpc is None else self._new_node(rpc, place)

    def _new_interaction_log(self) -> InteractionLog:
        return InteractionLog(
            self._context,
            active=self._active_session,
            ended=self._call_ended,
            touched=self._touched_elsewhere,
            service_of=self._registry.services.get,
        )

    def _new_directory(self, place: Place, me: int) -> Directory:
        return Directory(
            self._context,
            self._registry,
            self._interaction_log,
            self._pending_hooks,
            expired=self._found_expired,
            is_here=lambda address: place(address) == me,
            source_of=self._source_of,
            route_cache=self._route_cache,
        )

    def _new_control(self) -> HostControl:
        return HostControl(
            self._context,
            accounts=self._accounts,
            numbers=self._numbers,
            services=self._services,
            directory=self._directory,
            coordinators=self._coordinators,
            remote=self._remote,
            catch_up=self._catch_up,
        )

    def _new_node(self, rpc: HostRpc, place: Place) -> ClusterNode:
        node = ClusterNode(
            rpc,
            self._context,
            place=place,
            registry=self._registry,
            interaction_log=self._interaction_log,
            directory=self._directory,
            services=self._services,
            routes=self._routes,
        )
        self._reactor.service_gone = node.service_gone
        return node

    @property
    def is_loaded(self) -> bool:
        """Whether requests can be looked at; changes fail while the store cannot commit."""
        return self._is_loaded

    @property
    def is_ready(self) -> bool:
        """Whether traffic is answered: everything is loaded and the store can commit."""
        return self._is_loaded and self._context.store.is_writable

    @property
    def unheard(self) -> tuple[int, ...]:
        """The other hosts of which too little is heard: their services' numbers here do not route, or ours there."""
        return () if self._node is None else self._node.unheard

    @property
    def active_sessions(self) -> int:
        """Count the sessions that route."""
        return sum(coordinator.active_sessions for coordinator in self._services)

    @property
    def services(self) -> Iterable[Service]:
        """All services of all hosts, the oldest first."""
        return self._registry.services.values()

    def pools(self) -> Iterator[tuple[Service, PoolState, int]]:
        """Walk the services that are coordinated here: how full the pool is, and how many sessions route."""
        for coordinator in self._services:
            yield coordinator.service, coordinator.pool_state, coordinator.active_sessions

    @property
    def open_calls(self) -> int:
        """Count the calls whose inbound leg has not ended."""
        return self._interaction_log.open_calls

    def clock_offsets(self) -> dict[str, float]:
        """Tell how far the clock of each host is ahead of this one's, seconds, as far as it was measured."""
        if self._node is None or self._rpc is None:
            return {host_name(0): 0.0}
        publishers = self._node.publishers.items()
        measured = {place: one.offset.seconds for place, one in publishers if one.offset.seconds is not None}
        return {host_name(place): seconds for place, seconds in sorted({self._rpc.me: 0.0, **measured}.items())}

    def hosts_heard(self) -> dict[str, bool]:
        """Tell of each host, by its name, whether it is heard here; a host always hears itself."""
        unheard = self.unheard
        count = 1 if self._rpc is None else len(self._rpc.others) + 1
        return {host_name(place): place not in unheard for place in range(count)}

    @property
    def rebuilding_numbers(self) -> int:
        """Count the numbers of this host that wait for their bindings."""
        return sum(not actor.is_ready for actor in self._directory)

    @property
    def limits(self) -> str:
        """Say which part of the traffic a ready host does not serve now; empty while it serves all."""
        waiting = self.rebuilding_numbers
        return f"{waiting} numbers wait for their bindings and answer 503" if waiting else ""

    @property
    def bindings(self) -> int:
        """Count the bindings."""
        return sum(len(actor.bindings) for actor in self._directory)

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
        if not self._is_loaded:
            return "it is starting or stopping"
        if not self._context.store.is_writable:
            return "its disk refuses commits"
        if self.unheard:
            return f"too little is heard of {', '.join(map(host_name, self.unheard))}"
        return self.limits

    async def start(self) -> None:
        """Load what the store holds, then begin to sweep; until then traffic is answered not-ready."""
        self._started_at = self._context.clock()
        if self._node is not None:
            self._node.speak()
        gc.disable()  # nothing that is loaded is garbage
        try:
            await self._load()
            gc.freeze()
            gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
        finally:
            gc.enable()
        if self._node is None:
            self._begin()
        else:
            self._node.listen(self, self._console)
            self._background.spawn(self._join(self._node))

    async def _join(self, node: ClusterNode) -> None:
        await node.join(self._host_coordinators, self._local)
        self._begin()

    def _begin(self) -> None:
        self._is_loaded = True
        self.rebuild_seconds = self._context.clock() - self._started_at
        self.upkeep.begin(self._background)

    async def stop(self) -> None:
        """End the sweeps and wait for the changes under way; the store is the caller's to close."""
        self._is_loaded = False
        await self._pending_hooks.finish()
        await self._local.finish()
        if self._node is not None:
            await self._node.leave()
        await Background.guarded(self.upkeep.sweep_alerts)
        await self._background.stop()

    @property
    def waiting_events(self) -> int:
        """Count the events that wait for webhooks of applications."""
        return self._pending_hooks.waiting

    def keep_event(self, event: DebuggerEvent) -> None:
        """Keep a debugger event for its account's list and webhook."""
        self._alerts.keep(event)

    # -- data plane ----------------------------------------------------------------------------------------------

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event; `answer` is called once, at once or after the commit, on the event loop."""
        owner = self._owner_elsewhere(event.proxy)
        if self._node is None or owner is None:
            self.receive_here(event, answer)
        else:
            self._node.forwarder.receive(owner, event, answer)

    def receive_here(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event on a number of this host."""
        if not self._is_loaded:
            answer(REBUILDING)
            return
        actor = self._directory.find(event.proxy)
        if actor is None or event.account_sid not in (None, actor.account_sid):
            answer(NOT_IN_POOL)
        else:
            try:
                actor.receive(event, answer)
            except StoreUnavailable as problem:  # what a redelivery repeats cannot be read
                answer(undecided(problem))

    def resolve(self, event: InboundEvent) -> Decision | None:
        """Tell what would become of an event now, with nothing recorded."""
        if not self._is_loaded:
            return REBUILDING
        actor = self._directory.find(event.proxy)
        if actor is None:
            return NOT_IN_POOL if self._owner_elsewhere(event.proxy) is None else None
        if event.account_sid not in (None, actor.account_sid):
            return NOT_IN_POOL
        if not actor.is_ready:
            return REBUILDING
        return actor.would_decide(event).decision

    def resolve_elsewhere(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Do the same about a number of another host; `answer` is called once, later."""
        owner = self._owner_elsewhere(event.proxy)
        if self._node is None or owner is None:
            answer(self.resolve(event) or NOT_IN_POOL)
        else:
            self._node.forwarder.resolve(owner, event, answer)

    def _owner_elsewhere(self, proxy: Address) -> int | None:
        """Return the host that owns the number reached, None for this one and for a number in no pool."""
        node = self._node
        if node is None or not self._is_loaded or self._directory.find(proxy) is not None:
            return None
        owner = node.owner_of(proxy)
        return None if owner == node.me else owner

    def route_cache(self) -> RouteCache | None:
        """Return what plain questions can be answered from now; None while this host is not loaded, or without any."""
        if self._route_cache is None or not self._is_loaded:
            return None
        return self._route_cache.at(self._context.clock())

    def resolve_all(
        self, questions: Sequence[Question], *, account_sid: str | None, fills_cache: bool = False
    ) -> Resolved | None:
        """Resolve many at once for an account (None = for all); None where another host owns one of the numbers."""
        if not self._is_loaded:
            return Resolved([REBUILDING] * len(questions), strangers=0, others=len(questions))
        now = self._context.clock()
        return resolve_all(
            questions,
            self._directory.by_address,
            account_sid=account_sid,
            now=now,
            otherwise=lambda question: self._foresee(question, account_sid, now),
            fills_cache=fills_cache,
        )

    def _foresee(self, question: Question, account_sid: str | None, now: float) -> Decision | None:
        actor = self._directory.find(question.proxy)
        if actor is None:
            return NOT_IN_POOL if self._owner_elsewhere(question.proxy) is None else None
        if account_sid not in (None, actor.account_sid):
            return NOT_IN_POOL
        if not actor.is_ready:
            return REBUILDING
        return resolve(actor.bindings, question, rules=actor.rules, now=now)

    def settle(self, done: Callable[[], None]) -> None:
        """Call `done` when nothing that was received or reported before this waits for its commit any more."""
        self._context.store.commit((), lambda _: done())

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take a leg's state; `answer` gets None when it could not be taken and the platform should retry."""
        if not self._is_loaded:
            answer(None)
            return
        number = None if report.proxy is None else self._registry.number_at(report.proxy)
        proxy = None if number is None else number.address
        if proxy != report.proxy:
            report = msgspec.structs.replace(report, proxy=proxy)
        try:
            if self._node is None or (not report.is_vague and self._interaction_log.knows(report)):
                self.report_here(report, answer)
            else:
                named = self._interaction_log.named(report) if report.is_vague else ()
                self._node.forwarder.report(report, named, answer, self.report_here)
        except StoreUnavailable:  # the interaction of the leg cannot be read
            answer(None)

    def report_here(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take the state of a leg that this host knows, or that no host does."""

        def counted(outcome: ReportOutcome | None) -> None:
            if outcome is not None:
                self._context.observer.reported(outcome)
            answer(outcome)

        self._interaction_log.report(report, counted)

    def signing_tokens(self, proxy: Address) -> tuple[str, ...]:
        """Return the auth tokens of the account that owns a proxy number in a pool; none = it is in no pool."""
        number = self._registry.number_at(proxy)
        return () if number is None or number.service_sid is None else self.account_tokens(number.account_sid)

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Return the auth tokens of an account that are good now, first the one that signs what we send."""
        account = self._accounts.find(account_sid)
        if account is None:
            return ()
        # nearly always there is one, and every webhook asks: without the clock that is half as dear
        return (account.auth_token,) if account.previous_token is None else account.tokens(self._context.clock())

    def owner_of(self, proxy: Address) -> str | None:
        """Return the SID of the account that owns a number, in a pool or not."""
        number = self._registry.number_at(proxy)
        return None if number is None else number.account_sid

    async def send_elsewhere(self, channel: str, sender: str, key: str, message: bytes) -> RemoteSend:
        """Have the host on which a channel is placed send a message through one of its senders, once for each key."""
        return RemoteSend() if self._node is None else await self._node.send_elsewhere(channel, sender, key, message)

    # -- loading -------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        store = self._context.store
        version = store.registry_version()
        self._registry.load(store.registry(), version=version)
        self._reactor.load()
        walk = store.active_sessions()
        while some := tuple(islice(walk, LOAD_CHUNK)):
            for service_sid, sessions in _by_service(some).items():
                coordinator = self._services.find(service_sid)
                if coordinator is not None:
                    coordinator.reload(sessions)
            if self._node is not None:
                await asyncio.sleep(0)  # the other hosts are to hear that this one is there
        for coordinator in self._services:
            coordinator.reloaded()
        self._history.load()
        reload_calls(self._context, self._interaction_log)
        await reload_passed(self._context, self._interaction_log)
        if self._node is not None:
            await self._node.remote_activity.reload(self._context)

    async def answer(self, source: int, message: bytes) -> bytes:
        """Carry out what the host at that place asks; PeerUnavailable on a host that is alone."""
        if self._rpc is None:
            raise PeerUnavailable(f"Host {source} speaks to a host that is alone")
        return await self._rpc.answer(message)

    async def _catch_up(self) -> None:
        """Hear of all that passed on other hosts, and have it on disk."""
        if self._node is not None:
            await self._node.catch_up()

    def _source_of(self, service_sid: str) -> BindingReplica | None:
        return None if self._node is None else self._node.replica_of(service_sid)

    def _touched_elsewhere(self, session: ActiveSession, at: float) -> None:
        if self._node is not None:
            self._node.touched(session, at)

    def _coordinator(self, service: Service) -> ServiceCoordinator:
        return ServiceCoordinator(
            service,
            context=self._context,
            registry=self._registry,
            owns=lambda named: self._numbers.owns(service.account_sid, named),
            directory=self._directory,
            routes=self._routes,
            remote=self._remote,
            erasures=self._erasures,
            watch=self._watch,
            unwatch=self._expiries.forget,
            calls_of=self._interaction_log.calls_of,
        )

    # -- sessions that end ---------------------------------------------------------------------------------------

    def _active_session(self, interaction: Interaction) -> ActiveSession | None:
        coordinator = self._services.find(interaction.service_sid)
        if coordinator is not None:
            return coordinator.active_session(interaction.session_sid)
        replica = self._source_of(interaction.service_sid)
        return None if replica is None else replica.find(interaction.session_sid)

    def _call_ended(self, interaction: Interaction) -> None:
        service = self._registry.services.get(interaction.service_sid)
        if service is not None and service.options.closes_after_first_call:
            self._background.spawn(Background.guarded(partial(self._coordinators.call_ended, interaction)))

    def _watch(self, session: ActiveSession, at: float | None) -> None:
        if at is None:
            self._expiries.watch(session)
        else:
            self._expiries.look_again(session, at=at)

    def _found_expired(self, session: ActiveSession) -> None:
        if not session.is_ending:
            session.is_ending = True
            self._background.spawn(Background.guarded(partial(self._expire_anywhere, session)))

    async def _expire_anywhere(self, session: ActiveSession) -> None:
        """Have the coordinator close a session that was found past its end, if it is."""
        try:
            await self._coordinators.expire(session.service_sid, session.sid)
        finally:
            session.is_ending = False
