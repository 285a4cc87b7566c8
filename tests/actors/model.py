"""What a host should do, said plainly: no actors, no commits, no indexes; everything is looked up by walking."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.core.model.errors import Code
from engine.core.model.records import Address, ClosedReason, Kind, Mode, SessionStatus
from engine.core.routing.traffic import Decision, InboundEvent, Outcome, Reason


@dataclass
class Place:
    """A participant, present or removed."""

    sid: str
    identifier: Address
    proxy: Address
    is_removed: bool = False


@dataclass
class Pairing:
    """A session."""

    sid: str
    service_sid: str
    mode: Mode
    ttl_seconds: int
    date_expiry: float | None
    idle_since: float
    activation: int
    places: list[Place]
    status: SessionStatus = SessionStatus.OPEN
    closed_reason: ClosedReason | None = None
    date_ended: float = 0.0
    interactions: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it has not ended, as far as anybody has noticed."""
        return self.status is not SessionStatus.CLOSED

    @property
    def present(self) -> list[Place]:
        """The participants who were not removed."""
        return [place for place in self.places if not place.is_removed]

    @property
    def expires_at(self) -> float | None:
        """When it ends if nothing more passes."""
        if self.date_expiry is not None:
            return self.date_expiry
        return self.idle_since + self.ttl_seconds if self.ttl_seconds else None

    def is_past_end(self, now: float) -> bool:
        """Whether its end has come."""
        return self.expires_at is not None and now >= self.expires_at

    def touch(self, now: float) -> None:
        """An interaction passed."""
        self.idle_since = now
        self.status = SessionStatus.IN_PROGRESS

    def end(self, reason: ClosedReason, now: float) -> None:
        """It closes."""
        self.status, self.closed_reason, self.date_ended = SessionStatus.CLOSED, reason, now

    def expire(self, now: float) -> None:
        """It closes because its end has come."""
        self.end(ClosedReason.TTL if self.date_expiry is None else ClosedReason.DATE_EXPIRY, now)


@dataclass
class Call:
    """A call that was routed."""

    session_sid: str
    resource_sid: str
    number: Address
    has_ended: bool = False


