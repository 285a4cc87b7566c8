"""What carriers bring to the host, in any order: calls, texts, redeliveries, ends of calls."""

import asyncio

import msgspec
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from engine.core.model.errors import Code
from engine.core.model.records import ClosedReason, Kind, LegStatus, Mode
from engine.core.numbers.e164 import canonical
from engine.core.routing.traffic import Decision, InboundEvent, Outcome, Reason, ReportOutcome
from tests.actors.driver import SPELLINGS, Driver, has_sessions, kinds, lengths, numbers, people, seldom, which
from tests.actors.model import Call, Pairing, Place
from tests.actors.over_sip import asked_over_sip
from tests.actors.world import ALL

Told = tuple[Outcome, Reason, Place | None]
"""What becomes of an event by the model: outcome, reason, whom it reaches."""


class TrafficRules(Driver):
    """Events and reports, each beside what the model says of it; some find the store failing."""

    # -- traffic ---------------------------------------------------------------------------------------------------

    @rule(kind=kinds, sender=people, number=numbers, is_failing=seldom)
    def arrive(self, *, kind: Kind, sender: str, number: str, is_failing: bool) -> None:
        """Let somebody call or text a number."""
        self._deliver(self.world.event(kind, sender, number), sender, is_failing=is_failing)

    @precondition(has_sessions)
    @rule(one=which, side=which)
    def call_over_sip(self, *, one: int, side: int) -> None:
        """Let a participant, past or present, call from a switch: it hears what every other carrier hears."""
        pairing = self.chosen(one)
        if pairing.places:
            place = pairing.places[side % len(pairing.places)]
            arriving = self.world.event(Kind.VOICE, place.identifier, place.proxy)
            self._deliver(arriving, place.identifier, is_over_sip=True)

    @precondition(has_sessions)
    @rule(one=which, side=which, length=lengths, is_failing=st.booleans())
    def call(self, *, one: int, side: int, length: float | None, is_failing: bool) -> None:
        """Let a participant call and, perhaps, hang up, sooner or later than the session ends."""
        calls = len(self.model.calls)
        self.converse(kind=Kind.VOICE, one=one, side=side, is_failing=False)
        if length is not None and len(self.model.calls) > calls:
            call = self.model.calls[-1]
            self._reach_end(self.model.sessions[call.session_sid], length)
            self._hang_up(call, is_failing=is_failing)

    @precondition(has_sessions)
    @rule(one=which, side=which)
    def text(self, *, one: int, side: int) -> None:
        """Let a participant text."""
        self.converse(kind=Kind.MESSAGE, one=one, side=side, is_failing=False)

    @precondition(has_sessions)
    @rule(kind=kinds, one=which, side=which, is_failing=seldom)
    def converse(self, *, kind: Kind, one: int, side: int, is_failing: bool) -> None:
        """Let a participant, past or present, call or text their own number."""
        pairing = self.chosen(one)
        if pairing.places:
            place = pairing.places[side % len(pairing.places)]
            sender = SPELLINGS.get(place.identifier, place.identifier)
            self._deliver(self.world.event(kind, sender, place.proxy), place.identifier, is_failing=is_failing)

    def _deliver(
        self, arriving: InboundEvent, sender: str, *, is_failing: bool = False, is_over_sip: bool = False
    ) -> None:
        now = self.now + 0.001
        outcome, reason, partner = self.model.expected(arriving.kind, sender, arriving.proxy, now)
        met = self.model.met(sender, arriving.proxy)

        told = self.ask(asked_over_sip(self.world.host.receive, arriving)) if is_over_sip else None
        decision = self.ask(self.world.receive(arriving), is_failing=is_failing)

        assert isinstance(decision, Decision)
        if told is not None:  # the same call by its Call-ID, so the decision is the one that it was answered by
            assert told == (302 if outcome is Outcome.ROUTED else 404, decision.to, decision.caller_id)
        event(f"{arriving.kind} {decision.reason}")
        if is_failing and outcome is Outcome.ROUTED:
            assert decision.outcome is Outcome.NOT_READY
            self._deliver(arriving, sender)  # as the carrier will, when the store is well again
            return
        self._check(decision, outcome, reason, partner)
        self.model.answers[arriving.resource_sid] = (arriving, decision)
        if decision.outcome is Outcome.UNKNOWN_NUMBER:
            del self.model.answers[arriving.resource_sid]
        if met is None or arriving.proxy not in [number for number, sid in self.model.pools.items() if sid]:
            return
        if reason is Reason.SESSION_EXPIRED and not is_failing:
            met.expire(now)
        elif outcome is Outcome.ROUTED:
            assert decision.session_sid == met.sid
            self._routed(met, arriving, now)

    def _routed(self, met: Pairing, arriving: InboundEvent, now: float) -> None:
        met.touch(now)
        met.interactions += 1
        if arriving.kind is Kind.VOICE:
            self.model.calls.append(Call(met.sid, arriving.resource_sid, arriving.proxy))

    @precondition(lambda driver: bool(driver.model.answers))
    @rule(one=which)
    def redeliver(self, *, one: int) -> None:
        """Send something again that was answered: the same answer, nothing new."""
        answers = list(self.model.answers.values())
        arriving, decision = answers[one % len(answers)]

        again = self.ask(self.world.receive(arriving))

        assert again == decision

    @precondition(lambda driver: bool(driver.model.answers))
    @rule(one=which, sender=people, number=numbers)
    def misquote(self, *, one: int, sender: str, number: str) -> None:
        """Let somebody else, or on another number, use the SID of what was answered: it is no redelivery."""
        arriving, _ = list(self.model.answers.values())[one % len(self.model.answers)]
        if (canonical(arriving.sender), arriving.proxy) != (sender, number):
            self.model.calls = [call for call in self.model.calls if call.resource_sid != arriving.resource_sid]
            self._deliver(msgspec.structs.replace(arriving, sender=sender, proxy=number), sender)
            self.model.answers.pop(arriving.resource_sid, None)
            self.model.calls = [call for call in self.model.calls if call.resource_sid != arriving.resource_sid]

    @precondition(has_sessions)
    @rule(one=which, kinds_=st.lists(kinds, min_size=2, max_size=4), lost=st.frozensets(st.integers(0, 3)))
    def converse_at_once(self, *, one: int, kinds_: list[Kind], lost: frozenset[int]) -> None:
        """Let a participant call and text while nothing is committed yet, some of it in vain, some of it twice."""
        pairing = self.chosen(one)
        if not pairing.present:
            return
        place = pairing.present[0]
        arriving = [self.world.event(kind, place.identifier, place.proxy) for kind in kinds_]
        self.world.clock.move(0.001)
        now = self.now
        told = [self.model.expected(each.kind, each.sender, each.proxy, now) for each in arriving]
        met = self.model.met(place.identifier, place.proxy)
        if met is not None and met.is_past_end(now) and self._has_rival(met, place):
            return  # the first meets what has expired, and whom the next one meets depends on when that is closed
        routed = [number for number, (outcome, _, _) in enumerate(told) if outcome is Outcome.ROUTED]
        if self.hosts > 1 and lost:
            lost = frozenset(range(len(arriving)))  # all or none: they reach their host by different ways
        in_vain = {routed[number] for number in lost if number < len(routed)}

        async def deliver() -> list[Decision]:
            await self.world.catch_up()
            self.world.store.keep_back()
            futures = [self.world.deliver(each) for each in arriving]
            await self.world.breathe()
            kept = self.world.store.kept_back
            futures += [self.world.deliver(each) for each in arriving]
            await self.world.breathe()
            places = {number for number in lost if number < len(routed)}
            places |= {kept + number for number in places}  # a redelivery waits in the same order
            self.world.store.let_through(failing=ALL if self.hosts > 1 and in_vain else places)
            return [await future for future in futures]

        decisions = self.run(self._settled(deliver()))

        for number, (outcome, reason, partner) in enumerate(self._met_at_once(told, decisions)):
            first, again = decisions[number], decisions[number + len(arriving)]
            assert first == again
            if number in in_vain:
                assert first.outcome is Outcome.NOT_READY
                continue
            self._check(first, outcome, reason, partner)
            if outcome is not Outcome.UNKNOWN_NUMBER:
                self.model.answers[arriving[number].resource_sid] = (arriving[number], first)
            if outcome is Outcome.ROUTED and met is not None:
                self._routed(met, arriving[number], now)
        if met is not None and any(reason is Reason.SESSION_EXPIRED for _, reason, _ in told):
            met.expire(now)

    def _met_at_once(self, told: list[Told], decisions: list[Decision]) -> list[Told]:
        """Return what each is told: whoever meets first what has expired closes it, and the others may find it closed.

        On several hosts they come by different ways, and so not in their order.
        """
        if self.hosts == 1 or Reason.SESSION_EXPIRED not in {reason for _, reason, _ in told}:
            return told
        assert Reason.SESSION_EXPIRED in {decision.reason for decision in decisions}
        return [
            (outcome, decision.reason if decision.reason is Reason.NO_SESSION else reason, partner)
            for (outcome, reason, partner), decision in zip(told, decisions, strict=False)
        ]

    def _has_rival(self, met: Pairing, place: Place) -> bool:
        """Tell whether another session has the same binding, as those of permissive accounts may."""
        binding = (place.identifier, place.proxy)
        others = (one for one in self.model.active() if one is not met)
        return any(binding == (other.identifier, other.proxy) for one in others for other in one.present)

    @precondition(has_sessions)
    @rule(one=which, kind=kinds, is_failing=st.booleans())
    def call_during_close(self, *, one: int, kind: Kind, is_failing: bool) -> None:
        """Nothing routes while a session is being closed, whatever becomes of the close; a call may end meanwhile."""
        pairing = self.chosen(one)
        if self.is_permissive or not pairing.is_active or not pairing.present or pairing.is_past_end(self.now + 0.001):
            return
        self.world.clock.move(0.001)
        place = pairing.present[0]
        arriving = self.world.event(kind, place.identifier, place.proxy)
        calls = [call for call in self.model.calls if call.session_sid == pairing.sid and not call.has_ended]
        before = pairing.idle_since

        async def close() -> Decision:
            await self.world.catch_up()
            self.world.store.keep_back()
            closing = asyncio.create_task(self.world.close(self.record(pairing)))
            await self.world.breathe()
            decision = await self.world.receive(arriving)
            ends = [
                self.world.tell_report(LegStatus.COMPLETED, call.resource_sid, None, is_outbound=False)
                for call in calls
            ]
            await self.world.breathe()
            self.world.store.let_through(failing={0} if is_failing else ())
            await asyncio.wait((closing,))
            assert [await end for end in ends] == [ReportOutcome.RECORDED] * len(calls)
            assert (closing.exception() is not None) is is_failing
            return decision

        decision = self.run(self._settled(close()))

        assert decision.outcome is Outcome.REFUSED
        self.model.answers[arriving.resource_sid] = (arriving, decision)
        for call in calls:
            call.has_ended = True
            pairing.touch(self.now)
        if not is_failing:
            pairing.idle_since = before if calls else pairing.idle_since
            pairing.end(ClosedReason.API, self.now)

    @precondition(lambda driver: bool(driver.model.calls))
    @rule(one=which, is_failing=seldom)
    def hang_up(self, *, one: int, is_failing: bool) -> None:
        """Report the end of a call, again perhaps."""
        self._hang_up(self.model.calls[one % len(self.model.calls)], is_failing=is_failing)

    def _hang_up(self, call: Call, *, is_failing: bool) -> None:
        now = self.now + 0.001

        outcome = self.ask(
            self.world.report(LegStatus.COMPLETED, resource_sid=call.resource_sid), is_failing=is_failing
        )

        if call.has_ended:
            assert outcome is ReportOutcome.REPEATED
        elif is_failing:
            assert outcome is None
        else:
            assert outcome is ReportOutcome.RECORDED
            call.has_ended = True
            session = self.model.sessions[call.session_sid]
            if session.is_active and not session.is_past_end(now):
                session.touch(now)

    @precondition(has_sessions)
    @rule(one=which, side=which, is_failing=seldom)
    def push(self, *, one: int, side: int, is_failing: bool) -> None:
        """Let the application text a participant."""
        pairing = self.chosen(one)
        if not pairing.places:
            return
        place = pairing.places[side % len(pairing.places)]
        now = self.now + 0.001
        sending = self.world.control.send_message(
            self.world.account.sid, pairing.service_sid, pairing.sid, place.sid, body="Hi", media=()
        )

        answer = self.ask(sending, is_failing=is_failing)

        if not pairing.is_active or pairing.is_past_end(now):
            assert answer is Code.SESSION_CLOSED
        elif pairing.mode is Mode.VOICE_ONLY:
            assert answer is Code.IDENTIFIER_TYPE_UNSUPPORTED
        elif place.is_removed:
            assert answer is Code.NOT_FOUND
        elif is_failing:
            assert answer is None
        else:
            assert not isinstance(answer, Code)
            pairing.touch(now)
            pairing.interactions += 1
