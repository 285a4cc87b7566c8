"""The observer: counts for Prometheus, logs the debugger's events; `Observer` and its kin.

Labels come from closed enums, path templates and catalogue codes only: never a phone number, never a SID. What is read
at scrape and not counted is in `engine.gauges`.
"""

import math
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from itertools import product
from typing import Protocol

from engine.core.model.errors import Code
from engine.core.model.exchanges import WebhookExchange
from engine.core.model.overview import TrafficCount
from engine.core.model.records import DebuggerEvent, Kind
from engine.core.ports.observing import (
    DeliveryEnd,
    FeedProblem,
    HookEnd,
    HookKind,
    Ingress,
    LoginEnd,
    OperationEnd,
    OutboxKind,
    Rejection,
    SessionOperation,
    SipProblem,
    SmppCount,
)
from engine.core.routing.route_cache import IS_COMPILED
from engine.core.routing.traffic import ENDINGS, ReportOutcome
from engine.telemetry.debugger import DebuggerLog
from engine.telemetry.exposition import Exposition
from engine.telemetry.instruments import Buckets, Gauge, Histograms, Labels, Reading, Tally
from engine.telemetry.labels import (
    CONFLICT_RULES,
    CONSOLE_STATUSES,
    DEBUGGER_LABELS,
    EXHAUSTION_CODES,
    HOOK_ENDS,
    OTHER,
    UNKNOWN_CODE,
)
from engine.telemetry.meter import SECONDS, Decisions, Meter, Resolutions

MAX_ROUTES = 200
"""Path templates that get a series of their own; far above what the API has."""

COMMIT_CHANGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Bounds of the sizes of group commits."""

LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Bounds of how late something is."""

