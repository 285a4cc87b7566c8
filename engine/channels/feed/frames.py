"""The feed's frames: bytes ↔ events and decisions, for the server's side and the client's; sans-IO.

A frame is four bytes of length, big-endian, and that many bytes of MessagePack. From the client a map is a hello and an
array is events; from the server everything is an array led by a word. `docs/feed.md` describes it for people.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final, cast

import msgspec

from engine.channels.feed.cached_answers import NOTHING, PARTNER, SHOWN, AnswerLayout, FrameAnswers
from engine.core.model.errors import MasklineError
from engine.core.ports.observing import FeedProblem
from engine.core.routing.decide import STRANGERS, decision_of
from engine.core.routing.resolved import Route
from engine.core.routing.traffic import Decision

VERSION: Final = 1
"""The one version of the protocol that there is."""

LENGTH_BYTES: Final = 4
"""Bytes of the length before each frame."""

MAX_HELLO_BYTES: Final = 4_096
"""Bytes of the first frame of a connection."""

READ_OVER: Final = 16
"""A frame of up to that many times the limit is read over; a longer one is no frame at all."""

Payload = bytes | memoryview
"""What follows a length."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not what is expected; a ValidationError is a DecodeError."""


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with a frame or an event; a map on the wire, as nothing else in its place is."""

    error: FeedProblem
    field: str = ""
    """The field that is missing or bad."""
    detail: str = ""
    """For people; it may change."""


class Refused(MasklineError):  # noqa: N818 - names a state of the frame
    """A frame, or one event, cannot be taken; `refusal` is what its sender is told."""

    def __init__(self, error: FeedProblem, detail: str, *, field: str = "") -> None:
        """Say what is wrong."""
        super().__init__(detail)
        self.refusal = Refusal(error, field, detail)


# -- frames ----------------------------------------------------------------------------------------------------------


class Splitter:
    """Cuts a stream of bytes into the payloads of its frames."""

    __slots__ = ("_kept", "_left_over", "_limit", "_needed")

    def __init__(self, limit: int) -> None:
        """Refuse payloads of more than `limit` bytes."""
        self._limit = limit
        self._kept = bytearray()
        self._needed = LENGTH_BYTES
        self._left_over = 0

    def allow(self, limit: int) -> None:
        """Take payloads of so many bytes from the next frame on."""
        self._limit = limit

    def split(self, data: bytes) -> Iterable[Payload | Refusal]:
        """Yield the payloads that end in `data`, and a refusal in the place of one that is too long.

        Raises:
            Refused: what comes has no frames; nothing more may be read.
        """
        if self._left_over:
            passed = min(self._left_over, len(data))
            self._left_over -= passed
            data = data[passed:]
        kept = self._kept
        if kept:
            kept += data
            if len(kept) < self._needed:
                return
            data = bytes(kept)
            kept.clear()
        view, at, end = memoryview(data), 0, len(data)
        self._needed = LENGTH_BYTES
        while end - at >= LENGTH_BYTES:
            start = at + LENGTH_BYTES
            length = int.from_bytes(data[at:start])
            if length > self._limit:
                yield self._too_long(length)
                at = min(start + length, end)
                self._left_over = start + length - at
                continue
            if start + length > end:
                self._needed = LENGTH_BYTES + length
                break
            at = start + length
            yield view[start:at]
        kept += view[at:]

    def _too_long(self, length: int) -> Refusal:
        limit = self._limit
        problem = Refused(FeedProblem.FRAME_TOO_LONG, f"a frame of {length} bytes; at most {limit} are taken")
        if length > limit * READ_OVER:
            raise problem
        return problem.refusal


def framed(encoded: bytes) -> bytes:
    """Put its length before a payload."""
    return len(encoded).to_bytes(LENGTH_BYTES) + encoded


# -- from the client: hello ------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first frame of a connection, and any later one that asks for the directory again."""

    version: int
    key: str
    """AC… with the auth token as secret, SK… with its secret, or a carrier's AccountSid with its token."""
    secret: str
    wants: tuple[str, ...] | None = None
    """Names of `FIELDS` that make up a decision, in this order; None = all."""

    def __repr__(self) -> str:
        return f"Hello(version={self.version}, key={self.key!r})"  # a secret is never written down


