"""Receipts that we owe one peer: what it has asked about, and what it is to be told, on disk until it has taken that.

A peer that binds to us asks with registered_delivery. Of each message that it asked about, or part of one, it is told
the final state once, and before that, where it wants this, that the message is on its way. Source: SMPP 3.4 5.2.17.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from engine.channels.base import OutReceipt
from engine.channels.smpp.pdu import ShortMessage, SmeAddress, Tag, write_state
from engine.channels.smpp.receipts import FINAL_WORDS, STATE_OF, word_of, write_receipt
from engine.channels.smpp.redeliveries import KEPT_SECONDS as COMES_AGAIN_SECONDS
from engine.channels.smpp.times import absolute
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.notes import NoteDone, NoteLate, Notes
from engine.outbound.delivery import DELIVERED, Delivery


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A message of theirs, or a part of one, about which they asked."""

    message_id: str
    """What we call it."""
    source: SmeAddress
    destination: SmeAddress
    """Both as they came."""
    registered_delivery: int
    at: float
    """When it came, UTC epoch seconds."""
    account_sid: str | None = None
    """Whose number it reached."""
    word: str = "ENROUTE"
    """Its state."""
    since: float = 0.0
    """UTC epoch seconds; 0 = it has come, and nothing is known yet."""

    @property
    def answer(self) -> bytes:
        """Return the body of the response to a query_sm."""
        final_date = absolute(self.since) if self.word in FINAL_WORDS else ""
        return write_state(self.message_id, final_date=final_date, state=STATE_OF[self.word])

    def may_become(self, word: str) -> bool:
        """Tell whether a state is news: nothing follows a final one."""
        return self.word not in FINAL_WORDS and not (self.since and self.word == word)

    def wants(self, word: str) -> bool:
        """Tell whether a state is to be told."""
        asked = self.registered_delivery & _FINAL_STATE
        if word == _ON_ITS_WAY:
            return bool(self.registered_delivery & _INTERMEDIATE)
        return asked in (_WHEN_GOOD if word in _GOOD else _WHEN_BAD)


class Due(msgspec.Struct, frozen=True):
    """A receipt that waits until the peer takes it."""

    key: bytes
    message_id: str
    message: ShortMessage


class _Undecided(msgspec.Struct):
    """A message whose response has not left."""

    asked: Asked
    is_known: bool
    """It had come before."""
    early: list[Due] = []
    """Its receipts, which wait for the response."""
    responses: int = 0
    """How many are due: one that came again while it was decided has two."""
    is_taken: bool = False
    put_off_at: float = 0.0
    """When its peer was told to send it again, UTC epoch seconds."""


def asks(message: ShortMessage) -> bool:
    """Tell whether the sender of a message asks what becomes of it."""
    return bool(message.registered_delivery & (_FINAL_STATE | _INTERMEDIATE))


def asked_by(message: ShortMessage, message_id: str, now: float, *, account_sid: str | None) -> Asked:
    """Return what a message of theirs asks."""
    told = message.registered_delivery
    return Asked(message_id, message.source, message.destination, told, now, account_sid)


