"""The events that a client of the feed sends, and what is wrong with those that cannot be taken; sans-IO."""

from enum import StrEnum
from typing import Annotated, Any, Final, get_type_hints

import msgspec
from msgspec import Meta, Raw

from engine.channels.feed.frames import UNREADABLE, Payload, Refusal, Refused, not_msgpack
from engine.core.model.records import Kind, LegStatus
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.e164 import UNCLEAR, is_unclear, mask_address
from engine.core.ports.observing import FeedProblem
from engine.core.routing.legs import read_status
from engine.core.routing.traffic import ANONYMOUS, MAX_MEDIA, InboundEvent, LegReport

MAX_EVENTS: Final = 4_096
"""Events of one frame."""

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Sid = Annotated[str, Meta(min_length=1, max_length=64)]
Sender = Annotated[str, Meta(max_length=255)]
Media = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=100)]
Seconds = Annotated[float, Meta(ge=0, lt=2**31)]
Words = Annotated[str, Meta(max_length=500)]


class Subject(StrEnum):
    """What a leg or a question is of."""

    CALL = "call"
    MESSAGE = "message"


class Side(StrEnum):
    """Which leg."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Call(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="call"):
    """A call has reached a proxy number."""

    sender: Sender
    proxy: Text
    sid: Sid

    def event(self, account_sid: str | None) -> InboundEvent:
        """Return it as the data plane takes it; raises Refused."""
        sid = _printable(self.sid)
        return InboundEvent(_VOICE, self.sender or ANONYMOUS, _reached(self.proxy), sid, account_sid=account_sid)


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="message"):
    """A message has reached a proxy number."""

    sender: Sender
    proxy: Text
    sid: Sid
    body: str = ""
    media: Media = ()

    def event(self, account_sid: str | None) -> InboundEvent:
        """Return it as the data plane takes it; raises Refused."""
        sid = _printable(self.sid)
        return InboundEvent(
            _MESSAGE,
            self.sender or ANONYMOUS,
            _reached(self.proxy),
            sid,
            self.body,
            self.media[:MAX_MEDIA],
            account_sid=account_sid,
            media_left_out=max(len(self.media) - MAX_MEDIA, 0),
        )


class Resolve(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="resolve"):
    """What would become of a call or message? Nothing is recorded and no hook is asked.

    It is an `engine.core.routing.traffic.Question`.
    """

    subject: Subject
    sender: Sender
    proxy: Text
    body: str = ""

    @property
    def is_call(self) -> bool:
        """Tell a call from a message."""
        return self.subject is _CALL

    def event(self, account_sid: str | None) -> InboundEvent:
        """Return it as an event without a SID."""
        kind = _VOICE if self.is_call else _MESSAGE
        return InboundEvent(kind, self.sender, _reached(self.proxy), "", self.body, account_sid=account_sid)


class Status(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="status"):
    """The state of a leg."""

    subject: Subject
    leg: Side
    sid: Sid
    """CA… or SM… of the leg."""
    status: Text
    """In a platform's words."""
    proxy: Text
    """The number that the call or message had reached."""
    interaction: str | None = None
    """KI… of the decision; None where only the inbound leg's SID is known."""
    duration: Seconds | None = None
    """Seconds of a finished call."""
    problem: Words = ""
    """Why it failed, in the carrier's words."""

    def report(self, account_sid: str | None, numbers: tuple[str, ...] = ()) -> LegReport:
        """Return it as the data plane takes it, numbers in its words masked; raises Refused.

        `numbers` are how those begin that the client carries (none = all).
        """
        interaction = self.interaction
        if interaction is not None and not is_sid(interaction, SidKind.INTERACTION):
            raise Refused(FeedProblem.BAD_FIELD, "is no KI… SID", field="interaction")
        kind = _VOICE if self.subject is _CALL else _MESSAGE
        return LegReport(
            kind=kind,
            account_sid=account_sid,
            interaction_sid=interaction,
            is_outbound=self.leg is Side.OUTBOUND,
            resource_sid=_printable(self.sid),
            status=_status(self.status, kind),
            proxy=_reached(self.proxy),
            duration_seconds=None if self.duration is None else int(self.duration),
            problem=mask_address(self.problem),
            numbers=numbers,
        )


Event = Call | Message | Resolve | Status

_CALL = Subject.CALL  # a member is found tenfold faster here than in its class (3.11)
_VOICE, _MESSAGE = Kind.VOICE, Kind.MESSAGE


