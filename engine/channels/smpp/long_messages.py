"""Long messages of one peer that are not whole yet: parts are kept on disk, and come in any order over any connection.

What is whole is decided once; what never becomes whole goes on in pieces, in order, when its time has run out.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final

import msgspec

from engine.channels.smpp.arrivals import sid_for
from engine.channels.smpp.redeliveries import KEPT_SECONDS
from engine.channels.smpp.segments import Place
from engine.channels.smpp.texts import NotText, Reading, decode, raw_of, read_text
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Address, RawText
from engine.core.ports.notes import NoteDone, NoteLate, Notes


class Part(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A part as it came, and of what."""

    message_sid: str
    """Of the whole message."""
    began_at: float
    """When its first part came, UTC epoch seconds."""
    sender: Address
    proxy: Address
    place: Place
    data_coding: int
    header_bytes: int
    octets: bytes
    digest: bytes = b""
    """Of all that its PDU says."""
    asking: tuple[str, ...] = ()
    """What we call it, where its sender asks what becomes of it."""
    valid_until: float | None = None
    """After which it is not to be sent on, UTC epoch seconds."""

    def alone(self, *, reading: Reading) -> "Piece":
        """Return it as a message of its own."""
        text, raw = read_text(self.octets, self.data_coding, reading=reading, header_bytes=self.header_bytes)
        return Piece(self.message_sid, self.sender, self.proxy, text, self.asking, raw, self.valid_until)

    @property
    def key(self) -> tuple[object, ...]:
        """Return what the parts of a message have in common."""
        return (self.sender, self.proxy, self.place.form, self.place.reference, self.place.total)


class Piece(msgspec.Struct, frozen=True):
    """A message as it goes on: a whole one, or what there is of it in a row."""

    sid: str
    sender: Address
    proxy: Address
    text: str | NotText
    asking: tuple[str, ...] = ()
    """What we call those messages of it whose sender asks what becomes of them."""
    raw: RawText | None = None
    """The text as it came."""
    valid_until: float | None = None
    """After which it is not to be sent on, UTC epoch seconds."""


class Assembly(msgspec.Struct):
    """The parts of one message."""

    sid: str
    began_at: float
    parts: dict[int, Part]
    kept: set[int]
    """Those that are on disk."""
    account_sid: str | None = None
    """Whose number they reach."""
    is_deciding: bool = False
    """It is being decided, or was: a part that comes again, and is on disk only then, changes nothing."""

    @property
    def is_whole(self) -> bool:
        """Tell that all parts are there, on disk."""
        return len(self.kept) == next(iter(self.parts.values())).place.total

    def pieces(self, *, reading: Reading) -> list[Piece]:
        """Return what goes on: one message for each run of parts."""
        ordered = [self.parts[number] for number in sorted(self.parts)]
        runs = [
            [part for _, part in run]
            for _, run in groupby(enumerate(ordered), lambda one: one[1].place.number - one[0])
        ]
        if len(runs) == 1:
            return [_piece(self.sid, runs[0], reading)]
        return [_piece(sid_for(b"", self.sid, run[0].place.number), run, reading) for run in runs]


class Full(Exception):  # noqa: N818 - names a state
    """Too many parts wait for others."""


