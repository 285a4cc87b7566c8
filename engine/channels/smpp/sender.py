"""Sends our messages to one peer: in parts where they are long, again where it asks for that, never on a guess."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec

from engine.channels.base import OVERDUE, ChannelContext, OutMessage, OutReceipt, Sent
from engine.channels.smpp.connection import Response
from engine.channels.smpp.links import Links, Stopping
from engine.channels.smpp.pdu import BadBody, ShortMessage, Status, read_message_id
from engine.channels.smpp.peers import ResendUnknown, SmppPeer
from engine.channels.smpp.receipt_index import KEPT_SECONDS, PartOfLeg
from engine.channels.smpp.turns import Overdue
from engine.channels.smpp.writing import OutText, TooLong, parts_of
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Address, LegStatus
from engine.core.ports.notes import NoteDone
from engine.core.ports.observing import SmppCount
from engine.outbound.delivery import Delivery

Draw = Callable[[int], int]
"""Draws a number below another."""


class _Progress(msgspec.Struct, array_like=True):
    """How far a long message has come."""

    reference: int
    ids: list[str]
    """Of the parts that the peer has taken."""


class Sender:
    """Sends to one peer; asked by the outbox, one message of a session after the other."""

    def __init__(self, links: Links, context: ChannelContext, *, draw: Draw = random.randrange) -> None:
        """Send over these connections."""
        self._links = links
        self._peer = links.peer
        self._receipts = links.inbound.receipts
        self._notes = context.notes
        self._prefix = f"progress/{links.peer.name}/"
        self._clock = context.sure_clock
        self._count = context.observer.smpp
        self._draw = draw
        self._progress: dict[str, _Progress] = {}
        """Of long messages that are being sent, by key."""
        self._resent: dict[str, None] = {}
        """Messages that were sent a second time without an answer to the first."""
        self._references: dict[Address, int] = {}

    async def send(self, message: OutMessage) -> Sent:
        """Try once; waits while the peer is not bound, and as long as it asks for less."""
        if message.media:
            return Sent(error="a short message carries no media")
        try:
            sent = await self._send(message)
        except Stopping:
            return Sent(error="the server stops", may_retry=True)
        except Overdue:
            sent = Sent(error=OVERDUE)
        except TooLong as problem:
            sent = Sent(error=str(problem))
        except StoreUnavailable as problem:  # how far it has come cannot be read
            sent = Sent(error=str(problem), may_retry=True)
        finally:
            self._progress.pop(message.key, None)
        if sent.is_done or not sent.may_retry:
            self._resent.pop(message.key, None)
        return sent

    async def tell(self, receipt: OutReceipt) -> Delivery:
        """Have it on disk that the peer is to be told what became of a message of its own."""
        return await self._links.inbound.owed.tell(receipt)

    async def _send(self, message: OutMessage) -> Sent:
        text = OutText(
            message.sender, message.to, message.body, _reference_of(message), self._peer.is_esme, message.raw
        )
        parts = parts_of(text, self._peer, reference=0)
        if len(parts) > 1:  # of a long one it is kept which reference its parts have
            parts = parts_of(text, self._peer, reference=(await self._progress_of(message)).reference)
        self._receipts.awaited += 1
        try:
            if len(parts) > 1:
                return await self._send_parts(message, parts)
            response = await self._until_settled(message, parts[0])
            if isinstance(response, Sent):
                return response
            message_id = self._took(response)
            self._keep_id(PartOfLeg(message_id, message.interaction_sid, message_id), _ignore)
        finally:
            self._receipts.awaited -= 1
        return Sent(status=LegStatus.SENT, resource_sid=message_id)

    async def _send_parts(self, message: OutMessage, parts: list[ShortMessage]) -> Sent:
        """Send what the peer has not taken; each part is on disk as taken before the next one goes."""
        ids = (await self._progress_of(message)).ids
        while len(ids) < len(parts):
            response = await self._until_settled(message, parts[len(ids)])
            if isinstance(response, Sent):
                return response
            ids.append(self._took(response))
            await self._keep_progress(message, len(parts))
        return Sent(status=LegStatus.SENT, resource_sid=ids[0])

    async def _until_settled(self, message: OutMessage, part: ShortMessage) -> Response | Sent:
        """Return the response that takes a part, or why there is none."""
        lane, waits = f"{message.sender}/{message.to}", 0
        while True:
            left = None if message.valid_until is None else message.valid_until - self._clock()
            response = await self._links.submit(part, lane=lane, account_sid=message.account_sid, within_seconds=left)
            if response is None:
                self._count(SmppCount.UNANSWERED)
                if self._peer.resend_unknown is ResendUnknown.NEVER or message.key in self._resent:
                    return Sent(error="the peer did not answer in time", may_be_taken=True)
                self._resent[message.key] = None
                continue
            status = response[0]
            if status == Status.OK:
                return response
            if not asks_for_less(status, self._peer):
                return self._refused(status)
            self._count(SmppCount.THROTTLED)
            self._links.complained()
            await asyncio.sleep(min(2.0**waits, _LONGEST_WAIT))
            waits += 1

    def _refused(self, status: int) -> Sent:
        may_retry = is_temporary(status, self._peer)
        self._count(SmppCount.REFUSED_FOR_NOW if may_retry else SmppCount.REFUSED)
        return Sent(error=f"the peer refused it with status 0x{status:02x}", may_retry=may_retry)

    def _took(self, response: Response) -> str:
        """Count a part as taken; return what the peer calls it."""
        self._count(SmppCount.SUBMITTED)
        try:
            return read_message_id(response[1])[:_LONGEST_ID]
        except BadBody:
            return ""

    def _keep_id(self, part: PartOfLeg, done: NoteDone) -> None:
        """Keep the id of a part, before what follows from it is kept."""
        if not part.message_id:
            done(None)
            return
        try:
            self._receipts.add(part, self._clock(), done)
        except StoreUnavailable as problem:  # the message is sent all the same; its receipt will find nothing
            done(problem)

    # -- how far long ones have come ------------------------------------------------------------------------------

    async def _progress_of(self, message: OutMessage) -> _Progress:
        """Return how far a long message has come, in this try or an earlier one."""
        progress = self._progress.get(message.key)
        if progress is None:
            kept = await self._notes.get(self._note_of(message))
            progress = _Progress(self._reference_for(message.to), []) if kept is None else _DECODE(kept)
            self._progress[message.key] = progress
        return progress

    async def _keep_progress(self, message: OutMessage, total: int) -> None:
        """Have on disk that one more part was taken, and its id."""
        progress = self._progress[message.key]
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(problem: StoreUnavailable | None) -> None:
            del problem  # it is taken all the same; only a crash would not know
            if not landed.done():
                landed.set_result(None)

        first, number = progress.ids[0], len(progress.ids)
        with contextlib.suppress(StoreUnavailable):
            until = self._clock() + KEPT_SECONDS
            self._notes.put(self._note_of(message), _ENCODE(progress), until, _ignore, account_sid=message.account_sid)
        self._keep_id(PartOfLeg(progress.ids[-1], message.interaction_sid, first, number, total), done)
        await landed

    def _note_of(self, message: OutMessage) -> bytes:
        return (self._prefix + message.key).encode()

    def _reference_for(self, to: Address) -> int:
        """Return the next reference of a number: others use theirs, so that no two long messages are mixed."""
        last = self._references.pop(to, None)
        reference = self._draw(_REFERENCES) if last is None else (last + 1) % _REFERENCES
        self._references[to] = reference
        if len(self._references) > _MOST_REFERENCES:
            del self._references[next(iter(self._references))]
        return reference


def asks_for_less(status: int, peer: SmppPeer) -> bool:
    """Tell whether a status asks for the same message later."""
    return status in _THROTTLES and status not in peer.permanent_errors


def is_temporary(status: int, peer: SmppPeer) -> bool:
    """Tell whether what was refused with a status may be sent again, as far as that was not agreed on otherwise."""
    return status in peer.temporary_errors or (status in _TEMPORARY and status not in peer.permanent_errors)


def _reference_of(message: OutMessage) -> int:
    """Return what is the same in every try."""
    return crc32(message.key.encode()) & 0xFFFF


def _ignore(problem: StoreUnavailable | None) -> None:
    """Leave it."""


_THROTTLES: Final = frozenset({Status.QUEUE_FULL, Status.THROTTLED})
_TEMPORARY: Final = frozenset({Status.SYSTEM_ERROR, Status.TEMPORARY_ERROR})
"""All others, but those that ask for the same message later, are for good."""
_LONGEST_WAIT: Final = 30.0
_LONGEST_ID = 65
_REFERENCES = 0x10000
_MOST_REFERENCES = 100_000
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(_Progress).decode
