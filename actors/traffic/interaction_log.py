"""What a host has recorded and not finished: answers that may be asked for again, calls that are open, legs in flight.

Everything here is also on disk; after a restart it is read back. Nothing is answered before its commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, final

import msgspec
from mypy_extensions import mypyc_attr

from actors.kernel.commits import CommitFuture, commit
from actors.kernel.context import HostContext
from actors.traffic.answers import AnswerCache, Answered, RedeliveryIndex
from actors.traffic.calls import Calls
from actors.traffic.outbox_entries import callback, receipt
from actors.traffic.recent import RecentMessages
from engine.core.model.changes import Change, EntrySettled, InteractionRecorded, InteractionUpdated, SessionTouched
from engine.core.model.errors import CATALOGUE, Code, StoreUnavailable
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import Interaction, Kind, Leg, LegStatus, Service
from engine.core.model.sids import pack
from engine.core.numbers.e164 import canonical
from engine.core.ports.store import Passed
from engine.core.routing.decide import BUSY, STORE_DOWN
from engine.core.routing.event_keys import event_key, inbound_key, key_of
from engine.core.routing.legs import ENDED, apply_report, ends_call, fits, is_open_call
from engine.core.routing.traffic import AnswerReport, Decision, InboundEvent, LegReport, Outcome, ReportOutcome
from engine.core.sessions.bindings import ActiveSession

Answer = Callable[[Decision], None]

_ROUTED: Final = Outcome.ROUTED  # a member is found tenfold faster here than in its class (3.11)
_VOICE: Final = Kind.VOICE
_NOT_OPEN: Final = ReportOutcome.NOT_OPEN
_REFUSED_DOWNSTREAM: Final = frozenset({LegStatus.FAILED, LegStatus.UNDELIVERED})


class InteractionLog:
    """The interactions of a host that are still of interest; what has to read the store first is in `recorded`."""

    def __init__(
        self,
        context: HostContext,
        *,
        active: Callable[[Interaction], ActiveSession | None],
        ended: Callable[[Interaction], None],
        touched: Callable[[ActiveSession, float], None],
        service_of: Callable[[str], Service | None],
    ) -> None:
        """Record through this context.

        `active` finds the session of an interaction, while it is active, `ended` gets a call whose end is
        committed, `touched` a committed touch of a session of another host; `service_of` returns the service that wants
        to know about an interaction.
        """
        window = context.settings.redelivery_window_seconds
        self._context = context
        self._active = active
        self._ended = ended
        self._touched = touched
        self.service_of = service_of
        self.answers = AnswerCache(window_seconds=window, capacity=context.settings.answers_remembered)
        """The last answers of routed events, by event key; none after a restart, when the record is read instead."""
        self.redeliveries = RedeliveryIndex(window_seconds=window)
        """What every routed event became, by event key, for the redelivery window; read back after a restart."""
        self._refusals = AnswerCache(window_seconds=window, capacity=context.settings.refusals_remembered)
        """The last refusals, by event key; none after a restart, when the event is decided anew."""
        self.calls = Calls(window_seconds=window)
        """Open calls until they end, ended ones for the window, by CallSid; read back after a restart."""
        self.in_flight: dict[str, Interaction] = {}
        """What is being committed, by KI…, as it will be; until the commit, so that a restart loses nothing told."""
        self.recent = RecentMessages()
        """Of messages that carriers of ours send; what is in it may be erased."""
        self._waiting: dict[str, _Waiting] = {}
        """Events that wait for a hook or a coordinator, by event key, until they are answered; lost in a restart."""
        self._unfinished: dict[str, Interaction] = {}
        """Records whose gate has to be asked again, by event key and sender, until the event at hand takes its own."""

    @property
    def open_calls(self) -> int:
        """Count the calls whose inbound leg has not ended."""
        return len(self.calls)

    def reload_call(self, interaction: Interaction) -> None:
        """Take up a call that was open when the host stopped."""
        if interaction.inbound.resource_sid is not None:
            self.calls.add(interaction.inbound.resource_sid, interaction)

    def wait_for_commits(self, session_sids: Collection[str]) -> Awaitable[None]:
        """Wait for the interactions of sessions that are being committed."""
        if any(interaction.session_sid in session_sids for interaction in self.in_flight.values()):
            return self._context.store.write(())
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def session_of(self, interaction: Interaction) -> ActiveSession | None:
        """Return the session of an interaction, while it is active."""
        return self._active(interaction)

    def wait(self, event: InboundEvent, answer: Answer, service_sid: str) -> None:
        """Keep an event that waits for a hook of a service; its redeliveries will wait beside it."""
        self._waiting[key_of(event)] = _Waiting(event, service_sid, answer)

    def note_hook(self, event: InboundEvent, *, is_asked: bool) -> None:
        """Note that an event waits for its hook, which may take longer than a commit, or does so no more."""
        waiting = self._waiting.get(key_of(event))
        if waiting is not None:
            waiting.is_hook_asked = is_asked

    def tell_late(self) -> None:
        """Answer "not ready" to all that wait for the store; what they wait for goes on."""
        for waiting in tuple(self._waiting.values()):
            if not waiting.is_hook_asked:
                answers, waiting.answers = waiting.answers, []
                for answer in answers:
                    answer(STORE_DOWN)

    def answer_waiting(self, event: InboundEvent, decision: Decision, *, is_final: bool) -> None:
        """Answer an event that waited, and its redeliveries; keep a final answer for later ones."""
        key = key_of(event)
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return
        if is_final:
            answered = Answered(event.sender, waiting.service_sid, decision)
            self._keep_answer(key, answered, now=self._context.clock())
        for answer in waiting.answers:
            answer(decision)

    def reload_passed(self, passed: Sequence[Passed]) -> None:
        """Take note of what events had become before the host stopped."""
        now = self._context.clock()
        self.redeliveries.fill(passed, now=now)
        self.calls.reload_passed(passed, now=now)

    def resume(self, interaction: Interaction) -> None:
        """Let the event that comes go on with an interaction whose gate has to be asked again."""
        self._unfinished[_sent_by(interaction)] = interaction

    def wait_no_more(self, event: InboundEvent) -> None:
        """Leave an event that waited to whoever brought it."""
        self._waiting.pop(key_of(event), None)

    def take_waiting(self, event: InboundEvent) -> Answer:
        """Let an event wait no more; returns what answers it, and those that waited beside it."""
        answers = self._waiting.pop(key_of(event)).answers

        def answer(decision: Decision) -> None:
            for one in answers:
                one(decision)

        return answer

    def take_unfinished(self, interaction: Interaction) -> Interaction | None:
        """Return, once, what a redelivered event had recorded before the host stopped."""
        return self._unfinished.pop(_sent_by(interaction), None) if self._unfinished else None

    def may_know(self, key: str) -> bool:
        """Tell whether an event of that key has come before; most have not, and need not be looked for further."""
        return key in self._waiting or self._refusals.knows(key) or self.redeliveries.knows(key)

    def answer_again(self, key: str, event: InboundEvent, service_sid: str, answer: Answer) -> bool:
        """Answer the redelivery of what is being decided, with it, or was refused; tell whether it was one."""
        waiting = self._waiting.get(key)
        if waiting is not None:
            if waiting.service_sid != service_sid or canonical(waiting.sender) != canonical(event.sender):
                answer(BUSY)  # the SID of another event that is being decided: a forgery or a platform's mistake
            elif self._context.store.is_late and not waiting.is_hook_asked:
                answer(STORE_DOWN)
            else:
                waiting.answers.append(answer)
            return True
        refusal = self._refusals.find(key, event.sender, service_sid)
        if refusal is not None:
            answer(refusal)
            return True
        return False

    def answer_kept(self, key: str, decision: Decision, answer: Answer) -> None:
        """Answer a redelivery once what it answers is on disk."""

        def settled(problem: StoreUnavailable | None) -> None:
            is_kept = problem is None and decision.interaction_sid in self.redeliveries.find(key)
            answer(decision if is_kept else STORE_DOWN)

        def late() -> None:
            answer(STORE_DOWN)

        if decision.interaction_sid in self.in_flight:
            self._context.store.commit((), settled, late)  # waits for the commits before it
        else:
            answer(decision)

    def remember_refusal(self, key: str, answered: Answered, *, now: float) -> None:
        """Keep a refusal for its redelivery."""
        self._refusals.put(key, answered, now=now)

    def _keep_answer(self, key: str, answered: Answered, *, now: float) -> None:
        if answered.decision.outcome is _ROUTED:
            self.answers.put(key, answered, now=now)
            self.redeliveries.add(key, pack(answered.decision.interaction_sid), now=now)
        else:
            self._refusals.put(key, answered, now=now)

    def forget_answer(self, key: str, interaction_sid: str) -> None:
        """Drop an answer whose commit failed, or whose record is gone."""
        self.answers.evict(key)
        self.redeliveries.remove(key, interaction_sid)

    def route(  # noqa: PLR0917 - what was decided about what, and whom to answer
        self,
        key: str,
        event: InboundEvent,
        decision: Decision,
        interaction: Interaction,
        session: ActiveSession,
        entries: Sequence[OutboxEntry],
        answer: Answer,
    ) -> None:
        """Answer an event of a key once its interaction is committed, and keep the answer for its redelivery."""
        now = interaction.date_created
        self.answers.put(key, Answered(event.sender, interaction.service_sid, decision), now=now)
        self.redeliveries.add(key, pack(interaction.sid), now=now)
        if decision.is_sent_by_us:
            self.recent.add(interaction)
        self._commit_recording(_Routed(self, interaction, session, key, decision, answer), entries)

    def record(
        self, interaction: Interaction, session: ActiveSession, entries: Sequence[OutboxEntry] = ()
    ) -> "asyncio.Future[Interaction]":
        """Commit an interaction and what it does to its session; awaited, returns it or raises StoreUnavailable."""
        awaited = CommitFuture(interaction)
        self._commit_recording(_Awaited(self, interaction, session, awaited), entries)
        return awaited.future

    def _commit_recording(self, recording: "_Recording", entries: Sequence[OutboxEntry]) -> None:
        """Commit it; the idle clock of its session restarts at once."""
        interaction, session, now = recording.interaction, recording.session, recording.at
        session.touch(now)
        self.in_flight[interaction.sid] = interaction
        if recording.call_sid is not None:
            self.calls.add(recording.call_sid, interaction)
        changes: tuple[Change, ...]
        if session.is_replica:
            changes = (InteractionRecorded(interaction, is_elsewhere=True),)
        else:
            changes = (InteractionRecorded(interaction), SessionTouched(session.sid, now))
        commit(self._context, changes, recording.on_commit, entries, recording.on_late)

    def finish(self, recording: "_Recording", problem: StoreUnavailable | None) -> None:
        """Note that a recording is on disk, or that nothing of it is."""
        self._drop_in_flight(recording.interaction)
        self._settle_touch(recording.session, recording.at, is_kept=problem is None)
        if problem is not None:
            self.recent.forget(recording.interaction.sid)
            if recording.call_sid is not None:
                self.calls.forget(recording.call_sid, recording.interaction.sid)

    def _settle_touch(self, session: ActiveSession, at: float, *, is_kept: bool) -> None:
        if not is_kept:
            session.undo_touch(at)
            return
        session.keep_touch(at)
        if session.is_replica:
            self._touched(session, at)

    def connect(
        self, latest: Interaction, outbound: Leg, entries: Sequence[OutboxEntry]
    ) -> "asyncio.Future[Interaction]":
        """Commit the outbound leg of an interaction that was recorded without; awaited as `record`.

        The caller holds `changing` since before it read the `latest`.
        """
        whole = msgspec.structs.replace(latest, outbound=outbound, date_updated=self._context.clock())
        change = InteractionUpdated(
            interaction_sid=whole.sid,
            inbound=whole.inbound,
            outbound=whole.outbound,
            duration_seconds=whole.duration_seconds,
            at=whole.date_updated,
        )
        awaited = CommitFuture(whole)
        self.in_flight[whole.sid] = whole

        def done(problem: StoreUnavailable | None) -> None:
            self._drop_in_flight(whole)
            awaited.on_commit(problem)

        commit(self._context, (change,), done, entries)
        return awaited.future

    def at_hand(self, report: LegReport) -> Interaction | None:
        """Return the interaction that a report names, where memory has it as it is on disk, or was until it was erased.

        None where a report of what was erased would tell the application of it.
        """
        sid = report.interaction_sid
        if sid is None or report.status in _REFUSED_DOWNSTREAM or sid in self.in_flight:
            return None
        interaction = self.recent.find(sid)
        if interaction is None or not fits(report, interaction):
            return None
        service = self.service_of(interaction.service_sid)
        return interaction if service is not None and service.callback_url is None else None

    def take_at_hand(self, report: LegReport, interaction: Interaction, answer: AnswerReport) -> bool:
        """Commit what a report says of an interaction `at_hand`, its outbox entry's end too; False = nothing new."""
        outcome, change = apply_report(interaction, report, now=self._context.clock())
        if change is None:
            return False
        self._commit_change(_Taken(self, interaction, change, report, outcome, answer), report.entry_sid, None)
        return True

    def answer_not_found(self, report: LegReport, answer: AnswerReport) -> None:
        """Answer a report of what is not recorded here."""
        if report.kind is _VOICE:
            self.notify(Code.OPEN_INTERACTION_NOT_FOUND, report, None)
        answer(ReportOutcome.NOT_FOUND)

    def take_report(
        self, report: LegReport, interaction: Interaction, session_name: str | None, answer: AnswerReport
    ) -> bool:
        """Decide what a report says of an interaction as it is now, and commit that.

        Returns whether it was decided: what repeats a report whose commit is under way is decided after that.
        """
        outcome, change = apply_report(interaction, report, now=self._context.clock())
        if change is None and self.in_flight.get(interaction.sid) is interaction:
            return False
        if outcome is _NOT_OPEN:
            self.notify(Code.INTERACTION_NOT_OPEN, report, interaction)
        if change is None:
            answer(outcome)
        else:
            taken = _Taken(self, interaction, change, report, outcome, answer)
            self._commit_change(taken, report.entry_sid, session_name)
        return True

    def commit_report(self, interaction: Interaction, change: InteractionUpdated, *, session_name: str | None) -> None:
        """Commit a change of an interaction that nobody has reported, with what follows from it."""
        self._commit_change(_Change(self, interaction, change), None, session_name)

    def _commit_change(self, changing: "_Change", entry_sid: str | None, session_name: str | None) -> None:
        """Commit a change with what follows from it and, where one is named, the end of an outbox entry."""
        interaction, change, updated = changing.before, changing.change, changing.updated
        changes: tuple[Change, ...] = (change,) if entry_sid is None else (change, EntrySettled(entry_sid))
        if changing.is_end:
            self.calls.end(interaction, now=change.at)
            self.redeliveries.add(inbound_key(interaction), pack(interaction.sid), now=change.at)
            if change.inbound.status is not LegStatus.UNKNOWN:
                touched = changing.touched = self._touched_by_end(interaction, change.at)
                if touched is not None:
                    touched.touch(change.at)
                    if not touched.is_replica:
                        changes = (*changes, SessionTouched(touched.sid, change.at))
        self.in_flight[interaction.sid] = updated
        entries = self._callback_of(updated, session_name)
        if updated.outbound.status is not interaction.outbound.status:
            entries = (*entries, *receipt(updated, self._context))
        commit(self._context, changes, changing.on_commit, entries, changing.on_late)

    def finish_change(self, changing: "_Change", *, is_kept: bool) -> None:
        """Note that a change is on disk, or that nothing of it is."""
        self._drop_in_flight(changing.updated)
        self._keep_recent(changing.updated, is_kept=is_kept)
        if changing.touched is not None:
            self._settle_touch(changing.touched, changing.change.at, is_kept=is_kept)
        if changing.is_end and is_kept:
            self._ended(changing.updated)
        elif changing.is_end:
            self.reload_call(changing.before)

    def _keep_recent(self, updated: Interaction, *, is_kept: bool) -> None:
        """Know an interaction as it is on disk now; of what has ended, nothing more is reported."""
        if is_kept and updated.outbound.status not in ENDED and updated.sid not in self.in_flight:
            self.recent.report(updated)
        else:
            self.recent.forget(updated.sid)

    def _callback_of(self, interaction: Interaction, session_name: str | None) -> tuple[OutboxEntry, ...]:
        """Return the callback about an interaction that has changed, where its service wants one."""
        service = self.service_of(interaction.service_sid)
        if service is None:
            return ()
        return callback(
            interaction, service.callback_url, service.options, session_name=session_name, context=self._context
        )

    def _touched_by_end(self, interaction: Interaction, at: float) -> ActiveSession | None:
        """Return the session whose ttl the end of a call restarts; one past its end is not revived."""
        session = self._active(interaction)
        return None if session is None or session.is_expired(at) else session

    def _drop_in_flight(self, interaction: Interaction) -> None:
        if self.in_flight.get(interaction.sid) is interaction:
            del self.in_flight[interaction.sid]

    def sid_of(self, report: LegReport) -> str | None:
        """Find the interaction that a report names, itself or by its event."""
        sid = report.interaction_sid
        if sid is None:
            if report.proxy is None or report.is_outbound:
                return None
            sid = self.calls.find(report.resource_sid, report.proxy) if report.kind is _VOICE else None
            if sid is None:
                found = self.redeliveries.find(event_key(report.proxy, report.kind, report.resource_sid))
                sid = found[-1] if found else None
        return sid

    def notify(self, code: Code, report: LegReport, interaction: Interaction | None) -> None:
        """Raise a debugger event about a report."""
        account_sid = report.account_sid if interaction is None else interaction.account_sid
        if account_sid is None:
            return  # a carrier's leg that is nobody's: there is no debugger to tell
        self._context.notify(
            code,
            f"{CATALOGUE[code].title}: leg reported {report.status}{f' ({report.problem})' if report.problem else ''}",
            account_sid=account_sid,
            service_sid=None if interaction is None else interaction.service_sid,
            session_sid=None if interaction is None else interaction.session_sid,
            resource_sid=report.resource_sid,
            proxy=report.proxy if interaction is None else interaction.proxy,
        )


