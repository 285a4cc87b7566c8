"""A message that leaves through a carrier, from its outbox entry to the report of its leg, with no task that waits.

Apart from `clients`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Protocol, final

from mypy_extensions import mypyc_attr

from engine.channels.base import BeginsToSend, OutMessage, Sent
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


@final
class BegunSendings:
    """Begins to send messages; implements `BeginsTries` of the outbox."""

    def __init__(self, senders: Mapping[str, object], *, report_at_hand: ReportAtHand, reports: Reports) -> None:
        """Send through those of these that need no task where all goes well, by name."""
        self._begins = {name: sender.begin for name, sender in senders.items() if isinstance(sender, BeginsToSend)}
        self.report_at_hand = report_at_hand
        self.reports = reports

    def begin(self, entry: OutboxEntry, content: OutboxMessage, ending: Ending[Delivery]) -> bool:
        """Begin to send a message, where its carrier needs no task for that."""
        begin = self._begins.get(content.carrier)
        return begin is not None and begin(to_send(entry, content), _Sending(self, entry, content, ending))


@final
@mypyc_attr(acyclic=True)
class _Sending:
    """A message that is sent without a task; implements `Ending`."""

    __slots__ = ("_content", "_ending", "_entry", "_report", "_sendings")

    def __init__(
        self, sendings: BegunSendings, entry: OutboxEntry, content: OutboxMessage, ending: Ending[Delivery]
    ) -> None:
        self._sendings = sendings
        self._entry = entry
        self._content = content
        self._ending = ending
        self._report: LegReport | None = None

    def ended(self, sent: Sent) -> None:
        """Report the leg, where that needs no task."""
        if sent.error:  # it is not done
            self._ending.ended(sent)
            return
        report = self._report = sent_leg(self._entry, self._content, sent)
        if not self._sendings.report_at_hand(report, self.reported):
            self.reported(None)

    def reported(self, outcome: ReportOutcome | None) -> None:
        """Take that the report is on disk, or is to be made in a task."""
        if outcome is not None:
            self._ending.ended(SETTLED)
        elif self._report is not None:
            self._ending.goes_on(partial(self._sendings.reports.reported, self._report))

    def goes_on(self, rest: Rest[Sent]) -> None:
        """Leave it to a task."""
        self._ending.goes_on(partial(self._sendings.reports.told, self._entry, self._content, rest))


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
        kind=_MESSAGE,
        account_sid=entry.account_sid,
        interaction_sid=content.interaction_sid,
        is_outbound=True,
        resource_sid=resource_sid,
        status=status,
        problem=problem,
        entry_sid=entry_sid,
    )


_MESSAGE: Final = Kind.MESSAGE  # a member is found tenfold faster here than in its class (3.11)
