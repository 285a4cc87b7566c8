"""The frames of one connection that are not answered yet, in the order in which their answers leave.

An event that waits for more than its commit does not hold up its frame: its answer leaves later, by itself.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from engine.channels.feed.frames import NOT_READY, Encoded, LateAnswer, Problem, Said, Shape, Welcome
from engine.core.routing.traffic import Decision, ReportOutcome


class Frame:
    """A frame that cannot be answered yet, or comes after one."""

    __slots__ = (
        *("_line", "_said", "_shape", "answer", "events", "is_sent", "is_settled"),
        *("number", "read_at", "said", "size", "waiting"),
    )

    def __init__(self, line: "Line", number: int, *, size: int, read_at: float) -> None:
        """Stand in a line; `size` is its bytes, which were read at a time of a monotonic clock."""
        self.number = number
        self.size = size
        self.read_at = read_at
        self.answer: Welcome | Problem | None = None
        """The whole answer, where it is not about events."""
        self.said: list[Said] | Encoded = []
        """The answers to its events; None = waits."""
        self.events = 0
        """How many they are."""
        self.waiting = 0
        """Events without an answer."""
        self.is_settled = False
        """Whatever waits does so for more than a commit."""
        self.is_sent = False
        self._line = line
        self._said: list[Said] = []
        self._shape: Shape

    def begin(self, events: Sequence[object], shape: Shape) -> None:
        """Await the answers to events, decisions in this shape."""
        self.said = self._said = [None] * len(events)
        self.events = self.waiting = len(events)
        self._shape = shape

    def decided(self, index: int, counts: list[int], decision: Decision) -> None:
        """Take the decision about an event, and count it by `Reason.slot`."""
        counts[decision.reason.slot] += 1
        self.say(index, self._shape.decided(decision))

    def reported(self, index: int, outcome: ReportOutcome | None) -> None:
        """Take what became of a leg status."""
        self.say(index, NOT_READY if outcome is None else outcome)

    def say(self, index: int, said: Said) -> None:
        """Take the answer to an event."""
        self.waiting -= 1
        if self.is_sent:
            self._line.take_late(LateAnswer(self.number, index, said), read_at=self.read_at)
        else:
            self._said[index] = said
            if not self.waiting:
                self._line.advanced()


class Line:
    """The frames in their order, and the late answers."""

    __slots__ = ("_frames", "_late", "advanced", "awaited_late", "late_since", "size")

    def __init__(self, advanced: Callable[[], None]) -> None:
        """Call `advanced` when something may have become ready to leave."""
        self.advanced = advanced
        self.size = 0
        """Bytes of the frames that stand in it."""
        self.awaited_late = 0
        """Events whose answers are still to come, by themselves."""
        self._frames: deque[Frame] = deque()
        self._late: list[LateAnswer] = []
        self.late_since: list[float] = []
        """When what the late answers are about was read."""

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._frames)

    @property
    def is_done(self) -> bool:
        """Whether nothing waits any more."""
        return not self._frames and not self.awaited_late and not self._late

    def stand(self, number: int, *, read_at: float, size: int = 0) -> Frame:
        """Put a frame at the end."""
        frame = Frame(self, number, size=size, read_at=read_at)
        self._frames.append(frame)
        self.size += size
        return frame

    def waits_since(self, number: int) -> bool:
        """Tell whether a frame of that number or a later one waits for answers."""
        for frame in reversed(self._frames):
            if frame.number < number:
                return False
            if frame.waiting:
                return True
        return False

    def settle(self, before: int) -> None:
        """Hold up the frames before a number no longer for what waits for more than a commit."""
        for frame in self._frames:
            if frame.number >= before:
                break
            frame.is_settled = True
        self.advanced()

    def leaving(self) -> Iterator[Frame]:
        """Yield the frames that may leave, first in line first."""
        frames = self._frames
        while frames and (frames[0].is_settled or not frames[0].waiting):
            frame = frames.popleft()
            frame.is_sent = True
            self.size -= frame.size
            self.awaited_late += frame.waiting
            yield frame

    def take_late(self, answer: LateAnswer, *, read_at: float) -> None:
        """Take the answer to an event whose frame has left."""
        self.awaited_late -= 1
        self._late.append(answer)
        self.late_since.append(read_at)
        self.advanced()

    def late_answers(self) -> list[LateAnswer]:
        """Return, once, the answers that have come late."""
        late, self._late = self._late, []
        return late
