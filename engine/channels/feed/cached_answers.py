"""Answers the plain questions of a frame from their cached routes, bytes to bytes; sans-IO.

It reads only frames that hold nothing but questions, written the shortest way, and leaves all others, with whatever may
be wrong in them, to `engine.channels.feed.events`. mypyc compiles this module (see `engine.core.routing.route_cache`).
"""

from typing import Final, final

from librt.strings import BytesWriter
from librt.vecs import vec
from mypy_extensions import i64, u8

from engine.core.routing.route_cache import ANY_ACCOUNT, RouteCache, is_surely_canonical, led

NOTHING: Final = 0
PARTNER: Final = 1
SHOWN: Final = 2
"""What of a cached route stands in a place of an answer: nothing, the partner, the number that the partner sees."""


@final
class AnswerLayout:
    """What answers are made of: fixed bytes, and two numbers between them where somebody is reached."""

    __slots__ = ("between", "first", "head", "second", "tail", "to_caller", "to_sender")

    def __init__(  # noqa: PLR0917 - in the order in which they are written
        self, head: bytes, first: int, between: bytes, second: int, tail: bytes, *, to_caller: bytes, to_sender: bytes
    ) -> None:
        """Write `head`, the number `first` says, `between`, the number `second` says, `tail`.

        `to_caller` and `to_sender` are said to a stranger who calls or writes.
        """
        self.head = head
        self.first: i64 = first
        self.between = between
        self.second: i64 = second
        self.tail = tail
        self.to_caller = to_caller
        self.to_sender = to_sender


@final
class FrameAnswers:
    """The answers to a frame's questions, as far as they have cached routes."""

    __slots__ = ("count", "missing", "parts", "rest", "strangers")

    def __init__(self, count: int) -> None:
        self.count = count
        """Questions of the frame."""
        self.strangers: i64 = 0
        """How many of them are strangers', as far as they are answered here."""
        self.missing: i64 = 0
        """How many are not answered here."""
        self.parts: list[bytes] = []
        """The bytes of all answers, with the array's beginning, cut where one is missing."""
        self.rest = b""
        """The questions whose answers are missing, as a frame of their own."""


def answer_frame(  # noqa: PLR0917 - called for every frame, by place
    payload: bytes, index: RouteCache, account: int, layout: AnswerLayout, most: int
) -> FrameAnswers | None:
    """Answer what can be answered of a frame of at most so many questions; None for a frame of anything else."""
    try:
        return _answer(payload, index, account, layout, most)
    except IndexError:  # it ends too early
        return None


def _answer(  # noqa: PLR0917 - called for every frame, by place
    payload: bytes, index: RouteCache, account: i64, layout: AnswerLayout, most: i64
) -> FrameAnswers | None:
    first: i64 = payload[0]
    count: i64 = first & 0x0F
    at: i64 = 1
    if first == _ARRAY16:
        count = (i64(payload[1]) << 8) | i64(payload[2])
        at = 3
    elif first & 0xF0 != _FIXARRAY:
        return None
    if count > most:
        return None
    asked = index.room(count * _ASKED)
    end: i64 = count * _ASKED
    place: i64 = 0
    while place < end:
        at = _after_subject(payload, at)
        if at == 0:
            return None
        is_call = payload[at - 1] == _CALL[-1]
        size: i64 = i64(payload[at]) - _FIXSTR
        if size < 0 or size > _LONGEST:
            return None
        asked[place] = _packed(payload, at + 1, size)
        at += 1 + size
        size = i64(payload[at]) - _FIXSTR
        if size < 0 or size > _LONGEST:
            return None
        asked[place + 1] = _packed(payload, at + 1, size)
        at += 1 + size
        asked[place + 2] = (at << 1) | (1 if is_call else 0)
        place += _ASKED
    if at != len(payload):
        return None
    _look_ahead(index, account, asked, end)
    return _written(payload, index, layout, asked, count)


def _look_ahead(index: RouteCache, account: i64, asked: vec[i64], end: i64) -> None:
    """Put the place of its table for each number reached, -1 where there is none to be looked at.

    Where the entries begin is looked at on the way: in so short a loop the processor waits for many of them at once.
    """
    numbers, ready = index.numbers, index.ready
    words = numbers.words
    touched: i64 = 0
    place: i64 = 0
    while place < end:
        at = numbers.find(asked[place + 1])
        sender = asked[place]
        found: i64 = -1
        if (
            at >= 0
            and sender != 0
            and words[at + 3] & ~ready == 0
            and (account == ANY_ACCOUNT or account == words[at + 2])
        ):
            found = words[at + 1]
            touched |= index.tables[found].prefetch(sender)
        asked[place + 1] = found
        place += _ASKED
    index.touched = touched