class OwedReceipts:
    """What we owe one peer."""

    def __init__(self, notes: Notes, peer: str) -> None:
        """Keep it under the peer's name."""
        self._notes = notes
        self._asked_prefix = f"asked/{peer}/".encode()
        self._pieces_prefix = f"pieces/{peer}/".encode()
        self._due_prefix = f"due/{peer}/".encode()
        self._held: set[bytes] = set()
        """Keys of those in memory."""
        self._ready: deque[Due] = deque()
        self._undecided: dict[str, _Undecided] = {}
        """By id; what is known of these may not be on disk yet."""
        self._is_more = True
        """Some may lie on disk only."""
        self._settled: set[bytes] | None = None
        """While the disk is read, keys of those that the peer has had since."""
        self._looked_at = 0.0
        """When too old ones were last looked for, UTC epoch seconds."""
        self.come = asyncio.Event()
        """Set when `next` may have one."""

    @property
    def waiting(self) -> int:
        """Count the receipts in memory that the peer has not taken."""
        return len(self._held)

    # -- what is asked --------------------------------------------------------------------------------------------

    async def asked(self, asked: Asked, *, is_again: bool) -> None:
        """Keep that a message is asked about; with the commit of what it leads to, or before it.

        `is_again`: it may have come before; then what is known of it stays as it is.
        """
        message_id = asked.message_id
        known = await self._kept(message_id) if is_again else None
        undecided = self._undecided.get(message_id)
        if undecided is None:
            undecided = self._undecided[message_id] = _Undecided(known or asked, is_known=known is not None)
        undecided.responses += 1
        if known is None:
            self._keep(undecided.asked, _ignore)

    def answered(self, message_id: str, *, is_taken: bool) -> None:
        """Take that a message was answered; nothing is owed of one that was not taken, now or before."""
        undecided = self._undecided.get(message_id)
        if undecided is not None:
            undecided.responses -= 1
            undecided.is_taken |= is_taken
            if not undecided.responses:
                self._decided(message_id, undecided)

    def put_off(self, message_id: str, now: float) -> None:
        """Take that its peer was told to send a message again; what it leads to may have happened all the same."""
        undecided = self._undecided.get(message_id)
        if undecided is not None:
            undecided.responses -= 1
            undecided.put_off_at = now
            if not undecided.responses and undecided.is_taken:
                self._decided(message_id, undecided)

    def sweep(self, now: float) -> None:
        """Wait no longer for what has not come again."""
        for message_id, one in tuple(self._undecided.items()):
            if not one.responses and now - one.put_off_at >= COMES_AGAIN_SECONDS:
                self._decided(message_id, one)

    def _decided(self, message_id: str, undecided: _Undecided) -> None:
        del self._undecided[message_id]
        if undecided.is_taken or undecided.is_known:
            self._ready += undecided.early
            self.come.set()
            return
        self._notes.drop(self._asked_prefix + message_id.encode(), _ignore)
        for due in undecided.early:
            self.settle(due)

    def gather(self, resource_sid: str, message_ids: Sequence[str], now: float) -> None:
        """Keep which messages an event is made of, where it is not the one that it is called after."""
        if tuple(message_ids) != (message_id_of(resource_sid),):
            key = self._pieces_prefix + resource_sid.encode()
            self._notes.put(key, _ENCODE(tuple(message_ids)), now + KEPT_SECONDS, _ignore)

    async def state_of(self, message_id: str) -> Asked | None:
        """Return what is known of a message that was asked about; None of any other one."""
        undecided = self._undecided.get(message_id)
        return await self._kept(message_id) if undecided is None else undecided.asked

    async def _kept(self, message_id: str) -> Asked | None:
        kept = await self._notes.get(self._asked_prefix + message_id.encode())
        return None if kept is None else _DECODE_ASKED(kept)

    # -- what is told ---------------------------------------------------------------------------------------------

    async def tell(self, receipt: OutReceipt) -> Delivery:
        """Have on disk what the peer is to be told of an outbound leg."""
        word = word_of(receipt.status)
        if word is None:
            return DELIVERED
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        try:
            message_ids = await self._made_of(receipt.resource_sid.partition("@")[0])
            if await self.become(message_ids, word, receipt.at, partial(_land, landed)):
                await landed
        except StoreUnavailable as problem:
            return Delivery(error=str(problem), may_retry=True)
        return DELIVERED

    async def become(
        self, message_ids: Sequence[str], word: str, at: float, done: NoteDone, *, late: NoteLate | None = None
    ) -> bool:
        """Take the state of messages; tells whether it is news, and `done` is called once that is on disk.

        `late` is as `Notes.put` has it. Raises StoreUnavailable where it cannot be read.
        """
        found = [await self.state_of(message_id) for message_id in message_ids]
        news = [asked for asked in found if asked is not None and asked.may_become(word)]
        for asked in news:
            if asked.wants(word):
                self._owe(asked, word, at)
            became = msgspec.structs.replace(asked, word=word, since=at)
            if asked is news[-1]:
                self._keep(became, done, late)
            else:
                self._keep(became, _ignore)
        return bool(news)

    async def _made_of(self, resource_sid: str) -> Sequence[str]:
        """Return the messages that an event is made of."""
        kept = await self._notes.get(self._pieces_prefix + resource_sid.encode())
        return (message_id_of(resource_sid),) if kept is None else _DECODE_IDS(kept)

    def _owe(self, asked: Asked, word: str, at: float) -> None:
        key = self._due_prefix + _milliseconds(at).to_bytes(8) + asked.message_id.encode() + word.encode()
        due = Due(key, asked.message_id, _message(asked, word, at))

        def kept(problem: StoreUnavailable | None) -> None:
            if problem is None:
                self._hold(due)

        until = at + KEPT_SECONDS + _KEPT_TO_BE_COUNTED_SECONDS
        self._notes.put(key, _ENCODE(due), until, kept, account_sid=asked.account_sid)

    def _keep(self, asked: Asked, done: NoteDone, late: NoteLate | None = None) -> None:
        key = self._asked_prefix + asked.message_id.encode()

        def kept(problem: StoreUnavailable | None) -> None:
            undecided = self._undecided.get(asked.message_id)
            if problem is None and undecided is not None:
                undecided.asked = asked
            done(problem)

        until = asked.at + KEPT_SECONDS
        self._notes.put(key, _ENCODE(asked), until, kept, late=late, account_sid=asked.account_sid)

    # -- what is sent ---------------------------------------------------------------------------------------------

    async def next(self) -> Due | None:
        """Return, once, a receipt that is to be sent; `settle` is called with it in the end."""
        if not self._held and self._is_more:
            await self.load()
        while self._ready:
            due = self._ready.popleft()
            if self.owes(due):
                return due
        return None

    def owes(self, due: Due) -> bool:
        """Tell whether a receipt is still to be sent: it may have become too old."""
        return due.key in self._held

    def settle(self, due: Due) -> None:
        """Take that the peer has it, or never wants it."""

        def dropped(problem: StoreUnavailable | None) -> None:
            if problem is None and self._settled is not None:
                self._settled.add(due.key)
            self._held.discard(due.key)  # not before: `load` would find it; where it failed, it is sent once more
            self.come.set()

        self._notes.drop(due.key, dropped)

    async def give_up(self, now: float) -> int:
        """Drop, now and then, what the peer has not taken in `KEPT_SECONDS`; returns how many.

        Raises StoreUnavailable; what was dropped by then is not counted.
        """
        if now - self._looked_at < _SECONDS_BETWEEN_LOOKS:
            return 0
        self._looked_at = now
        first, end = (_span_of(now - seconds) for seconds in (KEPT_SECONDS + _KEPT_TO_BE_COUNTED_SECONDS, KEPT_SECONDS))
        dropped = 0
        for span in range(first, end):
            prefix = self._due_prefix + span.to_bytes(8 - _SPAN_BYTES)
            while found := await self._notes.latest(prefix, _MOST_IN_MEMORY):
                keys = [key for key, _ in found]
                await self._drop(keys)
                self._held.difference_update(keys)
                dropped += len(keys)
        return dropped

    async def _drop(self, keys: Sequence[bytes]) -> None:
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for key in keys[:-1]:
            self._notes.drop(key, _ignore)
        self._notes.drop(keys[-1], partial(_land, landed))  # with the others' commit, or after it
        await landed

    async def load(self) -> None:
        """Read what the peer has not taken, as much as memory is to hold."""
        settled = self._settled = set[bytes]()
        try:
            found = await self._notes.latest(self._due_prefix, _MOST_IN_MEMORY)
        finally:
            self._settled = None
        self._is_more = len(found) == _MOST_IN_MEMORY
        for key, value in reversed(found):
            if key not in settled:
                self._hold(_DECODE_DUE(value))

    def _hold(self, due: Due) -> None:
        if due.key in self._held:
            return
        if len(self._held) >= _MOST_IN_MEMORY:
            self._is_more = True
            return
        self._held.add(due.key)
        undecided = self._undecided.get(due.message_id)
        (self._ready if undecided is None else undecided.early).append(due)
        self.come.set()