@dataclass
class Model:
    """Services, pools, sessions and the answers that were given."""

    pools: dict[Address, str | None] = field(default_factory=dict)
    sessions: dict[str, Pairing] = field(default_factory=dict)
    answers: dict[str, tuple[InboundEvent, Decision]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    activations: int = 0

    # -- questions -------------------------------------------------------------------------------------------------

    def active(self) -> list[Pairing]:
        """Return the sessions that nobody has noticed to have ended."""
        return [session for session in self.sessions.values() if session.is_active]

    def pool(self, service_sid: str) -> list[Address]:
        """Return the numbers of a service."""
        return [number for number, service in self.pools.items() if service == service_sid]

    def pairs(self) -> Iterator[tuple[Address, Address]]:
        """Walk the pairs of all active sessions."""
        for session in self.active():
            for place in session.present:
                yield place.identifier, place.proxy

    def in_use(self, number: Address) -> int:
        """Count the active sessions that use a number."""
        return sum(any(place.proxy == number for place in session.present) for session in self.active())

    def met(self, sender: Address, number: Address) -> Pairing | None:
        """Return the session activated last in which the sender holds the number."""
        found = [
            session
            for session in self.active()
            if any((place.identifier, place.proxy) == (sender, number) for place in session.present)
        ]
        return max(found, key=lambda session: session.activation, default=None)

    def expected(
        self, kind: Kind, sender: Address, number: Address, now: float
    ) -> tuple[Outcome, Reason, Place | None]:
        """Tell what becomes of an event, and whom it reaches."""
        if self.pools.get(number) is None:
            return Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL, None
        session = self.met(sender, number)
        if session is None:
            return Outcome.REFUSED, Reason.NO_SESSION, None
        if session.is_past_end(now):
            return Outcome.REFUSED, Reason.SESSION_EXPIRED, None
        if kind is Kind.VOICE and session.mode is Mode.MESSAGE_ONLY:
            return Outcome.REFUSED, Reason.CALL_TO_MESSAGE_ONLY, None
        if kind is Kind.MESSAGE and session.mode is Mode.VOICE_ONLY:
            return Outcome.REFUSED, Reason.MESSAGE_TO_VOICE_ONLY, None
        partners = [place for place in session.present if place.identifier != sender]
        if not partners:
            return Outcome.REFUSED, Reason.NO_PARTNER, None
        return Outcome.ROUTED, Reason.IN_SESSION, partners[0]

    def refusal_of_joining(
        self,
        service_sid: str,
        joining: Sequence[tuple[Address, Address | None]],
        *,
        present: list[Place],
        is_strict: bool,
    ) -> Code | None:
        """Tell why people with the numbers they ask for may not join, if they may not; the first reason counts."""
        live = [place.identifier for place in present if not place.is_removed]
        if len(live) + len(joining) > 2:
            return Code.TOO_MANY_PARTICIPANTS
        for place, (identifier, _) in enumerate(joining):
            if identifier in live or identifier in [other for other, _ in joining[:place]]:
                return Code.PARTICIPANT_ALREADY_IN_SESSION
            if identifier in [other.identifier for other in present]:
                return Code.DUPLICATE_ENTRY
        for identifier, number in joining:
            code = self._refusal_of_number(service_sid, identifier, number, is_strict=is_strict)
            if code is not None:
                return code
        return None

    def _refusal_of_number(
        self, service_sid: str, identifier: Address, number: Address | None, *, is_strict: bool
    ) -> Code | None:
        held = [proxy for person, proxy in self.pairs() if person == identifier]
        pool = self.pool(service_sid)
        if number is not None:
            if number not in pool:
                return Code.PROXY_IDENTIFIER_NOT_IN_SERVICE
            return Code.PROXY_IDENTIFIER_IN_USE if number in held and is_strict else None
        if not pool:
            return Code.NO_PROXIES_FOR_SERVICE
        if not identifier.startswith("+1"):
            return Code.NO_PROXY_FOR_COUNTRY
        return Code.NO_UNUSED_PROXY if set(pool) <= set(held) else None

    def refusal_of_reopening(self, session: Pairing, *, is_strict: bool) -> Code | None:
        """Tell why a closed session may not be re-opened, if it may not."""
        pairs = list(self.pairs())
        for place in session.present:
            if self.pools.get(place.proxy) != session.service_sid:
                return Code.PROXY_IDENTIFIER_NOT_IN_SERVICE
            if is_strict and (place.identifier, place.proxy) in pairs:
                return Code.PROXY_IDENTIFIER_IN_USE
        return None

    # -- events ----------------------------------------------------------------------------------------------------

    def activate(self) -> int:
        """Return the place of a session that becomes active now."""
        self.activations += 1
        return self.activations

    def close_past_end(self, now: float) -> None:
        """Notice every session whose end has come."""
        for session in self.active():
            if session.is_past_end(now):
                session.expire(now)

    def erase(self, session_sid: str) -> None:
        """Forget a session with all that passed in it."""
        del self.sessions[session_sid]
        self.answers = {sid: answer for sid, answer in self.answers.items() if answer[1].session_sid != session_sid}
        self.calls = [call for call in self.calls if call.session_sid != session_sid]

    def forget_number(self, number: Address) -> None:
        """A number left its pool: what was answered on it may be decided anew."""
        self.pools[number] = None
        self.calls = [call for call in self.calls if call.number != number]
        self.answers = {sid: answer for sid, answer in self.answers.items() if answer[0].proxy != number}

    def forget_refusals(self) -> None:
        """After a restart, refused events are decided anew."""
        self.answers = {sid: answer for sid, answer in self.answers.items() if answer[1].outcome is Outcome.ROUTED}
