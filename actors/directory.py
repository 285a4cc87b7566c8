"""Which actor owns which proxy number, and how a session reaches the actors of its numbers."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count

from actors.hooked import HookedEvents
from actors.ledger import Ledger
from actors.number import NumberActor
from actors.parts import Parts
from actors.registry import Registry
from engine.core.e164 import canonical
from engine.core.records import Address, ProxyNumber
from engine.core.routing import ActiveSession, Seat, rules_for


class Directory:
    """The number actors of a host, by the number."""

    def __init__(
        self,
        parts: Parts,
        registry: Registry,
        ledger: Ledger,
        hooked: HookedEvents,
        *,
        expired: Callable[[ActiveSession], None],
    ) -> None:
        """Make actors with these collaborators."""
        self._parts = parts
        self._registry = registry
        self._hooked = hooked
        self._ledger = ledger
        self._expired = expired
        self._actors: dict[Address, NumberActor] = {}
        self._activations = count(1)

    def find(self, address: str) -> NumberActor | None:
        """Return the actor of a number, whichever way the carrier writes it."""
        return self._actors.get(address) or self._actors.get(canonical(address))

    def __iter__(self) -> Iterator[NumberActor]:
        """Walk all actors."""
        return iter(self._actors.values())

    def open(self, number: ProxyNumber) -> None:
        """Make the actor of a pooled number, or give the one there the rules that hold now."""
        service = self._registry.services[number.service_sid or ""]
        carrier = self._parts.egress.carriers.sender_for(number.address)
        rules = rules_for(self._registry.accounts[number.account_sid], service, number, carrier=carrier)
        actor = self._actors.get(number.address)
        if actor is not None:
            actor.rules = rules
            return
        self._actors[number.address] = NumberActor(
            number.address,
            account_sid=number.account_sid,
            service_sid=service.sid,
            rules=rules,
            parts=self._parts,
            ledger=self._ledger,
            hooked=self._hooked,
            expired=self._expired,
        )

    def close(self, address: Address) -> None:
        """End the actor of a number that leaves its pool; its traffic is not ours from now on."""
        self._actors.pop(address, None)

    def refresh(self, numbers: Iterable[ProxyNumber]) -> None:
        """Give the actors of numbers the rules that hold now."""
        for number in numbers:
            if number.address in self._actors:
                self.open(number)

    def publish(self, session: ActiveSession) -> None:
        """Let all seats of a session route from now on; harmless when they do."""
        if session.is_bound:
            return
        session.is_bound = True
        session.activation = session.activation or next(self._activations)
        for seat in session.seats:
            self._actors[seat.proxy].bindings.bind(seat.identifier, session)

    def withdraw(self, session: ActiveSession) -> None:
        """Let no seat of a session route any more; harmless when none does."""
        if session.is_bound:
            session.is_bound = False
            for seat in session.seats:
                self._actors[seat.proxy].bindings.unbind(seat.identifier, session)

    def publish_seat(self, session: ActiveSession, seat: Seat) -> None:
        """Let a participant who joined a session route, if the session does."""
        session.seats = (*session.seats, seat)
        if session.is_bound:
            self._actors[seat.proxy].bindings.bind(seat.identifier, session)

    def withdraw_seat(self, session: ActiveSession, seat: Seat) -> None:
        """Let a participant of a session route no more, and nobody reach them."""
        session.seats = tuple(other for other in session.seats if other is not seat)
        if session.is_bound:
            self._actors[seat.proxy].bindings.unbind(seat.identifier, session)

    def lapse(self, session: ActiveSession) -> None:
        """Let the numbers remember that a withdrawn session expired."""
        for seat in session.seats:
            self._actors[seat.proxy].bindings.lapse(seat.identifier, session.sid)

    def forget_lapsed(self, session_sid: str, identifier: Address, proxy: Address) -> None:
        """Let a number forget an expired session that was erased."""
        actor = self._actors.get(proxy)
        if actor is not None:
            actor.bindings.forget_lapsed(identifier, session_sid)