class _Versioned(msgspec.Struct):
    version: int


FIELDS: Final = {name.removeprefix("is_").removesuffix("_sid"): name for name in Decision.__struct_fields__}
"""What a decision can say: the names on the wire, each with that of a `Decision`."""


class Shape(msgspec.Struct, frozen=True):
    """What the decisions of a client are made of."""

    decided: Callable[[Decision], tuple[Any, ...]]
    passing: Callable[[Route], tuple[Any, ...]]

    def all(self, decisions: Iterable[Decision | Route], *, is_plain: bool = False) -> "list[Said]":
        """Return what decisions are on the wire; `is_plain` says that they are all routes."""
        decided, passing = self.decided, self.passing
        if is_plain:
            return list(map(passing, cast("Iterable[Route]", decisions)))
        return [passing(one) if isinstance(one, Route) else decided(one) for one in decisions]


def shape_of(wants: tuple[str, ...] | None) -> Shape:
    """Return what makes the wanted fields of a decision, in the wanted order; raises Refused."""
    names = tuple(FIELDS) if wants is None else wants
    unknown = [name for name in names if name not in FIELDS]
    if unknown or not names:
        raise Refused(FeedProblem.BAD_HELLO, f"a decision has the fields {', '.join(FIELDS)}; name some", field="wants")
    fields = [FIELDS[name] for name in names]
    get = _getter(*fields)
    has_all = all(hasattr(Route, field) for field in fields)
    return Shape(get, get if has_all else lambda route: get(decision_of(route)))


def layout_of(wants: tuple[str, ...] | None) -> AnswerLayout | None:
    """Return the layout of an answer from a cached route; None where more is wanted than a cached route holds."""
    names = tuple(FIELDS) if wants is None else wants
    if len(names) > _MOST_IN_FIXARRAY:
        return None
    written, numbers = [bytearray([_FIXARRAY | len(names)])], list[int]()
    for name in names:
        place = _NUMBERS.get(name)
        if place is not None:
            numbers.append(place)
            written.append(bytearray())
        elif name in _SAME_IN_ALL:
            written[-1] += msgspec.msgpack.encode(getattr(Route, FIELDS[name]))
        else:
            return None
    if len(numbers) > len(_NUMBERS):
        return None
    head, between, tail = (*map(bytes, written), b"", b"")[:3]
    first, second = (*numbers, NOTHING, NOTHING)[:2]
    to_caller, to_sender = map(msgspec.msgpack.encode, shape_of(wants).all(STRANGERS))
    return AnswerLayout(head, first, between, second, tail, to_caller=to_caller, to_sender=to_sender)


def completed(answers: FrameAnswers, missing: "Iterable[Said]") -> "Encoded":
    """Put the missing answers of a frame between those that came from cached routes."""
    if not answers.missing:
        return msgspec.Raw(answers.parts[0])
    parts = [answers.parts[0]]
    for said, part in zip(missing, answers.parts[1:], strict=True):
        parts += (msgspec.msgpack.encode(said), part)
    return msgspec.Raw(b"".join(parts))


def _getter(*paths: str) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(*paths)
    return (lambda one: (get(one),)) if len(paths) == 1 else get


def is_hello(payload: Payload) -> bool:
    """Tell a hello, which is a map, from events."""
    return len(payload) > 0 and (payload[0] & 0xF0 == _FIXMAP or payload[0] in {_MAP16, _MAP32})


