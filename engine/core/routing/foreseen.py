"""What would become of questions: records of `engine.core.routing.decide`, with nothing recorded.

Apart from it since msgspec takes the class variables of what mypyc compiled for fields.
"""

from typing import ClassVar

import msgspec

from engine.core.model.records import Address
from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.core.sessions.bindings import ActiveSession, Endpoint


class Passage(msgspec.Struct, frozen=True, gc=False):
    """A decision that somebody would reach their partner; what else it says is left where it is until asked for.

    Each object that is touched is a miss of the processor's cache, and most who ask want two of them.
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


class Foreseen(msgspec.Struct, frozen=True):
    """What would become of many, in their order."""

    decisions: list[Decision | Passage]
    strangers: int
    """How many of them are `STRANGERS`."""
    others: int
    """How many are neither, nor a `Passage`."""
