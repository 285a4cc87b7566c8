"""The number actor: owns the bindings of one proxy number and decides every call and message that reaches it.

It never awaits between deciding and recording, so its decisions cannot interleave. An event that may have come before
waits until it is known; whatever comes with its SID meanwhile waits beside it. Only the service's coordinator changes
the bindings.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from actors.kernel.context import HostContext
from actors.traffic import outbox_entries
from actors.traffic.answers import Answered
from actors.traffic.interaction_log import InteractionLog
from actors.traffic.pending_hooks import PendingHooks
from engine.core.model.errors import CATALOGUE, Code
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import Address, Interaction, Kind, Participant, WebhookTrace
from engine.core.model.sids import SidKind
from engine.core.numbers.e164 import canonical
from engine.core.routing.decide import (
    DISABLED,
    OUT_OF_SESSION,
    REBUILDING,
    NumberRules,
    Ruling,
    decide,
    fall_back,
    outbound_address,
    pushed_message,
    routed,
)
from engine.core.routing.event_keys import event_key
from engine.core.routing.route_cache import FlatTable
from engine.core.routing.traffic import Decision, InboundEvent, Reason
from engine.core.sessions.bindings import ActiveSession, Bindings, Endpoint, endpoint_of

Answer = Callable[[Decision], None]

_EXPIRED: Final = Reason.SESSION_EXPIRED  # a member is found tenfold faster here than in its class (3.11)


class Source(Protocol):
    """The sessions of a number whose coordinator is on another host."""

    @property
    def is_ready(self) -> bool:
        """Whether they are known, and kept up."""

    @property
    def sessions(self) -> Mapping[str, ActiveSession]:
        """Those that route, by their SIDs."""

    @property
    def offset(self) -> float:
        """How far this host's clock is ahead of the coordinator's, seconds."""


class NumberActor:
    """One proxy number in a service's pool."""

    __slots__ = (
        "_context",
        "_expired",
        "_interaction_log",
        "_pending_hooks",
        "account_sid",
        "address",
        "bindings",
        "rules",
        "service_sid",
        "source",
    )

    def __init__(
        self,
        address: Address,
        *,
        account_sid: str,
        service_sid: str,
        rules: NumberRules,
        context: HostContext,
        interaction_log: InteractionLog,
        pending_hooks: PendingHooks,
        expired: Callable[[ActiveSession], None],
        source: Source | None = None,
        routes: FlatTable | None = None,
    ) -> None:
        """Own a number; `expired` gets a session found past its end.

        `source` is the replica of the sessions of another host's coordinator; `routes` is its table in the route cache.
        """
        self.address = address
        self.account_sid = account_sid
        self.service_sid = service_sid
        self.rules = rules
        self.bindings = Bindings(routes)
        self.source = source
        self._context = context
        self._interaction_log = interaction_log
        self._pending_hooks = pending_hooks
        self._expired = expired

    @property
    def is_ready(self) -> bool:
        """Whether it knows its bindings: those of a coordinator elsewhere have to be heard, and kept up."""
        return self.source is None or self.source.is_ready

    def receive(self, event: InboundEvent, answer: Answer) -> None:
        """Decide about an event; a routed one is answered after its commit, every other at once."""
        turned_away = self.turned_away(event)  # before what passed already is looked for: that would be dialled again
        if turned_away is not None:
            answer(turned_away)
            return
        key = event_key(self.address, event.kind, event.resource_sid)
        log = self._interaction_log
        if log.may_know(key):
            if not log.answer_again(key, event, self.service_sid, answer):
                log.wait(event, answer, self.service_sid)
                self._pending_hooks.redelivered(self, event)
            return
        self.receive_new(key, event, answer)

    def receive_new(self, key: str, event: InboundEvent, answer: Answer) -> None:
        """Decide about an event of a key that is known to repeat none; answers as `receive` does."""
        context = self._context
        now = context.clock()
        ruling = decide(self.bindings, event, rules=self.rules, now=now, id_factory=context.id_factory)
        interaction, session = ruling.interaction, ruling.session
        if interaction is None or session is None:
            self._refuse(event, ruling, now, answer)
            return
        decision = ruling.decision
        if event.media_left_out:
            self.notify(Code.TOO_MANY_MEDIA, event, decision.session_sid)
        if self.rules.intercept_url is not None:
            self._interaction_log.wait(event, answer, self.service_sid)
            self._pending_hooks.intercept(self, event, ruling)
            return
        entries = self.entries_of(event, decision, interaction, session)
        self._interaction_log.route(key, event, decision, interaction, session, entries, answer)

    def turned_away(self, event: InboundEvent) -> Decision | None:
        """Return what is answered now whatever the event is, None while this number decides."""
        if self.rules.is_disabled:
            self.notify_of(event, DISABLED.decision)
            return DISABLED.decision
        if self.source is not None and not self.source.is_ready:
            return REBUILDING
        return None

    def decided_before(
        self, event: InboundEvent, passed: Iterable[Interaction]
    ) -> tuple[Decision | None, list[Interaction]]:
        """Return what was answered when an event became one of these interactions, if its session still shows it.

        If not, the second is what it may have become in sessions that are over.
        """
        over: list[Interaction] = []
        for interaction in passed:
            if interaction.service_sid != self.service_sid:
                continue
            if self._is_gate_asked_again(interaction):
                self._interaction_log.resume(interaction)
                continue
            session = self._interaction_log.session_of(interaction)
            ends = None if session is None else _ends(interaction, session.endpoints)
            if ends is None:
                over.append(interaction)
                continue
            decision = self._decision_again(event, interaction, *ends)
            if decision is not None:
                return decision, []
        return None, over

    def _is_gate_asked_again(self, interaction: Interaction) -> bool:
        """Tell whether the gate was not done, or had blocked it, or may have sent another text: that is not kept."""
        if interaction.outbound.participant_sid is None:
            return True
        is_sent_by_us = self.rules.carrier is not None
        return self.rules.options.intercept_may_rewrite and interaction.kind is Kind.MESSAGE and not is_sent_by_us

    def decision_again(
        self, event: InboundEvent, interaction: Interaction, participants: Iterable[Participant]
    ) -> Decision | None:
        """Return what was answered when an event became this interaction; None if it did not come from its sender."""
        ends = _ends(interaction, map(endpoint_of, participants))
        return None if ends is None else self._decision_again(event, interaction, *ends)

    def _decision_again(
        self, event: InboundEvent, interaction: Interaction, caller: Endpoint, partner: Endpoint
    ) -> Decision | None:
        if caller.identifier != canonical(event.sender):
            return None
        return routed(
            caller,
            partner,
            is_call=interaction.kind is Kind.VOICE,
            rules=self.rules,
            session_sid=interaction.session_sid,
            interaction_sid=interaction.sid,
        )

    def would_decide(self, event: InboundEvent) -> Ruling:
        """Tell what would become of an event now, and change nothing."""
        return decide(self.bindings, event, rules=self.rules, now=self._context.clock(), id_factory=None)

    def push(
        self, session: ActiveSession, endpoint: Endpoint, *, body: str, media: tuple[str, ...]
    ) -> "asyncio.Future[Interaction]":
        """Record a message of the application to the participant of this number; awaited as `record`."""
        sid, now = self._context.id_factory(SidKind.INTERACTION), self._context.clock()
        interaction = pushed_message(session, endpoint, sid=sid, body=body, media=media, now=now)
        to = outbound_address(endpoint.identifier, is_call=False, rules=self.rules)
        entries = (
            *self._callback(interaction, session),
            *outbox_entries.message(
                interaction, carrier=self.rules.carrier, to=to, sender=endpoint.proxy, body=body, context=self._context
            ),
        )
        return self._interaction_log.record(interaction, session, entries)

    def entries_of(
        self, event: InboundEvent, decision: Decision, interaction: Interaction, session: ActiveSession
    ) -> tuple[OutboxEntry, ...]:
        """Return the outbox entries of a routed event: its callback, and the message if a carrier of ours sends it."""
        callbacks = self._callback(interaction, session)
        if not decision.is_sent_by_us:
            return callbacks
        body = event.body if decision.body is None else decision.body
        sent = outbox_entries.message(
            interaction,
            carrier=self.rules.carrier,
            to=decision.to,
            sender=decision.caller_id,
            body=body,
            context=self._context,
            raw=event.raw if decision.body is None else None,
            valid_until=event.valid_until,
        )
        return (*callbacks, *sent)

    def notify_of(self, event: InboundEvent, decision: Decision) -> None:
        """Raise the debugger event of a decision, if it has one."""
        if decision.code is not None:
            self.notify(decision.code, event, decision.session_sid)

    def notify(self, code: Code, event: InboundEvent, session_sid: str, trace: WebhookTrace | None = None) -> None:
        """Raise a debugger event about what reached this number; `trace` is of the webhook at fault."""
        self._context.notify(
            code,
            CATALOGUE[code].title,
            account_sid=self.account_sid,
            service_sid=self.service_sid,
            session_sid=session_sid or None,
            resource_sid=event.resource_sid,
            proxy=self.address,
            sender=event.sender,
            webhook=trace,
        )

    def _callback(self, interaction: Interaction, session: ActiveSession) -> tuple[OutboxEntry, ...]:
        rules = self.rules
        return outbox_entries.callback(
            interaction, rules.callback_url, rules.options, session_name=session.unique_name, context=self._context
        )

    def _refuse(self, event: InboundEvent, ruling: Ruling, now: float, answer: Answer) -> None:
        decision = ruling.decision
        if decision.reason is _EXPIRED and ruling.session is not None:
            if ruling.session.is_replica or (ruling.session.is_spread and not ruling.session.has_fixed_end):
                self._interaction_log.wait(event, answer, self.service_sid)
                self._pending_hooks.expired(self, event, ruling)
                return
            self._expired(ruling.session)
        if self.rules.out_of_session_url is not None and decision.reason in OUT_OF_SESSION:
            if decision.reason is _EXPIRED:
                self.notify_of(event, decision)
            self._interaction_log.wait(event, answer, self.service_sid)
            self._pending_hooks.out_of_session(self, event, ruling)
            return
        self.notify_of(event, decision)
        if self.rules.has_fall_backs:
            decision = fall_back(decision, self.rules.options)
        key = event_key(self.address, event.kind, event.resource_sid)
        self._interaction_log.remember_refusal(key, Answered(event.sender, self.service_sid, decision), now=now)
        answer(decision)


def _ends(interaction: Interaction, endpoints: Iterable[Endpoint]) -> tuple[Endpoint, Endpoint] | None:
    """Find where the two of an interaction sit, or sat: who called or wrote, and who was reached."""
    by_sid = {endpoint.participant_sid: endpoint for endpoint in endpoints}
    caller = by_sid.get(interaction.inbound.participant_sid or "")
    partner = by_sid.get(interaction.outbound.participant_sid or "")
    return None if caller is None or partner is None else (caller, partner)
