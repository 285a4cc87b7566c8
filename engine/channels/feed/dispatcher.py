"""Hands the events of a frame to the data plane, one by one, and what becomes of each to its place in the frame."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import final

import msgspec
from mypy_extensions import mypyc_attr

from engine.channels.carriers import Carrier
from engine.channels.feed.events import Call, Event, Resolve, Status
from engine.channels.feed.frames import Refusal, Refused
from engine.channels.feed.pending_frames import Frame
from engine.core.numbers.e164 import with_plus
from engine.core.ports.observing import FeedObserver, FeedProblem, TrafficMeter
from engine.core.ports.operations import FeedPlane
from engine.core.routing.decide import NOT_IN_POOL
from engine.core.routing.traffic import Decision, ReportOutcome

_log = logging.getLogger("maskline.feed")


class Dispatcher:
    """Dispatches the events of a feed's connections."""

    __slots__ = ("_meter", "_observer", "_plane")

    def __init__(self, plane: FeedPlane, meter: TrafficMeter, observer: FeedObserver) -> None:
        """Ask a data plane; tell the meter of decisions, the observer of refusals."""
        self._plane = plane
        self._meter = meter
        self._observer = observer

    def ask(
        self, frame: Frame, events: Sequence[Event | Refusal], account_sid: str | None, carrier: Carrier | None
    ) -> None:
        """Ask about every event, for an account (None = for all); each is told to the frame, now or later.

        What reached a number for which the carrier, if there is one, may not deliver is in no pool that it knows.
        """
        calls, messages = self._meter.calls, self._meter.messages
        receive = self._plane.receive
        for index, event in enumerate(events):
            try:
                if carrier is not None and carrier.writes_digits:
                    event = _with_plus(event)  # noqa: PLW2901 - the same event as it is meant
                if carrier is not None and not isinstance(event, Refusal) and not carrier.delivers_for(event.proxy):
                    self._reject(frame, index, event)
                elif isinstance(event, Resolve):
                    self._resolve(frame, index, event, account_sid)
                elif isinstance(event, Status):
                    numbers = () if carrier is None else carrier.numbers
                    self._plane.report(event.report(account_sid, numbers), partial(frame.reported, index))
                elif isinstance(event, Refusal):
                    self._refuse(frame, index, event)
                else:
                    counts = calls if isinstance(event, Call) else messages
                    receive(event.event(account_sid), _Place(frame, index, counts))
            except Refused as problem:
                self._refuse(frame, index, problem.refusal)
            except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged and answered
                _log.exception("An event could not be answered")
                self._refuse(frame, index, Refusal(FeedProblem.INTERNAL_ERROR))

    def _reject(self, frame: Frame, index: int, event: Event) -> None:
        if isinstance(event, Status):
            frame.reported(index, ReportOutcome.NOT_FOUND)
            return
        meter = self._meter
        counts = meter.calls if isinstance(event, Call) else meter.messages
        frame.decided(index, meter.resolutions if isinstance(event, Resolve) else counts, NOT_IN_POOL)

    def _resolve(self, frame: Frame, index: int, question: Resolve, account_sid: str | None) -> None:
        event = question.event(account_sid)
        decided = _Place(frame, index, self._meter.resolutions)
        decision = self._plane.resolve(event)
        if decision is None:
            self._plane.resolve_elsewhere(event, decided)
        else:
            decided(decision)

    def _refuse(self, frame: Frame, index: int, refusal: Refusal) -> None:
        self._observer.feed_refused(refusal.error)
        frame.say(index, refusal)


def _with_plus(event: Event | Refusal) -> Event | Refusal:
    if isinstance(event, Refusal):
        return event
    if isinstance(event, Status):
        return msgspec.structs.replace(event, proxy=with_plus(event.proxy))
    return msgspec.structs.replace(event, sender=with_plus(event.sender), proxy=with_plus(event.proxy))


@final
@mypyc_attr(acyclic=True)
class _Place:
    """Where a decision is awaited."""

    __slots__ = ("_counts", "_frame", "_index")

    def __init__(self, frame: Frame, index: int, counts: list[int]) -> None:
        self._frame = frame
        self._index = index
        self._counts = counts

    def __call__(self, decision: Decision) -> None:
        """Take it."""
        self._frame.decided(self._index, self._counts, decision)
