"""What makes a host one of several: its mesh, its links and mirrors, its part in keeping the registry.

A host that is alone has none of this. Source: design sections 3 and 4; `docs/cluster.md` tells it in words.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from actors.cluster.console import ConsoleSide
from actors.cluster.forward import Forwarder, decided
from actors.cluster.link import Link
from actors.cluster.mesh import Mesh
from actors.cluster.mirror import Mirror
from actors.cluster.reload import TalksElsewhere
from actors.cluster.replication import REGISTRAR, Follower, Registrar, ReplicatedWriter
from actors.cluster.sides import CoordinatorSide, NumberSide
from actors.control.control import Control
from actors.control.routes import Place, Routes
from actors.control.services import ServiceRegister
from actors.kernel.context import HostContext
from actors.kernel.registry import Registry
from actors.traffic.directory import Directory
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.stream import LEASE_SECONDS, Touch
from engine.core.model.changes import SessionTouched
from engine.core.model.errors import MasklineError, StoreUnavailable
from engine.core.model.sids import SidKind
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, ReportOutcome
from engine.core.sessions.bindings import ActiveSession

JOIN_SECONDS = 0.2
"""How long a host waits before it asks a registrar again that did not answer."""

_log = logging.getLogger("maskline.host")


class Neighbourhood:
    """A host's place among the others."""

    def __init__(
        self,
        mesh: Mesh,
        context: HostContext,
        *,
        place: Place,
        registry: Registry,
        interaction_log: InteractionLog,
        directory: Directory,
        services: ServiceRegister,
        routes: Routes,
    ) -> None:
        """Take a place; nothing is said before `speak`, nothing is answered before `listen`."""
        self.forwarder = Forwarder(mesh, context)
        self._mesh = mesh
        self._context = context
        self._place = place
        self._registry = registry
        self._interaction_log = interaction_log
        self._directory = directory
        self._services = services
        self._routes = routes
        self.talks = TalksElsewhere(len(mesh.others))
        """Filled when this host reads its file, and told when it hears of the sessions."""
        self._is_read = False
        self._unkept = 0
        self._incarnation = context.id_factory(SidKind.OUTBOX_ENTRY)
        self._follower = Follower(context.store, registry, mesh, clock=context.clock)
        self._registrar = Registrar(context.store, registry, mesh, reached=lambda host: self.links[host].is_up)
        self.mirrors = {host: self._mirror() for host in mesh.others}
        self.links = {host: self._link(host) for host in mesh.others}
        self._tasks: list[asyncio.Task[None]] = []
        routes.links = self.links
        registry.writer = ReplicatedWriter(registry, mesh, registrar=self._registrar, follower=self._follower)

    @property
    def me(self) -> int:
        """The place of this host."""
        return self._mesh.me

    @property
    def unheard(self) -> tuple[int, ...]:
        """The hosts of which too little is heard: their services' numbers here do not route, or ours there."""
        return tuple(host for host in self._mesh.others if not (self.mirrors[host].is_ready and self.links[host].is_up))

    def owner_of(self, proxy: str) -> int | None:
        """Return the place of the host that owns a number, None for a number that is in no pool."""
        number = self._registry.number_at(proxy)
        return None if number is None or number.service_sid is None else self._place(number.address)

    def mirror_of(self, service_sid: str) -> Mirror | None:
        """Return what mirrors the sessions of a service; None for one that is coordinated here."""
        return self.mirrors.get(self._place(service_sid))

    def touched(self, session: ActiveSession, at: float) -> None:
        """Have a session's coordinator know what passed here."""
        mirror = self.mirror_of(session.service_sid)
        if mirror is not None:
            mirror.touch(session, at)

    def service_gone(self, service_sid: str) -> None:
        """Forget the sessions of an erased service."""
        mirror = self.mirror_of(service_sid)
        if mirror is not None:
            mirror.service_erased(service_sid)

    def speak(self) -> None:
        """Say to the other hosts that this one is there; what it knows follows once it has read its file."""
        for host, link in self.links.items():
            self._tasks.append(asyncio.create_task(link.run(), name=f"link to host {host}"))

    def listen(self, plane: "Plane", console: ConsoleSide) -> None:
        """Answer the other hosts, now that this one has read its file."""
        number_side = NumberSide(
            self._context,
            directory=self._directory,
            interaction_log=self._interaction_log,
            mirrors=self.mirrors,
            decide=lambda events, patience: decided(events, plane.receive_here, patience_seconds=patience),
            resolve=plane.resolve,
            report=plane.report_here,
        )
        self._mesh.follow(version=lambda: self._registry.version, know=self._follower.know)
        self._mesh.serve(number_side)
        self._mesh.serve(self._follower)
        self._mesh.serve(self._registrar)
        self._mesh.serve(console)
        self._is_read = True

    async def join(self, side: CoordinatorSide, control: Control) -> None:
        """Wait until the registry is held as the registrar holds it, then let others ask coordinators."""
        if self.me != REGISTRAR:
            await self._synchronised()
            await self._heard_of(REGISTRAR)
            await self._synchronised()  # what the registrar did not wait for us to take
        self._mesh.serve(side)
        self._mesh.serve(control)

    async def _synchronised(self) -> None:
        while True:
            try:
                return await self._follower.synchronise()
            except MasklineError as problem:
                _log.info("Waiting for the registrar: %s", problem)
                await asyncio.sleep(JOIN_SECONDS)

    async def _heard_of(self, host: int) -> None:
        """Wait a while until a host speaks to this one: from then on it waits for us when something changes."""
        until = self._context.monotonic() + LEASE_SECONDS
        while not self.mirrors[host].is_ready and self._context.monotonic() < until:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(JOIN_SECONDS / 10)

    async def catch_up(self) -> None:
        """Hear of all that passed on other hosts, and have it on disk."""
        await self._routes.catch_up()
        if self._unkept:
            await self._context.store.write(())

    async def leave(self) -> None:
        """Fall silent."""
        await self.forwarder.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _mirror(self) -> Mirror:
        return Mirror(
            self._directory,
            incarnation=self._incarnation,
            is_here=self._routes.is_here,
            landed=self._interaction_log.landed,
            reload=self.talks.tell,
            clock=self._context.clock,
            monotonic=self._context.monotonic,
        )

    def _link(self, host: int) -> Link:
        return Link(
            source=self.me,
            incarnation=self._incarnation,
            send=lambda batch: self._mesh.ask(host, NumberSide.take, batch),
            sessions=self._all_sessions,
            concerns=lambda session: any(self._place(endpoint.proxy) == host for endpoint in session.endpoints),
            heard=self._heard,
            is_loaded=lambda: self._is_read,
            clock=self._context.clock,
            monotonic=self._context.monotonic,
        )

    def _all_sessions(self) -> Iterator[ActiveSession]:
        for coordinator in self._services:
            yield from coordinator.sessions()

    def _heard(self, touches: tuple[Touch, ...], kept: Callable[[], None]) -> None:
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

    def report_here(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take the state of a leg that this host knows."""