class LongMessages:
    """The parts of one peer."""

    def __init__(
        self,
        notes: Notes,
        peer: str,
        *,
        owner_of: Callable[[Address], str | None] = lambda _: None,
        timeout_seconds: float = 120.0,
    ) -> None:
        """Keep parts under the peer's name; those of one account take no more room than they leave for the others."""
        self._notes = notes
        self._prefix = f"part/{peer}/".encode()
        self._gone = f"gone/{peer}/".encode()
        self._owner_of = owner_of
        self._timeout_seconds = timeout_seconds
        self._assemblies: dict[tuple[object, ...], list[Assembly]] = {}
        self._waiting = 0
        self._by_sender: Counter[Address] = Counter()
        self._by_account: Counter[str | None] = Counter()
        self._done: dict[tuple[object, ...], tuple[float, dict[int, bytes]]] = {}
        """Messages that were whole, and what their parts were: these may still come twice."""
        self._expired: dict[tuple[object, ...], float] = {}

    @property
    def waiting(self) -> int:
        """Count the parts that wait for others."""
        return self._waiting

    async def load(self) -> None:
        """Read the parts that are on disk."""
        for _, value in await self._notes.latest(self._prefix, MOST_PARTS):
            part = _DECODE(value)
            found = next((one for one in self._assemblies.get(part.key, ()) if one.sid == part.message_sid), None)
            assembly = found or self._begin(part)
            self._add(assembly, part)
            assembly.kept.add(part.place.number)

    async def place_of(self, part: Part, *, is_again: bool) -> Assembly | None:
        """Return where a part belongs, itself added; None = its message has gone on already.

        `is_again`: it may have come before, over a connection that has ended.

        Raises:
            Full: too many parts of this peer, account or sender wait.
            StoreUnavailable: whether its message has gone on cannot be read.
        """
        if is_again and not self._is_known(part) and await self._notes.get(self._gone + part.digest) is not None:
            return None
        number = part.place.number
        for assembly in reversed(self._assemblies.get(part.key, [])):
            known = assembly.parts.get(number)
            if known is None:
                self._check_room(part)
                self._add(assembly, part)
                return assembly
            if known.octets == part.octets:
                return assembly
        if self._has_gone(part):
            return None
        self._check_room(part)
        assembly = self._begin(part)
        self._add(assembly, part)
        return assembly

    def _is_known(self, part: Part) -> bool:
        """Tell whether memory says where a part belongs."""
        number = part.place.number
        waiting = self._assemblies.get(part.key, ())
        return self._has_gone(part) or any(one.parts.get(number, part).octets == part.octets for one in waiting)

    def _has_gone(self, part: Part) -> bool:
        done = self._done.get(part.key)
        return done is not None and done[1].get(part.place.number) == part.octets

    def is_late(self, part: Part, now: float) -> bool:
        """Tell whether the others of its message have gone on without it."""
        return now - self._expired.get(part.key, float("-inf")) < self._timeout_seconds

    def keep(self, assembly: Assembly, number: int, done: NoteDone, *, late: NoteLate | None = None) -> None:
        """Put a part on disk, and then say so; `late` is as `Notes.put` has it."""
        part = msgspec.structs.replace(assembly.parts[number], message_sid=assembly.sid, began_at=assembly.began_at)

        def kept(problem: StoreUnavailable | None) -> None:
            if problem is None:
                assembly.kept.add(number)
            done(problem)

        until = part.began_at + _KEPT_SECONDS
        key = self._note_of(assembly, number)
        self._notes.put(key, _ENCODE(part), until, kept, late=late, account_sid=assembly.account_sid)

    def overdue(self, now: float) -> Iterator[Assembly]:
        """Yield the messages whose time has run out, and those that are whole and not decided."""
        for assemblies in tuple(self._assemblies.values()):
            for assembly in tuple(assemblies):
                is_due = assembly.is_whole or now - assembly.began_at >= self._timeout_seconds
                if is_due and not assembly.is_deciding and assembly.kept:
                    yield assembly

    def settled(self, assembly: Assembly, now: float) -> None:
        """Take that a message has gone on: nothing of it is kept any more but that it was here."""
        key = next(iter(assembly.parts.values())).key
        for number, part in assembly.parts.items():
            self._notes.put(self._gone + part.digest, b"", now + KEPT_SECONDS, _ignore)
            self._notes.drop(self._note_of(assembly, number), _ignore)
        self._count(assembly, -len(assembly.parts))
        assemblies = self._assemblies[key]
        assemblies.remove(assembly)
        if not assemblies:
            del self._assemblies[key]
        if assembly.is_whole:
            self._done[key] = (now, {number: part.octets for number, part in assembly.parts.items()})
        else:
            self._expired[key] = now

    def sweep(self, now: float) -> None:
        """Forget which messages were here."""
        for key, (at, _) in tuple(self._done.items()):
            if now - at >= self._timeout_seconds:
                del self._done[key]
        for key, at in tuple(self._expired.items()):
            if now - at >= self._timeout_seconds:
                del self._expired[key]

    def _begin(self, part: Part) -> Assembly:
        owner = self._owner_of(part.proxy)
        assembly = Assembly(part.message_sid, part.began_at, {}, set(), account_sid=owner)
        self._assemblies.setdefault(part.key, []).append(assembly)
        return assembly

    def _add(self, assembly: Assembly, part: Part) -> None:
        assembly.parts[part.place.number] = part
        self._count(assembly, 1)

    def _count(self, assembly: Assembly, parts: int) -> None:
        sender = next(iter(assembly.parts.values())).sender
        self._waiting += parts
        self._by_sender[sender] += parts
        self._by_account[assembly.account_sid] += parts
        if not self._by_sender[sender]:
            del self._by_sender[sender]
        if not self._by_account[assembly.account_sid]:
            del self._by_account[assembly.account_sid]

    def _check_room(self, part: Part) -> None:
        room = MOST_PARTS - self._waiting
        if self._by_account[self._owner_of(part.proxy)] >= room:
            raise Full
        if self._by_sender[part.sender] >= max(MOST_OF_SENDER, part.place.total):
            raise Full

    def _note_of(self, assembly: Assembly, number: int) -> bytes:
        return self._prefix + assembly.sid.encode() + bytes((number,))


def _piece(sid: str, run: list[Part], reading: Reading) -> Piece:
    first, asking = run[0], tuple(one for part in run for one in part.asking)
    until = min((part.valid_until for part in run if part.valid_until is not None), default=None)
    return Piece(sid, first.sender, first.proxy, _text(run, reading), asking, _raw(run, reading), until)


def _raw(run: list[Part], reading: Reading) -> RawText | None:
    """Return the octets of parts in a row, where they are those of one text."""
    coding = run[0].data_coding
    if reading.is_packed or any(part.data_coding != coding for part in run):
        return None
    return raw_of(b"".join([part.octets for part in run]), coding, reading=reading)


def _text(parts: list[Part], reading: Reading) -> str | NotText:
    """Return the text of parts in a row; a character may be cut between two, but not where septets are packed."""
    texts = []
    for coding, run in groupby(parts, lambda part: part.data_coding):
        pieces = list(run)
        if not reading.is_packed:
            pieces = [msgspec.structs.replace(pieces[0], octets=b"".join([part.octets for part in pieces]))]
        for part in pieces:
            text = decode(part.octets, coding, reading=reading, header_bytes=part.header_bytes)
            if isinstance(text, NotText):
                return text
            texts.append(text)
    return "".join(texts)


def _ignore(problem: StoreUnavailable | None) -> None:
    """Leave it: a note that stays is settled once more after the next start, and known as a redelivery."""


MOST_PARTS: Final = 10_000
"""Of one peer that wait."""
MOST_OF_SENDER: Final = 50
"""Of one sender of that peer; one message may always be as long as it says."""
_KEPT_SECONDS: Final = 7 * 86_400.0
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(Part).decode