def read_resolves(payload: Payload) -> list[Resolve]:
    """Read a frame of nothing but resolves, one pass; raises one of `UNREADABLE` when it is anything else."""
    return _resolves.decode(payload)


def read_events(payload: Payload) -> list[Event] | list[Event | Refusal]:
    """Read a frame of events in one pass; where that fails, each alone, with a refusal in the place of a bad one.

    Raises:
        Refused: it is no array of events at all.
    """
    try:
        return _events.decode(payload)
    except UNREADABLE:
        return [_read_event(raw) for raw in _raw_events(payload)]


def _raw_events(payload: Payload) -> list[Raw]:
    try:
        return _raws.decode(payload)
    except msgspec.ValidationError as problem:
        if payload[0] & 0xF0 == _FIXARRAY or payload[0] in {_ARRAY16, _ARRAY32}:
            raise Refused(FeedProblem.TOO_MANY_EVENTS, f"at most {MAX_EVENTS} in a frame") from problem
        raise Refused(FeedProblem.NOT_AN_ARRAY, "events come in an array, a hello is a map") from problem
    except UNREADABLE as problem:
        raise not_msgpack(problem) from problem


def _read_event(raw: Raw) -> Event | Refusal:
    try:
        return _event.decode(raw)
    except UNREADABLE:
        return _explained(raw)


def _explained(raw: Raw) -> Refusal:
    """Say what is wrong with an event that cannot be read."""
    try:
        parts = _parts.decode(raw)
        kind = _word.decode(parts[0])
        fields = _EVENT_FIELDS[kind]
    except (*UNREADABLE, LookupError):
        known = ", ".join(_EVENT_FIELDS)
        return Refusal(FeedProblem.UNKNOWN_EVENT, detail=f"an event is an array led by one of {known}")
    for place, (name, decoder, is_needed) in enumerate(fields, 1):
        if place >= len(parts) or (is_needed and bytes(parts[place]) == _NIL):
            return Refusal(FeedProblem.MISSING_FIELD, name, f"{kind}: {name} is missing")
        try:
            decoder.decode(parts[place])
        except UNREADABLE as problem:
            return Refusal(FeedProblem.BAD_FIELD, name, f"{kind}: {name}: {problem}")
    return Refusal(FeedProblem.BAD_FIELD, detail=f"{kind}: cannot be read")


def _reached(proxy: str) -> str:
    """Return the number reached; whether its digits begin with a country code is not guessed."""
    if is_unclear(proxy):
        raise Refused(FeedProblem.BAD_FIELD, UNCLEAR, field="proxy")
    return proxy


def _printable(sid: str) -> str:
    if sid.isascii() and sid.isprintable() and " " not in sid:
        return sid
    raise Refused(FeedProblem.BAD_FIELD, "is not of printable ASCII", field="sid")


def _status(word: str, kind: Kind) -> LegStatus:
    try:
        status = read_status(word, kind)
    except ValueError as problem:
        raise Refused(FeedProblem.BAD_FIELD, str(problem), field="status") from problem
    if status is LegStatus.UNKNOWN:
        raise Refused(FeedProblem.BAD_FIELD, "is no status that we know", field="status")
    return status


def _fields_of(shape: type[msgspec.Struct]) -> list[tuple[str, msgspec.msgpack.Decoder[Any], bool]]:
    """Return name, decoder and whether it must be there, of every field."""
    types = get_type_hints(shape, include_extras=True)
    names = shape.__struct_fields__
    needed = len(names) - len(shape.__struct_defaults__)
    return [(name, msgspec.msgpack.Decoder(types[name]), place < needed) for place, name in enumerate(names)]


_FIXARRAY, _ARRAY16, _ARRAY32 = 0x90, 0xDC, 0xDD
_NIL = b"\xc0"
_EVENT_FIELDS = {str(shape.__struct_config__.tag): _fields_of(shape) for shape in (Call, Message, Resolve, Status)}

_resolves: msgspec.msgpack.Decoder[list[Resolve]] = msgspec.msgpack.Decoder(
    Annotated[list[Resolve], Meta(max_length=MAX_EVENTS)]
)
_events: msgspec.msgpack.Decoder[list[Event]] = msgspec.msgpack.Decoder(
    Annotated[list[Event], Meta(max_length=MAX_EVENTS)]
)
_event: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
_raws: msgspec.msgpack.Decoder[list[Raw]] = msgspec.msgpack.Decoder(Annotated[list[Raw], Meta(max_length=MAX_EVENTS)])
_parts, _word = msgspec.msgpack.Decoder(list[Raw]), msgspec.msgpack.Decoder(str)
