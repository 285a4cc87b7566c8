"""Which carrier sends for which proxy number (implements the port `Carriers`), and what becomes of what it is given.

A message that a carrier may have taken is not sent again while we run: the leg reads `delivery-unknown` (a later report
still corrects it) and the entry joins the dead letters, where the operator may replay it.
Source: behaviour 9 and 11.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from engine.channels.base import (
    OVERDUE,
    EndsCalls,
    OutHangUp,
    OutReceipt,
    SendsMessages,
    Sent,
    TakesReceipts,
)
from engine.channels.sending import BegunSendings, ReportAtHand, leg_of, sent_leg, to_send
from engine.core.model.errors import Code, MasklineError
from engine.core.model.outbox import OutboxEntry, OutboxHangUp, OutboxMessage, OutboxReceipt, ToCarrier
from engine.core.model.records import Address, DebuggerEvent, LegStatus
from engine.core.ports.observing import EgressObserver
from engine.core.ports.operations import Clock
from engine.core.routing.traffic import AnswerReport, LegReport, ReportOutcome
from engine.outbound.delivery import DELIVERED, SETTLED, Delivery, Rest

TWIML = "twiml"
"""The name that routes give to the inbound webhook's own answer."""

ANY_NUMBER = "*"
"""The route of every number that no prefix matches."""

Report = Callable[[LegReport, AnswerReport], None]
"""Where legs are reported: `DataPlane.report`."""


class CarrierMisconfigured(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """A carrier or route cannot be used; the message names it."""


class RouteTable:
    """Longest prefix of a proxy number to the name of who sends from it."""

    def __init__(self, routes: Mapping[str, str]) -> None:
        """Take routes such as `{"+1415": "main", "*": "twiml"}`."""
        self._default = routes.get(ANY_NUMBER, TWIML)
        prefixes = sorted((prefix for prefix in routes if prefix != ANY_NUMBER), key=len, reverse=True)
        self._routes = [(prefix, routes[prefix]) for prefix in prefixes]

    def sender_for(self, proxy: Address) -> str | None:
        """Return the carrier that sends messages from a number, None = the inbound webhook's answer does."""
        name = self._default
        for prefix, sender in self._routes:
            if proxy.startswith(prefix):
                name = sender
                break
        return None if name == TWIML else name


class CarrierRoutes(RouteTable):
    """Routes to carriers that are there; implements the port `Carriers`."""

    def __init__(self, senders: Mapping[str, SendsMessages], routes: Mapping[str, str]) -> None:
        """Take routes to senders by name; raises CarrierMisconfigured."""
        super().__init__(routes)
        for prefix, name in routes.items():
            if name != TWIML and name not in senders:
                raise CarrierMisconfigured(f"route {prefix!r} names carrier {name!r}, which is not configured to send")
        self._end_calls = {name for name, sender in senders.items() if isinstance(sender, EndsCalls)}

    def caller_for(self, proxy: Address) -> str | None:
        """Return the carrier that can end running calls of a number, None = there is none."""
        name = self.sender_for(proxy)
        return name if name in self._end_calls else None


class _Taken:
    """Awaits what becomes of one report; harmless when nobody waits any more."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[ReportOutcome | None] = asyncio.get_running_loop().create_future()

    def set(self, outcome: ReportOutcome | None) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class CarrierClients:
    """Sends messages and ends calls through the configured carriers; implements `CarrierSender` of the outbox."""

    def __init__(
        self,
        senders: Mapping[str, SendsMessages],
        *,
        report: Report,
        report_at_hand: ReportAtHand = lambda _report, _answer: False,
        observer: EgressObserver,
        clock: Clock,
        sure_clock: Clock,
        pause_seconds: float = 1.0,
    ) -> None:
        """Send through channels by name; what they tell at once goes to `report`.

        A report that the store could not take is made again after a pause. By `sure_clock` a message is overdue.
        """
        self._senders = senders
        self._pause_seconds = pause_seconds
        self._report = report
        self._report_at_hand = report_at_hand
        self.begin = BegunSendings(senders, report_at_hand=report_at_hand, reports=self).begin
        self._observer = observer
        self._clock = clock
        self._sure_clock = sure_clock

    async def deliver(self, entry: OutboxEntry, content: ToCarrier) -> Delivery:
        """Try once; a message's leg is reported as the carrier answers."""
        sender = self._senders.get(content.carrier)
        if sender is None:
            return Delivery(error="the carrier is no longer configured to send")
        if isinstance(content, OutboxMessage):
            return await self._send(entry, content, sender)
        if isinstance(content, OutboxReceipt):
            if not isinstance(sender, TakesReceipts):
                return DELIVERED  # the name is another carrier's now, who has asked nothing
            return await sender.tell(OutReceipt(entry.sid, content.resource_sid, content.status, content.at))
        if isinstance(sender, EndsCalls):
            return await sender.end_call(OutHangUp(entry.sid, entry.account_sid, content.call_sid))
        return Delivery(error="the carrier cannot end calls")

    async def gave_up(self, entry: OutboxEntry, content: OutboxMessage | OutboxHangUp, delivery: Delivery) -> None:
        """Report the leg of a message that will not be tried again."""
        if isinstance(content, OutboxHangUp):
            problem = f"The call was not ended: {delivery.error}"
            self._notify(Code.DOWNSTREAM_REJECTED, entry, problem, delivery=delivery, resource_sid=content.call_sid)
            return
        if delivery.may_be_taken:
            problem = f"It is unknown whether the message was sent: {delivery.error}"
            self._notify(Code.DOWNSTREAM_ERROR, entry, problem, delivery=delivery, resource_sid=None)
        status = LegStatus.DELIVERY_UNKNOWN if delivery.may_be_taken else LegStatus.FAILED
        if delivery.error == OVERDUE:
            status = LegStatus.UNDELIVERED
        await self.reported(leg_of(entry, content, status, problem=delivery.error))

    async def _send(self, entry: OutboxEntry, content: OutboxMessage, sender: SendsMessages) -> Delivery:
        if content.valid_until is not None and content.valid_until <= self._sure_clock():
            return Delivery(error=OVERDUE)
        return await self.told(entry, content, partial(sender.send, to_send(entry, content)))

    async def told(self, entry: OutboxEntry, content: OutboxMessage, sending: Rest[Sent]) -> Delivery:
        """Await a try, or what is left of it, then report the leg."""
        sent = await sending()
        if not sent.is_done:
            return sent
        report = sent_leg(entry, content, sent)
        taken = _Taken()
        if self._report_at_hand(report, taken.set) and await taken.outcome is not None:
            return SETTLED
        return await self.reported(report)

    async def reported(self, report: LegReport) -> Delivery:
        """Report until it is taken: while the store is down the message must not count as unsent."""
        while True:
            taken = _Taken()
            self._report(report, taken.set)
            if await taken.outcome is not None:
                return DELIVERED
            await asyncio.sleep(self._pause_seconds)

    def _notify(
        self, code: Code, entry: OutboxEntry, message: str, *, delivery: Delivery, resource_sid: str | None
    ) -> None:
        self._observer.debugger(
            DebuggerEvent(
                code=code,
                account_sid=entry.account_sid,
                service_sid=entry.service_sid,
                session_sid=entry.session_sid,
                resource_sid=resource_sid,
                message=message,
                at=self._clock(),
                webhook=delivery.trace,
            )
        )
