"""What one peer sends us: messages to decide about, and receipts of ours; answered once their effect is on disk."""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from engine.channels.base import ChannelContext
from engine.channels.smpp.connection import Connection
from engine.channels.smpp.deciding import Answer, Deciding, Rest, SendsFrom
from engine.channels.smpp.long_messages import Assembly, Full, LongMessages, Part
from engine.channels.smpp.owed import Asked
from engine.channels.smpp.pdu import (
    ShortMessage,
    Status,
    read_message_id,
)
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.receipt_index import Ambiguous, ReceiptIndex
from engine.channels.smpp.receipts import Receipt, read_receipt
from engine.channels.smpp.segments import ALONE
from engine.channels.smpp.sent_ids import PartOfLeg
from engine.channels.smpp.session import RequestCame
from engine.core.model.errors import StoreLate, StoreUnavailable
from engine.core.model.records import Kind, LegStatus
from engine.core.ports.observing import SmppCount
from engine.core.routing.traffic import LegReport, ReportOutcome

_log = logging.getLogger("maskline.smpp")


class Inbound:
    """Takes the requests of one peer, over all its connections; `deciding` has what does not have to wait."""

    def __init__(self, peer: SmppPeer, context: ChannelContext, *, sends_from: SendsFrom) -> None:
        """Hand messages to the engine, and the states of ours."""
        self.deciding = Deciding(peer, context, self, sends_from=sends_from)
        """Where requests go first."""
        self.owed = self.deciding.owed
        """What we are to tell a peer that binds to us."""
        self._peer = peer
        self._traffic = context.traffic
        self._meter = context.meter
        self._now = context.sure_clock
        self._not_ready = self.deciding.not_ready
        self._count = context.observer.smpp
        self._redeliveries = self.deciding.redeliveries
        self._long = LongMessages(
            context.notes, peer.name, owner_of=self.deciding.owner_of, timeout_seconds=peer.parts_timeout_seconds
        )
        self.receipts = ReceiptIndex(context.notes, peer.name, matched=self._report_late)
        """The ids of what we sent."""

    @property
    def waiting_parts(self) -> int:
        """Count the parts of long messages that wait for others."""
        return self._long.waiting

    async def load(self) -> None:
        """Take up what was left when we ended."""
        await self._redeliveries.load(self._now())
        await self._long.load()
        await self.receipts.load()
        await self.owed.load()

    async def finish(self) -> None:
        """Give up what waits for the store; it is sent again."""
        await self.deciding.at_once.finish()
        await self.receipts.finish()

    async def sweep(self) -> None:
        """Do what is due: messages that never became whole, receipts that found nothing or that nobody took."""
        now = self._now()
        for assembly in self._long.overdue(now):
            if not assembly.is_whole:
                self._count(SmppCount.PARTS_NOT_WHOLE)
            self._decide_long(assembly, lambda _: None)
        self._long.sweep(now)
        self._redeliveries.sweep(now)
        self.owed.sweep(now)
        await self.receipts.match_early(now)
        for _ in range(self.receipts.given_up(now)):
            self._count(SmppCount.RECEIPT_UNMATCHED)
            _log.warning("A receipt of %s is about no message that is known", self._peer.name)
        dropped = await self.owed.give_up(now)
        if dropped:
            self._count(SmppCount.RECEIPT_DROPPED, dropped)
            _log.warning("%s has not taken %d receipts in three days: they are dropped", self._peer.name, dropped)

    def ended(self, connection: Connection) -> None:
        """Take that answers of a connection may not have arrived."""
        self._redeliveries.may_come_again(connection.unsettled())
        self._meter.lost(sum(arrival is not None for arrival in connection.undecided.values()))

    async def guarded(self, connection: Connection, request: RequestCame, rest: Rest) -> None:
        """Do the rest of a request; what fails of it is answered."""
        try:
            await rest
        except Exception as problem:  # noqa: BLE001 - likewise
            self.deciding.failed(connection, request, problem)

    async def answer_query(self, connection: Connection, request: RequestCame) -> None:
        """Tell the state of a message that was asked about; of any other one nothing is kept."""
        message_id = read_message_id(request.body).lower()
        connection.await_answer(request, None)
        asked = await self.owed.state_of(message_id)
        if asked is None:
            connection.answer(request, status=Status.QUERY_FAILED)
        else:
            connection.answer(request, asked.answer)

    async def begin_part(self, part: Part, asked: Asked | None, answer: Answer, *, is_again: bool) -> None:
        """Take a part, or a message that is asked about."""
        try:
            if asked is not None:
                await self.owed.asked(asked, is_again=is_again)
            if part.place is ALONE:
                self._decide_alone(part, answer)
            else:
                await self._take_part(part, answer, is_again=is_again)
        except StoreUnavailable:
            answer(self._not_ready)

    async def _take_part(self, part: Part, answer: Answer, *, is_again: bool) -> None:
        now = self._now()
        if self._long.is_late(part, now):
            self._decide_alone(part, answer)
            return
        try:
            assembly = await self._long.place_of(part, is_again=is_again)
        except Full:
            self._count(SmppCount.PARTS_FULL)
            answer(self._not_ready)
            return
        if assembly is None:
            answer(Status.OK)
            return
        number = part.place.number

        def kept(problem: StoreUnavailable | None) -> None:
            if problem is not None:
                answer(self._not_ready)
            elif assembly.is_whole and not assembly.is_deciding:
                self._decide_long(assembly, answer)
            else:
                answer(Status.OK)

        if number not in assembly.kept:
            self._count(SmppCount.PART)
        self._long.keep(assembly, number, kept, late=lambda: answer(self._not_ready))

    def _decide_alone(self, part: Part, answer: Answer) -> None:
        self.deciding.decide(part.alone(reading=self._peer.reading), answer)

    def _decide_long(self, assembly: Assembly, answer: Answer) -> None:
        """Decide about all pieces of a message; it is over once none of them has to wait."""
        assembly.is_deciding = True
        pieces = assembly.pieces(reading=self._peer.reading)
        statuses: list[int] = []

        def decided(status: int) -> None:
            statuses.append(status)
            if len(statuses) < len(pieces):
                return
            if self._not_ready in statuses:
                assembly.is_deciding = False
                answer(self._not_ready)
                return
            self._long.settled(assembly, self._now())
            answer(statuses[0])

        for piece in pieces:
            self.deciding.decide(piece, decided)

    async def end(self, message_ids: Sequence[str], word: str, answer: Answer) -> None:
        """Answer what leads to no other message, once its receipt is on disk."""

        def kept(problem: StoreUnavailable | None) -> None:
            answer(Status.OK if problem is None else self._not_ready)

        def late() -> None:
            answer(self._not_ready)

        try:
            is_news = await self.owed.become(message_ids, word, self._now(), kept, late=late)
        except StoreUnavailable:
            answer(self._not_ready)
        else:
            if not is_news:
                answer(Status.OK)

    # -- receipts -------------------------------------------------------------------------------------------------

    async def take_receipt(self, connection: Connection, request: RequestCame, message: ShortMessage) -> None:
        """Take what became of a message of ours."""
        receipt = read_receipt(message)
        connection.await_answer(request, None)
        if receipt is None:
            self._count(SmppCount.MALFORMED)
            connection.answer(request, self.deciding.body_of(request, ""))
            return

        @_once
        def answer(problem: StoreUnavailable | None) -> None:
            if problem is None:
                connection.answer(request, self.deciding.body_of(request, ""))
            else:
                connection.answer(request, status=self._not_ready)

        await self._place_receipt(receipt, answer)

    async def _place_receipt(self, receipt: Receipt, answer: Callable[[StoreUnavailable | None], None]) -> None:
        """Report what a receipt tells of a message of ours, or keep it until one is answered that it may be of."""
        found = await self.receipts.find(receipt.message_id)
        match found:
            case PartOfLeg():
                self._count(SmppCount.RECEIPT)
                await self._report(found, receipt, answer)
            case Ambiguous():
                self._count(SmppCount.RECEIPT_AMBIGUOUS)
                answer(None)
            case None:
                late = StoreLate("the receipt is not kept in time")
                self.receipts.keep_unmatched(receipt, self._now(), answer, lambda: answer(late))

    async def _report_late(
        self, part: PartOfLeg, receipt: Receipt, done: Callable[[StoreUnavailable | None], None]
    ) -> None:
        self._count(SmppCount.RECEIPT)
        await self._report(part, receipt, done)

    async def _report(self, part: PartOfLeg, receipt: Receipt, done: Callable[[StoreUnavailable | None], None]) -> None:
        """Report what a leg comes to with this receipt; then it is on disk, or must come again."""
        if receipt.status is None:
            done(None)
            return

        def taken(outcome: ReportOutcome | None) -> None:
            done(StoreUnavailable("the leg's state could not be kept") if outcome is None else None)

        def known(status: LegStatus | None, problem: StoreUnavailable | None) -> None:
            if problem is not None or status is None:
                done(problem)
                return
            failed = status in _FAILED and receipt.error.strip("0")
            report = LegReport(
                kind=Kind.MESSAGE,
                account_sid=None,
                interaction_sid=part.interaction_sid,
                is_outbound=True,
                resource_sid=part.leg_id,
                status=status,
                problem=f"the network's error {receipt.error[:_LONGEST_ERROR]}" if failed else "",
            )
            self._traffic.report(report, taken)

        await self.receipts.state_of(part, receipt.status, self._now(), known)


def _once(answer: Callable[[StoreUnavailable | None], None]) -> Callable[[StoreUnavailable | None], None]:
    """Answer the first time alone: who was told to come again, since a commit is late, is not answered when it ends."""
    waiting = [answer]

    def answer_first(problem: StoreUnavailable | None) -> None:
        if waiting:
            waiting.pop()(problem)

    return answer_first


_LONGEST_ERROR = 20
_FAILED: Final = frozenset({LegStatus.FAILED, LegStatus.UNDELIVERED})
