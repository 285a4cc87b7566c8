"""The parts of one host, wired: each is made once, and handed what it needs when it is made.

Coordinators alone are made later, when their service is taken up: they need parts that need the register of services.
"""

import asyncio
from contextlib import suppress

from actors.cluster.between_hosts import HostCoordinators, OtherHosts, SharingHosts, cluster_coordinators
from actors.cluster.control import cluster_control
from actors.cluster.node import ClusterNode
from actors.cluster.publisher import BindingPublisher
from actors.cluster.remote_sessions import RemoteSessions
from actors.cluster.rpc import HostRpc
from actors.control.accounts import AccountRegister
from actors.control.alerts import AlertBook
from actors.control.coordinator import ServiceCoordinator
from actors.control.erasures import Erasures
from actors.control.exchanges import ExchangeBook
from actors.control.history import TrafficHistory
from actors.control.host_control import HostControl
from actors.control.numbers import NumberRegister
from actors.control.registry_reactor import RegistryReactor
from actors.control.remote import NoRemoteTraffic, RemoteTraffic
from actors.control.routes import Place, Routes
from actors.control.services import ServiceRegister
from actors.host.endings import Endings
from actors.host.upkeep import Background, Upkeep
from actors.kernel.context import HostContext
from actors.kernel.expiry import ExpiryQueue
from actors.kernel.registry import Registry
from actors.traffic.coordinators import Coordinators
from actors.traffic.directory import Directory
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.pending_hooks import PendingHooks
from actors.traffic.recorded import RecordedInteractions
from engine.core.model.changes import ServiceErased
from engine.core.model.errors import StoreUnavailable
from engine.core.model.hosts import Peers
from engine.core.model.overview import ReadFigures
from engine.core.model.placement import Placement
from engine.core.model.records import Interaction, Service
from engine.core.ports.operations import ControlPlane
from engine.core.routing.route_cache import RouteCache
from engine.core.sessions.bindings import ActiveSession

ERASE_AGAIN_SECONDS = 1.0
"""How long a store that did not erase is left alone."""

KEPT = "kept for a time"
"""The key whose owner erases, of the tables that all hosts see, what is old and is no host's."""


def _alone(_: str) -> int:
    """Place everything on the only host."""
    return 0


