"""What makes a host one of several: calls to the others, bindings published and replicated, its part in the registry.

A host that is alone has none of this. Source: design sections 3 and 4; `docs/cluster.md` tells it in words.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from actors.cluster.between_hosts import HostCoordinators, HostNumbers
from actors.cluster.console import HostConsole
from actors.cluster.forward import Forwarder, decided
from actors.cluster.publisher import BindingPublisher
from actors.cluster.reload import RemoteActivity
from actors.cluster.remote_sessions import RemoteSessions
from actors.cluster.replica import BindingReplica
from actors.cluster.replication import Follower, FromRegistrar, Registrar, ReplicatedWriter, Teller
from actors.cluster.rpc import HostRpc
from actors.cluster.sending import HostSenders, send_at
from actors.cluster.shared_registry import FromTables, SharedRegistryWriter, keep_looking
from actors.control.host_control import HostControl
from actors.control.routes import Place, Routes
from actors.control.services import ServiceRegister
from actors.kernel.context import HostContext
from actors.kernel.registry import Registry
from actors.traffic.directory import Directory
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.recorded import RecordedInteractions
from actors.traffic.stream import LEASE_SECONDS, Touch
from engine.core.model.changes import SessionTouched
from engine.core.model.errors import MasklineError, StoreUnavailable, StoreUnreadable
from engine.core.model.placement import REGISTRAR
from engine.core.model.sids import SidKind
from engine.core.ports.outgoing import RemoteSend
from engine.core.routing.traffic import AnswerReport, Decision, InboundEvent, LegReport
from engine.core.sessions.bindings import ActiveSession

JOIN_SECONDS = 0.2
"""How long a host waits before it asks again who holds the registry, and did not answer."""

_log = logging.getLogger("maskline.host")


class ClusterNode:
    """A host's place among the others."""

    def __init__(
        self,
        rpc: HostRpc,
        context: HostContext,
        *,
        place: Place,
        registry: Registry,
        interaction_log: InteractionLog,
        recorded: RecordedInteractions,
        directory: Directory,
        services: ServiceRegister,
        routes: Routes,
        sessions: RemoteSessions,
        publishers: dict[int, BindingPublisher],
    ) -> None:
        """Take a place; nothing is said before `speak`, nothing is answered before `listen`.

        `sessions` gets a replica for each other host, `publishers` what tells it of ours.
        """
        self.forwarder = Forwarder(rpc, context)
        self._rpc = rpc
        self._context = context
        self.place = place
        """Tells which host owns a number, in a pool or not, a service, or a channel."""
        self._registry = registry
        self._interaction_log = interaction_log
        self._recorded = recorded
        self._directory = directory
        self._services = services
        self._routes = routes
        self.remote_activity = RemoteActivity(len(rpc.others))
        """Filled when this host reads its file, and told when it hears of the sessions."""
        self._is_read = False
        self._unkept = 0
        self._incarnation = context.id_factory(SidKind.OUTBOX_ENTRY)
        self._senders = HostSenders(context.egress.local_senders, self._incarnation)
        self._registrar: Registrar | None = None
        self._follower = self._join_registry()
        self.replicas = sessions.replicas
        self.publishers = publishers
        for host in rpc.others:
            self.replicas[host] = self._replica()
            self.publishers[host] = self._publisher(host)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def me(self) -> int:
        """The place of this host."""
        return self._rpc.me

    @property
    def unheard(self) -> tuple[int, ...]:
        """The hosts of which too little is heard: their services' numbers here do not route, or ours there."""
        return tuple(
            host for host in self._rpc.others if not (self.replicas[host].is_ready and self.publishers[host].is_up)
        )

    def owner_of(self, proxy: str) -> int | None:
        """Return the place of the host that owns a number, None for a number that is in no pool."""
        number = self._registry.number_at(proxy)
        return None if number is None or number.service_sid is None else self.place(number.address)

    def speak(self) -> None:
        """Say to the other hosts that this one is there; what it knows follows once it has read its file."""
        for host, publisher in self.publishers.items():
            self._tasks.append(asyncio.create_task(publisher.run(), name=f"publisher to host {host}"))

    def listen(self, plane: "Plane", console: HostConsole) -> None:
        """Answer the other hosts, now that this one has read its file."""
        numbers = HostNumbers(
            self._context,
            directory=self._directory,
            recorded=self._recorded,
            replicas=self.replicas,
            decide=lambda events, patience: decided(events, plane.receive_here, patience_seconds=patience),
            resolve=plane.resolve,
            report=plane.report_here,
        )
        self._rpc.follow(version=lambda: self._registry.version, know=self._follower.know)
        self._rpc.serve(numbers)
        self._rpc.serve(self._follower, is_of_registry=True)
        if self._registrar is not None:
            self._rpc.serve(self._registrar, is_of_registry=True)
        self._rpc.serve(console)
        self._rpc.serve(self._senders)
        self._is_read = True

    async def send_elsewhere(self, channel: str, sender: str, key: str, message: bytes) -> RemoteSend:
        """Have the host on which a channel is placed send a message through one of its senders, once for each key."""
        host = self.place(channel)
        return (
            RemoteSend() if host == self.me else await send_at(self._rpc, host, sender=sender, key=key, message=message)
        )

    async def synchronise(self) -> None:
        """Wait until the newest registry is held."""
        if self._registrar is None:
            await self._synchronised()  # what was committed after it was read, and told before this host listened
            self._tasks.append(asyncio.create_task(keep_looking(self._follower), name="registry"))
        elif self.me != REGISTRAR:
            await self._synchronised()
            await self._heard_of(REGISTRAR)
            await self._synchronised()  # what the registrar did not wait for us to take

    def serve(self, coordinators: HostCoordinators, control: HostControl) -> None:
        """Let others ask coordinators."""
        self._rpc.serve(coordinators)
        self._rpc.serve(control)

    def _join_registry(self) -> Follower:
        """Follow the registry and have changes written: by one host for all, or where hosts share tables by any."""
        registry, store, clock = self._registry, self._context.store, self._context.clock
        teller = Teller(self._rpc, reached=lambda host: self.publishers[host].is_up)
        if store.is_shared:
            follower = Follower(store, registry, FromTables(store, clock=clock))
            registry.writer = SharedRegistryWriter(store, registry, follower=follower, teller=teller)
            return follower
        follower = Follower(store, registry, FromRegistrar(self._rpc, clock=clock))
        self._registrar = Registrar(store, registry, teller)
        registry.writer = ReplicatedWriter(registry, self._rpc, registrar=self._registrar, follower=follower)
        return follower

    async def _synchronised(self) -> None:
        while True:
            try:
                return await self._follower.synchronise()
            except MasklineError as problem:
                _log.info("Waiting for the registry: %s", problem)
                await asyncio.sleep(JOIN_SECONDS)

    async def _heard_of(self, host: int) -> None:
        """Wait a while until a host speaks to this one: from then on it waits for us when something changes."""
        until = self._context.monotonic() + LEASE_SECONDS
        while not self.replicas[host].is_ready and self._context.monotonic() < until:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(JOIN_SECONDS / 10)

    async def catch_up(self) -> None:
        """Hear of all that passed on other hosts, and have it on disk; raises StoreUnreadable if it cannot be."""
        await self._routes.catch_up()
        if self._unkept:
            try:
                await self._context.store.write(())
            except StoreUnavailable as refused:
                raise StoreUnreadable(str(refused)) from refused

    async def leave(self) -> None:
        """Fall silent."""
        self._senders.stop()
        await self.forwarder.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _replica(self) -> BindingReplica:
        return BindingReplica(
            self._directory,
            incarnation=self._incarnation,
            is_here=self._routes.is_here,
            wait_for_commits=self._interaction_log.wait_for_commits,
            reload=self.remote_activity.tell,
            clock=self._context.clock,
            monotonic=self._context.monotonic,
        )

    def _publisher(self, host: int) -> BindingPublisher:
        return BindingPublisher(
            source=self.me,
            incarnation=self._incarnation,
            send=lambda batch: self._rpc.ask(host, HostNumbers.take, batch),
            sessions=self._all_sessions,
            concerns=lambda session: any(self.place(endpoint.proxy) == host for endpoint in session.endpoints),
            take_touches=self._take_touches,
            is_loaded=lambda: self._is_read,
            clock=self._context.clock,
            monotonic=self._context.monotonic,
        )

    def _all_sessions(self) -> Iterator[ActiveSession]:
        for coordinator in self._services:
            yield from coordinator.sessions()

    def _take_touches(self, touches: tuple[Touch, ...], kept: Callable[[], None]) -> None:
        changes: list[SessionTouched] = []
        now = self._context.clock()
        for told in touches:
            touch = told.until(now)
            coordinator = self._services.find(touch.service_sid)
            session = None if coordinator is None else coordinator.active_session(touch.session_sid)
            if session is not None:
                session.keep_touch(touch.at)
            changes += (SessionTouched(touch.session_sid, at) for at in sorted({touch.first, touch.at}))

        def done(problem: StoreUnavailable | None) -> None:
            self._unkept -= 1
            if problem is None:
                kept()

        self._unkept += 1
        self._context.store.commit(changes, done)


class Plane(Protocol):
    """The data plane of a host, for what is its own."""

    def receive_here(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Decide about an event on a number of this host."""

    def resolve(self, event: InboundEvent) -> Decision | None:
        """Tell what would become of an event; None for a number of another host."""

    def report_here(self, report: LegReport, answer: AnswerReport) -> None:
        """Take the state of a leg that this host knows."""
