"""What one peer sends us: messages to decide about, and receipts of ours; answered once their effect is on disk."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec

from engine.at_once import AtOnce
from engine.channels.base import ChannelContext
from engine.channels.log_limit import LogLimit
from engine.channels.smpp.addresses import read_address
from engine.channels.smpp.connection import Connection
from engine.channels.smpp.long_messages import Assembly, Full, LongMessages, Part, Piece
from engine.channels.smpp.owed import Asked, OwedReceipts, asked_by, asks, message_id_of
from engine.channels.smpp.pdu import (
    BadBody,
    Command,
    ShortMessage,
    Status,
    read_data,
    read_message,
    read_message_id,
    write_message_id,
)
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.receipt_index import Ambiguous, PartOfLeg, ReceiptIndex
from engine.channels.smpp.receipts import Receipt, is_receipt, read_receipt
from engine.channels.smpp.redeliveries import Arrival, Redeliveries, digest_of, sid_at, sid_for
from engine.channels.smpp.segments import ALONE, UserData, user_data
from engine.channels.smpp.session import RequestCame
from engine.channels.smpp.texts import NotText, not_text, read_text
from engine.channels.smpp.times import valid_until
from engine.core.model.errors import StoreLate, StoreUnavailable
from engine.core.model.records import Address, Kind, LegStatus
from engine.core.numbers.e164 import canonical
from engine.core.ports.observing import SmppCount
from engine.core.routing.receipts import sid_asking
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, ReportOutcome

_log = logging.getLogger("maskline.smpp")

Said = TypeVar("Said")

Rest = Coroutine[Any, Any, None]
"""What is left to do of a request."""

SendsFrom = Callable[[Address], bool]
"""Tells whether a carrier is named that sends on what reached a number."""


class _Came(msgspec.Struct, frozen=True):
    """A message that is to be decided."""

    connection: Connection
    request: RequestCame
    message: ShortMessage
    held: UserData
    arrival: Arrival
    sender: Address
    proxy: Address
    is_again: bool


class Statuses(Protocol):
    """What a peer is answered; by role."""

    @property
    def not_ready(self) -> Status:
        """Try again."""

    @property
    def unreadable(self) -> Status:
        """It is no text."""


class _FromSmsc:
    not_ready, unreadable = Status.TEMPORARY_ERROR, Status.PERMANENT_ERROR


class _FromEsme:
    not_ready, unreadable = Status.THROTTLED, Status.SUBMIT_FAILED


class Inbound:
    """Takes the requests of one peer, over all its connections."""

    def __init__(self, peer: SmppPeer, context: ChannelContext, *, sends_from: SendsFrom) -> None:
        """Hand messages to the engine, and the states of ours."""
        self._peer = peer
        self._reading = peer.reading
        self._context = context
        self._now = context.sure_clock
        self._sends_from = sends_from
        self._statuses: Statuses = _FromSmsc() if peer.is_esme else _FromEsme()
        self._count = context.observer.smpp
        self._redeliveries = Redeliveries(context.notes, peer.name)
        self._long = LongMessages(
            context.notes, peer.name, owner_of=self._owner_of, timeout_seconds=peer.parts_timeout_seconds
        )
        self.receipts = ReceiptIndex(context.notes, peer.name, matched=self._report_late)
        """The ids of what we sent."""
        self.owed = OwedReceipts(context.notes, peer.name)
        """What we are to tell a peer that binds to us."""
        self._log_limit = LogLimit(context.monotonic)
        self._at_once = AtOnce()
        self._came: list[_Came] = []
        """Messages that were read in this turn of the loop, in order."""

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
        await self._at_once.finish()
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
        self._context.meter.lost(sum(arrival is not None for arrival in connection.undecided.values()))

    def take(self, connection: Connection, request: RequestCame) -> None:
        """Take a request; it is answered at once or later."""
        if request.sequence in connection.undecided:
            return  # the same once more: the answer to the first is for both
        self._run(connection, request, lambda: self._take(connection, request))

    def _run(self, connection: Connection, request: RequestCame, begin: Callable[[], Rest | None]) -> None:
        try:
            rest = begin()
        except Exception as problem:  # noqa: BLE001 - around a listener: one message must not end the others
            self._failed(connection, request, problem)
        else:
            if rest is not None:
                self._at_once.run(self._guarded(connection, request, rest), lambda: None)

    async def _guarded(self, connection: Connection, request: RequestCame, rest: Rest) -> None:
        try:
            await rest
        except Exception as problem:  # noqa: BLE001 - likewise
            self._failed(connection, request, problem)

    def _failed(self, connection: Connection, request: RequestCame, problem: Exception) -> None:
        match problem:
            case BadBody():
                self._count(SmppCount.MALFORMED)
                connection.answer(request, status=problem.status)
            case StoreUnavailable():
                connection.answer(request, status=self._statuses.not_ready)
            case _:
                _log.error("A message of %s could not be handled", self._peer.name, exc_info=problem)
                connection.answer(request, status=Status.SYSTEM_ERROR)

    def _take(self, connection: Connection, request: RequestCame) -> Rest | None:
        """Take a request; returns what is left to do where that has to read what is kept."""
        command = request.command
        if command in _MESSAGES:
            message = read_message(request.body)
        elif command is Command.DATA_SM:
            message = read_data(request.body)
        elif command is Command.QUERY_SM:
            return self._answer_query(connection, request)
        else:
            if command is not Command.ALERT_NOTIFICATION:
                connection.answer(request, status=_NOT_DONE.get(command, Status.UNKNOWN_COMMAND))
            return None
        if is_receipt(message, by_text=self._peer.receipts_by_text):
            return self._take_receipt(connection, request, message)
        self._take_message(connection, request, message)
        return None

    async def _answer_query(self, connection: Connection, request: RequestCame) -> None:
        """Tell the state of a message that was asked about; of any other one nothing is kept."""
        message_id = read_message_id(request.body).lower()
        connection.await_answer(request, None)
        asked = await self.owed.state_of(message_id)
        if asked is None:
            connection.answer(request, status=Status.QUERY_FAILED)
        else:
            connection.answer(request, asked.answer)

    # -- messages -------------------------------------------------------------------------------------------------

    def _take_message(self, connection: Connection, request: RequestCame, message: ShortMessage) -> None:
        now = self._now()
        sender = read_address(message.source, national=self._peer.national)
        proxy = read_address(message.destination, national=self._peer.national)
        held = user_data(message)
        digest = digest_of(message)
        again = self._redeliveries.find(digest, now)
        if again is not None:
            self._count(SmppCount.REDELIVERED)
        sid = self._sid(message, digest, now, id(connection), request.sequence) if again is None else again.sid
        arrival = Arrival(digest, sid, now, held.place is not None)
        status = self._status_undecided(message, held, proxy)
        if status is not None:
            connection.answer(request, b"" if status else self._body(request, sid), status=status)
            if again is not None and status == self._statuses.not_ready:
                self._redeliveries.may_come_again([again])
            return
        self._context.meter.burst(1)
        connection.await_answer(request, arrival)
        if not self._came:
            asyncio.get_running_loop().call_soon(self._decide_what_came)
        self._came.append(_Came(connection, request, message, held, arrival, sender, proxy, again is not None))

    def _decide_what_came(self) -> None:
        """Decide about all that was read in one turn of the loop, behind one note of what that was."""
        came, self._came = self._came, []
        self._redeliveries.came([one.arrival for one in came])
        for one in came:
            self._run(one.connection, one.request, partial(self._begin, one))

    def _begin(self, came: "_Came") -> Rest | None:
        """Decide about a message; returns what is left to do as `_take` does."""
        connection, request, message, held = came.connection, came.request, came.message, came.held
        sender, proxy, arrival = came.sender, came.proxy, came.arrival
        sid, now = arrival.sid, arrival.at
        message_id = message_id_of(sid)
        asked: Asked | None = None
        if asks(message) and not self._peer.is_esme:
            asked = asked_by(message, message_id, now, account_sid=self._owner_of(proxy))
        began = self._context.monotonic()

        @_once
        def answer(status: int) -> None:
            body = b"" if status else self._body(request, sid)
            if connection.answer(request, body, status=status):
                self._context.meter.answered(self._context.monotonic() - began)
            if status == self._statuses.not_ready:
                self._redeliveries.may_come_again([arrival])  # what it leads to may yet be committed
                self.owed.put_off(message_id, self._context.clock())
            else:
                self.owed.answered(message_id, is_taken=not status)

        until = valid_until(message.validity, now) if message.validity else None
        if held.place is None and asked is None:
            coding, header_bytes = message.data_coding, len(held.header)
            text, raw = read_text(held.octets, coding, reading=self._reading, header_bytes=header_bytes)
            self._decide(Piece(sid, sender, proxy, text, (), raw, until), answer)
            return None
        part = Part(
            message_sid=sid,
            began_at=now,
            sender=sender,
            proxy=proxy,
            place=held.place or ALONE,
            data_coding=message.data_coding,
            header_bytes=len(held.header),
            octets=held.octets,
            digest=arrival.digest,
            asking=() if asked is None else (message_id,),
            valid_until=until,
        )
        return self._begin_part(part, asked, answer, is_again=came.is_again)

    async def _begin_part(
        self, part: Part, asked: Asked | None, answer: Callable[[int], None], *, is_again: bool
    ) -> None:
        try:
            if asked is not None:
                await self.owed.asked(asked, is_again=is_again)
            if part.place is ALONE:
                self._decide_alone(part, answer)
            else:
                await self._take_part(part, answer, is_again=is_again)
        except StoreUnavailable:
            answer(self._statuses.not_ready)

    def _status_undecided(self, message: ShortMessage, held: UserData, proxy: Address) -> Status | None:
        """Return what answers a message that is not to be decided; None = it is."""
        meaning = not_text(message.data_coding)
        if meaning is NotText.WAITING:
            self._count(SmppCount.NOT_TEXT)
            return Status.OK
        if meaning is NotText.BINARY or held.is_addressed:
            self._count(SmppCount.NOT_TEXT)
            return self._statuses.unreadable
        if self._owner_of(proxy) is not None and not self._sends_from(canonical(proxy)):
            self._count(SmppCount.NOT_ROUTED)
            self._say_not_routed()
            return self._statuses.not_ready
        return None

    def _sid(self, message: ShortMessage, digest: bytes, now: float, *place: int) -> str:
        """Return a name for a message that came at a place; for one with an id, the same at each."""
        tag = self._peer.id_tlv
        if tag is not None and tag in message.optional:
            return sid_for(digest, self._peer.name, message.optional[tag])
        return sid_at(digest, self._peer.name, now, *place)

    def _body(self, request: RequestCame, sid: str) -> bytes:
        is_named = request.command is not Command.DELIVER_SM and not self._peer.is_esme
        return write_message_id(message_id_of(sid) if is_named else "")

    async def _take_part(self, part: Part, answer: Callable[[int], None], *, is_again: bool) -> None:
        now = self._now()
        if self._long.is_late(part, now):
            self._decide_alone(part, answer)
            return
        try:
            assembly = await self._long.place_of(part, is_again=is_again)
        except Full:
            self._count(SmppCount.PARTS_FULL)
            answer(self._statuses.not_ready)
            return
        if assembly is None:
            answer(Status.OK)
            return
        number = part.place.number

        def kept(problem: StoreUnavailable | None) -> None:
            if problem is not None:
                answer(self._statuses.not_ready)
            elif assembly.is_whole and not assembly.is_deciding:
                self._decide_long(assembly, answer)
            else:
                answer(Status.OK)

        if number not in assembly.kept:
            self._count(SmppCount.PART)
        self._long.keep(assembly, number, kept, late=lambda: answer(self._statuses.not_ready))

    def _owner_of(self, proxy: Address) -> str | None:
        return self._context.traffic.owner_of(canonical(proxy))

    def _decide_alone(self, part: Part, answer: Callable[[int], None]) -> None:
        self._decide(part.alone(reading=self._reading), answer)

    def _decide_long(self, assembly: Assembly, answer: Callable[[int], None]) -> None:
        """Decide about all pieces of a message; it is over once none of them has to wait."""
        assembly.is_deciding = True
        pieces = assembly.pieces(reading=self._reading)
        statuses: list[int] = []

        def decided(status: int) -> None:
            statuses.append(status)
            if len(statuses) < len(pieces):
                return
            if self._statuses.not_ready in statuses:
                assembly.is_deciding = False
                answer(self._statuses.not_ready)
                return
            self._long.settled(assembly, self._now())
            answer(statuses[0])

        for piece in pieces:
            self._decide(piece, decided)

    def _decide(self, piece: Piece, answer: Callable[[int], None]) -> None:
        sid = piece.sid
        if piece.asking:
            self.owed.gather(sid, piece.asking, self._now())
            sid = sid_asking(sid, self._peer.name)
        event = InboundEvent(
            Kind.MESSAGE,
            piece.sender,
            piece.proxy,
            sid,
            "" if isinstance(piece.text, NotText) else piece.text,
            account_sid=self._peer.account or None,
            raw=piece.raw,
            valid_until=piece.valid_until,
        )
        counts = self._context.meter.messages

        def answered(decision: Decision) -> None:
            counts[decision.reason.slot] += 1
            status = self._status(decision)
            if piece.asking and not status and decision.outcome in _ENDS_HERE:
                end = self._end(piece.asking, _ENDS_HERE[decision.outcome], answer)
                self._at_once.run(end, lambda: answer(self._statuses.not_ready))
            else:
                answer(status)

        began = self._context.monotonic()
        self._context.traffic.receive(event, answered)
        self._context.meter.deciding(self._context.monotonic() - began)

    def _status(self, decision: Decision) -> int:
        match decision.outcome:
            case Outcome.ROUTED | Outcome.ANSWERED:
                return Status.OK
            case Outcome.REFUSED:
                return self._peer.refusal_status
            case Outcome.UNKNOWN_NUMBER:
                return Status.BAD_DESTINATION
            case Outcome.NOT_READY:
                return self._statuses.not_ready

    async def _end(self, message_ids: Sequence[str], word: str, answer: Callable[[int], None]) -> None:
        """Answer what leads to no other message, once its receipt is on disk."""

        def kept(problem: StoreUnavailable | None) -> None:
            answer(Status.OK if problem is None else self._statuses.not_ready)

        def late() -> None:
            answer(self._statuses.not_ready)

        try:
            is_news = await self.owed.become(message_ids, word, self._now(), kept, late=late)
        except StoreUnavailable:
            answer(self._statuses.not_ready)
        else:
            if not is_news:
                answer(Status.OK)

    def _say_not_routed(self) -> None:
        if self._log_limit.may_log("not routed"):
            _log.error(
                "A message of %s reached a number for which carrier_routes names nobody who sends it on; the peer is"
                " asked to try again",
                self._peer.name,
            )

    # -- receipts -------------------------------------------------------------------------------------------------

    async def _take_receipt(self, connection: Connection, request: RequestCame, message: ShortMessage) -> None:
        receipt = read_receipt(message)
        connection.await_answer(request, None)
        if receipt is None:
            self._count(SmppCount.MALFORMED)
            connection.answer(request, self._body(request, ""))
            return

        @_once
        def answer(problem: StoreUnavailable | None) -> None:
            if problem is None:
                connection.answer(request, self._body(request, ""))
            else:
                connection.answer(request, status=self._statuses.not_ready)

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
            self._context.traffic.report(report, taken)

        await self.receipts.state_of(part, receipt.status, self._now(), known)


def _once(answer: Callable[[Said], None]) -> Callable[[Said], None]:
    """Answer the first time alone: who was told to come again, since a commit is late, is not answered when it ends."""
    waiting = [answer]

    def answer_first(said: Said) -> None:
        if waiting:
            waiting.pop()(said)

    return answer_first


_LONGEST_ERROR = 20
_MESSAGES: Final = frozenset({Command.DELIVER_SM, Command.SUBMIT_SM})
_NOT_DONE: Final[dict[Command, Status]] = {
    Command.CANCEL_SM: Status.CANCEL_FAILED,
    Command.REPLACE_SM: Status.REPLACE_FAILED,
}
"""It has left, or was decided otherwise."""
_ENDS_HERE: Final = {Outcome.REFUSED: "REJECTD", Outcome.ANSWERED: "ACCEPTD"}
"""What a peer is told of messages that nobody is sent."""
_FAILED: Final = frozenset({LegStatus.FAILED, LegStatus.UNDELIVERED})