def read_hello(payload: Payload) -> Hello:
    """Read a hello of our version; raises Refused."""
    try:
        version = _versioned.decode(payload).version
        if version != VERSION:
            raise Refused(FeedProblem.UNKNOWN_VERSION, f"this server speaks version {VERSION}", field="version")
        return _hello.decode(payload)
    except msgspec.ValidationError as problem:
        raise Refused(FeedProblem.BAD_HELLO, str(problem)) from problem
    except UNREADABLE as problem:
        raise not_msgpack(problem) from problem


# -- from the server -------------------------------------------------------------------------------------------------


class Limits(msgspec.Struct, frozen=True):
    """What a client may send."""

    frame_bytes: int
    """Bytes of a frame, its length not counted."""
    frame_events: int
    """Events of a frame."""
    window_frames: int
    """Frames without an answer, past which no more are read."""
    window_bytes: int
    """Bytes of such frames, past which no more are read."""


class FeedHost(msgspec.Struct, frozen=True):
    """Where a host is reached."""

    name: str
    """What its weight for a number is made of."""
    address: str
    """host:port; empty while it cannot be reached."""


class Directory(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which hosts there are; which of them owns a number follows from their names, and from the number of shards."""

    epoch: int
    me: int
    """The place of the host that says so."""
    hosts: tuple[FeedHost, ...]
    shards: int = 0
    """With how many shards numbers are placed; 0 = each number for itself."""


class Terms(msgspec.Struct, frozen=True):
    """What a connection is given."""

    version: int
    account: str | None
    """AC… whose numbers it may use; None = a carrier of the operator's, which may use all."""
    fields: tuple[str, ...]
    """What a decision is made of, in order."""
    limits: Limits
    directory: Directory


Said = tuple[Any, ...] | str | Refusal | None
"""One answer: a decision's fields, what became of a leg status, a refusal; None = it comes later."""

Encoded = msgspec.Raw
"""The array of answers to a frame's events, encoded."""

NOT_READY: Final = "not-ready"
"""Said of a leg status that could not be committed: send it again."""


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """Answers a hello."""

    frame: int
    terms: Terms


class Answers(msgspec.Struct, frozen=True, array_like=True, tag="answers"):
    """Answers a frame of events, in their order."""

    frame: int
    epoch: int
    said: list[Said]


class EncodedAnswers(msgspec.Struct, frozen=True, array_like=True, tag="answers"):
    """The same, written already."""

    frame: int
    epoch: int
    said: Encoded


class DeferredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to an event that had to wait."""

    frame: int
    index: int
    said: Said


class Later(msgspec.Struct, frozen=True, array_like=True, tag="later"):
    """Answers events of earlier frames."""

    epoch: int
    answers: list[DeferredAnswer]


class Problem(msgspec.Struct, frozen=True, array_like=True, tag="error"):
    """Answers a frame that could not be taken."""

    frame: int
    problem: Refusal


ServerFrame = Welcome | Answers | Later | Problem

# -- codecs ----------------------------------------------------------------------------------------------------------


def read_server_frame(payload: Payload) -> ServerFrame:
    """Read what a server says; raises one of `UNREADABLE` where it is no server of this version."""
    return _server_frame.decode(payload)


def not_msgpack(problem: Exception) -> Refused:
    """Return what to say of bytes that are no MessagePack."""
    return Refused(FeedProblem.NOT_MSGPACK, f"the frame is no MessagePack: {problem}")


_NUMBERS: Final = {"to": PARTNER, "caller_id": SHOWN}
_SAME_IN_ALL: Final = {"outcome", "reason", "sent_by_us", "body", "twiml", "interaction", "code"}
_FIXMAP, _MAP16, _MAP32, _FIXARRAY = 0x80, 0xDE, 0xDF, 0x90
_MOST_IN_FIXARRAY: Final = 15
_versioned, _hello = msgspec.msgpack.Decoder(_Versioned), msgspec.msgpack.Decoder(Hello)
_server_frame: msgspec.msgpack.Decoder[ServerFrame] = msgspec.msgpack.Decoder(ServerFrame)
