"""The observer: counts for Prometheus, logs the debugger's events, reads gauges when asked.

Labels come from closed enums, path templates and catalogue codes only: never a phone number, never a SID.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import product

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from engine.core.errors import CATALOGUE, Code, Level
from engine.core.overview import TrafficCount
from engine.core.ports import DeliveryEnd, DoorProblem, DutyKind, FeedProblem, HookEnd, HookKind
from engine.core.records import DebuggerEvent, Kind
from engine.core.traffic import Outcome, Reason, ReportOutcome
from engine.telemetry.debugger import DebuggerLog

OTHER = "other"
"""Label of what is outside its closed set."""

MAX_ROUTES = 200
"""Path templates that get a series of their own; far above what the API has."""

_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
_COMMIT_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COMMIT_CHANGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_ENDINGS = {
    Outcome.ROUTED: (Reason.IN_SESSION,),
    Outcome.REFUSED: (
        Reason.STOP_WORD,
        Reason.NO_SESSION,
        Reason.SESSION_EXPIRED,
        Reason.NO_PARTNER,
        Reason.CALL_TO_MESSAGE_ONLY,
        Reason.MESSAGE_TO_VOICE_ONLY,
        Reason.INTERCEPTED,
        Reason.OUT_OF_SESSION_FAILED,
        Reason.AUTO_CREATE_FAILED,
    ),
    Outcome.ANSWERED: (Reason.OUT_OF_SESSION, Reason.LEFT_TO_APPLICATION, Reason.FALL_BACK),
    Outcome.NOT_READY: (Reason.REBUILDING, Reason.STORE_UNAVAILABLE, Reason.BUSY),
    Outcome.UNKNOWN_NUMBER: (Reason.NOT_IN_POOL,),
}
_HOOK_ENDS = [
    *product([HookKind.INTERCEPT], [HookEnd.PASSED, HookEnd.BLOCKED, HookEnd.REWRITTEN, HookEnd.FAILED]),
    *product([HookKind.OUT_OF_SESSION], [HookEnd.TWIML, HookEnd.SESSION, HookEnd.LEFT, HookEnd.FAILED]),
]
_IMPOSSIBLE = {
    (Kind.VOICE, Reason.STOP_WORD),
    (Kind.VOICE, Reason.MESSAGE_TO_VOICE_ONLY),
    (Kind.MESSAGE, Reason.CALL_TO_MESSAGE_ONLY),
}
_UNKNOWN_CODE = (OTHER, Level.ERROR.value)
_DEBUGGER_LABELS = {code.value: (str(code.value), CATALOGUE[code].level.value) for code in Code}


class Tally(Collector):
    """A counter as plain integers by label values, told to Prometheus when it asks.

    For one thread, the event loop's: an addition costs a third of that of the library's counter, which takes a lock.
    """

    def __init__(self, name: str, meaning: str, labels: str, known: Iterable[tuple[str, ...]] = ()) -> None:
        """Count under `name` with these labels; the label values `known` beforehand read 0 and not nothing."""
        self.counts: Counter[tuple[str, ...]] = Counter(dict.fromkeys(known, 0))
        self._family = partial(CounterMetricFamily, name, meaning, labels=labels.split())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Tell all counts."""
        family = self._family()
        for labels, count in self.counts.items():
            family.add_metric(labels, count)
        yield family


