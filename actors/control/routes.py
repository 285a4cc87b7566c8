"""How the sessions of this host's coordinators reach the actors of their numbers, on whichever host those are.

Actors here share the coordinator's own `ActiveSession`; those elsewhere have mirrors of it, told through links. What is
awaited here has been heard by every host concerned: after `publish` the next call routes, after `withdraw` none does.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Protocol

from actors.traffic.directory import Directory
from actors.traffic.stream import Checked, Lapsed, LapseForgotten, Operation, Withdrawn, routed
from engine.core.model.records import Address
from engine.core.sessions.bindings import ActiveSession, Seat

Place = Callable[[Address], int]
"""Returns the place of the host that owns a number."""


class PublishesBindings(Protocol):
    """What tells another host of bindings; implemented by `actors.cluster.link`."""

    def tell(self, operation: Operation) -> None:
        """Say something that nobody waits for."""

    def put(self, operation: Operation) -> "asyncio.Future[bool]":
        """Say something in its turn; the future tells, once it is heard, whether it was acknowledged."""


class Routes:
    """Publishes and withdraws sessions."""

    def __init__(self, directory: Directory, *, me: int = 0, place: Place = lambda _: 0) -> None:
        """Reach the actors of this host; `links` adds those of others."""
        self.links: Mapping[int, PublishesBindings] = {}
        self._directory = directory
        self._me = me
        self._place = place
        self._activations = count(1)

    def is_here(self, proxy: Address) -> bool:
        """Tell whether this host owns a number."""
        return self._place(proxy) == self._me

    def restore(self, sessions: Sequence[ActiveSession]) -> None:
        """Let sessions route that the store holds, before this host speaks to others; they are told all at once."""
        for session in sessions:
            session.is_bound = True
            session.activation = next(self._activations)
        if not self.links:
            self._directory.bind_all(sessions)
            return
        for session in sessions:
            session.is_spread = bool(self._links_to(session.seats))
            self._bind(session.seats, session)

    async def publish(self, *sessions: ActiveSession) -> None:
        """Let all seats of sessions route from now on; harmless when they do."""
        said: list[asyncio.Future[bool]] = []
        for session in sessions:
            if not session.is_bound:
                session.is_bound = True
                session.activation = session.activation or next(self._activations)
                self._bind(session.seats, session)
                said += self._say(session, session.seats, routed)
        await _all(said)

    async def withdraw(self, *sessions: ActiveSession) -> bool:
        """Let no seat of sessions route any more; harmless when none does.

        Returns whether all that passed until now is known: False when a host concerned does not answer, and routes
        no more for that reason.
        """
        said: list[asyncio.Future[bool]] = []
        for session in sessions:
            if session.is_bound:
                session.is_bound = False
                self._unbind(session.seats, session)
                said += self._say(session, session.seats, _withdrawn)
        return await _all(said)

    async def publish_seat(self, session: ActiveSession, seat: Seat) -> None:
        """Let a participant who joined a session route, if the session does."""
        session.reseat((*session.seats, seat))
        self._directory.renew_shortcuts(session.seats)
        if session.is_bound:
            self._bind((seat,), session)
            await _all(self._say(session, session.seats, routed))

    async def withdraw_seat(self, session: ActiveSession, seat: Seat) -> None:
        """Let a participant of a session route no more, and nobody reach them."""
        before = session.seats
        session.reseat(tuple(other for other in before if other is not seat))
        self._directory.renew_shortcuts(before)
        if session.is_bound:
            self._unbind((seat,), session)
            await _all(self._say(session, before, routed))

    async def amend(self, session: ActiveSession) -> None:
        """Let the numbers of a session, here and elsewhere, go by its limits as they are now."""
        self._directory.renew_shortcuts(session.seats)
        if session.is_bound:
            await _all(self._say(session, session.seats, routed))

    def lapse(self, session: ActiveSession) -> Coroutine[Any, Any, bool]:
        """Let the numbers remember that a withdrawn session expired; to be awaited until all have heard of it."""
        pairs = tuple((seat.identifier, seat.proxy) for seat in session.seats)
        for identifier, proxy in pairs:
            self._directory.lapse(proxy, identifier, session.sid)
        return _all([link.put(Lapsed(session.sid, pairs)) for link in self._links_to(session.seats)])

    def forget_lapsed(self, session_sid: str, identifier: Address, proxy: Address) -> None:
        """Let a number forget an expired session that was erased."""
        self._directory.forget_lapsed(session_sid, identifier, proxy)
        link = self.links.get(self._place(proxy))
        if link is not None:
            link.tell(LapseForgotten(session_sid, identifier, proxy))

    async def catch_up(self) -> None:
        """Hear of all that passed elsewhere until now, from every host that answers."""
        if self.links:
            await asyncio.gather(*(link.put(Checked()) for link in self.links.values()))

    def _say(
        self, session: ActiveSession, seats: Iterable[Seat], operation: Callable[[ActiveSession], Operation]
    ) -> "list[asyncio.Future[bool]]":
        links = self._links_to(seats)
        if not links:
            return []
        session.is_spread = True
        said = operation(session)
        return [link.put(said) for link in links]

    def _links_to(self, seats: Iterable[Seat]) -> list[PublishesBindings]:
        if not self.links:
            return []
        places = {self._place(seat.proxy) for seat in seats} - {self._me}
        return [self.links[place] for place in sorted(places)]

    def _bind(self, seats: Iterable[Seat], session: ActiveSession) -> None:
        for seat in seats:
            if self.is_here(seat.proxy):
                self._directory.bind(seat, session)

    def _unbind(self, seats: Iterable[Seat], session: ActiveSession) -> None:
        for seat in seats:
            if self.is_here(seat.proxy):
                self._directory.unbind(seat, session)


async def _all(said: "list[asyncio.Future[bool]]") -> bool:
    """Wait until everything is heard; tell whether all of it was acknowledged."""
    return all([await heard for heard in said])


def _withdrawn(session: ActiveSession) -> Operation:
    return Withdrawn(session.sid)
