"""The meter of one ingress: decisions by reason, durations, bursts; implements the port `TrafficMeter`."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

from engine.core.model.records import Kind
from engine.core.routing.decide import STRANGERS
from engine.core.routing.resolved import Resolved, Route
from engine.core.routing.traffic import ENDINGS, Reason
from engine.telemetry.instruments import Buckets, Starts

SECONDS: Final[tuple[float, ...]] = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 15.0),
)
"""Bounds of durations: the objectives (100 us, 1 ms, 500 ms, 1 s) and what stands around them, up to a hook's time."""

DECISION_SECONDS: Final[tuple[float, ...]] = (
    0.000001,
    0.0000025,
    0.000005,
    *(bound for bound in SECONDS if bound <= 1),
)
"""Bounds of the time inside a decision, which never waits."""

EVENTS: Final[tuple[int, ...]] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""Bounds of the sizes of bursts."""

_VOICE: Final = Kind.VOICE  # a member is found tenfold faster here than in its class (3.11)
_FIRST: Final = DECISION_SECONDS[0]
_ROUTE, _STRANGER = Route.reason.slot, STRANGERS[0].reason.slot
_IMPOSSIBLE = {
    (Kind.VOICE, Reason.STOP_WORD),
    (Kind.VOICE, Reason.EMPTY_MESSAGE),
    (Kind.VOICE, Reason.MESSAGE_TO_VOICE_ONLY),
    (Kind.MESSAGE, Reason.CALL_TO_MESSAGE_ONLY),
}


class Meter:
    """What passes through one ingress; what is told of every event is spelt out, a call less each."""

    __slots__ = ("answer_seconds", "bursts", "calls", "decision_seconds", "in_flight", "messages", "resolutions")

    def __init__(self) -> None:
        """Start at zero."""
        self.calls = [0] * len(Reason)
        self.messages = [0] * len(Reason)
        self.resolutions = [0] * len(Reason)
        """Decisions for information only, by `Reason.slot`."""
        self.decision_seconds = Buckets(DECISION_SECONDS)
        self.answer_seconds = Buckets(SECONDS)
        self.bursts = Buckets(EVENTS)
        self.in_flight = 0
        """Events that were read and are not answered."""

    def burst(self, events: int) -> None:
        """Count a burst."""
        self.in_flight += events
        bursts = self.bursts
        bursts.counts[bisect_left(EVENTS, events)] += 1
        bursts.total += events

    def decided(self, kind: Kind, reason: Reason) -> None:
        """Count a decision."""
        (self.calls if kind is _VOICE else self.messages)[reason.slot] += 1

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Count how long deciding took, shared evenly by the events that were decided together."""
        spent = self.decision_seconds
        spent.counts[bisect_left(DECISION_SECONDS, seconds if events == 1 else seconds / events)] += events
        spent.total += seconds

    def resolved(self, resolved: Resolved, seconds: float) -> None:
        """Count decisions for information; routes and strangers, nearly all, cost nothing each."""
        events = len(resolved.decisions)
        if not events:
            return
        self.deciding(seconds, events)
        strangers, others, counts = resolved.strangers, resolved.others, self.resolutions
        counts[_ROUTE] += events - strangers - others
        counts[_STRANGER] += strangers
        if others:
            caller, sender = STRANGERS
            for one in resolved.decisions:
                if type(one) is not Route and one is not caller and one is not sender:
                    counts[one.reason.slot] += 1

    def from_cache(self, events: int, strangers: int, seconds: float) -> None:
        """Count decisions for information; each takes less than the first bound, or else is looked up."""
        spent, counts = self.decision_seconds, self.resolutions
        place = 0 if seconds <= _FIRST * events else bisect_left(DECISION_SECONDS, seconds / events)
        spent.counts[place] += events
        spent.total += seconds
        counts[_ROUTE] += events - strangers
        if strangers:
            counts[_STRANGER] += strangers

    def answered(self, seconds: float, events: int = 1) -> None:
        """Count how long answers took."""
        self.in_flight -= events
        spent = self.answer_seconds
        spent.counts[bisect_left(SECONDS, seconds)] += events
        spent.total += seconds * events

    def lost(self, events: int) -> None:
        """Wait for these no more."""
        self.in_flight -= events


class Resolutions:
    """The decisions for information only of all meters, as one counter."""

    name = "maskline_resolved"
    kind = "counter"
    meaning = "Decisions asked for without an event, for information only"

    def __init__(self, meters: Mapping[str, Meter]) -> None:
        """Tell of these."""
        self._meters = meters
        self._starts = Starts(f"{self.name}_total", "outcome reason")

    def lines(self) -> Iterator[str]:
        """Write all of them."""
        for outcome, reasons in ENDINGS.items():
            for reason in reasons:
                count = sum(meter.resolutions[reason.slot] for meter in self._meters.values())
                if count or reason.is_foreseen:
                    yield f"{self._starts[outcome, reason]}{count}.0\n"


class Decisions:
    """The decisions of all meters as one counter; what cannot happen has no series until it does."""

    name = "maskline_events"
    kind = "counter"
    meaning = "Inbound calls and messages decided"

    def __init__(self, meters: Mapping[str, Meter]) -> None:
        """Tell of these."""
        self._meters = meters
        self._starts = Starts(f"{self.name}_total", "ingress kind outcome reason")

    def lines(self) -> Iterator[str]:
        """Write all decisions."""
        for ingress, meter in self._meters.items():
            for kind, counts in ((Kind.VOICE, meter.calls), (Kind.MESSAGE, meter.messages)):
                for outcome, reasons in ENDINGS.items():
                    for reason in reasons:
                        count = counts[reason.slot]
                        if count or (kind, reason) not in _IMPOSSIBLE:
                            yield f"{self._starts[ingress, kind, outcome, reason]}{count}.0\n"
