"""What becomes of one peer's requests, as far as nothing has to be read: messages are decided, all else is handed on.

Apart from `inbound`, which waits for what is kept: what mypyc compiles has no coroutines.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, final

from mypy_extensions import mypyc_attr

from engine.at_once import AtOnce
from engine.channels.base import ChannelContext
from engine.channels.log_limit import LogLimit
from engine.channels.smpp.addresses import read_address
from engine.channels.smpp.arrivals import Arrival, digest_of, sid_at, sid_for
from engine.channels.smpp.connection import Connection
from engine.channels.smpp.long_messages import Part, Piece
from engine.channels.smpp.owed import Asked, OwedReceipts, asked_by, asks, message_id_of
from engine.channels.smpp.pdu import (
    BadBody,
    Command,
    ShortMessage,
    Status,
    read_data,
    read_message,
    write_message_id,
)
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.receipts import is_receipt
from engine.channels.smpp.redeliveries import Redeliveries
from engine.channels.smpp.segments import ALONE, UserData, user_data
from engine.channels.smpp.session import RequestCame
from engine.channels.smpp.texts import NotText, not_text, read_text
from engine.channels.smpp.times import valid_until
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Address, Kind
from engine.core.numbers.e164 import canonical
from engine.core.ports.observing import SmppCount
from engine.core.routing.receipts import sid_asking
from engine.core.routing.traffic import Decision, InboundEvent, Outcome

_log = logging.getLogger("maskline.smpp")

Answer = Callable[[int], None]
"""Takes the status that answers a message."""

Rest = Coroutine[Any, Any, None]
"""What is left to do of a request."""

SendsFrom = Callable[[Address], bool]
"""Tells whether a carrier is named that sends on what reached a number."""


class Waits(Protocol):
    """Does what has to read what is kept: what is returned is left to do."""

    def answer_query(self, connection: Connection, request: RequestCame) -> Rest:
        """Tell the state of a message that was asked about."""

    def take_receipt(self, connection: Connection, request: RequestCame, message: ShortMessage) -> Rest:
        """Take what became of a message of ours."""

    def begin_part(self, part: Part, asked: Asked | None, answer: Answer, *, is_again: bool) -> Rest:
        """Take a part, or a message that is asked about."""

    def end(self, message_ids: Sequence[str], word: str, answer: Answer) -> Rest:
        """Answer what leads to no other message, once its receipt is on disk."""

    def guarded(self, connection: Connection, request: RequestCame, rest: Rest) -> Rest:
        """Do the rest of a request; what fails of it is answered."""


@final
class Deciding:
    """Takes the requests of one peer, over all its connections, and decides about messages."""

    def __init__(self, peer: SmppPeer, context: ChannelContext, waits: Waits, *, sends_from: SendsFrom) -> None:
        """Hand messages to the engine, and to `waits` what has to wait."""
        self._peer = peer
        self._name = peer.name
        self._national = peer.national
        self._account_sid = peer.account or None
        self._reading = peer.reading
        self._is_esme = peer.is_esme
        self.not_ready = Status.TEMPORARY_ERROR if peer.is_esme else Status.THROTTLED
        """What asks the peer to try again."""
        self._unreadable = Status.PERMANENT_ERROR if peer.is_esme else Status.SUBMIT_FAILED
        """What says that it is no text."""
        self._waits = waits
        self._traffic = context.traffic
        self._meter = context.meter
        self._clock = context.clock
        self._sure_clock = context.sure_clock
        self._monotonic = context.monotonic
        self._sends_from = sends_from
        self._count = context.observer.smpp
        self._log_limit = LogLimit(context.monotonic)
        self.redeliveries = Redeliveries(context.notes, peer.name)
        """What may come a second time."""
        self._may_come_again = self.redeliveries.by_digest
        self.owed = OwedReceipts(context.notes, peer.name)
        """What we are to tell a peer that binds to us."""
        self.at_once = AtOnce()
        """Runs what waits."""
        self._came: list[_Message] = []
        """Messages that were read in this turn of the loop, in order."""
        self._came_at = 0.0
        """When the first of them was, UTC epoch seconds."""

    def take(self, connection: Connection, request: RequestCame) -> None:
        """Take a request; it is answered at once or later."""
        if request.sequence in connection.undecided:
            return  # the same once more: the answer to the first is for both
        try:
            rest = self._take(connection, request)
        except Exception as problem:  # noqa: BLE001 - around a listener: one message must not end the others
            self.failed(connection, request, problem)
        else:
            self._do(connection, request, rest)

    def _do(self, connection: Connection, request: RequestCame, rest: Rest | None) -> None:
        if rest is not None:
            self.at_once.run(self._waits.guarded(connection, request, rest), _leave)

    def failed(self, connection: Connection, request: RequestCame, problem: Exception) -> None:
        """Answer a request that was not taken."""
        if isinstance(problem, BadBody):
            self._count(SmppCount.MALFORMED)
            connection.answer(request, status=problem.status)
        elif isinstance(problem, StoreUnavailable):
            connection.answer(request, status=self.not_ready)
        else:
            _log.error("A message of %s could not be handled", self._name, exc_info=problem)
            connection.answer(request, status=Status.SYSTEM_ERROR)

    def _take(self, connection: Connection, request: RequestCame) -> Rest | None:
        """Take a request; returns what is left to do where that has to read what is kept."""
        command = request.command
        if command in _MESSAGES:
            message = read_message(request.body)
        elif command is Command.DATA_SM:
            message = read_data(request.body)
        elif command is Command.QUERY_SM:
            return self._waits.answer_query(connection, request)
        else:
            if command is not Command.ALERT_NOTIFICATION:
                connection.answer(request, status=_NOT_DONE.get(command, Status.UNKNOWN_COMMAND))
            return None
        if is_receipt(message, by_text=self._peer.receipts_by_text):
            return self._waits.take_receipt(connection, request, message)
        self._take_message(connection, request, message)
        return None

    def _take_message(self, connection: Connection, request: RequestCame, message: ShortMessage) -> None:
        now = self._came_at if self._came else self._sure_clock()
        sender = read_address(message.source, national=self._national)
        proxy = read_address(message.destination, national=self._national)
        held = user_data(message)
        digest = digest_of(message)
        again = self.redeliveries.find(digest, now) if digest in self._may_come_again else None
        if again is not None:
            self._count(SmppCount.REDELIVERED)
            sid = again.sid
        else:
            sid = self._sid_of(message, digest) or sid_at(
                digest, self._name, now, connection=id(connection), sequence=request.sequence
            )
        arrival = Arrival(digest, sid, now, held.place is not None)
        status = self._status_undecided(message, held, proxy)
        if status is not None:
            connection.answer(request, b"" if status else self.body_of(request, sid), status=status)
            if again is not None and status == self.not_ready:
                self.redeliveries.may_come_again([again])
            return
        connection.await_answer(request, arrival)
        if not self._came:
            self._came_at = now
            asyncio.get_running_loop().call_soon(self._decide_what_came)
        self._came.append(_Message(self, connection, request, message, held, arrival, sender, proxy, again is not None))

    def _decide_what_came(self) -> None:
        """Decide about all that was read in one turn of the loop, behind one note of what that was."""
        came, self._came = self._came, []
        self._meter.burst(len(came))
        self.redeliveries.came([one.arrival for one in came])
        began, decided = self._monotonic(), 0
        for one in came:
            one.began = began
            try:
                rest = self._begin(one)
            except Exception as problem:  # noqa: BLE001 - likewise
                self.failed(one.connection, one.request, problem)
            else:
                decided += rest is None
                self._do(one.connection, one.request, rest)
        if decided:
            self._meter.deciding(self._monotonic() - began, decided)

    def _begin(self, came: "_Message") -> Rest | None:
        """Decide about a message; returns what is left to do as `_take` does."""
        message, held, arrival = came.message, came.held, came.arrival
        asked: Asked | None = None
        if not self._is_esme and asks(message):
            account_sid = self.owner_of(came.proxy)
            asked = asked_by(message, message_id_of(arrival.sid), arrival.at, account_sid=account_sid)
        until = valid_until(message.validity, arrival.at) if message.validity else None
        header_bytes = len(held.header)
        if held.place is None and asked is None:
            text, raw = read_text(held.octets, message.data_coding, reading=self._reading, header_bytes=header_bytes)
            self._decide(Piece(arrival.sid, came.sender, came.proxy, text, (), raw, until), came.answer)
            return None
        part = Part(
            message_sid=arrival.sid,
            began_at=arrival.at,
            sender=came.sender,
            proxy=came.proxy,
            place=held.place or ALONE,
            data_coding=message.data_coding,
            header_bytes=header_bytes,
            octets=held.octets,
            digest=arrival.digest,
            asking=() if asked is None else (asked.message_id,),
            valid_until=until,
        )
        return self._waits.begin_part(part, asked, came.answer, is_again=came.is_again)

    def answer(self, came: "_Message", status: int) -> None:
        """Answer a message, with its effect on disk or refused."""
        body = b"" if status else self.body_of(came.request, came.arrival.sid)
        if came.connection.answer(came.request, body, status=status):
            self._meter.answered(self._monotonic() - came.began)
        is_put_off = status == self.not_ready
        if is_put_off:
            self.redeliveries.may_come_again([came.arrival])  # what it leads to may yet be committed
        if self._is_esme:
            return
        message_id = message_id_of(came.arrival.sid)
        if is_put_off:
            self.owed.put_off(message_id, self._clock())
        else:
            self.owed.answered(message_id, is_taken=not status)

    def _status_undecided(self, message: ShortMessage, held: UserData, proxy: Address) -> Status | None:
        """Return what answers a message that is not to be decided; None = it is."""
        meaning = not_text(message.data_coding)
        if meaning is not None or held.is_addressed:
            self._count(SmppCount.NOT_TEXT)
            return Status.OK if meaning is NotText.WAITING else self._unreadable
        if not self._sends_from(canonical(proxy)) and self.owner_of(proxy) is not None:
            self._count(SmppCount.NOT_ROUTED)
            self._say_not_routed()
            return self.not_ready
        return None

    def _sid_of(self, message: ShortMessage, digest: bytes) -> str | None:
        """Return a name for a message with an id, the same wherever it comes; None for others."""
        tag = self._peer.id_tlv
        if tag is None or tag not in message.optional:
            return None
        return sid_for(digest, self._name, message.optional[tag])

    def body_of(self, request: RequestCame, sid: str) -> bytes:
        """Return the body of a response that says a request was taken."""
        if self._is_esme or request.command is _DELIVER_SM:
            return _NO_ID
        return write_message_id(message_id_of(sid))

    def owner_of(self, proxy: Address) -> str | None:
        """Return whose number it is."""
        return self._traffic.owner_of(canonical(proxy))

    def decide(self, piece: Piece, answer: Answer) -> None:
        """Decide about a message; `answer` gets a status."""
        began = self._monotonic()
        self._decide(piece, answer)
        self._meter.deciding(self._monotonic() - began)

    def _decide(self, piece: Piece, answer: Answer) -> None:
        sid = piece.sid
        if piece.asking:
            self.owed.gather(sid, piece.asking, self._sure_clock())
            sid = sid_asking(sid, self._name)
        event = InboundEvent(
            _MESSAGE,
            piece.sender,
            piece.proxy,
            sid,
            "" if isinstance(piece.text, NotText) else piece.text,
            account_sid=self._account_sid,
            raw=piece.raw,
            valid_until=piece.valid_until,
        )
        self._traffic.receive(event, _Piece(self, piece.asking, answer).decided)

    def decided(self, asking: Sequence[str], decision: Decision, answer: Answer) -> None:
        """Answer what was decided; what leads to no other message, and is asked about, once that is on disk."""
        self._meter.messages[decision.reason.slot] += 1
        status = self._status(decision)
        if asking and not status and decision.outcome in _ENDS_HERE:
            end = self._waits.end(asking, _ENDS_HERE[decision.outcome], answer)
            self.at_once.run(end, lambda: answer(self.not_ready))
        else:
            answer(status)

    def _status(self, decision: Decision) -> int:
        outcome = decision.outcome
        if outcome is _ROUTED:
            return _OK
        if outcome is Outcome.REFUSED:
            return self._peer.refusal_status
        return self.not_ready if outcome is Outcome.NOT_READY else _ANSWERED[outcome]

    def _say_not_routed(self) -> None:
        if self._log_limit.may_log("not routed"):
            _log.error(
                "A message of %s reached a number for which carrier_routes names nobody who sends it on; the peer is"
                " asked to try again",
                self._name,
            )


@final
@mypyc_attr(acyclic=True)
class _Message:
    """A message that is to be decided; answered the first time alone.

    Who was told to come again, since a commit is late, is not answered when it ends.
    """

    __slots__ = (
        "arrival",
        "began",
        "connection",
        "deciding",
        "held",
        "is_again",
        "is_answered",
        "message",
        "proxy",
        "request",
        "sender",
    )

    def __init__(  # noqa: PLR0917 - what is known of it
        self,
        deciding: Deciding,
        connection: Connection,
        request: RequestCame,
        message: ShortMessage,
        held: UserData,
        arrival: Arrival,
        sender: Address,
        proxy: Address,
        is_again: bool,  # noqa: FBT001 - likewise
    ) -> None:
        self.deciding = deciding
        self.connection = connection
        self.request = request
        self.message = message
        self.held = held
        self.arrival = arrival
        self.sender = sender
        self.proxy = proxy
        self.is_again = is_again
        self.began = 0.0
        self.is_answered = False

    def answer(self, status: int) -> None:
        if not self.is_answered:
            self.is_answered = True
            self.deciding.answer(self, status)


@final
@mypyc_attr(acyclic=True)
class _Piece:
    """What is being decided, and who is to hear of it."""

    __slots__ = ("_answer", "_asking", "_deciding")

    def __init__(self, deciding: Deciding, asking: Sequence[str], answer: Answer) -> None:
        self._deciding = deciding
        self._asking = asking
        self._answer = answer

    def decided(self, decision: Decision) -> None:
        self._deciding.decided(self._asking, decision, self._answer)


def _leave() -> None:
    """Do nothing: what fails of a request is answered already."""


_OK: Final = Status.OK  # a member is found tenfold faster here than in its class (3.11)
_ROUTED: Final = Outcome.ROUTED
_MESSAGE: Final = Kind.MESSAGE
_DELIVER_SM: Final = Command.DELIVER_SM
_NO_ID: Final = write_message_id("")
_ANSWERED: Final = {Outcome.ANSWERED: Status.OK, Outcome.UNKNOWN_NUMBER: Status.BAD_DESTINATION}
_MESSAGES: Final = frozenset({Command.DELIVER_SM, Command.SUBMIT_SM})
_NOT_DONE: Final[dict[Command, Status]] = {
    Command.CANCEL_SM: Status.CANCEL_FAILED,
    Command.REPLACE_SM: Status.REPLACE_FAILED,
}
"""It has left, or was decided otherwise."""
_ENDS_HERE: Final = {Outcome.REFUSED: "REJECTD", Outcome.ANSWERED: "ACCEPTD"}
"""What a peer is told of messages that nobody is sent."""
