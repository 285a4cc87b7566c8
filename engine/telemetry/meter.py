"""The meter of one ingress: decisions by reason, durations, bursts; implements the port `TrafficMeter`."""

from collections.abc import Iterator, Mapping

from engine.core.observing import Ingress
from engine.core.records import Kind
from engine.core.traffic import ENDINGS, Reason
from engine.telemetry.instruments import Buckets, Starts

SECONDS = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 15.0),
)
"""Bounds of durations: the objectives (100 us, 1 ms, 500 ms, 1 s) and what stands around them, up to a hook's time."""

EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""Bounds of the sizes of bursts."""

_VOICE = Kind.VOICE  # a member is found tenfold faster here than in its class (3.11)
_IMPOSSIBLE = {
    (Kind.VOICE, Reason.STOP_WORD),
    (Kind.VOICE, Reason.MESSAGE_TO_VOICE_ONLY),
    (Kind.MESSAGE, Reason.CALL_TO_MESSAGE_ONLY),
}


class Meter:
    """What passes through one ingress."""

    __slots__ = ("answer_seconds", "bursts", "calls", "decision_seconds", "in_flight", "messages")

    def __init__(self) -> None:
        """Start at zero."""
        self.calls = [0] * len(Reason)
        self.messages = [0] * len(Reason)
        self.decision_seconds = Buckets(SECONDS)
        self.answer_seconds = Buckets(SECONDS)
        self.bursts = Buckets(EVENTS)
        self.in_flight = 0
        """Events that have arrived and not left."""

    def arrived(self, events: int = 1) -> None:
        """Events are about to be decided."""
        self.in_flight += events

    def left(self, events: int = 1) -> None:
        """Events that had arrived have their decision, or will get none."""
        self.in_flight -= events

    def decided(self, kind: Kind, reason: Reason) -> None:
        """Count a decision."""
        (self.calls if kind is _VOICE else self.messages)[reason.slot] += 1
        self.in_flight -= 1

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Count how long deciding took, shared evenly by the events that were decided together."""
        self.decision_seconds.observe(seconds / events, events)

    def answered(self, seconds: float, answers: int = 1) -> None:
        """Count how long answers took."""
        self.answer_seconds.observe(seconds, answers)

    def burst(self, events: int) -> None:
        """Count a burst."""
        self.bursts.observe(events)


class Decisions:
    """The decisions of all meters as one counter; what cannot happen has no series until it does."""

    name = "maskline_events"
    kind = "counter"
    meaning = "Inbound calls and messages decided"

    def __init__(self, meters: Mapping[Ingress, Meter]) -> None:
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
