"""What a host has recorded and not finished: answers that may be asked for again, calls that are open, legs in flight.

Everything here is also on disk; after a restart it is read back. Nothing is answered before its commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import final

import msgspec
from mypy_extensions import mypyc_attr

from actors.owing import callback
from actors.parts import Parts
from actors.recents import Became, Recents
from engine.core.bindings import ActiveSession
from engine.core.changes import Change, InteractionRecorded, InteractionUpdated, SessionTouched
from engine.core.e164 import canonical
from engine.core.effects import Effect
from engine.core.errors import CATALOGUE, Code, StoreUnavailable
from engine.core.legs import apply_report, ends_call, is_open_call
from engine.core.ports import Passed
from engine.core.records import Interaction, Kind, LegStatus, Service
from engine.core.routing import BUSY, STORE_DOWN
from engine.core.sids import pack
from engine.core.traffic import Decision, InboundEvent, LegReport, Outcome, ReportOutcome

Answer = Callable[[Decision], None]

_REFUSED_DOWNSTREAM = frozenset({LegStatus.FAILED, LegStatus.UNDELIVERED})


class Ledger:
    """The interactions of a host that are still of interest."""

    def __init__(
        self,
        parts: Parts,
        *,
        active: Callable[[Interaction], ActiveSession | None],
        ended: Callable[[Interaction], None],
        touched: Callable[[ActiveSession, float], None],
        service_of: Callable[[str], Service | None],
    ) -> None:
        """Record through these parts.

        `active` finds the session of an interaction, while it is active, `ended` is told of a call whose end is
        committed, `touched` of a committed touch of a mirrored session; `service_of` returns the service that wants
        to know about an interaction.
        """
        window = parts.settings.redelivery_window_seconds
        self._parts = parts
        self._active = active
        self._ended = ended
        self._touched = touched
        self._service_of = service_of
        self._routed = Recents(window_seconds=window, capacity=parts.settings.answers_remembered)
        self._became = Became(window_seconds=window)
        self._refused = Recents(window_seconds=window, capacity=parts.settings.refusals_remembered)
        self._open_calls: dict[str, str] = {}
        self._in_flight: dict[str, Interaction] = {}
        self._waiting: dict[str, list[tuple[InboundEvent, Answer]]] = {}
        self._unfinished: dict[str, Interaction] = {}

    @property
    def open_calls(self) -> int:
        """Count the calls whose inbound leg has not ended."""
        return len(self._open_calls)

    def reload_call(self, interaction: Interaction) -> None:
        """Take up a call that was open when the host stopped."""
        if interaction.inbound.resource_sid is not None:
            self._open_calls[interaction.inbound.resource_sid] = interaction.sid

    def calls_of(self, session_sid: str) -> list[Interaction]:
        """Return the open calls of a session."""
        latest = (self._latest(sid) for sid in self._open_calls.values())
        return [call for call in latest if call is not None and call.session_sid == session_sid]

    def landed(self, session_sids: Collection[str]) -> Awaitable[None]:
        """Wait for the interactions of sessions that are being committed."""
        if any(interaction.session_sid in session_sids for interaction in self._in_flight.values()):
            return self._parts.store.write(())
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def session_of(self, interaction: Interaction) -> ActiveSession | None:
        """Return the session of an interaction, while it is active."""
        return self._active(interaction)

    def wait(self, event: InboundEvent, answer: Answer) -> None:
        """Keep an event that waits for a hook; its redeliveries will wait beside it."""
        self._waiting[event.resource_sid] = [(event, answer)]

    def answer_waiting(self, event: InboundEvent, decision: Decision, *, is_final: bool) -> None:
        """Answer an event that waited, and its redeliveries; keep a final answer for later ones."""
        if is_final:
            now = self._parts.clock()
            if decision.outcome is Outcome.ROUTED:
                self.remember_answer(event, decision, now=now)
            else:
                self.remember_refusal(event, decision, now=now)
        for _, answer in self._waiting.pop(event.resource_sid, ()):
            answer(decision)

    def reload_passed(self, passed: Sequence[Passed]) -> None:
        """Take note of what events had become before the host stopped."""
        self._became.fill(passed, now=self._parts.clock())

    def resume(self, interaction: Interaction) -> None:
        """Let the event that comes go on with an interaction whose gate has to be asked again."""
        self._unfinished[interaction.inbound.resource_sid or ""] = interaction

    def take_unfinished(self, event: InboundEvent, interaction: Interaction) -> Interaction | None:
        """Return, once, what a redelivered event had recorded before the host stopped."""
        known = self._unfinished.pop(event.resource_sid, None) if self._unfinished else None
        if known is None or known.inbound.participant_sid != interaction.inbound.participant_sid:
            return None
        return known

    def may_know(self, resource_sid: str) -> bool:
        """Tell whether an event of that SID has come before; most have not, and need not be looked for further."""
        return resource_sid in self._waiting or self._refused.knows(resource_sid) or self._became.knows(resource_sid)

    def answer_again(self, event: InboundEvent, answer: Answer) -> bool:
        """Answer a redelivery as before, once what it answers is on disk; tell whether it was one."""
        waiting = self._waiting.get(event.resource_sid)
        if waiting is not None:
            first = waiting[0][0]
            if (first.sender, first.proxy) == (event.sender, event.proxy):
                waiting.append((event, answer))
            else:
                answer(BUSY)  # the SID of another event that is being decided: a forgery or a platform's mistake
            return True
        refusal = self._refused.find(event)
        if refusal is not None:
            answer(refusal)
            return True
        decision = self._routed.find(event)
        if decision is None or self._recorded(event.resource_sid, decision.interaction_sid) is None:
            return False
        self.answer_kept(event, decision, answer)
        return True

    def answer_kept(self, event: InboundEvent, decision: Decision, answer: Answer) -> None:
        """Answer a redelivery once what it answers is on disk."""

        def settled(problem: StoreUnavailable | None) -> None:
            is_kept = problem is None and self._became.find(event.resource_sid) == decision.interaction_sid
            answer(decision if is_kept else STORE_DOWN)

        if decision.interaction_sid in self._in_flight:
            self._parts.store.commit((), settled)  # waits for the commits before it
        else:
            answer(decision)

    def passed_before(self, event: InboundEvent) -> Interaction | None:
        """Return what an event of the same SID on the same number became; its sender is for the caller to compare."""
        sid = self._became.find(event.resource_sid)
        interaction = None if sid is None else self._recorded(event.resource_sid, sid)
        if interaction is None or interaction.inbound.resource_sid != event.resource_sid:
            return None
        return interaction if interaction.proxy == canonical(event.proxy) else None

    def _recorded(self, resource_sid: str, interaction_sid: str) -> Interaction | None:
        """Find what an event became; it is forgotten if it is on disk no more, alone or with its session."""
        interaction = self._latest(interaction_sid)
        if interaction is None:
            self.forget_answer(resource_sid)
        return interaction

    def remember_refusal(self, event: InboundEvent, decision: Decision, *, now: float) -> None:
        """Keep a refusal for its redelivery."""
        self._refused.remember(event, decision, now=now)

    def remember_answer(self, event: InboundEvent, decision: Decision, *, now: float) -> None:
        """Keep a routed answer for its redelivery."""
        self._routed.remember(event, decision, now=now)
        self._became.note(event.resource_sid, pack(decision.interaction_sid), now=now)

    def forget_answer(self, resource_sid: str) -> None:
        """Drop an answer whose commit failed, or whose record is gone."""
        self._routed.forget(resource_sid)
        self._became.forget(resource_sid)

    def route(  # noqa: PLR0917 - what was decided about what, and whom to tell
        self,
        event: InboundEvent,
        decision: Decision,
        interaction: Interaction,
        session: ActiveSession,
        effects: Sequence[Effect],
        answer: Answer,
    ) -> None:
        """Answer a routed event once its interaction is committed, and keep the answer for its redelivery."""
        self.remember_answer(event, decision, now=interaction.date_created)
        self._record(_Routed(self, interaction, session, decision, answer), effects)

    def recorded(
        self, interaction: Interaction, session: ActiveSession, effects: Sequence[Effect] = ()
    ) -> "asyncio.Future[Interaction]":
        """Commit an interaction and what it does to its session; awaited, returns it or raises StoreUnavailable."""
        landed = _Landing(interaction)
        self._record(_Recorded(self, interaction, session, landed), effects)
        return landed.future

    def _record(self, recording: "_Recording", effects: Sequence[Effect]) -> None:
        """Commit it; the idle clock of its session restarts at once."""
        interaction, session, now = recording.interaction, recording.session, recording.at
        session.touch(now)
        self._in_flight[interaction.sid] = interaction
        if recording.call_sid is not None:
            self._open_calls[recording.call_sid] = interaction.sid
        changes: tuple[Change, ...]
        if session.is_mirrored:
            changes = (InteractionRecorded(interaction, is_elsewhere=True),)
        else:
            changes = (InteractionRecorded(interaction), SessionTouched(session.sid, now))
        if effects:
            self._parts.commit(changes, recording.landed, effects)
        else:
            self._parts.store.commit(changes, recording.landed)

    def settle(self, recording: "_Recording", problem: StoreUnavailable | None) -> None:
        """Note that a recording is on disk, or that nothing of it is."""
        self._land(recording.interaction)
        self._settle_touch(recording.session, recording.at, is_kept=problem is None)
        if problem is not None and recording.call_sid is not None:
            self._open_calls.pop(recording.call_sid, None)

    def _settle_touch(self, session: ActiveSession, at: float, *, is_kept: bool) -> None:
        if not is_kept:
            session.undo_touch(at)
            return
        session.keep_touch(at)
        if session.is_mirrored:
            self._touched(session, at)

    def connected(self, interaction: Interaction, effects: Sequence[Effect]) -> "asyncio.Future[Interaction]":
        """Commit the outbound leg of an interaction that was recorded without; awaited as `recorded`."""
        latest = self._latest(interaction.sid) or interaction
        whole = msgspec.structs.replace(latest, outbound=interaction.outbound, date_updated=self._parts.clock())
        change = InteractionUpdated(
            interaction_sid=whole.sid,
            inbound=whole.inbound,
            outbound=whole.outbound,
            duration_seconds=whole.duration_seconds,
            at=whole.date_updated,
        )
        landed = _Landing(whole)
        self._in_flight[whole.sid] = whole

        def done(problem: StoreUnavailable | None) -> None:
            self._land(whole)
            landed.settled(problem)

        self._parts.commit((change,), done, effects)
        return landed.future

    def knows(self, report: LegReport) -> bool:
        """Tell whether a report is about a leg of an interaction of this host."""
        return self._find(report) is not None

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take the state of a leg; answers None when it could not be committed."""
        interaction = self._find(report)
        if interaction is None:
            if report.kind is Kind.VOICE:
                self._tell(Code.OPEN_INTERACTION_NOT_FOUND, report, None)
            answer(ReportOutcome.NOT_FOUND)
            return
        outcome, change = apply_report(interaction, report, now=self._parts.clock())
        if outcome is ReportOutcome.NOT_OPEN:
            self._tell(Code.INTERACTION_NOT_OPEN, report, interaction)
        if change is None:
            answer(outcome)
            return
        self._commit_report(interaction, report, change, lambda is_done: answer(outcome if is_done else None))

    def _commit_report(
        self,
        interaction: Interaction,
        report: LegReport,
        change: InteractionUpdated,
        settled: Callable[[bool], None],
    ) -> None:
        updated = msgspec.structs.replace(
            interaction,
            inbound=change.inbound,
            outbound=change.outbound,
            duration_seconds=change.duration_seconds,
            date_updated=change.at,
        )
        changes: tuple[Change, ...] = (change,)
        is_end = ends_call(interaction, change)
        touched = self._touched_by_end(interaction, change.at) if is_end else None
        if is_end:
            self._open_calls.pop(interaction.inbound.resource_sid or "", None)
        if touched is not None:
            touched.touch(change.at)
            if not touched.is_mirrored:
                changes = (change, SessionTouched(touched.sid, change.at))
        self._in_flight[interaction.sid] = updated

        def done(problem: StoreUnavailable | None) -> None:
            self._land(updated)
            if touched is not None:
                self._settle_touch(touched, change.at, is_kept=problem is None)
            if problem is not None:
                if is_end:
                    self.reload_call(interaction)
            elif report.is_outbound and report.status in _REFUSED_DOWNSTREAM:
                self._tell(Code.DOWNSTREAM_REJECTED, report, interaction)
            if problem is None and is_end:
                self._ended(updated)
            settled(problem is None)

        self._parts.commit(changes, done, self._told_of(updated))

    def _told_of(self, interaction: Interaction) -> tuple[Effect, ...]:
        """Return the callback about an interaction that has changed, where its service wants one."""
        service = self._service_of(interaction.service_sid)
        if service is None:
            return ()
        session = self._active(interaction)
        return callback(interaction, service.callback_url, service.options, session=session, parts=self._parts)

    def _touched_by_end(self, interaction: Interaction, at: float) -> ActiveSession | None:
        """Return the session whose ttl the end of a call restarts; one past its end is not revived."""
        session = self._active(interaction)
        return None if session is None or session.is_expired(at) else session

    def _land(self, interaction: Interaction) -> None:
        if self._in_flight.get(interaction.sid) is interaction:
            del self._in_flight[interaction.sid]

    def _latest(self, interaction_sid: str) -> Interaction | None:
        return self._in_flight.get(interaction_sid) or self._parts.store.interaction(interaction_sid)

    def _find(self, report: LegReport) -> Interaction | None:
        """Find the interaction of a report, if it is the reporter's own and the leg fits."""
        sid = report.interaction_sid or self._open_calls.get(report.resource_sid)
        if sid is None:
            return self._passed_with(report)
        return self._fitting(report, sid)

    def _passed_with(self, report: LegReport) -> Interaction | None:
        """Find the interaction whose inbound leg a report names."""
        sid = self._became.find(report.resource_sid)
        interaction = None if sid is None else self._fitting(report, sid)
        is_it = interaction is not None and interaction.inbound.resource_sid == report.resource_sid
        return interaction if is_it else None

    def _fitting(self, report: LegReport, sid: str) -> Interaction | None:
        interaction = self._latest(sid)
        if interaction is None and self._open_calls.get(report.resource_sid) == sid:
            del self._open_calls[report.resource_sid]  # erased while the call went on
        if interaction is None or interaction.kind is not report.kind:
            return None
        if report.account_sid not in (None, interaction.account_sid):
            return None
        leg = interaction.outbound if report.is_outbound else interaction.inbound
        if leg.participant_sid is None or leg.resource_sid not in (None, report.resource_sid):
            return None
        return interaction

    def _tell(self, code: Code, report: LegReport, interaction: Interaction | None) -> None:
        account_sid = report.account_sid if interaction is None else interaction.account_sid
        if account_sid is None:
            return  # a carrier's leg that is nobody's: there is no debugger to tell
        self._parts.tell(
            code,
            f"{CATALOGUE[code].title}: leg reported {report.status}{f' ({report.problem})' if report.problem else ''}",
            account_sid=account_sid,
            service_sid=None if interaction is None else interaction.service_sid,
            session_sid=None if interaction is None else interaction.session_sid,
            resource_sid=report.resource_sid,
        )


