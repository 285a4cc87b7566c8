"""A message that leaves through a carrier, from its outbox entry to the report of its leg, with no task that waits.

Apart from `clients`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from engine.channels.base import OutMessage, Sent
from engine.core.model.outbox import OutboxEntry, OutboxMessage
from engine.core.model.records import Kind, LegStatus
from engine.core.routing.traffic import AnswerReport, LegReport, ReportOutcome
from engine.outbound.delivery import SETTLED, Delivery, Ending, Rest

ReportAtHand = Callable[[LegReport, AnswerReport], bool]
"""Where legs are reported first: `EgressPlane.report_at_hand`."""


class Reports(Protocol):
    """Reports legs in a task."""

    def reported(self, report: LegReport) -> Awaitable[Delivery]:
        """Report until it is taken."""

    def told(self, entry: OutboxEntry, content: OutboxMessage, sending: Rest[Sent]) -> Awaitable[Delivery]:
        """Await what is left of a try, then report the leg."""


class Sending:
    """A message that is sent without a task; implements `Ending`."""

    __slots__ = ("_content", "_ending", "_entry", "_report_at_hand", "_reports")

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        entry: OutboxEntry,
        content: OutboxMessage,
        ending: Ending[Delivery],
        report_at_hand: ReportAtHand,
        reports: Reports,
    ) -> None:
        self._entry = entry
        self._content = content
        self._ending = ending
        self._report_at_hand = report_at_hand
        self._reports = reports

    def ended(self, sent: Sent) -> None:
        """Report the leg, where that needs no task."""
        if not sent.is_done:
            self._ending.ended(sent)
            return
        report = sent_leg(self._entry, self._content, sent)

        def reported(outcome: ReportOutcome | None) -> None:
            if outcome is None:
                self._ending.goes_on(partial(self._reports.reported, report))
            else:
                self._ending.ended(SETTLED)

        if not self._report_at_hand(report, reported):
            reported(None)

    def goes_on(self, rest: Rest[Sent]) -> None:
        """Leave it to a task."""
        self._ending.goes_on(partial(self._reports.told, self._entry, self._content, rest))


def to_send(entry: OutboxEntry, content: OutboxMessage) -> OutMessage:
    """Return what a channel is asked to send."""
    return OutMessage(
        key=entry.sid,
        account_sid=entry.account_sid,
        interaction_sid=content.interaction_sid,
        sender=content.sender,
        to=content.to,
        body=content.body,
        media=content.media,
        raw=content.raw,
        valid_until=content.valid_until,
    )


def sent_leg(entry: OutboxEntry, content: OutboxMessage, sent: Sent) -> LegReport:
    """Return what is reported of a message that was sent: a crash behind its commit must not send it again."""
    status = sent.status or LegStatus.DELIVERY_UNKNOWN
    return leg_of(entry, content, status, resource_sid=sent.resource_sid, entry_sid=entry.sid)


def leg_of(
    entry: OutboxEntry,
    content: OutboxMessage,
    status: LegStatus,
    *,
    resource_sid: str = "",
    problem: str = "",
    entry_sid: str | None = None,
) -> LegReport:
    """Return what is reported of the leg of a message; the entry ends with it, where it is named."""
    return LegReport(
        kind=Kind.MESSAGE,
        account_sid=entry.account_sid,
        interaction_sid=content.interaction_sid,
        is_outbound=True,
        resource_sid=resource_sid,
        status=status,
        problem=problem,
        entry_sid=entry_sid,
    )