class Telemetry:
    """Implements the ports `Observer`, `EgressObserver` and `FeedObserver`; each engine of a process has its own."""

    def __init__(self, log: DebuggerLog | None = None) -> None:
        """Make every series that is known beforehand, so that it reads 0 and not nothing."""
        self._log = log or DebuggerLog()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._describe_build()
        self._ready = self._gauge("maskline_ready", "1 while the engine answers traffic")
        self._events = self._tally(
            "maskline_events", "Inbound events answered", "kind outcome reason", _known_endings()
        )
        self._reports = self._tally("maskline_leg_reports", "Leg states reported", "outcome", zip(ReportOutcome))
        self._doors = self._tally(
            "maskline_turned_away_requests", "Requests refused undecided", "problem", zip(DoorProblem)
        )
        self._feed_problems = self._tally(
            "maskline_feed_problems", "Frames, events and connections of the feed refused", "problem", zip(FeedProblem)
        )
        self._resolved = self._tally("maskline_resolved_events", "Events resolved, nothing recorded", "", [()])
        self._debugger = self._tally("maskline_debugger_events", "Events for the debugger", "code level")
        self._requests = self._tally("maskline_api_requests", "REST requests answered", "method route status")
        self._hooks = self._tally("maskline_hooks_asked", "Webhooks asked to decide", "hook end", _HOOK_ENDS)
        self._deliveries = self._tally(
            "maskline_deliveries", "Tries to deliver an effect", "kind end", product(DutyKind, DeliveryEnd)
        )
        self._failed_commits = self._tally("maskline_failed_commits", "Group commits the disk refused", "", [()])
        self._commit_seconds = self._histogram("maskline_commit_seconds", "Length of a group commit", _COMMIT_SECONDS)
        self._commit_changes = self._histogram("maskline_commit_changes", "Changes in a group commit", _COMMIT_CHANGES)
        self._routes: set[str] = set()
        self._keep: Callable[[DebuggerEvent], None] | None = None

    def decided(self, kind: Kind, outcome: Outcome, reason: Reason) -> None:
        """Count an inbound event that was answered."""
        self._events.counts[kind, outcome, reason] += 1

    def traffic(self) -> tuple[TrafficCount, ...]:
        """Return how the inbound events so far ended, those that never happened as 0."""
        return tuple(
            TrafficCount(Kind(kind), Outcome(outcome), Reason(reason), count)
            for (kind, outcome, reason), count in self._events.counts.items()
        )

    def reported(self, outcome: ReportOutcome) -> None:
        """Count a leg report."""
        self._reports.counts[(outcome,)] += 1

    def turned_away(self, problem: DoorProblem) -> None:
        """Count an inbound request that was refused before any decision."""
        self._doors.counts[(problem,)] += 1

    def debugger(self, event: DebuggerEvent) -> None:
        """Count an event, log it, and have it kept."""
        self._debugger.counts[_DEBUGGER_LABELS.get(event.code, _UNKNOWN_CODE)] += 1
        self._log.write(event)
        if self._keep is not None:
            self._keep(event)

    def keep_events(self, keep: Callable[[DebuggerEvent], None]) -> None:
        """Hand every debugger event from now on to whoever keeps them for their accounts."""
        self._keep = keep

    def asked(self, hook: HookKind, end: HookEnd) -> None:
        """Count a webhook that was asked to decide."""
        self._hooks.counts[hook, end] += 1

    def delivered(self, kind: DutyKind, end: DeliveryEnd) -> None:
        """Count a try to deliver an effect."""
        self._deliveries.counts[kind, end] += 1

    def feed_refused(self, problem: FeedProblem) -> None:
        """Count a frame, event or connection of the feed that was refused."""
        self._feed_problems.counts[(problem,)] += 1

    def resolved(self, count: int) -> None:
        """Count events that were resolved with nothing recorded."""
        self._resolved.counts[()] += count

    def committed(self, *, changes: int, seconds: float, is_ok: bool) -> None:
        """Count a group commit: its size and length, or its failure."""
        if is_ok:
            self._commit_seconds.observe(seconds)
            self._commit_changes.observe(changes)
        else:
            self._failed_commits.counts[()] += 1

    def requested(self, *, method: str, route: str, status: int) -> None:
        """Count a REST request."""
        if route not in self._routes:
            if len(self._routes) < MAX_ROUTES:
                self._routes.add(route)
            else:
                route = OTHER
        self._requests.counts[method if method in _METHODS else OTHER, route, str(status)] += 1

    def watch(self, *, is_ready: Callable[[], bool], **sizes: Callable[[], int]) -> None:
        """Read readiness, and each size as gauge `maskline_<name>`, whenever the metrics are asked for."""
        self._ready.set_function(is_ready)
        for name, size in sizes.items():
            self._gauge(f"maskline_{name}", f"{name.replace('_', ' ').capitalize()} now").set_function(size)

    def exposition(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _tally(self, name: str, meaning: str, labels: str, known: Iterable[tuple[str, ...]] = ()) -> Tally:
        tally = Tally(name, meaning, labels, known)
        self._registry.register(tally)
        return tally

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self._registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, buckets=bounds, registry=self._registry)

    def _describe_build(self) -> None:
        build = Gauge(
            "maskline_build_info", "1; the labels say what runs", ("version", "python"), registry=self._registry
        )
        build.labels(version("maskline"), platform.python_version()).set(1)


def _known_endings() -> Iterator[tuple[str, ...]]:
    for outcome, reasons in _ENDINGS.items():
        for reason in reasons:
            yield from ((kind, outcome, reason) for kind in Kind if (kind, reason) not in _IMPOSSIBLE)