def message_id_of(sid: str) -> str:
    """Return what a peer is told that we call its message: 16 lower-case hexadecimal digits."""
    return sid.removeprefix("smpp-")[:16]


def _message(asked: Asked, word: str, at: float) -> ShortMessage:
    text = write_receipt(asked.message_id, word, submitted=_minute(asked.at), done=_minute(at))
    return ShortMessage(
        source=asked.destination,
        destination=asked.source,
        esm_class=_NOTIFICATION if word == _ON_ITS_WAY else _RECEIPT,
        octets=text,
        optional={
            Tag.RECEIPTED_MESSAGE_ID: asked.message_id.encode("ascii") + b"\0",
            Tag.MESSAGE_STATE: bytes((STATE_OF[word],)),
        },
    )


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y%m%d%H%M")


def _milliseconds(at: float) -> int:
    return int(at * 1000)


def _span_of(at: float) -> int:
    """Return what keys of receipts begin with that are of the same few hours."""
    return _milliseconds(at) >> 8 * _SPAN_BYTES


def _land(landed: "asyncio.Future[None]", problem: StoreUnavailable | None) -> None:
    if landed.done():
        return
    if problem is None:
        landed.set_result(None)
    else:
        landed.set_exception(problem)


def _ignore(problem: StoreUnavailable | None) -> None:
    """Leave it: the commit of the message itself tells whether it is kept."""


KEPT_SECONDS: Final = 3 * 86_400.0
"""How long a peer may be away until it is not told any more; and how long a state may take."""
_KEPT_TO_BE_COUNTED_SECONDS: Final = 86_400.0
"""How much longer a receipt is on disk, so that it is dropped here and counted, after a day's standstill too."""
_SECONDS_BETWEEN_LOOKS: Final = 600.0
_SPAN_BYTES: Final = 3
"""The last bytes of a time in milliseconds, which do not tell of which 4.7 hours it is."""
_MOST_IN_MEMORY: Final = 10_000
_RECEIPT, _NOTIFICATION = 0x04, 0x20
"""esm_class of a receipt, and of news that are not final."""
_FINAL_STATE, _INTERMEDIATE = 0x03, 0x10
"""Bits of registered_delivery."""
_ON_ITS_WAY: Final = "ENROUTE"
_GOOD: Final = frozenset({"DELIVRD", "ACCEPTD"})
_WHEN_GOOD, _WHEN_BAD = frozenset({1, 3}), frozenset({1, 2})
"""Values of the first bits: 1 = whatever it comes to, 2 = failure only, 3 = success only."""
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_ASKED = msgspec.msgpack.Decoder(Asked).decode
_DECODE_DUE = msgspec.msgpack.Decoder(Due).decode
_DECODE_IDS = msgspec.msgpack.Decoder(tuple[str, ...]).decode
