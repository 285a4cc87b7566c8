"""Which leg a receipt of one peer is about: the ids that the peer gave our messages, on disk, by each form of an id.

A receipt may come before the response that gives the id; it is kept for a while and tried again. So while responses are
awaited, an id that only as a number is one of ours (hex here, decimals there) is not taken for that one yet.
"""

from collections.abc import Awaitable, Callable, Iterable
from hashlib import blake2b
from itertools import takewhile
from typing import Final

import msgspec

from engine.at_once import AtOnce
from engine.channels.smpp.kept_rows import row_decoder
from engine.channels.smpp.receipts import Receipt, form_of, forms_of
from engine.channels.smpp.sent_ids import KEPT_SECONDS, PartOfLeg, SentIds
from engine.core.model.errors import StoreLate, StoreUnavailable
from engine.core.model.records import LegStatus
from engine.core.ports.notes import NoteDone, NoteLate, Notes


class Ambiguous(msgspec.Struct, frozen=True):
    """Several messages may be meant."""


class _Unmatched(msgspec.Struct, frozen=True, array_like=True):
    receipt: Receipt
    at: float


Matched = Callable[[PartOfLeg, Receipt, NoteDone], Awaitable[None]]
"""Takes a receipt that has found its message late, and calls back once that is on disk, or could not be."""

StateKept = Callable[[LegStatus | None, StoreUnavailable | None], None]
"""Is told what a leg comes to, None = nothing new, or why that is not known."""


