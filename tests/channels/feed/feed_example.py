"""The worked example of docs/feed.md, byte by byte (`python -m tests.channels.feed.feed_example`).

The dump is made by a reader of MessagePack of its own, so that it holds the library's bytes against the format.
"""

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import msgspec

from engine.channels.feed.events import MAX_EVENTS
from engine.channels.feed.frames import (
    Answers,
    DeferredAnswer,
    Directory,
    FeedHost,
    Hello,
    Later,
    Limits,
    Refusal,
    Terms,
    Welcome,
    framed,
)
from engine.core.ports.observing import FeedProblem
from engine.core.routing.traffic import Decision, Outcome, Question, Reason

WANTS = ("outcome", "reason", "to", "caller_id", "interaction")
KEY, SECRET = "SK" + "0" * 32, "a secret"
ACCOUNT = "AC" + "1" * 32
HELLO = Hello(1, KEY, SECRET, WANTS)
EVENTS = [
    ["call", "+12125550111", "+14155550100", "CA" + "2" * 32],
    ["resolve", "call", "+12125550199", "+14155550100"],
    ["message", "+12125550122", "+14155550101", "SM" + "3" * 32, "On my way"],
    ["call", "+12125550111", "+14155550100"],
]
"""As another language would write them, the last with a mistake."""

INTERACTIONS = ("KI" + "4" * 32, "KI" + "5" * 32)

ROUTED = Decision(
    Outcome.ROUTED,
    Reason.IN_SESSION,
    to="+12125550122",
    caller_id="+14155550101",
    session_sid="KC" + "6" * 32,
    interaction_sid=INTERACTIONS[0],
    inbound_participant_sid="KP" + "7" * 32,
    outbound_participant_sid="KP" + "8" * 32,
)
ROUTED_LATE = msgspec.structs.replace(
    ROUTED, to="+12125550111", caller_id="+14155550100", interaction_sid=INTERACTIONS[1]
)
STRANGER = Decision(Outcome.REFUSED, Reason.NO_SESSION)

LIMITS = Limits(1_048_576, MAX_EVENTS, 64, 4_194_304)
TERMS = Terms(1, ACCOUNT, WANTS, LIMITS, Directory(1, 0, (FeedHost("host-0", "127.0.0.1:9090"),)))


def decision(event: Question) -> Decision:
    """Decide as the example tells it."""
    if event.sender == "+12125550111":
        return ROUTED
    return ROUTED_LATE if event.sender == "+12125550122" else STRANGER


def said(answer: Decision) -> tuple[Any, ...]:
    """Return what the example says of a decision."""
    return answer.outcome, answer.reason, answer.to, answer.caller_id, answer.interaction_sid


_encode = msgspec.msgpack.encode

FRAMES = {
    "→ hello": framed(_encode(HELLO)),
    "← welcome": framed(_encode(Welcome(0, TERMS))),
    "→ events": framed(_encode(EVENTS)),
    "← answers": framed(
        _encode(
            Answers(
                1,
                1,
                [
                    said(ROUTED),
                    said(STRANGER),
                    None,
                    Refusal(FeedProblem.MISSING_FIELD, "sid", "call: sid is missing"),
                ],
            )
        )
    ),
    "← later": framed(_encode(Later(1, [DeferredAnswer(1, 2, said(ROUTED_LATE))]))),
}
"""Title to bytes, in the order in which they go over the wire."""


def dump(frame: bytes) -> str:
    """Write a frame a value a line: its bytes, and what they say."""
    lines = [f"{frame[:4].hex(' '):<24}  length {int.from_bytes(frame[:4])}"]
    reader = _Reader(frame[4:])
    lines += reader.lines(0)
    assert reader.at == len(frame) - 4
    return "\n".join(lines)


class _Reader:
    """Reads as much of MessagePack as the feed uses."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def lines(self, depth: int) -> Iterator[str]:
        """Yield the lines of the next value."""
        start = self.at
        first = self.data[start]
        self.at += 1
        if first & 0xF0 in {0x80, 0x90}:
            count, word = first & 0x0F, "map" if first & 0xF0 == 0x80 else "array"
            yield self._line(start, depth, f"{word} of {count}")
            for _ in range(count * (2 if word == "map" else 1)):
                yield from self.lines(depth + 1)
        elif first & 0xE0 == 0xA0:
            yield self._text(start, depth, first & 0x1F)
        elif first == 0xD9:
            self.at += 1
            yield self._text(start, depth, self.data[start + 1])
        elif first == 0xC0:
            yield self._line(start, depth, "nil")
        elif first < 0x80:
            yield self._line(start, depth, str(first))
        else:
            size = {0xCC: 1, 0xCD: 2, 0xCE: 4}[first]
            self.at += size
            yield self._line(start, depth, str(int.from_bytes(self.data[start + 1 : self.at])))

    def _text(self, start: int, depth: int, length: int) -> str:
        head = self.at
        self.at += length
        shown = msgspec.json.encode(self.data[head : self.at].decode()).decode()
        return self._line(start, depth, shown, until=head)

    def _line(self, start: int, depth: int, meaning: str, *, until: int | None = None) -> str:
        shown = self.data[start : until or self.at].hex(" ")
        rest = self.data[until : self.at] if until else b""
        shown += f" {rest[:6].hex(' ')}{' …' if len(rest) > 6 else ''}" if rest else ""
        return f"{shown:<24}  {'  ' * depth}{meaning}"


def dumps() -> str:
    """Write the whole example as it stands in the document, a value a line."""
    return "\n\n".join(f"{title}\n{dump(frame)}" for title, frame in FRAMES.items())


def hexes() -> str:
    """Write all bytes of the example as they stand in the document."""
    return "\n".join("\n".join([title, *wrap(frame.hex(), 96)]) for title, frame in FRAMES.items())


if __name__ == "__main__":
    print(dumps(), hexes(), sep="\n\n")  # noqa: T201 - to be pasted into the document
