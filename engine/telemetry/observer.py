"""The observer: counts for Prometheus, logs the debugger's events, reads gauges when asked.

Labels come from closed enums, path templates and catalogue codes only: never a phone number, never a SID. A series is
made once; after that a count is one look-up and one addition.
"""

import platform
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from engine.core.errors import CATALOGUE, Code, Level
from engine.core.ports import DoorProblem
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
    ),
    Outcome.NOT_READY: (Reason.REBUILDING, Reason.STORE_UNAVAILABLE),
    Outcome.UNKNOWN_NUMBER: (Reason.NOT_IN_POOL,),
}
_IMPOSSIBLE = {
    (Kind.VOICE, Reason.STOP_WORD),
    (Kind.VOICE, Reason.MESSAGE_TO_VOICE_ONLY),
    (Kind.MESSAGE, Reason.CALL_TO_MESSAGE_ONLY),
}
_CODES = {code.value: code for code in Code}


class _Series(dict[tuple[str, ...], Callable[[], None]]):
    """Labels to the addition of one: found, or made when they are new."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def __missing__(self, labels: tuple[str, ...]) -> Callable[[], None]:
        return self.add(*labels)

    def add(self, *labels: str) -> Callable[[], None]:
        """Make a series that reads 0."""
        add_one: Callable[[], None] = self._counter.labels(*labels).inc
        self[labels] = add_one
        return add_one


class Telemetry:
    """Implements the port `Observer`; has a registry of its own, so that several engines may share a process."""

    def __init__(self, log: DebuggerLog | None = None) -> None:
        """Make every series that is known beforehand, so that it reads 0 and not nothing."""
        self._log = log or DebuggerLog()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._describe_build()
        self._ready = self._gauge("maskline_ready", "1 while the engine answers traffic")
        self._events = self._counter("maskline_events", "Inbound calls and messages answered", "kind outcome reason")
        self._reports = self._counter("maskline_leg_reports", "Leg states reported by carriers", "outcome")
        self._doors = self._counter("maskline_turned_away_requests", "Inbound requests refused undecided", "problem")
        self._debugger = self._counter("maskline_debugger_events", "Events for the debugger", "code level")
        self._requests = self._counter("maskline_api_requests", "REST requests answered", "method route status")
        self._failed_commits = Counter(
            "maskline_failed_commits", "Group commits the disk refused", registry=self._registry
        )
        self._commit_seconds = self._histogram("maskline_commit_seconds", "Length of a group commit", _COMMIT_SECONDS)
        self._commit_changes = self._histogram("maskline_commit_changes", "Changes in a group commit", _COMMIT_CHANGES)
        self._routes: set[str] = set()
        self._start_from_zero()

    def decided(self, kind: Kind, outcome: Outcome, reason: Reason) -> None:
        """Count an inbound event that was answered."""
        self._events[kind, outcome, reason]()

    def reported(self, outcome: ReportOutcome) -> None:
        """Count a leg report."""
        self._reports[(outcome,)]()

    def turned_away(self, problem: DoorProblem) -> None:
        """Count an inbound request that was refused before any decision."""
        self._doors[(problem,)]()

    def debugger(self, event: DebuggerEvent) -> None:
        """Count an event and log it."""
        code = _CODES.get(event.code)
        self._debugger[(OTHER, Level.ERROR) if code is None else (str(event.code), CATALOGUE[code].level)]()
        self._log.write(event)

    def committed(self, *, changes: int, seconds: float, is_ok: bool) -> None:
        """Count a group commit: its size and length, or its failure."""
        if is_ok:
            self._commit_seconds.observe(seconds)
            self._commit_changes.observe(changes)
        else:
            self._failed_commits.inc()

    def requested(self, *, method: str, route: str, status: int) -> None:
        """Count a REST request."""
        if route not in self._routes:
            if len(self._routes) < MAX_ROUTES:
                self._routes.add(route)
            else:
                route = OTHER
        self._requests[method if method in _METHODS else OTHER, route, str(status)]()

    def watch(self, *, is_ready: Callable[[], bool], **sizes: Callable[[], int]) -> None:
        """Read readiness, and each size as gauge `maskline_<name>`, whenever the metrics are asked for."""
        self._ready.set_function(is_ready)
        for name, size in sizes.items():
            self._gauge(f"maskline_{name}", f"{name.replace('_', ' ').capitalize()} now").set_function(size)

    def exposition(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self._registry)

    def _counter(self, name: str, meaning: str, labels: str) -> _Series:
        return _Series(Counter(name, meaning, labels.split(), registry=self._registry))

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, buckets=bounds, registry=self._registry)

    def _describe_build(self) -> None:
        build = Gauge(
            "maskline_build_info", "1; the labels say what runs", ("version", "python"), registry=self._registry
        )
        build.labels(version("maskline"), platform.python_version()).set(1)

    def _start_from_zero(self) -> None:
        known = [
            (kind, outcome, reason) for outcome, reasons in _ENDINGS.items() for reason in reasons for kind in Kind
        ]
        for kind, outcome, reason in known:
            if (kind, reason) not in _IMPOSSIBLE:
                self._events.add(kind, outcome, reason)
        for report in ReportOutcome:
            self._reports.add(report)
        for problem in DoorProblem:
            self._doors.add(problem)