@mypyc_attr(acyclic=True)
class _Recording:
    """An interaction on its way to disk; one object for all that is told when it is there, as there are so many."""

    __slots__ = ("at", "call_sid", "interaction", "ledger", "session")

    def __init__(self, ledger: Ledger, interaction: Interaction, session: ActiveSession) -> None:
        self.ledger = ledger
        self.interaction = interaction
        self.session = session
        self.at = interaction.date_created
        self.call_sid = interaction.inbound.resource_sid if is_open_call(interaction) else None

    def landed(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit."""
        self.ledger.settle(self, problem)


@final
@mypyc_attr(acyclic=True)
class _Routed(_Recording):
    """One that is answered then."""

    __slots__ = ("answer", "decision")

    def __init__(  # noqa: PLR0917 - as above
        self, ledger: Ledger, interaction: Interaction, session: ActiveSession, decision: Decision, answer: Answer
    ) -> None:
        super().__init__(ledger, interaction, session)
        self.decision = decision
        self.answer = answer

    def landed(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit, and answer."""
        super().landed(problem)
        if problem is None:
            self.answer(self.decision)
        else:
            self.ledger.forget_answer(self.interaction.inbound.resource_sid or "")
            self.answer(STORE_DOWN)


@final
@mypyc_attr(acyclic=True)
class _Recorded(_Recording):
    """One that is awaited."""

    __slots__ = ("_landing",)

    def __init__(self, ledger: Ledger, interaction: Interaction, session: ActiveSession, landing: "_Landing") -> None:
        super().__init__(ledger, interaction, session)
        self._landing = landing

    def landed(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit, and tell who awaits it."""
        super().landed(problem)
        self._landing.settled(problem)


class _Landing:
    """Awaits one commit; harmless when nobody waits any more."""

    def __init__(self, interaction: Interaction) -> None:
        self.future: asyncio.Future[Interaction] = asyncio.get_running_loop().create_future()
        self._interaction = interaction

    def settled(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit."""
        if self.future.done():
            return
        if problem is None:
            self.future.set_result(self._interaction)
        else:
            self.future.set_exception(problem)