class HostParts:
    """What one host is made of."""

    def __init__(
        self, context: HostContext, *, peers: Peers | None, figures: ReadFigures, route_cache: RouteCache | None
    ) -> None:
        """Wire the parts; without peers the host is alone, `figures` are what others count here."""
        self.rpc = rpc = None if peers is None else HostRpc(peers, lease=context.lease)
        is_shared = context.store.is_shared
        self.me = 0 if rpc is None else rpc.me
        self.place: Place = _alone if peers is None else Placement(peers.count, by_shard=is_shared)
        self.context = context
        self.route_cache = route_cache
        self.background = Background()
        self.expiries = ExpiryQueue()
        self.registry = Registry(context.store)
        self.remote_sessions = RemoteSessions(self.place)
        self.services = ServiceRegister(context, self.registry, make=self._coordinator, is_ours=self._is_here)
        self.host_coordinators = HostCoordinators(context, self.services, catch_up=self.catch_up)
        self.coordinators: Coordinators = self.host_coordinators
        self.remote: RemoteTraffic = NoRemoteTraffic()
        if rpc is not None:
            self.coordinators = cluster_coordinators(self.host_coordinators, rpc, self.place, is_shared=is_shared)
            self.remote = SharingHosts(rpc, self.place) if is_shared else OtherHosts(rpc, self.place)
        self.erasures = Erasures(context.store, self.remote.erasers(), settlers=self.remote.settlers())
        self.endings = Endings(self.coordinators, self.registry, self.expiries, self.background)
        self.interaction_log = InteractionLog(
            context,
            active=self._active_session,
            ended=self.endings.call_ended,
            touched=self.remote_sessions.touched,
            service_of=self.registry.services.get,
        )
        self.recorded = RecordedInteractions(context, self.interaction_log, is_here=self._is_here)
        self.pending_hooks = PendingHooks(context, self.interaction_log, self.recorded, self.coordinators)
        self.directory = self._new_directory()
        self.publishers: dict[int, BindingPublisher] = {}
        self.routes = Routes(self.directory, me=self.me, place=self.place, publishers=self.publishers)
        self.accounts = AccountRegister(context, self.registry)
        self.alerts = AlertBook(context, account=self.accounts.find)
        self.exchanges = ExchangeBook(context, account=self.accounts.find)
        self.numbers = NumberRegister(context, self.registry)
        self.reactor = RegistryReactor(self.registry, self.directory, self.services, service_gone=self._service_gone)
        self.history = TrafficHistory(context, self.services, place=self.me, figures=figures)
        self.upkeep = self._new_upkeep()
        self.local = self._new_control()
        self.control: ControlPlane = self.local
        if rpc is not None:
            self.control = cluster_control(self.local, rpc, self.place, is_shared=is_shared)
        self.node = None if rpc is None else self._new_node(rpc)

    async def catch_up(self) -> None:
        """Hear of all that passed on other hosts, and have it on disk."""
        if self.node is not None:
            await self.node.catch_up()

    def _is_here(self, named: str) -> bool:
        return self.place(named) == self.me

    def _new_directory(self) -> Directory:
        return Directory(
            self.context,
            self.registry,
            self.interaction_log,
            self.pending_hooks,
            expired=self.endings.found_expired,
            is_here=self._is_here,
            source_of=self.remote_sessions.replica_of,
            route_cache=self.route_cache,
        )

    def _new_upkeep(self) -> Upkeep:
        return Upkeep(
            self.context,
            services=self.services,
            expiries=self.expiries,
            interaction_log=self.interaction_log,
            recorded=self.recorded,
            erasures=self.erasures,
            alerts=self.alerts,
            history=self.history,
            exchanges=self.exchanges,
            erases_kept=not self.context.store.is_shared or self._is_here(KEPT),
        )

    def _new_control(self) -> HostControl:
        return HostControl(
            self.context,
            accounts=self.accounts,
            numbers=self.numbers,
            services=self.services,
            directory=self.directory,
            coordinators=self.coordinators,
            remote=self.remote,
            catch_up=self.catch_up,
        )

    def _new_node(self, rpc: HostRpc) -> ClusterNode:
        return ClusterNode(
            rpc,
            self.context,
            place=self.place,
            registry=self.registry,
            interaction_log=self.interaction_log,
            recorded=self.recorded,
            directory=self.directory,
            services=self.services,
            routes=self.routes,
            sessions=self.remote_sessions,
            publishers=self.publishers,
        )

    def _service_gone(self, service_sid: str) -> None:
        self.remote_sessions.service_gone(service_sid)
        if self.rpc is not None and self.context.store.is_shared:
            self.background.spawn(self._erase_again(service_sid))

    async def _erase_again(self, service_sid: str) -> None:
        """Erase what was being committed here when another host erased a service: later, nobody knows of it."""
        while True:
            with suppress(StoreUnavailable):
                return await self.context.store.write((ServiceErased(service_sid, self.context.clock()),))
            await asyncio.sleep(ERASE_AGAIN_SECONDS)

    def _coordinator(self, service: Service) -> ServiceCoordinator:
        return ServiceCoordinator(
            service,
            context=self.context,
            registry=self.registry,
            owns=lambda named: self.numbers.owns(service.account_sid, named),
            directory=self.directory,
            routes=self.routes,
            remote=self.remote,
            erasures=self.erasures,
            watch=self.endings.watch,
            unwatch=self.expiries.forget,
            calls_of=self.recorded.calls_of,
        )

    def _active_session(self, interaction: Interaction) -> ActiveSession | None:
        """Find the session of an interaction, while it is active, at its coordinator or in a replica."""
        coordinator = self.services.find(interaction.service_sid)
        if coordinator is not None:
            return coordinator.active_session(interaction.session_sid)
        replica = self.remote_sessions.replica_of(interaction.service_sid)
        return None if replica is None else replica.find(interaction.session_sid)
