"""What an application asks of the host, in any order: sessions, participants, pools, services."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from msgspec import UNSET

from engine.core.model.errors import Code
from engine.core.model.records import ClosedReason, Mode, Participant, Session, SessionStatus
from engine.core.model.requests import ParticipantRequest
from tests.actors.driver import (
    AMERICANS,
    NUMBERS,
    Driver,
    couples,
    expiries,
    has_sessions,
    joiners,
    numbers,
    people,
    seldom,
    services,
    ttls,
    which,
)
from tests.actors.model import Pairing, Place


class ControlRules(Driver):
    """Requests to the control plane, each beside what the model says of it; some find the store failing."""

    @initialize(pairs=st.lists(st.tuples(services, couples, ttls, expiries), min_size=1, max_size=4))
    def begin(self, pairs: list[tuple[int, list[str], int, float | None]]) -> None:
        """Start a host with two numbers in each service, and with some pairs."""
        self.furnish()
        for service, couple, ttl_seconds, expires_in in pairs:
            self.pair(service=service, couple=couple, ttl_seconds=ttl_seconds, expires_in=expires_in, is_failing=False)

    # -- sessions --------------------------------------------------------------------------------------------------

    @rule(
        service=services,
        joining=st.lists(joiners, min_size=0, max_size=3),
        mode=st.sampled_from(Mode),
        ttl_seconds=ttls,
        expires_in=expiries,
        fail_on=seldom,
        is_failing=seldom,
    )
    def create(
        self,
        *,
        service: int,
        joining: list[tuple[str, str | None]],
        mode: Mode,
        ttl_seconds: int,
        expires_in: float | None,
        fail_on: bool,
        is_failing: bool,
    ) -> None:
        """Make a session with up to three participants, which is one too many."""
        self._create(
            service,
            joining,
            mode=mode,
            ttl_seconds=ttl_seconds,
            expires_in=expires_in,
            fail_on=fail_on,
            is_failing=is_failing,
        )

    @rule(service=services, couple=couples, ttl_seconds=ttls, expires_in=expiries, is_failing=seldom)
    def pair(
        self, *, service: int, couple: list[str], ttl_seconds: int, expires_in: float | None, is_failing: bool
    ) -> None:
        """Make a session of two people, with whatever numbers are free."""
        joining = [(person, None if person in AMERICANS else NUMBERS[service * 2]) for person in couple]
        self._create(service, joining, ttl_seconds=ttl_seconds, expires_in=expires_in, is_failing=is_failing)

    @rule(service=services, couple=couples, proxies=st.tuples(which, which), fail_on=seldom)
    def assign(self, *, service: int, couple: list[str], proxies: tuple[int, int], fail_on: bool) -> None:
        """Make a session of two people with numbers of the pool that were asked for."""
        pool = self.model.pool(self.service_sids[service]) or list(NUMBERS)
        joining = [(person, pool[proxy % len(pool)]) for person, proxy in zip(couple, proxies, strict=True)]
        self._create(service, joining, fail_on=fail_on)

    @precondition(has_sessions)
    @rule(one=which, side=which, other=people, fail_on=seldom, is_closed=st.booleans())
    def rival(self, *, one: int, side: int, other: str, fail_on: bool, is_closed: bool) -> None:
        """Ask for a pair that another session has, or had and wants back."""
        pairing = self.chosen(one)
        if not pairing.places:
            return
        place = pairing.places[side % len(pairing.places)]
        joining = [(place.identifier, place.proxy), (other, place.proxy)]
        if is_closed:
            self.close(one=one, is_failing=False)
        self._create(self.service_sids.index(pairing.service_sid), joining, fail_on=fail_on)
        if is_closed:
            self._reopen(pairing, fail_on=False, is_failing=False)

    def _create(
        self,
        service: int,
        joining: Sequence[tuple[str, str | None]],
        *,
        mode: Mode = Mode.VOICE_AND_MESSAGE,
        ttl_seconds: int = 0,
        expires_in: float | None = None,
        fail_on: bool = False,
        is_failing: bool = False,
    ) -> None:
        service_sid = self.service_sids[service]
        code = self.model.refusal_of_joining(
            service_sid, joining, present=[], is_strict=not self.is_permissive or fail_on
        )
        date_expiry = None if expires_in is None else self.now + expires_in

        answer = self.ask(
            self.world.session(
                *(ParticipantRequest(identifier=person, proxy_identifier=number) for person, number in joining),
                mode=mode,
                ttl_seconds=ttl_seconds,
                date_expiry=date_expiry,
                service_sid=service_sid,
                fail_on=fail_on,
            ),
            is_failing=is_failing,
        )

        if isinstance(answer, Session):
            assert code is None
            assert not is_failing
            self._note(answer, is_strict=not self.is_permissive or fail_on)
        else:
            assert answer == (None if is_failing and code is None else code)

    def _note(self, session: Session, *, is_strict: bool) -> None:
        places = [Place(one.sid, one.identifier, one.proxy_identifier) for one in self._participants(session.sid)]
        held = set(self.model.pairs())
        for place in places:
            assert self.model.pools[place.proxy] == session.service_sid
            if is_strict:
                assert (place.identifier, place.proxy) not in held
        self.model.sessions[session.sid] = Pairing(
            session.sid,
            session.service_sid,
            session.mode,
            session.ttl_seconds,
            session.date_expiry,
            session.date_created,
            self.model.activate(),
            places,
        )

    def _participants(self, session_sid: str) -> tuple[Participant, ...]:
        return self.world.store.participants(session_sid)

    @precondition(has_sessions)
    @rule(one=which, joiner=joiners, is_failing=seldom)
    def join(self, *, one: int, joiner: tuple[str, str | None], is_failing: bool) -> None:
        """Add a participant."""
        pairing = self.chosen(one)
        now = self.now + 0.001
        is_ended = not pairing.is_active or pairing.is_past_end(now)
        code = Code.SESSION_CLOSED if is_ended else None
        code = code or self.model.refusal_of_joining(
            pairing.service_sid, [joiner], present=pairing.places, is_strict=not self.is_permissive
        )
        request = ParticipantRequest(identifier=joiner[0], proxy_identifier=joiner[1])

        answer = self.ask(self.world.join(self.record(pairing), request), is_failing=is_failing)

        if is_failing:
            assert answer in (None, code)
            return
        if pairing.is_active and is_ended:
            pairing.expire(now)
        if code is not None:
            assert answer is code
            return
        known = [place.sid for place in pairing.places]
        (new,) = (each for each in self._participants(pairing.sid) if each.sid not in known)
        assert (new.identifier, self.model.pools[new.proxy_identifier]) == (joiner[0], pairing.service_sid)
        assert joiner[1] in (None, new.proxy_identifier)
        if joiner[1] is None or not self.is_permissive:
            assert (new.identifier, new.proxy_identifier) not in set(self.model.pairs())
        pairing.places.append(Place(new.sid, new.identifier, new.proxy_identifier))

    @precondition(has_sessions)
    @rule(one=which, side=which, is_failing=seldom)
    def leave(self, *, one: int, side: int, is_failing: bool) -> None:
        """Remove a participant, of a closed session too."""
        pairing = self.chosen(one)
        if not pairing.places:
            return
        place = pairing.places[side % len(pairing.places)]
        removal = self.world.control.remove_participant(
            self.world.account.sid, pairing.service_sid, pairing.sid, place.sid
        )

        answer = self.ask(removal, is_failing=is_failing)

        if place.is_removed:
            assert answer is Code.NOT_FOUND
        else:
            assert answer is None
            place.is_removed = not is_failing

    @precondition(has_sessions)
    @rule(one=which, is_failing=seldom)
    def close(self, *, one: int, is_failing: bool) -> None:
        """Close a session; one past its end has the reason of its expiry."""
        pairing = self.chosen(one)

        answer = self.ask(self.world.close(self.record(pairing)), is_failing=is_failing)

        if not pairing.is_active or not is_failing:
            assert isinstance(answer, Session)
        if pairing.is_active and not is_failing:
            if pairing.is_past_end(self.now):
                pairing.expire(self.now)
            else:
                pairing.end(ClosedReason.API, self.now)

    @precondition(has_sessions)
    @rule(one=which, fail_on=seldom, is_failing=seldom)
    def reopen(self, *, one: int, fail_on: bool, is_failing: bool) -> None:
        """Re-open a session, or ask an active one to be in progress."""
        self._reopen(self.chosen(one), fail_on=fail_on, is_failing=is_failing)

    def _reopen(self, pairing: Pairing, *, fail_on: bool, is_failing: bool) -> None:
        now = self.now + 0.001
        is_ended = not pairing.is_active or pairing.is_past_end(now)
        past = pairing.is_active and is_ended
        if past and not is_failing:
            pairing.expire(now)
        is_strict = fail_on or not self.is_permissive
        code = self.model.refusal_of_reopening(pairing, is_strict=is_strict) if is_ended else None

        answer = self.ask(self.world.reopen(self.record(pairing), fail_on=fail_on or UNSET), is_failing=is_failing)

        if is_failing:
            assert answer in (None, code)
        elif code is not None:
            assert answer is code
        else:
            assert isinstance(answer, Session)
            pairing.status, pairing.closed_reason = SessionStatus.IN_PROGRESS, None
            if is_ended:
                pairing.idle_since, pairing.activation = now, self.model.activate()

    @precondition(has_sessions)
    @rule(one=which, ttl_seconds=ttls, expires_in=expiries, is_failing=seldom)
    def limit(self, *, one: int, ttl_seconds: int, expires_in: float | None, is_failing: bool) -> None:
        """Give a session new limits."""
        pairing = self.chosen(one)
        now = self.now + 0.001
        is_ended = not pairing.is_active or pairing.is_past_end(now)
        date_expiry = None if expires_in is None else now + expires_in

        answer = self.ask(
            self.world.update(self.record(pairing), ttl_seconds=ttl_seconds, date_expiry=date_expiry),
            is_failing=is_failing,
        )

        if is_failing:
            assert answer in (None, Code.SESSION_CLOSED)
        elif is_ended:
            assert answer is Code.SESSION_CLOSED
            if pairing.is_active:
                pairing.expire(now)
        else:
            assert isinstance(answer, Session)
            pairing.ttl_seconds, pairing.date_expiry = ttl_seconds, date_expiry

    @precondition(has_sessions)
    @rule(one=which, is_failing=seldom)
    def delete(self, *, one: int, is_failing: bool) -> None:
        """Erase a session."""
        pairing = self.chosen(one)

        answer = self.ask(self.world.delete(self.record(pairing)), is_failing=is_failing)

        assert answer is None
        if not is_failing:
            self.model.erase(pairing.sid)

    # -- pools and services ----------------------------------------------------------------------------------------

    @rule(
        number=numbers,
        service=services,
        what=st.sampled_from(["pool", "unpool", "unpool", "erase"]),
        is_failing=st.booleans(),
    )
    def administer(self, *, number: str, service: int, what: str, is_failing: bool) -> None:
        """Change pools and services, now and then."""
        match what:
            case "pool":
                self._pool(number=number, service=service, is_failing=is_failing)
            case "unpool":
                self._unpool(number=number, is_failing=is_failing)
            case _:
                self._replace_service(service=service, is_failing=is_failing)

    def _pool(self, *, number: str, service: int, is_failing: bool) -> None:
        """Put a number into a pool, if it is in none."""
        service_sid, within = self.service_sids[service], self.model.pools[number]

        answer = self.ask(self.world.pool(number, service_sid=service_sid), is_failing=is_failing)

        if within is not None:
            is_here = within == service_sid
            assert answer is (Code.NUMBER_ALREADY_IN_SERVICE if is_here else Code.NUMBER_IN_ANOTHER_SERVICE)
        elif not is_failing:
            assert answer == [self.number_sids[number]]
            self.model.pools[number] = service_sid

    def _unpool(self, *, number: str, is_failing: bool) -> None:
        """Take a number out of its pool, if no session uses it."""
        service_sid = self.model.pools[number]
        if service_sid is None:
            return
        is_used = self.model.in_use(number) > 0
        removal = self.world.control.remove_from_pool(self.world.account.sid, service_sid, self.number_sids[number])

        answer = self.ask(removal, is_failing=is_failing)

        assert answer is (Code.NUMBER_IN_ACTIVE_SESSIONS if is_used else None)
        if not is_used and not is_failing:
            self.model.forget_number(number)

    def _replace_service(self, *, service: int, is_failing: bool) -> None:
        """Delete a service, and make a new one with the numbers that are free."""
        service_sid = self.service_sids[service]

        answer = self.ask(self.world.control.delete_service(self.world.account.sid, service_sid), is_failing=is_failing)

        assert answer is None
        if is_failing:
            return
        for session_sid in [sid for sid, one in self.model.sessions.items() if one.service_sid == service_sid]:
            self.model.erase(session_sid)
        for number in self.model.pool(service_sid):
            self.model.forget_number(number)
        self.every_pair_meets_what_the_model_says()
        self.names += 1
        self.service_sids[service] = self.run(self.make_service(f"new-{self.names}"))
        for number in NUMBERS:
            if self.model.pools[number] is None:
                self._pool(number=number, service=service, is_failing=False)
