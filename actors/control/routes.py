"""How the sessions of this host's coordinators reach the actors of their numbers, on whichever host those are.

Actors here share the coordinator's own `ActiveSession`; those of other hosts have replicas of it, which publishers keep
up. What is awaited here has been heard by every host concerned: after `publish` the next call routes, after `withdraw`
none does.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Protocol

from actors.traffic.directory import Directory
from actors.traffic.stream import Checked, Expired, ExpiredForgotten, Operation, Withdrawn, routed
from engine.core.model.records import Address
from engine.core.sessions.bindings import ActiveSession, Endpoint

Place = Callable[[Address], int]
"""Returns the place of the host that owns a number."""


class PublishesBindings(Protocol):
    """Tells another host of bindings; implemented by `actors.cluster.publisher`."""

    def tell(self, operation: Operation) -> None:
        """Say something that nobody waits for."""

    def put(self, operation: Operation) -> "asyncio.Future[bool]":
        """Say something in its turn; the future tells, once it is heard, whether it was acknowledged."""


class Routes:
    """Publishes and withdraws sessions."""

    def __init__(
        self, directory: Directory, *, me: int, place: Place, publishers: Mapping[int, PublishesBindings]
    ) -> None:
        """Reach the actors of this host, and through publishers, by their places, those of others."""
        self.publishers = publishers
        self._directory = directory
        self._me = me
        self._place = place
        self._activations = count(1)

    def is_here(self, proxy: Address) -> bool:
        """Tell whether this host owns a number."""
        return self._place(proxy) == self._me

    def restore(self, sessions: Sequence[ActiveSession]) -> None:
        """Let sessions route that the store holds, before this host speaks to others; they get all of them at once."""
        for session in sessions:
            session.is_bound = True
            session.activation = next(self._activations)
        if not self.publishers:
            self._directory.bind_all(sessions)
            return
        proxies = {endpoint.proxy for session in sessions for endpoint in session.endpoints}
        elsewhere = {proxy for proxy in proxies if not self.is_here(proxy)}
        for session in sessions:
            session.is_spread = bool(elsewhere) and any(one.proxy in elsewhere for one in session.endpoints)
            if session.is_spread:
                self._bind(session.endpoints, session)
        self._directory.bind_all(session for session in sessions if not session.is_spread)

    async def publish(self, *sessions: ActiveSession) -> None:
        """Let all endpoints of sessions route from now on; harmless when they do."""
        acknowledgements: list[asyncio.Future[bool]] = []
        for session in sessions:
            if not session.is_bound:
                session.is_bound = True
                session.activation = session.activation or next(self._activations)
                self._bind(session.endpoints, session)
                acknowledgements += self._send(session, session.endpoints, routed)
        await _all(acknowledgements)

    async def withdraw(self, *sessions: ActiveSession) -> bool:
        """Let no endpoint of sessions route any more; harmless when none does.

        Returns whether all that passed until now is known: False when a host concerned does not answer, and routes
        no more for that reason.
        """
        acknowledgements: list[asyncio.Future[bool]] = []
        for session in sessions:
            if session.is_bound:
                session.is_bound = False
                self._unbind(session.endpoints, session)
                acknowledgements += self._send(session, session.endpoints, _withdrawn)
        return await _all(acknowledgements)

    async def publish_endpoint(self, session: ActiveSession, endpoint: Endpoint) -> None:
        """Let a participant who joined a session route, if the session does."""
        session.set_endpoints((*session.endpoints, endpoint))
        self._directory.reset_routes(session.endpoints)
        if session.is_bound:
            self._bind((endpoint,), session)
            await _all(self._send(session, session.endpoints, routed))

    async def withdraw_endpoint(self, session: ActiveSession, endpoint: Endpoint) -> None:
        """Let a participant of a session route no more, and nobody reach them."""
        before = session.endpoints
        session.set_endpoints(tuple(other for other in before if other is not endpoint))
        self._directory.reset_routes(before)
        if session.is_bound:
            self._unbind((endpoint,), session)
            await _all(self._send(session, before, routed))

    async def amend(self, session: ActiveSession) -> None:
        """Let the numbers of a session, here and elsewhere, go by its limits as they are now."""
        self._directory.reset_routes(session.endpoints)
        if session.is_bound:
            await _all(self._send(session, session.endpoints, routed))

    def publish_expired(self, session: ActiveSession) -> Coroutine[Any, Any, bool]:
        """Let the numbers remember that a withdrawn session expired; await it until all hosts have acknowledged."""
        bindings = tuple((endpoint.identifier, endpoint.proxy) for endpoint in session.endpoints)
        for identifier, proxy in bindings:
            self._directory.remember_expired(proxy, identifier, session.sid)
        return _all([one.put(Expired(session.sid, bindings)) for one in self._publishers_to(session.endpoints)])

    def forget_expired(self, session_sid: str, identifier: Address, proxy: Address) -> None:
        """Let a number forget an expired session that was erased."""
        self._directory.forget_expired(session_sid, identifier, proxy)
        publisher = self.publishers.get(self._place(proxy))
        if publisher is not None:
            publisher.tell(ExpiredForgotten(session_sid, identifier, proxy))

    async def catch_up(self) -> None:
        """Hear of all that passed elsewhere until now, from every host that answers."""
        if self.publishers:
            await asyncio.gather(*(publisher.put(Checked()) for publisher in self.publishers.values()))

    def _send(
        self, session: ActiveSession, endpoints: Iterable[Endpoint], operation: Callable[[ActiveSession], Operation]
    ) -> "list[asyncio.Future[bool]]":
        publishers = self._publishers_to(endpoints)
        if not publishers:
            return []
        session.is_spread = True
        message = operation(session)
        return [publisher.put(message) for publisher in publishers]

    def _publishers_to(self, endpoints: Iterable[Endpoint]) -> list[PublishesBindings]:
        if not self.publishers:
            return []
        places = {self._place(endpoint.proxy) for endpoint in endpoints} - {self._me}
        return [self.publishers[place] for place in sorted(places)]

    def _bind(self, endpoints: Iterable[Endpoint], session: ActiveSession) -> None:
        for endpoint in endpoints:
            if self.is_here(endpoint.proxy):
                self._directory.bind(endpoint, session)

    def _unbind(self, endpoints: Iterable[Endpoint], session: ActiveSession) -> None:
        for endpoint in endpoints:
            if self.is_here(endpoint.proxy):
                self._directory.unbind(endpoint, session)


async def _all(acknowledgements: "list[asyncio.Future[bool]]") -> bool:
    """Wait until every message is acknowledged or void; return whether all were acknowledged."""
    return all([await one for one in acknowledgements])


def _withdrawn(session: ActiveSession) -> Operation:
    return Withdrawn(session.sid)
