"""Sends our messages to one peer: in parts where they are long, again where it asks for that, never on a guess."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from engine.channels.base import OVERDUE, ChannelContext, OutMessage, OutReceipt, Sent
from engine.channels.smpp.awaiting import submit
from engine.channels.smpp.connection import Response
from engine.channels.smpp.links import Links, Stopping
from engine.channels.smpp.pdu import ShortMessage, Status
from engine.channels.smpp.peers import ResendUnknown, SmppPeer
from engine.channels.smpp.sent_ids import KEPT_SECONDS, PartOfLeg
from engine.channels.smpp.submissions import STOPPED, Submissions, ignore, lane_of
from engine.channels.smpp.turns import Overdue
from engine.channels.smpp.writing import TooLong
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Address, LegStatus
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
        self._submissions = Submissions(links, context, go_on=self._go_on)
        self.begin = self._submissions.begin
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
        return await self._judged(message, self._send(message))

    async def _go_on(self, message: OutMessage, part: ShortMessage, response: Response | None) -> Sent:
        """Go on, as `send` does it, with a message that was begun."""
        try:
            return await self._judged(message, self._single(message, part, response))
        finally:
            self._receipts.awaited -= 1

    async def _judged(self, message: OutMessage, sending: Coroutine[Any, Any, Sent]) -> Sent:
        try:
            sent = await sending
        except Stopping:
            return STOPPED
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
        parts = self._submissions.parts_of(message)
        if len(parts) > 1:  # of a long one it is kept which reference its parts have
            parts = self._submissions.parts_of(message, reference=(await self._progress_of(message)).reference)
        self._receipts.awaited += 1
        try:
            if len(parts) > 1:
                return await self._send_parts(message, parts)
            return await self._single(message, parts[0], await self._submit(message, parts[0]))
        finally:
            self._receipts.awaited -= 1

    async def _single(self, message: OutMessage, part: ShortMessage, response: Response | None) -> Sent:
        """Send a message of one PDU, as far as this response to it leaves something to do."""
        settled = await self._until_settled(message, part, response)
        return settled if isinstance(settled, Sent) else self._submissions.taken(message, settled)

    async def _send_parts(self, message: OutMessage, parts: list[ShortMessage]) -> Sent:
        """Send what the peer has not taken; each part is on disk as taken before the next one goes."""
        ids = (await self._progress_of(message)).ids
        while len(ids) < len(parts):
            part = parts[len(ids)]
            response = await self._until_settled(message, part, await self._submit(message, part))
            if isinstance(response, Sent):
                return response
            ids.append(self._submissions.took(response))
            await self._keep_progress(message, len(parts))
        return Sent(status=LegStatus.SENT, resource_sid=ids[0])

    async def _until_settled(
        self, message: OutMessage, part: ShortMessage, response: Response | None
    ) -> Response | Sent:
        """Return the response that takes a part, this one or that to another try, or why there is none."""
        waits = 0
        while True:
            if response is None:
                self._count(SmppCount.UNANSWERED)
                if self._peer.resend_unknown is ResendUnknown.NEVER or message.key in self._resent:
                    return Sent(error="the peer did not answer in time", may_be_taken=True)
                self._resent[message.key] = None
            elif response[0] == Status.OK:
                return response
            elif not asks_for_less(response[0], self._peer):
                return self._refused(response[0])
            else:
                self._count(SmppCount.THROTTLED)
                self._links.complained()
                await asyncio.sleep(min(2.0**waits, _LONGEST_WAIT))
                waits += 1
            response = await self._submit(message, part)

    async def _submit(self, message: OutMessage, part: ShortMessage) -> Response | None:
        left = None if message.valid_until is None else message.valid_until - self._clock()
        return await submit(
            self._links, part, lane=lane_of(message), account_sid=message.account_sid, within_seconds=left
        )

    def _refused(self, status: int) -> Sent:
        may_retry = is_temporary(status, self._peer)
        self._count(SmppCount.REFUSED_FOR_NOW if may_retry else SmppCount.REFUSED)
        return Sent(error=f"the peer refused it with status 0x{status:02x}", may_retry=may_retry)

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
            self._notes.put(self._note_of(message), _ENCODE(progress), until, ignore, account_sid=message.account_sid)
        self._submissions.keep_id(PartOfLeg(progress.ids[-1], message.interaction_sid, first, number, total), done)
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


_THROTTLES: Final = frozenset({Status.QUEUE_FULL, Status.THROTTLED})
_TEMPORARY: Final = frozenset({Status.SYSTEM_ERROR, Status.TEMPORARY_ERROR})
"""All others, but those that ask for the same message later, are for good."""
_LONGEST_WAIT: Final = 30.0
_REFERENCES = 0x10000
_MOST_REFERENCES = 100_000
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(_Progress).decode