def _sent_by(interaction: Interaction) -> str:
    """Return the key of the event that became an interaction, and of whom it came."""
    return f"{inbound_key(interaction)} {interaction.inbound.participant_sid}"


class _Waiting:
    """An event that waits for a hook, and who is to hear what becomes of it."""

    __slots__ = ("answers", "is_hook_asked", "sender", "service_sid")

    def __init__(self, event: InboundEvent, service_sid: str, answer: Answer) -> None:
        self.sender = event.sender
        self.service_sid = service_sid
        self.answers = [answer]
        self.is_hook_asked = False


@mypyc_attr(acyclic=True)
class _Recording:
    """An interaction on its way to disk; one object for all that happens when it is there, as there are many."""

    __slots__ = ("at", "call_sid", "interaction", "interaction_log", "session")

    def __init__(self, interaction_log: InteractionLog, interaction: Interaction, session: ActiveSession) -> None:
        self.interaction_log = interaction_log
        self.interaction = interaction
        self.session = session
        self.at = interaction.date_created
        self.call_sid = interaction.inbound.resource_sid if is_open_call(interaction) else None

    def on_commit(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit."""
        self.interaction_log.finish(self, problem)

    def on_late(self) -> None:
        """Take that it takes long; whoever awaits this in a task is answered from there."""


@final
@mypyc_attr(acyclic=True)
class _Routed(_Recording):
    """One that is answered then."""

    __slots__ = ("answer", "decision", "is_answered", "key")

    def __init__(  # noqa: PLR0917 - as above
        self,
        interaction_log: InteractionLog,
        interaction: Interaction,
        session: ActiveSession,
        key: str,
        decision: Decision,
        answer: Answer,
    ) -> None:
        super().__init__(interaction_log, interaction, session)
        self.key = key
        self.decision = decision
        self.answer = answer
        self.is_answered = False

    def on_commit(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit, and answer, unless that was done: then the redelivery gets the answer."""
        super().on_commit(problem)
        if problem is not None:
            self.interaction_log.forget_answer(self.key, self.interaction.sid)
        if not self.is_answered:
            self.answer(self.decision if problem is None else STORE_DOWN)

    def on_late(self) -> None:
        """Answer "not ready"; the event is decided already, and its redelivery is answered so if this was committed."""
        if not self.is_answered:
            self.is_answered = True
            self.answer(STORE_DOWN)


@final
@mypyc_attr(acyclic=True)
class _Awaited(_Recording):
    """One that is awaited."""

    __slots__ = ("_commit",)

    def __init__(
        self, interaction_log: InteractionLog, interaction: Interaction, session: ActiveSession, commit: CommitFuture
    ) -> None:
        super().__init__(interaction_log, interaction, session)
        self._commit = commit

    def on_commit(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit, and tell who awaits it."""
        super().on_commit(problem)
        self._commit.on_commit(problem)


@mypyc_attr(acyclic=True)
class _Change:
    """A change of an interaction on its way to disk, as a recording."""

    __slots__ = ("before", "change", "interaction_log", "is_end", "touched", "updated")

    def __init__(self, interaction_log: InteractionLog, before: Interaction, change: InteractionUpdated) -> None:
        self.interaction_log = interaction_log
        self.before = before
        self.change = change
        self.updated = _REPLACE(
            before,
            inbound=change.inbound,
            outbound=change.outbound,
            duration_seconds=change.duration_seconds,
            date_updated=change.at,
        )
        self.is_end = ends_call(before, change)
        self.touched: ActiveSession | None = None

    def on_commit(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit."""
        self.interaction_log.finish_change(self, is_kept=problem is None)

    def on_late(self) -> None:
        """Take that it takes long; nobody waits for it."""


@final
@mypyc_attr(acyclic=True)
class _Taken(_Change):
    """One that was reported; who did so is answered then, or that it takes long."""

    __slots__ = ("answer", "is_answered", "outcome", "report")

    def __init__(  # noqa: PLR0917 - as above
        self,
        interaction_log: InteractionLog,
        before: Interaction,
        change: InteractionUpdated,
        report: LegReport,
        outcome: ReportOutcome,
        answer: AnswerReport,
    ) -> None:
        super().__init__(interaction_log, before, change)
        self.report = report
        self.outcome = outcome
        self.answer = answer
        self.is_answered = False

    def on_commit(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit, and answer, unless that was done."""
        super().on_commit(problem)
        if problem is None and self.report.is_outbound and self.report.status in _REFUSED_DOWNSTREAM:
            self.interaction_log.notify(Code.DOWNSTREAM_REJECTED, self.report, self.before)
        if not self.is_answered:
            self.answer(self.outcome if problem is None else None)

    def on_late(self) -> None:
        """Answer that it could not be taken; the platform retries."""
        if not self.is_answered:
            self.is_answered = True
            self.answer(None)


_REPLACE: Final = msgspec.structs.replace
