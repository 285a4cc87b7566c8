"""Answers to questions about routing: what `engine.core.routing.decide.resolve_all` returns; nothing is recorded.

A module of its own, as msgspec takes the class variables of a class that mypyc compiled for fields.
"""

from typing import ClassVar

import msgspec

from engine.core.model.records import Address
from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.core.sessions.bindings import ActiveSession, Endpoint


class Route(msgspec.Struct, frozen=True, gc=False):
    """A decision that somebody would reach their partner; the rest of it is read from the session when it is asked for.

    Each object that is read is a miss of the processor's cache, and most callers want two fields.
    """

    to: Address
    """The partner."""
    caller_id: Address
    """The number that the partner sees."""
    session: ActiveSession
    """The pairing."""

    outcome: ClassVar[Outcome] = Outcome.ROUTED
    reason: ClassVar[Reason] = Reason.IN_SESSION
    interaction_sid: ClassVar[str] = ""
    code: ClassVar[None] = None
    body: ClassVar[None] = None
    twiml: ClassVar[str] = ""
    is_sent_by_us: ClassVar[bool] = False

    @property
    def partner(self) -> Endpoint:
        """Who would be reached."""
        first, second = self.session.endpoints
        return first if first.identifier == self.to else second

    @property
    def caller(self) -> Endpoint:
        """Who would reach them."""
        first, second = self.session.endpoints
        return second if first.identifier == self.to else first

    def decision(self) -> Decision:
        """Return the whole decision."""
        return Decision(
            self.outcome,
            self.reason,
            to=self.to,
            caller_id=self.caller_id,
            session_sid=self.session.sid,
            inbound_participant_sid=self.caller.participant_sid,
            outbound_participant_sid=self.partner.participant_sid,
        )


class Resolved(msgspec.Struct, frozen=True):
    """The answers to n questions, in their order."""

    decisions: list[Decision | Route]
    strangers: int
    """How many of them are `STRANGERS`."""
    others: int
    """How many are neither `STRANGERS` nor a `Route`."""
