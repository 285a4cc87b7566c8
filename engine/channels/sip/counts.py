"""What one turn of the loop adds to metrics: told at its end at once, since a burst has many of a kind."""

from typing import final

from engine.core.ports.observing import SipObserver, TrafficMeter
from engine.core.ports.operations import Clock


@final
class Counts:
    """Counts for an observer and a meter, who hear of what is alike at once, by the next `tell` at the latest."""

    __slots__ = (
        *("_answers", "_asked", "_asker", "_began", "_deciding_seconds", "_ended", "_events", "_hearer"),
        *("_meter", "_method", "_monotonic", "_observer", "_status"),
    )

    def __init__(self, observer: SipObserver, meter: TrafficMeter, monotonic: Clock) -> None:
        """Count for these."""
        self._observer = observer
        self._meter = meter
        self._monotonic = monotonic
        self._asker = self._method = ""
        self._asked = 0
        """Requests with that method of that peer."""
        self._hearer, self._status = "", 0
        self._answers = 0
        """Answers with that status to that peer."""
        self._events = 0
        self._deciding_seconds = 0.0
        self._ended = 0
        """INVITEs that got their answers, of those that were read at one time."""
        self._began = 0.0

    def requested(self, peer: str, method: str) -> None:
        """Count a request."""
        if method is not self._method or peer is not self._asker:
            self._tell_asked()
            self._asker, self._method = peer, method
        self._asked += 1

    def answered(self, peer: str, status: int) -> None:
        """Count an answer that is sent, repeated ones each time."""
        if status != self._status or peer is not self._hearer:
            self._tell_answers()
            self._hearer, self._status = peer, status
        self._answers += 1

    def deciding(self, seconds: float) -> None:
        """Count an INVITE for which a decision is asked, and how long that took."""
        self._events += 1
        self._deciding_seconds += seconds

    def ended(self, began: float) -> None:
        """Count an INVITE that has its final answer, and was read at a time."""
        if began != self._began:
            self._tell_ended()
            self._began = began
        self._ended += 1

    def tell(self) -> None:
        """Tell what was counted since the last time."""
        self._tell_asked()
        self._tell_answers()
        if self._events:
            self._meter.burst(self._events)
            self._meter.deciding(self._deciding_seconds, self._events)
            self._events, self._deciding_seconds = 0, 0.0
        self._tell_ended()

    def _tell_asked(self) -> None:
        if self._asked:
            self._observer.sip_requested(self._asker, self._method, self._asked)
            self._asked = 0

    def _tell_answers(self) -> None:
        if self._answers:
            self._observer.sip_answered(self._hearer, self._status, self._answers)
            self._answers = 0

    def _tell_ended(self) -> None:
        if self._ended:
            seconds = self._monotonic() - self._began
            self._observer.sip_decided(seconds, self._ended)
            self._meter.answered(seconds, self._ended)
            self._ended = 0
