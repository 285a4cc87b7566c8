"""Events that wait: for a webhook of the application (the intercept gate, the out-of-session hook) or a coordinator.

A coordinator says whether a session has expired that is on several hosts, and who was in one that is over.

Only the one event waits; its number's actor serves others meanwhile, and nothing is held. After every wait the world
is looked at again: if in doubt, the event is not routed. Source: behaviour 9, 12, 13.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from actors.kernel.context import HostContext
from actors.kernel.locks import KeyedLocks
from actors.traffic.coordinators import Coordinators, Expiry
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.recorded import RecordedInteractions
from engine.at_once import Begun
from engine.core.model.errors import ApiError, Code, PeerUnavailable, StoreUnavailable
from engine.core.model.records import Interaction, Leg, Participant
from engine.core.numbers.e164 import canonical
from engine.core.ports.hooks import InterceptVerdict, OutOfSessionCase
from engine.core.routing.decide import (
    BUSY,
    CALL_OF_STRANGER,
    DISABLED,
    MESSAGE_OF_STRANGER,
    OUT_OF_SESSION,
    REBUILDING,
    STORE_DOWN,
    Ruling,
    decide,
    fall_back,
    still_meets,
    undecided,
)
from engine.core.routing.event_keys import key_of
from engine.core.routing.traffic import Decision, InboundEvent, Outcome, Reason, SessionWanted
from engine.core.sessions.bindings import ActiveSession

if TYPE_CHECKING:
    from actors.traffic.number import NumberActor

Verdict = TypeVar("Verdict")

FINISH_SECONDS = 0.3
"""What events that wait for hooks are given when the host stops; nobody is there any more to hear the answer."""


class PendingHooks:
    """The events of a host that wait for hooks."""

    def __init__(
        self,
        context: HostContext,
        interaction_log: InteractionLog,
        recorded: RecordedInteractions,
        coordinators: Coordinators,
    ) -> None:
        """Ask hooks through this context, and coordinators wherever they are."""
        self._context = context
        self._interaction_log = interaction_log
        self._recorded = recorded
        self._coordinators = coordinators
        self._waiting = 0
        self._waiting_of: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._making = KeyedLocks()

    @property
    def waiting(self) -> int:
        """Count the events that wait."""
        return self._waiting

    async def finish(self) -> None:
        """Wait a moment for the events that wait; one that is cut off goes on when it is sent again."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISH_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        waiting = tuple(self._tasks)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def intercept(self, actor: "NumberActor", event: InboundEvent, ruling: Ruling) -> None:
        """Ask the gate about an event in session, then route or block it."""
        self._begin(actor.account_sid, event, lambda deadline: self._gated(actor, event, ruling, deadline))

    def out_of_session(self, actor: "NumberActor", event: InboundEvent, ruling: Ruling) -> None:
        """Ask the application what to do with an event that meets no session."""
        self._begin(actor.account_sid, event, lambda deadline: self._outside(actor, event, ruling, deadline))

    def expired(self, actor: "NumberActor", event: InboundEvent, ruling: Ruling) -> None:
        """Have the coordinator say whether a session has expired: its participants' numbers are on several hosts."""
        self._begin(actor.account_sid, event, lambda deadline: self._after_expiry(actor, event, ruling, deadline))

    def redelivered(self, actor: "NumberActor", event: InboundEvent) -> None:
        """Answer an event that may have come before; in this turn, unless something has to be waited for."""
        deadline = self._deadline()
        try:
            begun = Begun(self._decided_before(actor, event))
        except StoreUnavailable as problem:  # what it repeats cannot be read
            self._interaction_log.answer_waiting(event, undecided(problem), is_final=False)
            return
        except BaseException:
            self._interaction_log.wait_no_more(event)
            raise
        if not begun.is_over:
            if not self._begin(actor.account_sid, event, lambda _: self._known_late(begun, actor, event, deadline)):
                begun.close()
        elif begun.result is None:
            actor.receive_new(key_of(event), event, self._interaction_log.take_waiting(event))
        else:
            self._repeat(event, begun.result)

    def _begin(
        self, account_sid: str, event: InboundEvent, work: Callable[[float], Awaitable[Decision | None]]
    ) -> bool:
        """Let an event wait, unless its account would hold more of the room than it leaves free for the others.

        One account alone gets half of it, a second one half of the rest, and there is always some for the next one
        (dynamic thresholds: Choudhury and Hahne, 1998). Returns whether it waits.
        """
        if self._waiting_of[account_sid] >= self._context.settings.most_waiting_events - self._waiting:
            self._interaction_log.answer_waiting(event, BUSY, is_final=False)
            return False
        self._waiting += 1
        self._waiting_of[account_sid] += 1
        task = asyncio.create_task(self._run(account_sid, event, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._timer is None:
            self._look_soon()
        return True

    def _look_soon(self) -> None:
        seconds = self._context.settings.late_look_seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look_who_waits)

    def _look_who_waits(self) -> None:
        """Answer "not ready" to those that wait for a store which is late."""
        self._timer = None
        if self._context.store.is_late:
            self._interaction_log.tell_late()
        if self._waiting:
            self._look_soon()

    async def _asked(self, event: InboundEvent, hook: Awaitable[Verdict]) -> Verdict:
        """Wait for a hook of an event."""
        self._interaction_log.note_hook(event, is_asked=True)
        try:
            return await hook
        finally:
            self._interaction_log.note_hook(event, is_asked=False)

    def _deadline(self) -> float:
        return self._context.clock() + self._context.settings.carrier_deadline_seconds

    async def _run(
        self, account_sid: str, event: InboundEvent, work: Callable[[float], Awaitable[Decision | None]]
    ) -> None:
        decision: Decision | None
        try:
            decision = await work(self._deadline())
        except (StoreUnavailable, PeerUnavailable) as problem:
            decision = undecided(problem)
        except BaseException as problem:
            self._interaction_log.answer_waiting(event, undecided(problem), is_final=False)
            raise
        finally:
            self._leave(account_sid)  # before the answer: its receiver may send another event at once
        self._answer(event, decision)

    def _answer(self, event: InboundEvent, decision: Decision | None) -> None:
        """Answer an event; None: that is seen to."""
        if decision is not None:
            self._interaction_log.answer_waiting(event, decision, is_final=decision.outcome is not Outcome.NOT_READY)

    def _leave(self, account_sid: str) -> None:
        self._waiting -= 1
        self._waiting_of[account_sid] -= 1
        if not self._waiting_of[account_sid]:
            del self._waiting_of[account_sid]

    # -- the gate ------------------------------------------------------------------------------------------------

    async def _gated(self, actor: "NumberActor", event: InboundEvent, ruling: Ruling, deadline: float) -> Decision:
        interaction, session = ruling.interaction, ruling.session
        if interaction is None or session is None:
            return ruling.decision
        if not still_meets(actor.bindings, session, interaction):  # erased since it was decided, a turn ago
            return self._gone(actor, event, session)
        url = actor.rules.intercept_url
        if url is None:
            entries = actor.entries_of(event, ruling.decision, interaction, session)
            await self._interaction_log.record(interaction, session, entries)
            return ruling.decision
        before = self._interaction_log.take_unfinished(interaction)
        if before is not None:
            interaction = msgspec.structs.replace(interaction, sid=before.sid, date_created=before.date_created)
        half = msgspec.structs.replace(interaction, outbound=Leg())
        if before is None:
            await self._interaction_log.record(half, session)
        limit = min(self._context.settings.intercept_timeout_seconds, deadline - self._context.clock())
        may_rewrite = actor.rules.options.intercept_may_rewrite and not event.is_call
        hook = self._context.egress.hooks.intercept(url, half, may_rewrite=may_rewrite, timeout_seconds=max(limit, 0.0))
        verdict = await self._asked(event, hook)
        if self._blocks(verdict, actor, event, session):
            return Decision(Outcome.REFUSED, Reason.INTERCEPTED, session_sid=session.sid, code=Code.CONTACT_REJECTED)
        async with self._recorded.changing(interaction.sid):
            latest = await self._recorded.latest(interaction.sid) or interaction  # before it is asked who meets whom
            if actor.rules.is_disabled:
                actor.notify_of(event, DISABLED.decision)
                return DISABLED.decision
            if not still_meets(actor.bindings, session, interaction):
                return self._gone(actor, event, session)
            decision = msgspec.structs.replace(ruling.decision, body=verdict.body, interaction_sid=interaction.sid)
            entries = actor.entries_of(event, decision, interaction, session)
            landed = self._interaction_log.connect(latest, interaction.outbound, entries)
        await landed
        return decision

    def _blocks(
        self, verdict: InterceptVerdict, actor: "NumberActor", event: InboundEvent, session: ActiveSession
    ) -> bool:
        if verdict.is_failed:
            actor.notify(Code.CALLBACK_FAILED, event, session.sid, verdict.trace)
        is_shut = verdict.is_failed and actor.rules.options.intercept_fails_closed
        is_emptied = verdict.body is not None and not verdict.body.strip() and not event.media  # nothing left to send
        if not verdict.is_blocked and not is_shut and not is_emptied:
            return False
        actor.notify(Code.CONTACT_REJECTED, event, session.sid)
        return True

    def _gone(self, actor: "NumberActor", event: InboundEvent, session: ActiveSession) -> Decision:
        """Refuse an event whose session ended while the gate was asked."""
        stranger = (CALL_OF_STRANGER if event.is_call else MESSAGE_OF_STRANGER).decision
        decision = msgspec.structs.replace(stranger, session_sid=session.sid)
        actor.notify_of(event, decision)
        return fall_back(decision, actor.rules.options)

    # -- past the end of a session ---------------------------------------------------------------------------------

    async def _after_expiry(
        self, actor: "NumberActor", event: InboundEvent, ruling: Ruling, deadline: float
    ) -> Decision:
        session = ruling.session
        expiry = Expiry.OVER if session is None else await self._expiry_of(actor, session)
        if session is None or expiry is Expiry.OVER:
            return await self._refused(actor, event, ruling, deadline)
        if expiry is Expiry.UNSURE:
            return REBUILDING  # neither routed nor refused
        now, id_factory = self._context.clock(), self._context.id_factory
        ruling = decide(actor.bindings, event, rules=actor.rules, now=now, id_factory=id_factory, going_on=session.sid)
        if ruling.interaction is not None:
            return await self._gated(actor, event, ruling, deadline)
        return await self._refused(actor, event, ruling, deadline)

    async def _expiry_of(self, actor: "NumberActor", session: ActiveSession) -> Expiry:
        """Ask the coordinator; a fixed end that has come by its clock, as it is known here, needs nobody's word."""
        try:
            return await self._coordinators.expire(actor.service_sid, session.sid)
        except PeerUnavailable:
            if not session.has_fixed_end:
                raise
            return Expiry.OVER

    async def _refused(self, actor: "NumberActor", event: InboundEvent, ruling: Ruling, deadline: float) -> Decision:
        decision = ruling.decision
        is_asked = decision.reason in OUT_OF_SESSION and actor.rules.out_of_session_url is not None
        if not is_asked or decision.reason is Reason.SESSION_EXPIRED:
            actor.notify_of(event, decision)
        return (
            await self._outside(actor, event, ruling, deadline)
            if is_asked
            else fall_back(decision, actor.rules.options)
        )

    # -- redeliveries --------------------------------------------------------------------------------------------

    async def _decided_before(self, actor: "NumberActor", event: InboundEvent) -> Decision | None:
        """Return the answer to what may have come before; None: it has not."""
        key = key_of(event)
        decision = await self._recorded.known_answer(key, event, actor.service_sid)
        passed = () if decision is not None else await self._recorded.passed_before(key)
        turned_away = actor.turned_away(event)
        if decision is not None or turned_away is not None:
            return turned_away or decision
        decision, over = actor.decided_before(event, passed)
        for interaction in over:
            participants = await self._participants(interaction)
            decision = actor.decision_again(event, interaction, participants)
            if decision is not None:
                kept = await self._recorded.passed_before(key)
                is_kept = any(one.sid == interaction.sid for one in kept)
                return actor.turned_away(event) or (decision if is_kept else STORE_DOWN)
        return decision

    async def _participants(self, interaction: Interaction) -> tuple[Participant, ...]:
        """Read who was in the session of an interaction; the coordinator of another host's says it."""
        participants = await self._context.store.participants(interaction.session_sid)
        if participants:
            return participants
        await asyncio.sleep(0)  # what follows needs a task
        return await self._coordinators.participants(interaction.service_sid, interaction.session_sid)

    def _repeat(self, event: InboundEvent, decision: Decision) -> None:
        """Answer a redelivery once what it repeats is on disk."""
        log = self._interaction_log
        log.answer_kept(key_of(event), decision, lambda kept: log.answer_waiting(event, kept, is_final=False))

    async def _known_late(
        self, begun: Begun[Decision | None], actor: "NumberActor", event: InboundEvent, deadline: float
    ) -> Decision | None:
        """Answer what had to wait until it was known whether it came before; None: that is seen to."""
        decision = await begun
        if decision is None:
            return await self._anew(actor, event, deadline)
        self._repeat(event, decision)
        return None

    async def _anew(self, actor: "NumberActor", event: InboundEvent, deadline: float) -> Decision:
        """Decide about an event that turned out to be no redelivery, as if it had just come."""
        turned_away = actor.turned_away(event)
        if turned_away is not None:
            return turned_away
        now, id_factory = self._context.clock(), self._context.id_factory
        ruling = decide(actor.bindings, event, rules=actor.rules, now=now, id_factory=id_factory)
        if ruling.interaction is not None:
            return await self._gated(actor, event, ruling, deadline)
        if ruling.decision.reason is Reason.SESSION_EXPIRED and ruling.session is not None:
            return await self._after_expiry(actor, event, ruling, deadline)
        return await self._refused(actor, event, ruling, deadline)

    # -- out of session ------------------------------------------------------------------------------------------

    async def _outside(self, actor: "NumberActor", event: InboundEvent, ruling: Ruling, deadline: float) -> Decision:
        url = actor.rules.out_of_session_url
        if url is None:
            return ruling.decision
        limit = max(deadline - self._context.clock(), 0.0)
        case = await self._case(actor, event)
        hook = self._context.egress.hooks.out_of_session(url, case, timeout_seconds=limit)
        verdict = await self._asked(event, hook)
        session_sid = ruling.decision.session_sid
        if verdict.twiml is not None:
            return Decision(Outcome.ANSWERED, Reason.OUT_OF_SESSION, session_sid=session_sid, twiml=verdict.twiml)
        if verdict.wanted is not None:
            return await self._in_made_session(actor, event, verdict.wanted, deadline)
        code = verdict.code or Code.UNKNOWN_SCENARIO
        actor.notify(code, event, session_sid, verdict.trace)
        if code is Code.UNKNOWN_SCENARIO:
            return Decision(Outcome.ANSWERED, Reason.LEFT_TO_APPLICATION, session_sid=session_sid, code=code)
        failed = Decision(Outcome.REFUSED, Reason.OUT_OF_SESSION_FAILED, session_sid=session_sid, code=code)
        return fall_back(failed, actor.rules.options)

    async def _in_made_session(
        self, actor: "NumberActor", event: InboundEvent, wanted: SessionWanted, deadline: float
    ) -> Decision:
        """Make the session, unless the sender has got one on this number meanwhile, and go on as in session."""
        sender = canonical(event.sender)
        async with self._making.hold(f"{sender} {actor.address}"):
            try:
                if actor.bindings.find(sender) is None:
                    await self._coordinators.make_session(actor.service_sid, actor.address, event, wanted)
            except ApiError as refusal:
                self._context.notify(
                    refusal.code,
                    refusal.message,
                    account_sid=actor.account_sid,
                    service_sid=actor.service_sid,
                    resource_sid=event.resource_sid,
                    proxy=actor.address,
                    sender=event.sender,
                )
                failed = Decision(Outcome.REFUSED, Reason.AUTO_CREATE_FAILED, code=refusal.code)
                return fall_back(failed, actor.rules.options)
        now, id_factory = self._context.clock(), self._context.id_factory
        ruling = decide(actor.bindings, event, rules=actor.rules, now=now, id_factory=id_factory)
        if ruling.interaction is None:
            actor.notify_of(event, ruling.decision)
            return fall_back(ruling.decision, actor.rules.options)
        return await self._gated(actor, event, ruling, deadline)

    async def _case(self, actor: "NumberActor", event: InboundEvent) -> OutOfSessionCase:
        """Gather what is known of the last session that paired sender and number."""
        sender = canonical(event.sender)
        last = await self._coordinators.last_session(actor.service_sid, sender, actor.address)
        inbound: Participant | None = None
        outbound: Participant | None = None
        for participant in () if last is None else last.participants:
            if participant.identifier == sender and participant.proxy_identifier == actor.address:
                inbound = participant
            else:
                outbound = participant
        return OutOfSessionCase(
            event=event,
            service_sid=actor.service_sid,
            account_sid=actor.account_sid,
            session=None if last is None else last.session,
            inbound=inbound,
            outbound=outbound,
        )
