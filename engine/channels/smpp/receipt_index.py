"""Which leg a receipt of one peer is about: the ids that the peer gave our messages, on disk, by each form of an id.

A receipt may come before the response that gives the id; it is kept for a while and tried again. So while responses are
awaited, an id that only as a number is one of ours (hex here, decimals there) is not taken for that one yet.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from engine.channels.smpp.receipts import Receipt, forms_of
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import LegStatus
from engine.core.ports.notes import NoteDone, Notes


class PartOfLeg(msgspec.Struct, frozen=True, array_like=True):
    """A message that a peer has taken."""

    message_id: str
    """As the peer wrote it in its response."""
    interaction_sid: str
    leg_id: str
    """What the leg is called: the id of its first part."""
    number: int = 1
    total: int = 1
    """Of the parts of a long message."""


class Ambiguous(msgspec.Struct, frozen=True):
    """Several messages may be meant."""


class _Unmatched(msgspec.Struct, frozen=True, array_like=True):
    receipt: Receipt
    at: float


Matched = Callable[[PartOfLeg, Receipt, NoteDone], None]
"""Takes a receipt that has found its message late, and calls back once that is on disk, or could not be."""

StateKept = Callable[[LegStatus | None, StoreUnavailable | None], None]
"""Is told what a leg comes to, None = nothing new, or why that is not known."""


class ReceiptIndex:
    """The ids of one peer."""

    def __init__(self, notes: Notes, peer: str, *, matched: Matched) -> None:
        """Keep them under the peer's name."""
        self._notes = notes
        self._ids = f"id/{peer}/".encode()
        self._legs = f"leg/{peer}/".encode()
        self._early = f"early/{peer}/".encode()
        self._matched = matched
        self.awaited = 0
        """How many messages of ours have no response yet, or one whose id is not kept yet."""
        self._pending: dict[str, list[PartOfLeg]] = {}
        """By form, those whose commit is under way."""
        self._unmatched: dict[bytes, _Unmatched] = {}
        self._states: dict[str, list[str]] = {}
        """Of long messages, by interaction, while their commit is under way."""

    def load(self) -> None:
        """Read the receipts that wait for their messages."""
        for key, value in self._notes.latest(self._early, _MOST_UNMATCHED):
            self._unmatched[key] = _DECODE_UNMATCHED(value)

    @property
    def unmatched(self) -> int:
        """Count the receipts that wait for their messages."""
        return len(self._unmatched)

    def add(self, part: PartOfLeg, now: float, done: NoteDone) -> None:
        """Keep the id of a message; `done` is called once all its forms are on disk."""
        forms = sorted(forms_of(part.message_id))
        for place, form in enumerate(forms):
            entries = [one for one in self._found(form) if one.message_id != part.message_id]
            entries = [*entries[-_MOST_OF_FORM:], part]  # a peer that uses an id again means the later message
            self._pending[form] = entries
            is_last = place == len(forms) - 1
            self._notes.put(
                self._ids + form.encode("utf-8"),
                _ENCODE(entries),
                now + KEPT_SECONDS,
                self._landed(form, entries, done if is_last else _ignore),
            )
        self.match_early(now)

    def find(self, message_id: str, *, waited_seconds: float = 0.0) -> PartOfLeg | Ambiguous | None:
        """Return the message that an id means, as far as that is sure after so long a wait for responses."""
        forms = sorted(forms_of(message_id))  # "#" for numbers sorts before "="
        named = self._found(forms[-1])
        exact = [one for one in named if one.message_id == message_id]
        is_sure = not self.awaited or waited_seconds >= _RESPONSE_SECONDS
        numbered = [one for form in forms[:-1] for one in self._found(form)] if is_sure else []
        for candidates in (exact, named, numbered):
            meant = {(one.interaction_sid, one.number): one for one in candidates}
            if len(meant) == 1:
                return next(iter(meant.values()))
            if meant:
                return Ambiguous()
        return None

    def keep_unmatched(self, receipt: Receipt, now: float, done: NoteDone) -> None:
        """Keep a receipt whose message may yet be answered."""
        digest = blake2b(msgspec.msgpack.encode(receipt), digest_size=16).digest()
        key = self._early + digest
        one = _Unmatched(receipt, now)
        if len(self._unmatched) < _MOST_UNMATCHED:
            self._unmatched[key] = one
        self._notes.put(key, _ENCODE(one), now + UNMATCHED_SECONDS, done)

    def given_up(self, now: float) -> int:
        """Forget the receipts whose time is over; return how many."""
        over = [key for key, one in self._unmatched.items() if now - one.at >= UNMATCHED_SECONDS]
        for key in over:
            del self._unmatched[key]
            self._notes.drop(key, _ignore)
        return len(over)

    def state_of(self, part: PartOfLeg, status: LegStatus, now: float, done: StateKept) -> None:
        """Tell what a leg comes to with the state of one of its parts, once that is on disk.

        It is delivered when all parts are, and has failed when one has.
        """
        if part.total == 1:
            done(status, None)
            return
        key = self._legs + part.interaction_sid.encode()
        kept = self._notes.get(key)
        states = self._states.get(part.interaction_sid) or (_DECODE_STATES(kept) if kept else [""] * part.total)
        if states[part.number - 1] not in _FINAL:
            states[part.number - 1] = status.value
        self._states[part.interaction_sid] = states
        leg = _state_of_all(states)

        def landed(problem: StoreUnavailable | None) -> None:
            self._states.pop(part.interaction_sid, None)
            done(None if problem else leg, problem)

        self._notes.put(key, _ENCODE(states), now + KEPT_SECONDS, landed)

    def _found(self, form: str) -> list[PartOfLeg]:
        pending = self._pending.get(form)
        if pending is not None:
            return pending
        kept = self._notes.get(self._ids + form.encode("utf-8"))
        return _DECODE_PARTS(kept) if kept else []

    def _landed(self, form: str, entries: list[PartOfLeg], done: NoteDone) -> NoteDone:
        def landed(problem: StoreUnavailable | None) -> None:
            if self._pending.get(form) is entries:
                del self._pending[form]
            done(problem)

        return landed

    def match_early(self, now: float) -> None:
        """Try again the receipts that wait for their messages."""
        for key, one in tuple(self._unmatched.items()):
            if now - one.at >= UNMATCHED_SECONDS:
                continue
            found = self.find(one.receipt.message_id, waited_seconds=now - one.at)
            if isinstance(found, PartOfLeg):
                del self._unmatched[key]
                self._matched(found, one.receipt, self._settled(key, one))

    def _settled(self, key: bytes, one: _Unmatched) -> NoteDone:
        def settled(problem: StoreUnavailable | None) -> None:
            if problem is None:
                self._notes.drop(key, _ignore)
            else:
                self._unmatched[key] = one

        return settled


def _state_of_all(states: list[str]) -> LegStatus | None:
    bad = [state for state in states if state in _BAD]
    if bad:
        return LegStatus(bad[0])
    return LegStatus.DELIVERED if all(state == LegStatus.DELIVERED for state in states) else None


def _ignore(problem: StoreUnavailable | None) -> None:
    """Leave it."""


KEPT_SECONDS: Final = 3 * 86_400.0
"""How long a receipt may take."""
UNMATCHED_SECONDS: Final = 60.0
"""How long the response that gives the id may take after the receipt."""
_RESPONSE_SECONDS: Final = 10.0
"""After which a response that is still awaited does not give the id any more."""
_MOST_UNMATCHED: Final = 10_000
_MOST_OF_FORM: Final = 3
_BAD: Final = frozenset({LegStatus.FAILED, LegStatus.UNDELIVERED})
_FINAL: Final = _BAD | {LegStatus.DELIVERED}
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_PARTS = msgspec.msgpack.Decoder(list[PartOfLeg]).decode
_DECODE_STATES = msgspec.msgpack.Decoder(list[str]).decode
_DECODE_UNMATCHED = msgspec.msgpack.Decoder(_Unmatched).decode
