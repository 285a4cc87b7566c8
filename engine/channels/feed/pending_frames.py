"""The frames of one connection that are not answered yet, in the order in which their answers leave.

An event that waits for more than its commit does not hold up its frame: its answer leaves later, by itself.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from engine.channels.feed.frames import NOT_READY, DeferredAnswer, Encoded, Problem, Said, Shape, Welcome
from engine.core.routing.traffic import Decision, ReportOutcome


class Frame:
    """A frame that cannot be answered yet, or comes after one."""

    __slots__ = (
        *("_pending", "_said", "_shape", "answer", "events", "is_sent", "is_settled"),
        *("number", "read_at", "said", "size", "waiting"),
    )

    def __init__(self, pending: "PendingFrames", number: int, *, size: int, read_at: float) -> None:
        """Wait for answers; `size` is its bytes, which were read at a time of a monotonic clock."""
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
        self._pending = pending
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
            self._pending.defer(DeferredAnswer(self.number, index, said), read_at=self.read_at)
        else:
            self._said[index] = said
            if not self.waiting:
                self._pending.advanced()


class PendingFrames:
    """The frames in their order, and the deferred answers."""

    __slots__ = ("_deferred", "_frames", "advanced", "awaited_deferred", "deferred_since", "size")

    def __init__(self, advanced: Callable[[], None]) -> None:
        """Call `advanced` when something may have become ready to leave."""
        self.advanced = advanced
        self.size = 0
        """Bytes of the frames in it."""
        self.awaited_deferred = 0
        """Events whose answers are still to come, by themselves."""
        self._frames: deque[Frame] = deque()
        self._deferred: list[DeferredAnswer] = []
        self.deferred_since: list[float] = []
        """When the events of the deferred answers were read."""

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._frames)

    @property
    def is_done(self) -> bool:
        """Whether nothing waits any more."""
        return not self._frames and not self.awaited_deferred and not self._deferred

    def append(self, number: int, *, read_at: float, size: int = 0) -> Frame:
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
        """Yield the frames that may leave, in their order."""
        frames = self._frames
        while frames and (frames[0].is_settled or not frames[0].waiting):
            frame = frames.popleft()
            frame.is_sent = True
            self.size -= frame.size
            self.awaited_deferred += frame.waiting
            yield frame

    def defer(self, answer: DeferredAnswer, *, read_at: float) -> None:
        """Take the answer to an event whose frame has left."""
        self.awaited_deferred -= 1
        self._deferred.append(answer)
        self.deferred_since.append(read_at)
        self.advanced()

    def deferred_answers(self) -> list[DeferredAnswer]:
        """Return, once, the deferred answers that have come."""
        deferred, self._deferred = self._deferred, []
        return deferred