class ReceiptIndex:
    """The ids of one peer."""

    def __init__(self, notes: Notes, peer: str, *, matched: Matched) -> None:
        """Keep them under the peer's name."""
        self._notes = notes
        self._legs = f"leg/{peer}/".encode()
        self._early = f"early/{peer}/".encode()
        self._matched = matched
        self.awaited = 0
        """How many messages of ours have no response yet, or one whose id is not kept yet."""
        self._unmatched: dict[bytes, _Unmatched] = {}
        self._unmatched_by_form: dict[str, set[bytes]] = {}
        self._unsure: dict[bytes, None] = {}
        """Those that may yet mean an id which is the same number; oldest first."""
        self._states: dict[str, list[str]] = {}
        """Of long messages, by interaction, while their commit is under way."""
        self._landed = 0
        """How many commits of such states have ended."""
        self._at_once = AtOnce()
        self._ids = SentIds(notes, peer, awaited=self._unmatched_by_form, found=self._found)
        self.add = self._ids.add

    async def load(self) -> None:
        """Read the receipts that wait for their messages."""
        for key, value in await self._notes.latest(self._early, _MOST_UNMATCHED):
            self._wait(key, _DECODE_UNMATCHED(value))

    @property
    def unmatched(self) -> int:
        """Count the receipts that wait for their messages."""
        return len(self._unmatched)

    def _found(self, form: str, now: float) -> None:
        """Take the receipts that wait for an id which has come."""
        self._at_once.run(self._match(self._unmatched_by_form[form], now), lambda: None)

    async def finish(self) -> None:
        """Give up what still looks for messages; receipts that wait are on disk."""
        await self._at_once.finish()

    async def find(self, message_id: str, *, waited_seconds: float = 0.0) -> PartOfLeg | Ambiguous | None:
        """Return the message that an id means, as far as that is sure after so long a wait for responses."""
        by_id: dict[str, PartOfLeg] = {}
        forms = forms_of(message_id)
        under_way = {form: tuple(self._ids.pending.get(form, ())) for form in forms}  # may land while the disk is read
        kept = {form: await self._kept(form) for form in forms}
        for form in forms:
            for one in (*reversed(self._ids.pending.get(form, ())), *reversed(under_way[form]), *kept[form]):
                if form_of(one.message_id) == form:
                    by_id.setdefault(one.message_id, one)  # a peer that uses an id again means the later message
        exact = by_id.get(message_id)
        if exact is not None:
            return exact
        folded = message_id.strip().lower()
        named = [one for one in by_id.values() if one.message_id.strip().lower() == folded]
        is_sure = not self.awaited or waited_seconds >= _RESPONSE_SECONDS
        meant = named or (list(by_id.values()) if is_sure else [])
        if not meant:
            return None
        return meant[0] if len(meant) == 1 else Ambiguous()

    def keep_unmatched(self, receipt: Receipt, now: float, done: NoteDone, late: NoteLate | None = None) -> None:
        """Keep a receipt whose message may yet be answered; `late` is as `Notes.put` has it."""
        digest = blake2b(msgspec.msgpack.encode(receipt), digest_size=16).digest()
        key = self._early + digest
        one = _Unmatched(receipt, now)
        if len(self._unmatched) < _MOST_UNMATCHED:
            self._wait(key, one)
        self._notes.put(key, _ENCODE(one), now + UNMATCHED_SECONDS, done, late=late)

    def given_up(self, now: float) -> int:
        """Forget the receipts whose time is over; return how many."""
        over = [key for key, one in self._unmatched.items() if now - one.at >= UNMATCHED_SECONDS]
        for key in over:
            self._wait_no_more(key)
            self._notes.drop(key, _ignore)
        return len(over)

    async def state_of(self, part: PartOfLeg, status: LegStatus, now: float, done: StateKept) -> None:
        """Tell what a leg comes to with the state of one of its parts, once that is on disk, or that it takes long.

        It is delivered when all parts are, and has failed when one has.
        """
        if part.total == 1:
            done(status, None)
            return
        key = self._legs + part.interaction_sid.encode()
        states = self._states.get(part.interaction_sid)
        while states is None:
            ended, kept = self._landed, await self._notes.get(key)
            states = self._states.get(part.interaction_sid)
            if states is None and ended == self._landed:  # what was read is the latest
                states = _DECODE_STATES(kept) if kept else [""] * part.total
        if states[part.number - 1] not in _FINAL:
            states[part.number - 1] = status.value
        self._states[part.interaction_sid] = states
        leg = _state_of_all(states)

        def landed(problem: StoreUnavailable | None) -> None:
            self._landed += 1
            self._states.pop(part.interaction_sid, None)
            done(None if problem else leg, problem)

        def late() -> None:
            done(None, StoreLate("the state of a part is not kept in time"))

        self._notes.put(key, _ENCODE(states), now + KEPT_SECONDS, landed, late=late)

    async def _kept(self, form: str) -> list[PartOfLeg]:
        """Read the messages that are kept under a form, the last one first."""
        found = await self._notes.latest(self._ids.prefix_of(form), _MOST_OF_FORM)
        return [_DECODE_PART(value) for _, value in found]

    # -- receipts that wait ---------------------------------------------------------------------------------------

    async def match_early(self, now: float) -> None:
        """Try again, once, the receipts that have waited until it is sure what they mean.

        Whatever else may come for one is looked at when it comes: ten thousand that mean nothing cost nothing.
        """
        due = list(takewhile(lambda key: now - self._unmatched[key].at >= _RESPONSE_SECONDS, self._unsure))
        for key in due:
            del self._unsure[key]
        try:
            await self._match(due, now)
        except StoreUnavailable:
            self._unsure |= {key: None for key in due if key in self._unmatched}
            raise

    async def _match(self, keys: Iterable[bytes], now: float) -> None:
        for key in tuple(keys):
            one = self._unmatched.get(key)
            if one is None or now - one.at >= UNMATCHED_SECONDS:
                continue
            found = await self.find(one.receipt.message_id, waited_seconds=now - one.at)
            if not isinstance(found, PartOfLeg) or self._unmatched.get(key) is not one:
                continue
            self._wait_no_more(key)
            try:
                await self._matched(found, one.receipt, self._settled(key, one))
            except StoreUnavailable:
                self._wait(key, one)
                raise

    def _wait(self, key: bytes, one: _Unmatched) -> None:
        self._unmatched[key] = one
        self._unsure.pop(key, None)
        self._unsure[key] = None
        for form in forms_of(one.receipt.message_id):
            self._unmatched_by_form.setdefault(form, set()).add(key)

    def _wait_no_more(self, key: bytes) -> None:
        one = self._unmatched.pop(key)
        self._unsure.pop(key, None)
        for form in forms_of(one.receipt.message_id):
            keys = self._unmatched_by_form[form]
            keys.discard(key)
            if not keys:
                del self._unmatched_by_form[form]

    def _settled(self, key: bytes, one: _Unmatched) -> NoteDone:
        def settled(problem: StoreUnavailable | None) -> None:
            if problem is None:
                self._notes.drop(key, _ignore)
            else:
                self._wait(key, one)

        return settled


def _state_of_all(states: list[str]) -> LegStatus | None:
    bad = [state for state in states if state in _BAD]
    if bad:
        return LegStatus(bad[0])
    return LegStatus.DELIVERED if all(state == LegStatus.DELIVERED for state in states) else None


def _ignore(problem: StoreUnavailable | None) -> None:
    """Leave it."""


UNMATCHED_SECONDS: Final = 60.0
"""How long the response that gives the id may take after the receipt."""
_RESPONSE_SECONDS: Final = 10.0
"""After which a response that is still awaited does not give the id any more."""
_MOST_UNMATCHED: Final = 10_000
_MOST_OF_FORM: Final = 4
_BAD: Final = frozenset({LegStatus.FAILED, LegStatus.UNDELIVERED})
_FINAL: Final = _BAD | {LegStatus.DELIVERED}
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_PART = row_decoder(PartOfLeg)
_DECODE_STATES = msgspec.msgpack.Decoder(list[str]).decode
_DECODE_UNMATCHED = msgspec.msgpack.Decoder(_Unmatched).decode
