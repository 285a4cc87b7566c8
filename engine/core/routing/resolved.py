"""Answers to questions about routing: what `engine.core.routing.decide.resolve_all` returns; nothing is recorded.

A module of its own, as msgspec takes the class variables of a class that mypyc compiled for fields.
"""

from operator import attrgetter
from typing import ClassVar

import msgspec

from engine.core.model.records import Address
from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.core.sessions.bindings import ActiveSession


class Route(msgspec.Struct, frozen=True, gc=False):
    """A decision that somebody would reach their partner; the rest of it is read from the session when it is asked for.

    `engine.core.routing.decide.decision_of` makes the whole. Each object that is read is a miss of the processor's
    cache, and most callers want two fields.
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

    session_sid = property(attrgetter("session.sid"))

    @property
    def inbound_participant_sid(self) -> str:
        """KP… of who would call or write."""
        first, second = self.session.endpoints
        return (second if first.identifier == self.to else first).participant_sid

    @property
    def outbound_participant_sid(self) -> str:
        """KP… of who would be reached."""
        first, second = self.session.endpoints
        return (first if first.identifier == self.to else second).participant_sid


class Resolved(msgspec.Struct, frozen=True):
    """The answers to n questions, in their order."""

    decisions: list[Decision | Route]
    strangers: int
    """How many of them are `STRANGERS`."""
    others: int
    """How many are neither `STRANGERS` nor a `Route`."""