SIP_ANSWER_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Bounds of the time to an answer: a switch hears 100 after 0.2, and repeats itself after 0.5."""

_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_TOO_MANY_REQUESTS = 429


class IsFull(Protocol):
    """Tells whether the list of an account takes no more events of a kind now; callers are masked."""

    def __call__(self, code: int, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        """Tell it."""


def _never(code: int, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
    del code, account_sid, number, caller, at
    return False


class Telemetry:
    """Everything that one engine counts; several engines may share a process, each its registry."""

    def __init__(self, log: DebuggerLog | None = None, *, ingresses: Iterable[str] = Ingress) -> None:
        """Make every series that is known beforehand, so that it reads 0 and not nothing."""
        self.debugger_log = log or DebuggerLog()
        self._ingresses = tuple(ingresses)
        self._keep: Callable[[DebuggerEvent], None] | None = None
        self._is_full: IsFull = _never
        self._keep_exchange: Callable[[WebhookExchange], None] | None = None
        self._routes: set[str] = set()
        self._page = Exposition()
        self.scrapes = 0
        """How often the metrics were asked for."""
        build = (version("maskline"), platform.python_version(), "yes" if IS_COMPILED else "no")
        self.gauge("build_info", "1; the labels say what runs", "version python compiled", lambda: [(build, 1)])
        self._count_traffic()
        self._count_control()
        self._count_outgoing()
        self._count_storage()
        self._loop_lag = self._histogram_of("loop_lag_seconds", "How late the event loop woke who slept", LAG_SECONDS)
        self._lacks = self._tally("descriptor_shortages", "Looks, one a second, that found no file descriptor left")

    def _count_traffic(self) -> None:
        self._meters = meters = {ingress: Meter() for ingress in self._ingresses}
        self._page.add(Decisions(meters))
        self._page.add(Resolutions(meters))
        self._histogram(
            "decision_seconds",
            "Time inside the decision of one event",
            {(one,): meter.decision_seconds for one, meter in meters.items()},
        )
        self._histogram(
            "answer_seconds",
            "From bytes read to the answer written",
            {(one,): meter.answer_seconds for one, meter in meters.items()},
        )
        self._histogram(
            "burst_events", "Events that were read at once", {(one,): meter.bursts for one, meter in meters.items()}
        )
        self.gauge(
            "events_in_flight",
            "Events that were read and are not answered",
            "ingress",
            lambda: [((one,), meter.in_flight) for one, meter in meters.items()],
        )
        self._reports = self._tally("leg_reports", "Leg states reported", "outcome", zip(ReportOutcome))
        self._rejections = self._tally("turned_away_requests", "Requests refused undecided", "problem", zip(Rejection))
        self._feed_problems = self._tally(
            "feed_problems", "Frames, events and connections of the feed refused", "problem", zip(FeedProblem)
        )
        self._count_sip()
        self._smpp = self._tally("smpp_events", "What happened with SMPP peers", "event", zip(SmppCount))
        self._forwarded = self._tally(
            "forwarded_events", "Events handed to the host that owns their number", "end", [("answered",), ("failed",)]
        )

    def _count_sip(self) -> None:
        self._sip_requests = self._tally("sip_requests", "SIP requests of peers", "peer method")
        self._sip_repeats = self._tally("sip_retransmissions", "INVITEs that came before", "peer")
        self._sip_answers = self._tally("sip_answers", "SIP answers sent", "peer status")
        self._sip_problems = self._tally(
            "sip_dropped_messages", "SIP messages and connections dropped or unread", "problem", zip(SipProblem)
        )
        self._sip_seconds = self._histogram_of(
            "sip_answer_seconds", "From an INVITE to its final answer", SIP_ANSWER_SECONDS
        )

    def _count_control(self) -> None:
        self._requests = self._tally("api_requests", "REST requests answered", "method route status")
        self._request_seconds = {is_read: Buckets(SECONDS) for is_read in (True, False)}
        self._page.add(
            Histograms(
                "maskline_api_seconds",
                "From a REST request's head to its answer",
                "access",
                {("read" if is_read else "write",): one for is_read, one in self._request_seconds.items()},
            )
        )
        self._console = self._tally("console_requests", "Requests to the console answered", "status", CONSOLE_STATUSES)
        self._logins = self._tally("console_logins", "Attempts to log in to the console", "end", zip(LoginEnd))
        self._limited = self._tally("rate_limited_requests", "REST requests refused with 429")
        self._operations = self._tally(
            "session_operations",
            "Operations on sessions and participants",
            "operation outcome",
            product(SessionOperation, OperationEnd),
        )
        self._conflicts = self._tally(
            "participant_conflicts", "Requests that met a rule about participants", "rule", zip(CONFLICT_RULES.values())
        )
        self._exhausted = self._tally(
            "pool_exhausted_requests",
            "Participants for whom the pool had no number",
            "code",
            ((str(code.value),) for code in EXHAUSTION_CODES),
        )
        self._expiry_lag = self._histogram_of("session_expiry_lag_seconds", "From a session's end to its close on disk")
        self._debugger = self._tally("debugger_events", "Events for the debugger", "code level", _known_codes())

    def _count_outgoing(self) -> None:
        self._hooks = self._tally("hooks_asked", "Webhooks asked to decide", "hook end", HOOK_ENDS)
        self._deliveries = self._tally(
            "deliveries", "Tries to deliver an entry", "kind end", product(OutboxKind, DeliveryEnd)
        )

    def _count_storage(self) -> None:
        self._failed_commits = self._tally("failed_commits", "Group commits the disk refused")
        self._commit_seconds = self._histogram_of("commit_seconds", "Length of a group commit", SECONDS)
        self._sync_seconds = self._histogram_of("commit_sync_seconds", "Its part that waits for the disk", SECONDS)
        self._commit_changes = self._histogram_of("commit_changes", "Changes in a group commit", COMMIT_CHANGES)
        self._erased = self._tally("retention_erased_sessions", "Sessions erased because they are past retention")
        self._passes = self._tally("retention_passes", "Times that retention left nothing that was due")

    # -- what is told --------------------------------------------------------------------------------------------

    def meter(self, ingress: str) -> Meter:
        """Return where an ingress tells what passes."""
        return self._meters[ingress]

    def traffic(self) -> tuple[TrafficCount, ...]:
        """Return how the inbound events so far ended, of all ingresses, those that never happened as 0."""
        meters = self._meters.values()
        return tuple(
            TrafficCount(kind, outcome, reason, sum(counts[reason.slot] for counts in counters))
            for kind, counters in (
                (Kind.VOICE, [meter.calls for meter in meters]),
                (Kind.MESSAGE, [meter.messages for meter in meters]),
            )
            for outcome, reasons in ENDINGS.items()
            for reason in reasons
        )

    def answers(self) -> tuple[tuple[float, int], ...]:
        """Return how long answers took so far, of all ingresses: bounds in seconds, the last for all that is longer."""
        counted = [meter.answer_seconds.counts for meter in self._meters.values()]
        return tuple(zip((*SECONDS, math.inf), map(sum, zip(*counted, strict=True)), strict=True))

    def reported(self, outcome: ReportOutcome) -> None:
        """Count a leg report."""
        self._reports.counts[(outcome,)] += 1

    def rejected(self, problem: Rejection) -> None:
        """Count an inbound request that was refused before any decision."""
        self._rejections.counts[(problem,)] += 1

    def debugger(self, event: DebuggerEvent) -> None:
        """Count an event, log it, and have it kept."""
        self._count(event.code)
        self.debugger_log.write(event)
        if self._keep is not None:
            self._keep(event)

    def only_counted(self, code: Code, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        """Count an event that neither the log nor the account's list would tell more of; the rest are `debugger`'s."""
        is_full = self._is_full(code, account_sid, number=number, caller=caller, at=at)
        if not is_full or not self.debugger_log.count(code, account_sid, at):
            return False
        self._count(code)
        return True

    def keep_events(self, keep: Callable[[DebuggerEvent], None], *, is_full: IsFull = _never) -> None:
        """Hand debugger events from now on to whoever keeps them for their accounts, but what fills its list."""
        self._keep, self._is_full = keep, is_full

    def _count(self, code: int) -> None:
        self._debugger.counts[DEBUGGER_LABELS.get(code, UNKNOWN_CODE)] += 1
        if code in CONFLICT_RULES:
            self._conflicts.counts[(CONFLICT_RULES[code],)] += 1

    def asked(self, hook: HookKind, end: HookEnd) -> None:
        """Count a webhook that was asked to decide."""
        self._hooks.counts[hook, end] += 1

    def exchanged(self, exchange: WebhookExchange) -> None:
        """Have an exchange with an application kept."""
        if self._keep_exchange is not None:
            self._keep_exchange(exchange)

    def keep_exchanges(self, keep: Callable[[WebhookExchange], None]) -> None:
        """Hand every exchange from now on to whoever keeps them."""
        self._keep_exchange = keep

    def delivered(self, kind: OutboxKind, end: DeliveryEnd) -> None:
        """Count a try to deliver an entry."""
        self._deliveries.counts[kind, end] += 1

    def smpp(self, count: SmppCount, times: int = 1) -> None:
        """Count it."""
        self._smpp.counts[(count,)] += times

    def feed_refused(self, problem: FeedProblem) -> None:
        """Count a frame, event or connection of the feed that was refused."""
        self._feed_problems.counts[(problem,)] += 1

    def expect_sip_peers(self, peers: Iterable[str]) -> None:
        """Let what these peers ask read 0 before they do."""
        for peer in peers:
            for method in ("INVITE", "OPTIONS"):
                self._sip_requests.counts.setdefault((peer, method), 0)
            for status in ("200", "302", "404", "503"):
                self._sip_answers.counts.setdefault((peer, status), 0)
            self._sip_repeats.counts.setdefault((peer,), 0)

    def sip_requested(self, peer: str, method: str, times: int) -> None:
        """Count requests."""
        self._sip_requests.counts[peer, method] += times

    def sip_repeated(self, peer: str) -> None:
        """Count an INVITE that came before."""
        self._sip_repeats.counts[(peer,)] += 1

    def sip_answered(self, peer: str, status: int, times: int) -> None:
        """Count answers."""
        self._sip_answers.counts[peer, str(status)] += times

    def sip_answers(self, peer: str) -> dict[str, int]:
        """Return how many answers of each status a peer got."""
        counts = self._sip_answers.counts
        return {status: int(count) for (name, status), count in sorted(counts.items()) if name == peer and count}

    def sip_decided(self, seconds: float, times: int) -> None:
        """Count how long calls waited for their answers."""
        self._sip_seconds.observe(seconds, times)

    def sip_dropped(self, problem: SipProblem) -> None:
        """Count a message or connection that was dropped, or could not be read."""
        self._sip_problems.counts[(problem,)] += 1

    def committed(self, *, changes: int, seconds: float, sync_seconds: float, is_ok: bool) -> None:
        """Count a group commit: its size and length, or its failure."""
        if is_ok:
            self._commit_seconds.observe(seconds)
            self._sync_seconds.observe(sync_seconds)
            self._commit_changes.observe(changes)
        else:
            self._failed_commits.counts[()] += 1

    def expect_requests(self, requests: Iterable[tuple[str, str, int]]) -> None:
        """Let requests of these (method, path template, status) read 0 before they happen."""
        for method, route, status in requests:
            self._routes.add(route)
            self._requests.counts.setdefault((method, route, str(int(status))), 0)

    def requested(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count a REST request and how long it took."""
        self._request_seconds[method in _READING].observe(seconds)
        if route not in self._routes:
            if len(self._routes) < MAX_ROUTES:
                self._routes.add(route)
            else:
                route = OTHER
        self._requests.counts[method if method in _METHODS else OTHER, route, str(status)] += 1
        if status == _TOO_MANY_REQUESTS:
            self._limited.counts[()] += 1

    def console_answered(self, status: int) -> None:
        """Count an answer of the console."""
        self._console.counts[(str(status),)] += 1

    def console_login(self, end: LoginEnd) -> None:
        """Count somebody who tried to log in to the console."""
        self._logins.counts[(end,)] += 1

    def operated(self, operation: SessionOperation, end: OperationEnd, code: int | None = None) -> None:
        """Count an operation on a session, and what its refusal tells of participants and pools."""
        self._operations.counts[operation, end] += 1
        if code is not None:
            if code in CONFLICT_RULES:
                self._conflicts.counts[(CONFLICT_RULES[code],)] += 1
            if code in EXHAUSTION_CODES:
                self._exhausted.counts[(str(int(code)),)] += 1

    def expired(self, lag_seconds: float) -> None:
        """Count a session that was closed because its end had come, and how late."""
        self._operations.counts[SessionOperation.EXPIRE, OperationEnd.DONE] += 1
        self._expiry_lag.observe(lag_seconds)

    def retained(self, *, erased: int, is_up_to_date: bool) -> None:
        """Count what retention erased, and that it came to its end."""
        self._erased.counts[()] += erased
        self._passes.counts[()] += is_up_to_date

    def forwarded(self, events: int, *, is_answered: bool) -> None:
        """Count events that were handed to another host."""
        self._forwarded.counts[("answered" if is_answered else "failed",)] += events

    # -- what is read --------------------------------------------------------------------------------------------

    def lagged(self, seconds: float) -> None:
        """Count how late the event loop woke who slept."""
        self._loop_lag.observe(seconds)

    def lacked_descriptor(self) -> None:
        """Count a look that found no file descriptor left."""
        self._lacks.counts[()] += 1

    def gauge(self, name: str, meaning: str, labels: str, read: Reading) -> None:
        """Read gauge `maskline_<name>` whenever the metrics are asked for."""
        self._page.add(Gauge(f"maskline_{name}", meaning, labels, read))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Write all metrics in the format that an Accept header asks for; returns them and their content type."""
        self.scrapes += 1
        return self._page.write(accept)

    def _tally(self, name: str, meaning: str, labels: str = "", known: Iterable[Labels] = ()) -> Tally:
        tally = Tally(f"maskline_{name}", meaning, labels, known)
        self._page.add(tally)
        return tally

    def _histogram(self, name: str, meaning: str, buckets: dict[Labels, Buckets]) -> None:
        self._page.add(Histograms(f"maskline_{name}", meaning, "ingress", buckets))

    def _histogram_of(self, name: str, meaning: str, bounds: tuple[float, ...] = LAG_SECONDS) -> Buckets:
        buckets = Buckets(bounds)
        self._page.add(Histograms(f"maskline_{name}", meaning, "", {(): buckets}))
        return buckets


def _known_codes() -> Iterable[Labels]:
    return (*DEBUGGER_LABELS.values(), UNKNOWN_CODE)
