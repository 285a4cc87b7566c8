"""Sends our messages to one peer: in parts where they are long, again where it asks for that, never on a guess."""

import asyncio
import random
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from engine.channels.base import ChannelContext, OutMessage, Sent
from engine.channels.smpp.connection import Response
from engine.channels.smpp.links import Links, Stopping
from engine.channels.smpp.pdu import BadBody, ShortMessage, Status, read_message_id
from engine.channels.smpp.peers import ResendUnknown
from engine.channels.smpp.receipt_index import PartOfLeg
from engine.channels.smpp.writing import OutText, TooLong, parts_of
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Address, LegStatus
from engine.core.ports.observing import SmppCount

Draw = Callable[[int], int]
"""Draws a number below another."""


class _Progress(msgspec.Struct):
    """How far a message has come that is tried again."""

    reference: int
    ids: list[str]
    """Of the parts that the peer has taken."""
    is_resent: bool = False


class Sender:
    """Sends to one peer; asked by the outbox, one message of a session after the other."""

    def __init__(self, links: Links, context: ChannelContext, *, draw: Draw = random.randrange) -> None:
        """Send over these connections."""
        self._links = links
        self._peer = links.peer
        self._clock = context.clock
        self._count = context.observer.smpp
        self._draw = draw
        self._progress: dict[str, _Progress] = {}
        self._references: dict[Address, int] = {}

    async def send(self, message: OutMessage) -> Sent:
        """Try once; waits while the peer is not bound, and as long as it asks for less."""
        if message.media:
            return Sent(error="a short message carries no media")
        progress = self._progress.get(message.key)
        if progress is None:
            progress = self._progress[message.key] = _Progress(self._reference_for(message.to), [])
            if len(self._progress) > _MOST_PROGRESS:  # the first was given up long ago
                del self._progress[next(iter(self._progress))]
        try:
            sent = await self._send(message, progress)
        except Stopping:
            return Sent(error="the server stops", may_retry=True)
        except TooLong as problem:
            sent = Sent(error=str(problem))
        except BaseException:
            self._progress.pop(message.key, None)
            raise
        if sent.is_done or not sent.may_retry:
            self._progress.pop(message.key, None)
        return sent

    async def _send(self, message: OutMessage, progress: _Progress) -> Sent:
        reference = int.from_bytes(blake2b(message.key.encode(), digest_size=2).digest())
        text = OutText(message.sender, message.to, message.body, progress.reference, reference, self._peer.is_esme)
        parts = parts_of(text, self._peer)
        lane = f"{message.sender}/{message.to}"
        receipts = self._links.inbound.receipts
        while len(progress.ids) < len(parts):
            receipts.awaited += 1
            try:
                refused = await self._send_part(message, parts, lane, progress)
            finally:
                receipts.awaited -= 1
            if refused is not None:
                return refused
        return Sent(status=LegStatus.SENT, resource_sid=progress.ids[0])

    async def _send_part(
        self, message: OutMessage, parts: list[ShortMessage], lane: str, progress: _Progress
    ) -> Sent | None:
        """Send the next part; return why it was not taken, None = it was, and its id is on disk."""
        response = await self._until_settled(parts[len(progress.ids)], lane, progress)
        if isinstance(response, Sent):
            return response
        message_id = _id_in(response)
        progress.ids.append(message_id)
        self._count(SmppCount.SUBMITTED)
        if message_id:
            place = len(progress.ids)
            await self._keep(PartOfLeg(message_id, message.interaction_sid, progress.ids[0], place, len(parts)))
        return None

    async def _until_settled(self, part: ShortMessage, lane: str, progress: _Progress) -> Response | Sent:
        """Return the response that takes a part, or why there is none."""
        waits = 0
        while True:
            response = await self._links.submit(part, lane=lane)
            if response is None:
                self._count(SmppCount.UNANSWERED)
                if self._peer.resend_unknown is ResendUnknown.NEVER or progress.is_resent:
                    return Sent(error="the peer did not answer in time", may_be_taken=True)
                progress.is_resent = True
                continue
            status = response[0]
            if status == Status.OK:
                return response
            if status not in THROTTLES:
                return self._refused(status)
            self._count(SmppCount.THROTTLED)
            self._links.complained()
            await asyncio.sleep(min(2.0**waits, _LONGEST_WAIT))
            waits += 1

    def _refused(self, status: int) -> Sent:
        is_for_now = status in FOR_NOW
        self._count(SmppCount.REFUSED_FOR_NOW if is_for_now else SmppCount.REFUSED)
        return Sent(error=f"the peer refused it with status 0x{status:02x}", may_retry=is_for_now)

    async def _keep(self, part: PartOfLeg) -> None:
        """Have the id of a part on disk, before its message counts as sent."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def landed(problem: StoreUnavailable | None) -> None:
            del problem  # the message is sent all the same; its receipt will find nothing, which is counted
            if not kept.done():
                kept.set_result(None)

        try:
            self._links.inbound.receipts.add(part, self._clock(), landed)
        except StoreUnavailable as problem:
            landed(problem)
        await kept

    def _reference_for(self, to: Address) -> int:
        """Return the next reference of a number: others use theirs, so that no two long messages are mixed."""
        last = self._references.pop(to, None)
        reference = self._draw(_REFERENCES) if last is None else (last + 1) % _REFERENCES
        self._references[to] = reference
        if len(self._references) > _MOST_REFERENCES:
            del self._references[next(iter(self._references))]
        return reference


def _id_in(response: Response) -> str:
    try:
        return read_message_id(response[1])[:_LONGEST_ID]
    except BadBody:
        return ""


THROTTLES: Final = frozenset({Status.QUEUE_FULL, Status.THROTTLED})
"""Statuses that ask for the same message later."""
FOR_NOW: Final = frozenset({Status.SYSTEM_ERROR, Status.TEMPORARY_ERROR})
"""Statuses that another try may change; all others are for good."""
_LONGEST_WAIT: Final = 30.0
_LONGEST_ID = 65
_REFERENCES = 0x10000
_MOST_REFERENCES = 100_000
_MOST_PROGRESS = 100_000
