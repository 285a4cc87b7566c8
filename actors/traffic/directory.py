"""Which actor of this host owns which proxy number."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from actors.kernel.context import HostContext
from actors.kernel.registry import Registry
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.number import NumberActor, Source
from actors.traffic.pending_hooks import PendingHooks
from engine.core.model.records import Address, ProxyNumber
from engine.core.numbers.e164 import canonical
from engine.core.routing.decide import rules_for
from engine.core.routing.route_cache import RouteCache
from engine.core.sessions.bindings import ActiveSession, Endpoint


class Directory:
    """The number actors of a host, by the number."""

    def __init__(
        self,
        context: HostContext,
        registry: Registry,
        interaction_log: InteractionLog,
        pending_hooks: PendingHooks,
        *,
        expired: Callable[[ActiveSession], None],
        is_here: Callable[[Address], bool],
        source_of: Callable[[str], Source | None],
        route_cache: RouteCache | None = None,
    ) -> None:
        """Make actors with these collaborators.

        `is_here` tells whether this host owns a number, `source_of` the replica of the sessions of a service whose
        coordinator is elsewhere; `route_cache` is filled where a listener reads it.
        """
        self._context = context
        self._registry = registry
        self._pending_hooks = pending_hooks
        self._interaction_log = interaction_log
        self._expired = expired
        self._is_here = is_here
        self._source_of = source_of
        self._route_cache = route_cache
        self._actors: dict[Address, NumberActor] = {}

    def find(self, address: str) -> NumberActor | None:
        """Return the actor of a number, whichever way the carrier writes it."""
        return self._actors.get(address) or self._actors.get(canonical(address))

    @property
    def by_address(self) -> Mapping[Address, NumberActor]:
        """The actors by the number in canonical form."""
        return self._actors

    def __iter__(self) -> Iterator[NumberActor]:
        """Walk all actors."""
        return iter(self._actors.values())

    def open(self, number: ProxyNumber) -> None:
        """Make the actor of a pooled number of this host, or give the one there the rules that hold now."""
        if not self._is_here(number.address):
            return
        service = self._registry.services[number.service_sid or ""]
        carrier = self._context.egress.carriers.sender_for(number.address)
        rules = rules_for(self._registry.accounts[number.account_sid], service, number, carrier=carrier)
        actor = self._actors.get(number.address)
        if actor is not None:
            actor.rules = rules
            if actor.bindings.routes is not None:
                actor.bindings.routes.invalidate_all()
            return
        source, routes = self._source_of(service.sid), None
        if self._route_cache is not None:
            routes = self._route_cache.open(number.address, number.account_sid, source)
        self._actors[number.address] = NumberActor(
            number.address,
            account_sid=number.account_sid,
            service_sid=service.sid,
            rules=rules,
            context=self._context,
            interaction_log=self._interaction_log,
            pending_hooks=self._pending_hooks,
            expired=self._expired,
            source=source,
            routes=routes,
        )

    def close(self, address: Address) -> None:
        """End the actor of a number that leaves its pool; its traffic is not ours from now on."""
        self._actors.pop(address, None)
        if self._route_cache is not None:
            self._route_cache.close(address)

    def refresh(self, numbers: Iterable[ProxyNumber]) -> None:
        """Give the actors of numbers the rules that hold now."""
        for number in numbers:
            if number.address in self._actors:
                self.open(number)

    def has(self, address: Address) -> bool:
        """Tell whether a number has an actor here."""
        return address in self._actors

    def bind(self, endpoint: Endpoint, session: ActiveSession) -> None:
        """Let a participant meet a session on the number that it dials."""
        self._actors[endpoint.proxy].bindings.bind(endpoint.identifier, session)

    def bind_all(self, sessions: Iterable[ActiveSession]) -> None:
        """Let all participants of sessions meet them, where every number is of this host."""
        for session in sessions:
            for endpoint in session.endpoints:
                self.bind(endpoint, session)

    def unbind(self, endpoint: Endpoint, session: ActiveSession) -> None:
        """Let it meet the session no more; harmless when the number is not ours any more."""
        actor = self._actors.get(endpoint.proxy)
        if actor is not None:
            actor.bindings.unbind(endpoint.identifier, session)

    def reset_routes(self, endpoints: Iterable[Endpoint]) -> None:
        """Look at the session of these endpoints in full again: its endpoints or its limits have changed."""
        for endpoint in endpoints:
            actor = self._actors.get(endpoint.proxy)
            if actor is not None:
                actor.bindings.reset_route(endpoint.identifier)

    def remember_expired(self, proxy: Address, identifier: Address, session_sid: str) -> None:
        """Let a number remember that a withdrawn session has expired."""
        actor = self._actors.get(proxy)
        if actor is not None:
            actor.bindings.remember_expired(identifier, session_sid)

    def forget_expired(self, session_sid: str, identifier: Address, proxy: Address) -> None:
        """Let a number forget an expired session that was erased."""
        actor = self._actors.get(proxy)
        if actor is not None:
            actor.bindings.forget_expired(identifier, session_sid)