def _written(  # noqa: PLR0917 - as above
    payload: bytes, index: RouteCache, layout: AnswerLayout, asked: vec[i64], count: i64
) -> FrameAnswers:
    answers = FrameAnswers(count)
    out, rest = BytesWriter(), BytesWriter()
    _begin_array(out, count)
    start: i64 = 1 if payload[0] != _ARRAY16 else 3
    place: i64 = 0
    while place < count * _ASKED:
        after = asked[place + 2]
        found = _write(out, index, layout, asked[place], asked[place + 1], after & 1 == 1)
        after >>= 1
        if found == _STRANGER:
            answers.strangers += 1
        elif found == _UNKNOWN:
            answers.parts.append(out.getvalue())
            out = BytesWriter()
            rest.write(payload[start:after])
            answers.missing += 1
        start = after
        place += _ASKED
    answers.parts.append(out.getvalue())
    if answers.missing != 0:
        whole = BytesWriter()
        _begin_array(whole, answers.missing)
        whole.write(rest.getvalue())
        answers.rest = whole.getvalue()
    return answers


def _after_subject(payload: bytes, at: i64) -> i64:
    """Return where the sender of a question without a text begins, 0 where there is none."""
    if payload[at] != _FIXARRAY | 4:
        return 0
    at = _after(payload, at + 1, _RESOLVE)
    if at == 0:
        return 0
    return _after(payload, at, _CALL if payload[at] == _CALL[0] else _MESSAGE)


def _after(payload: bytes, at: i64, expected: bytes) -> i64:
    place: i64 = 0
    while place < len(expected):
        if payload[at + place] != expected[place]:
            return 0
        place += 1
    return at + place


def _packed(payload: bytes, at: i64, size: i64) -> i64:
    """`route_cache.pack` of bytes."""
    if size < 2 or size > 16 or payload[at] != _PLUS:  # noqa: PLR2004 - "+" and one to fifteen digits
        return 0
    packed: i64 = 0
    end: i64 = at + size
    at += 1
    while at < end:
        digit: i64 = i64(payload[at]) - _ZERO
        if digit < 0 or digit > 9:  # noqa: PLR2004 - a digit
            return 0
        packed = (packed << 4) | digit
        at += 1
    return led(packed, size - 1)


def _write(  # noqa: PLR0917 - called for every question, by place
    out: BytesWriter,
    index: RouteCache,
    layout: AnswerLayout,
    sender: i64,
    number: i64,
    is_call: bool,  # noqa: FBT001
) -> i64:
    """Write the answer to a question and return what it is, `_UNKNOWN` where there is none."""
    if number < 0:
        return _UNKNOWN
    table = index.tables[number]
    at = table.find(sender)
    if at < 0:
        if not table.is_whole or not is_surely_canonical(sender):
            return _UNKNOWN
        out.write(layout.to_caller if is_call else layout.to_sender)
        return _STRANGER
    words = table.words
    if words[at + 3] <= index.now:
        return _UNKNOWN
    out.write(layout.head)
    if layout.first != NOTHING:
        _write_address(out, words[at + layout.first])
        out.write(layout.between)
    if layout.second != NOTHING:
        _write_address(out, words[at + layout.second])
        out.write(layout.tail)
    return _ROUTED


def _write_address(out: BytesWriter, packed: i64) -> None:
    digits: i64 = (packed >> 60) & 15
    out.append(u8(_FIXSTR + 1 + digits))
    out.append(u8(_PLUS))
    shift: i64 = digits * 4
    while shift > 0:
        shift -= 4
        out.append(u8(_ZERO + ((packed >> shift) & 15)))


def _begin_array(out: BytesWriter, count: i64) -> None:
    if count <= 15:  # noqa: PLR2004 - the most that the short form holds
        out.append(u8(_FIXARRAY | count))
    else:
        out.append(u8(_ARRAY16))
        out.append(u8(count >> 8))
        out.append(u8(count & 0xFF))


_ASKED: Final = 3
"""Integers about a question: sender, number reached, and where it ends above the bit of a call."""
_UNKNOWN: Final = 0
_ROUTED: Final = 1
_STRANGER: Final = 2
_FIXARRAY: Final = 0x90
_ARRAY16: Final = 0xDC
_FIXSTR: Final = 0xA0
_LONGEST: Final = 31
_PLUS: Final = 0x2B
_ZERO: Final = 0x30
_RESOLVE: Final = b"\xa7resolve"
_CALL: Final = b"\xa4call"
_MESSAGE: Final = b"\xa7message"
