"""The number actor: owns the bindings of one proxy number and decides every call and message that reaches it.

It never awaits between deciding and recording, so its decisions cannot interleave. Only the service's coordinator
changes its bindings.
"""

from collections.abc import Callable

from actors.ledger import Ledger
from actors.parts import Parts
from engine.core.errors import CATALOGUE, StoreUnavailable
from engine.core.records import Address, Interaction
from engine.core.routing import (
    STORE_DOWN,
    ActiveSession,
    Bindings,
    NumberRules,
    Ruling,
    Seat,
    decide,
    pushed_message,
)
from engine.core.sids import SidKind
from engine.core.traffic import Decision, InboundEvent, Reason

Answer = Callable[[Decision], None]

_EXPIRED = Reason.SESSION_EXPIRED  # a member is found tenfold faster here than in its class (3.11)


class NumberActor:
    """One proxy number in a service's pool."""

    __slots__ = ("_expired", "_ledger", "_parts", "account_sid", "address", "bindings", "rules", "service_sid")

    def __init__(
        self,
        address: Address,
        *,
        account_sid: str,
        service_sid: str,
        rules: NumberRules,
        parts: Parts,
        ledger: Ledger,
        expired: Callable[[ActiveSession], None],
    ) -> None:
        """Own a number; `expired` is told of a session found past its end."""
        self.address = address
        self.account_sid = account_sid
        self.service_sid = service_sid
        self.rules = rules
        self.bindings = Bindings()
        self._parts = parts
        self._ledger = ledger
        self._expired = expired

    def receive(self, event: InboundEvent, answer: Answer) -> None:
        """Decide about an event; a routed one is answered after its commit, every other at once."""
        if self._ledger.answer_again(event, answer):
            return
        parts = self._parts
        now = parts.clock()
        ruling = decide(self.bindings, event, rules=self.rules, now=now, mint=parts.mint)
        if ruling.interaction is None:
            self._refuse(event, ruling, now)
            answer(ruling.decision)
        elif ruling.session is not None:
            self._route(event, ruling.decision, ruling.interaction, ruling.session, answer)

    def would_decide(self, event: InboundEvent) -> Ruling:
        """Tell what would become of an event now, and change nothing."""
        return decide(self.bindings, event, rules=self.rules, now=self._parts.clock(), mint=self._parts.mint)

    def push(
        self, session: ActiveSession, seat: Seat, *, body: str, media: tuple[str, ...], settled: Callable[..., None]
    ) -> Interaction:
        """Record a message of the application to the participant of this number; `settled` as in `Store.commit`."""
        sid, now = self._parts.mint(SidKind.INTERACTION), self._parts.clock()
        interaction = pushed_message(session, seat, sid=sid, body=body, media=media, now=now)
        self._ledger.record(interaction, session, settled)
        return interaction

    def _route(  # noqa: PLR0917 - the parts of a ruling and whom to tell
        self, event: InboundEvent, decision: Decision, interaction: Interaction, session: ActiveSession, answer: Answer
    ) -> None:
        def settled(problem: StoreUnavailable | None) -> None:
            if problem is None:
                answer(decision)
            else:
                self._ledger.forget_answer(event.resource_sid)
                answer(STORE_DOWN)

        self._ledger.remember_answer(event, decision, now=interaction.date_created)
        self._ledger.record(interaction, session, settled)

    def _refuse(self, event: InboundEvent, ruling: Ruling, now: float) -> None:
        decision = ruling.decision
        self._ledger.remember_refusal(event, decision, now=now)
        if decision.reason is _EXPIRED and ruling.session is not None:
            self._expired(ruling.session)
        if decision.code is not None:
            self._parts.tell(
                decision.code,
                CATALOGUE[decision.code].title,
                account_sid=self.account_sid,
                service_sid=self.service_sid,
                session_sid=decision.session_sid or None,
                resource_sid=event.resource_sid,
            )
