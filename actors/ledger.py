"""What a host has recorded and not finished: answers that may be asked for again, calls that are open, legs in flight.

Everything here is also on disk; after a restart it is read back. Nothing is answered before its commit.
"""

from collections.abc import Callable

import msgspec

from actors.parts import Parts
from actors.recents import Recents
from engine.core.changes import Change, InteractionRecorded, InteractionUpdated, SessionTouched
from engine.core.errors import CATALOGUE, Code, StoreUnavailable
from engine.core.legs import apply_report, ends_call, is_open_call
from engine.core.records import Interaction, Kind, LegStatus
from engine.core.routing import STORE_DOWN, ActiveSession
from engine.core.traffic import Decision, InboundEvent, LegReport, ReportOutcome

Settled = Callable[[StoreUnavailable | None], None]

_REFUSED_DOWNSTREAM = frozenset({LegStatus.FAILED, LegStatus.UNDELIVERED})


class Ledger:
    """The interactions of a host that are still of interest."""

    def __init__(self, parts: Parts, *, active: Callable[[Interaction], ActiveSession | None]) -> None:
        """Record through these parts; `active` finds the session of an interaction, while it is active."""
        window = parts.settings.redelivery_window_seconds
        self._parts = parts
        self._active = active
        self._routed = Recents(window_seconds=window)
        self._refused = Recents(window_seconds=window, capacity=parts.settings.refusals_remembered)
        self._open_calls: dict[str, str] = {}
        self._in_flight: dict[str, Interaction] = {}

    @property
    def open_calls(self) -> int:
        """Count the calls whose inbound leg has not ended."""
        return len(self._open_calls)

    def reload_call(self, interaction: Interaction) -> None:
        """Take up a call that was open when the host stopped."""
        if interaction.inbound.resource_sid is not None:
            self._open_calls[interaction.inbound.resource_sid] = interaction.sid

    def reload_answer(self, event: InboundEvent, decision: Decision, *, now: float) -> None:
        """Take up an answer that was given before the host stopped."""
        self._routed.remember(event, decision, now=now)

    def answer_again(self, event: InboundEvent, answer: Callable[[Decision], None]) -> bool:
        """Answer a redelivery as before, once what it answers is on disk; tell whether it was one."""
        refusal = self._refused.find(event)
        if refusal is not None:
            answer(refusal)
            return True
        decision = self._routed.find(event)
        if decision is None or self._is_erased(event.resource_sid, decision):
            return False

        def settled(problem: StoreUnavailable | None) -> None:
            is_kept = problem is None and self._routed.find(event) is decision
            answer(decision if is_kept else STORE_DOWN)

        if decision.interaction_sid in self._in_flight:
            self._parts.store.commit((), settled)  # waits for the commits before it
        else:
            answer(decision)
        return True

    def _is_erased(self, resource_sid: str, decision: Decision) -> bool:
        """Tell whether what was answered is on disk no more, alone or with its session, and if so forget the answer."""
        sid = decision.interaction_sid
        if sid in self._in_flight or self._parts.store.interaction(sid) is not None:
            return False
        self._routed.forget(resource_sid)
        return True

    def remember_refusal(self, event: InboundEvent, decision: Decision, *, now: float) -> None:
        """Keep a refusal for its redelivery."""
        self._refused.remember(event, decision, now=now)

    def remember_answer(self, event: InboundEvent, decision: Decision, *, now: float) -> None:
        """Keep a routed answer for its redelivery."""
        self._routed.remember(event, decision, now=now)

    def forget_answer(self, resource_sid: str) -> None:
        """Drop an answer whose commit failed."""
        self._routed.forget(resource_sid)

    def record(self, interaction: Interaction, session: ActiveSession, settled: Settled) -> None:
        """Commit an interaction and what it does to its session; the idle clock restarts at once."""
        now = interaction.date_created
        call_sid = interaction.inbound.resource_sid if is_open_call(interaction) else None
        session.touch(now)
        self._in_flight[interaction.sid] = interaction
        if call_sid is not None:
            self._open_calls[call_sid] = interaction.sid

        def done(problem: StoreUnavailable | None) -> None:
            self._land(interaction)
            if problem is None:
                session.keep_touch(now)
            else:
                session.undo_touch(now)
                if call_sid is not None:
                    self._open_calls.pop(call_sid, None)
            settled(problem)

        self._parts.store.commit((InteractionRecorded(interaction), SessionTouched(session.sid, now)), done)

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
            changes = (change, SessionTouched(touched.sid, change.at))
        self._in_flight[interaction.sid] = updated

        def done(problem: StoreUnavailable | None) -> None:
            self._land(updated)
            if touched is not None:
                (touched.keep_touch if problem is None else touched.undo_touch)(change.at)
            if problem is not None:
                if is_end:
                    self.reload_call(interaction)
            elif report.is_outbound and report.status in _REFUSED_DOWNSTREAM:
                self._tell(Code.DOWNSTREAM_REJECTED, report, interaction)
            settled(problem is None)

        self._parts.store.commit(changes, done)

    def _touched_by_end(self, interaction: Interaction, at: float) -> ActiveSession | None:
        """Return the session whose ttl the end of a call restarts; one past its end is not revived."""
        session = self._active(interaction)
        return None if session is None or session.is_expired(at) else session

    def _land(self, interaction: Interaction) -> None:
        if self._in_flight.get(interaction.sid) is interaction:
            del self._in_flight[interaction.sid]

    def _find(self, report: LegReport) -> Interaction | None:
        """Find the interaction of a report, if it is the reporter's own and the leg fits."""
        sid = report.interaction_sid or self._open_calls.get(report.resource_sid)
        if sid is None:
            decision = self._routed.decision(report.resource_sid)
            sid = None if decision is None else decision.interaction_sid
        if sid is None:
            return None
        interaction = self._in_flight.get(sid) or self._parts.store.interaction(sid)
        if interaction is None and self._open_calls.get(report.resource_sid) == sid:
            del self._open_calls[report.resource_sid]  # erased while the call went on
        if interaction is None or interaction.kind is not report.kind or interaction.account_sid != report.account_sid:
            return None
        leg = interaction.outbound if report.is_outbound else interaction.inbound
        if leg.participant_sid is None or leg.resource_sid not in (None, report.resource_sid):
            return None
        return interaction

    def _tell(self, code: Code, report: LegReport, interaction: Interaction | None) -> None:
        self._parts.tell(
            code,
            f"{CATALOGUE[code].title}: leg reported {report.status}",
            account_sid=report.account_sid,
            service_sid=None if interaction is None else interaction.service_sid,
            session_sid=None if interaction is None else interaction.session_sid,
            resource_sid=report.resource_sid,
        )


def event_of(interaction: Interaction, *, sender: str) -> InboundEvent:
    """Return the event that an interaction once was."""
    return InboundEvent(
        interaction.kind,
        sender,
        interaction.proxy,
        interaction.inbound.resource_sid or "",
        interaction.body or "" if interaction.kind is Kind.MESSAGE else "",
        interaction.media,
    )
