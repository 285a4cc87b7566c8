"""Metrics: what is counted, under which labels, and that the labels stay closed."""

import re

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.core.model.errors import Code
from engine.core.model.overview import TrafficCount
from engine.core.model.records import DebuggerEvent, Kind, Mode
from engine.core.ports.observing import (
    ConsoleObserver,
    DeliveryEnd,
    EgressObserver,
    FeedObserver,
    FeedProblem,
    HookEnd,
    HookKind,
    Ingress,
    LoginEnd,
    Observer,
    OperationEnd,
    OutboxKind,
    Rejection,
    SessionOperation,
    SipObserver,
    SipProblem,
)
from engine.core.routing.decide import NOT_IN_POOL, STRANGERS
from engine.core.routing.resolved import Resolved, Route
from engine.core.routing.traffic import Decision, Outcome, Reason, ReportOutcome
from engine.core.sessions.bindings import ActiveSession, Endpoint
from engine.telemetry.observer import MAX_ROUTES, Telemetry

OPEN_ENDED = re.compile(r"\+?\d{7,}|[A-Z]{2}[0-9a-f]{32}")
"""A phone number or a SID."""

CONSOLE_REQUESTS, CONSOLE_LOGINS = "maskline_console_requests_total", "maskline_console_logins_total"


@pytest.fixture
def telemetry() -> Telemetry:
    """A fresh registry."""
    return Telemetry()


def page(telemetry: Telemetry) -> str:
    return telemetry.exposition()[0].decode()


def series(telemetry: Telemetry, name: str) -> dict[str, float]:
    lines = page(telemetry).splitlines()
    found = [line.rpartition(" ") for line in lines if re.match(rf"{name}[{{ ]", line)]
    return {labels.removeprefix(name): float(value) for labels, _, value in found}


def event(code: int) -> DebuggerEvent:
    return DebuggerEvent(
        code=code, account_sid="AC" + "0" * 32, resource_sid="CA" + "1" * 32, message="from +1415555XXXX", at=1.0
    )


def test_it_is_an_observer(telemetry: Telemetry) -> None:
    """The port is satisfied; the type checker agrees."""
    observer: Observer = telemetry

    observer.rejected(Rejection.NOT_POST)

    assert series(telemetry, "maskline_turned_away_requests_total")['{problem="not-post"}'] == 1


def test_the_traffic_so_far_is_told_to_the_console(telemetry: Telemetry) -> None:
    """The same counts that the metrics show, of all ingresses together."""
    for ingress in Ingress:
        telemetry.meter(ingress).decided(Kind.VOICE, Reason.IN_SESSION)

    counts = telemetry.traffic()

    total = TrafficCount(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION, len(Ingress))
    assert [one for one in counts if one.count] == [total]
    assert len(counts) == 2 * len(Reason)


def test_the_feed_is_counted_by_problem(telemetry: Telemetry) -> None:
    """Every problem reads 0 before it happens."""
    observer: FeedObserver = telemetry

    observer.feed_refused(FeedProblem.NOT_MSGPACK)

    problems = series(telemetry, "maskline_feed_problems_total")
    assert (len(problems), problems['{problem="not-msgpack"}'], sum(problems.values())) == (len(FeedProblem), 1, 1)


def test_switches_are_counted_by_their_names_in_the_settings(telemetry: Telemetry) -> None:
    """They read 0 before they ask; what strangers send has no name."""
    observer: SipObserver = telemetry
    telemetry.expect_sip_peers(["west"])
    before = series(telemetry, "maskline_sip_requests_total")

    observer.sip_requested("west", "INVITE", 1)
    observer.sip_repeated("west")
    observer.sip_answered("west", 302, 1)
    observer.sip_decided(0.15, 1)
    observer.sip_dropped(SipProblem.STRANGER)

    assert before == {'{method="INVITE",peer="west"}': 0, '{method="OPTIONS",peer="west"}': 0}
    assert series(telemetry, "maskline_sip_requests_total")['{method="INVITE",peer="west"}'] == 1
    assert series(telemetry, "maskline_sip_retransmissions_total") == {'{peer="west"}': 1}
    assert series(telemetry, "maskline_sip_answers_total")['{peer="west",status="302"}'] == 1
    assert series(telemetry, "maskline_sip_answer_seconds_bucket")['{le="0.2"}'] == 1
    assert sum(series(telemetry, "maskline_sip_dropped_messages_total").values()) == 1


def test_the_console_is_counted_by_status_and_logins_by_their_end(telemetry: Telemetry) -> None:
    """Both read 0 before anything happens."""
    observer: ConsoleObserver = telemetry
    known = {name: set(series(telemetry, name).values()) for name in (CONSOLE_REQUESTS, CONSOLE_LOGINS)}

    observer.console_answered(303)
    observer.console_login(LoginEnd.HELD_BACK)

    assert known == {CONSOLE_REQUESTS: {0}, CONSOLE_LOGINS: {0}}
    assert series(telemetry, CONSOLE_REQUESTS)['{status="303"}'] == 1
    assert series(telemetry, CONSOLE_LOGINS) == {'{end="in"}': 0, '{end="refused"}': 0, '{end="held-back"}': 1}


def test_every_ending_reads_zero_before_it_happens(telemetry: Telemetry) -> None:
    """Rates work from the first event on, and impossible pairs get no series."""
    events = series(telemetry, "maskline_events_total")

    assert set(events.values()) == {0}
    assert '{ingress="http",kind="message",outcome="refused",reason="stop-word"}' in events
    assert '{ingress="http",kind="voice",outcome="refused",reason="stop-word"}' not in events


def test_events_are_counted_by_ingress_kind_outcome_and_reason(telemetry: Telemetry) -> None:
    """Two routed calls and one refused message on HTTP, and a burst of the feed that was counted in its loop."""
    door, feed = telemetry.meter(Ingress.HTTP), telemetry.meter(Ingress.FEED)
    door.decided(Kind.VOICE, Reason.IN_SESSION)
    door.decided(Kind.VOICE, Reason.IN_SESSION)
    door.decided(Kind.MESSAGE, Reason.STOP_WORD)
    feed.calls[Reason.IN_SESSION.slot] += 64

    events = series(telemetry, "maskline_events_total")

    assert events['{ingress="http",kind="voice",outcome="routed",reason="in-session"}'] == 2
    assert events['{ingress="http",kind="message",outcome="refused",reason="stop-word"}'] == 1
    assert events['{ingress="feed",kind="voice",outcome="routed",reason="in-session"}'] == 64
    assert sum(events.values()) == 67


def test_what_cannot_happen_is_counted_when_it_does(telemetry: Telemetry) -> None:
    """An ending that nobody foresaw shows up, and is not lost."""
    for ingress in Ingress:
        for kind in Kind:
            for reason in Reason:
                telemetry.meter(ingress).decided(kind, reason)
    for report in ReportOutcome:
        telemetry.reported(report)

    events = series(telemetry, "maskline_events_total")
    assert set(events.values()) == {1}
    assert len(events) == len(Ingress) * len(Kind) * len(Reason)
    assert set(series(telemetry, "maskline_leg_reports_total").values()) == {1}


def test_durations_fall_into_buckets_that_the_objectives_bound(telemetry: Telemetry) -> None:
    """Not above a bound is inside it; events that were decided together share their time."""
    meter = telemetry.meter(Ingress.FEED)
    meter.deciding(0.0064, 64)
    meter.answered(0.0005)
    meter.answered(0.7)
    meter.burst(64)

    decisions = series(telemetry, "maskline_decision_seconds_bucket")
    answers = series(telemetry, "maskline_answer_seconds_bucket")
    assert decisions['{ingress="feed",le="0.0001"}'] == 64
    assert decisions['{ingress="feed",le="5e-05"}'] == 0
    assert answers['{ingress="feed",le="0.0005"}'] == 1
    assert answers['{ingress="feed",le="0.5"}'] == 1
    assert answers['{ingress="feed",le="1.0"}'] == answers['{ingress="feed",le="+Inf"}'] == 2
    assert series(telemetry, "maskline_answer_seconds_sum")['{ingress="feed"}'] == pytest.approx(0.7005)
    assert series(telemetry, "maskline_burst_events_bucket")['{ingress="feed",le="64.0"}'] == 1
    assert {f'{{ingress="http",le="{bound}"}}' for bound in ("0.0001", "0.001", "0.5", "1.0")} <= answers.keys()


def test_events_are_in_flight_until_they_are_answered_or_lost(telemetry: Telemetry) -> None:
    """From the moment in which they were read."""
    meter = telemetry.meter(Ingress.HTTP)
    meter.burst(5)
    meter.answered(0.001)
    meter.lost(2)

    in_flight = series(telemetry, "maskline_events_in_flight")

    assert in_flight == {f'{{ingress="{one}"}}': 2 * (one is Ingress.HTTP) for one in Ingress}


def test_what_is_resolved_for_information_is_counted_apart(telemetry: Telemetry) -> None:
    """Routes, strangers and what is rare, alone and in a mixture; no event has happened."""
    refused, routed = STRANGERS[0], Decision(Outcome.ROUTED, Reason.IN_SESSION)
    endpoints = [Endpoint("KP", "+1", "+2"), Endpoint("KP", "+3", "+4")]
    route = Route("+3", "+4", ActiveSession("KC", "KS", "AC", Mode.VOICE_ONLY, tuple(endpoints), 0.0))
    meter = telemetry.meter(Ingress.FEED)
    meter.resolved(Resolved([refused, routed, route, refused, NOT_IN_POOL], strangers=2, others=2), 0.0005)
    meter.resolved(Resolved([refused, STRANGERS[1]], strangers=2, others=0), 0.0004)
    meter.resolved(Resolved([route, route], strangers=0, others=0), 0.0004)
    meter.resolved(Resolved([], strangers=0, others=0), 0.0)

    resolved = series(telemetry, "maskline_resolved_total")

    assert {labels: count for labels, count in resolved.items() if count} == {
        '{outcome="refused",reason="no-session"}': 4,
        '{outcome="routed",reason="in-session"}': 4,
        '{outcome="unknown-number",reason="not-in-pool"}': 1,
    }
    assert '{outcome="refused",reason="intercepted"}' not in resolved
    assert series(telemetry, "maskline_decision_seconds_count")['{ingress="feed"}'] == 9
    assert sum(series(telemetry, "maskline_events_total").values()) == 0


def test_debugger_events_are_counted_by_code_and_level(telemetry: Telemetry) -> None:
    """A code outside the catalogue falls into one series."""
    telemetry.debugger(event(Code.STOP_WORD))
    telemetry.debugger(event(99999))
    telemetry.debugger(event(99998))

    counted = series(telemetry, "maskline_debugger_events_total")

    assert counted['{code="80901",level="WARNING"}'] == 1
    assert counted['{code="other",level="ERROR"}'] == 2
    assert sum(counted.values()) == 3
    assert len(counted) == len(Code) + 1


def test_requests_cannot_grow_the_number_of_series_without_bound(telemetry: Telemetry) -> None:
    """Odd methods and a flood of routes end in `other`."""
    for number in range(MAX_ROUTES + 5):
        telemetry.requested(method="GET", route=f"/v1/made-up/{number}", status=404, seconds=0.004)
    telemetry.requested(method="BREW", route="/v1/made-up/0", status=405, seconds=0.004)

    counted = series(telemetry, "maskline_api_requests_total")

    assert len(counted) == MAX_ROUTES + 2
    assert counted['{method="GET",route="other",status="404"}'] == 5
    assert counted['{method="other",route="/v1/made-up/0",status="405"}'] == 1


def test_commits_are_measured_and_failures_counted_apart(telemetry: Telemetry) -> None:
    """A refused commit does not enter the histogram of lengths."""
    telemetry.committed(changes=3, seconds=0.004, sync_seconds=0.003, is_ok=True)
    telemetry.committed(changes=9, seconds=9.0, sync_seconds=0.0, is_ok=False)

    assert series(telemetry, "maskline_commit_seconds_count") == {"": 1}
    assert series(telemetry, "maskline_commit_seconds_bucket")['{le="0.005"}'] == 1
    assert series(telemetry, "maskline_commit_sync_seconds_sum") == {"": 0.003}
    assert series(telemetry, "maskline_commit_changes_sum") == {"": 3}
    assert series(telemetry, "maskline_failed_commits_total") == {"": 1}


def test_gauges_are_read_when_asked_for(telemetry: Telemetry) -> None:
    """They are functions, so that nothing has to keep them up to date."""
    sessions: set[str] = set()
    telemetry.gauge("sizes", "How much there is", "what", lambda: [(("sessions",), len(sessions))])
    before = series(telemetry, "maskline_sizes")

    sessions.add("KC1")

    assert before == {'{what="sessions"}': 0}
    assert series(telemetry, "maskline_sizes") == {'{what="sessions"}': 1}


def test_a_gauge_that_cannot_be_read_is_absent_and_spoils_nothing(telemetry: Telemetry) -> None:
    """Such as the size of a file that was taken away."""

    def gone() -> list[tuple[tuple[str, ...], float]]:
        raise FileNotFoundError

    telemetry.gauge("file_bytes", "Size of a file", "", gone)

    assert series(telemetry, "maskline_file_bytes") == {}
    assert series(telemetry, "maskline_failed_commits_total") == {"": 0}


def test_no_two_metrics_have_one_name(telemetry: Telemetry) -> None:
    """The second is a mistake of ours, found at start."""
    with pytest.raises(ValueError, match="maskline_events"):
        telemetry.gauge("events", "Something else", "", list)


def test_label_values_are_escaped(telemetry: Telemetry) -> None:
    """Whatever stands in a name, the page stays readable."""
    name = 'a "quoted" \\ name\nof two lines'
    telemetry.gauge("named", "Something with a name", "name", lambda: [((name,), 1)])

    (family,) = (one for one in text_string_to_metric_families(page(telemetry)) if one.name == "maskline_named")

    assert [sample.labels for sample in family.samples] == [{"name": name}]


def test_names_say_what_and_labels_hold_no_number_and_no_sid(telemetry: Telemetry) -> None:
    """Whatever is told, our names start alike and no label can name a person or a resource."""
    telemetry.debugger(event(Code.NO_ACTIVE_SESSION))
    telemetry.requested(method="GET", route="/v1/Services/{Sid}", status=200, seconds=0.004)

    lines = [line for line in page(telemetry).splitlines() if not line.startswith("#")]

    ours = [line for line in lines if not line.startswith(("python_", "process_"))]
    assert all(line.startswith("maskline_") for line in ours)
    assert not [line for line in ours if OPEN_ENDED.search(line.rpartition(" ")[0])]


def test_debugger_events_are_handed_on_to_be_kept(telemetry: Telemetry) -> None:
    """Once somebody keeps them; those before are only counted and logged."""
    kept: list[DebuggerEvent] = []
    telemetry.debugger(event(Code.STOP_WORD))
    telemetry.keep_events(kept.append)

    telemetry.debugger(event(Code.NO_PARTNER))

    assert [one.code for one in kept] == [Code.NO_PARTNER]
    assert sum(series(telemetry, "maskline_debugger_events_total").values()) == 2


def test_what_nobody_tells_more_of_is_only_counted(telemetry: Telemetry) -> None:
    """Once both the log and the list of its account have had enough; metrics count on."""
    kept: list[DebuggerEvent] = []

    def is_full(code: int, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        assert (account_sid[:2], number, caller, at) == ("AC", "+1", "+2", told.at)
        return code == Code.STOP_WORD and bool(kept)

    telemetry.keep_events(kept.append, is_full=is_full)
    told = event(Code.STOP_WORD)

    whole = []
    for code, account_sid in [(Code.STOP_WORD, told.account_sid)] * 3 + [
        (Code.STOP_WORD, "AC" + "1" * 32),  # new to the log
        (Code.NO_PARTNER, told.account_sid),  # room in the list
    ]:
        if not telemetry.only_counted(code, account_sid, number="+1", caller="+2", at=told.at):
            telemetry.debugger(msgspec.structs.replace(told, code=code, account_sid=account_sid))
            whole.append((code, account_sid[-1]))

    assert whole == [(Code.STOP_WORD, "0"), (Code.STOP_WORD, "1"), (Code.NO_PARTNER, "0")]
    assert sum(series(telemetry, "maskline_debugger_events_total").values()) == 5


def test_every_reason_belongs_to_a_known_ending(telemetry: Telemetry) -> None:
    """A new reason must be given its series."""
    events = series(telemetry, "maskline_events_total")

    assert {reason for reason in Reason if any(f'reason="{reason}"' in labels for labels in events)} == set(Reason)


def test_operations_tell_of_conflicts_and_of_exhausted_pools(telemetry: Telemetry) -> None:
    """By the code of the refusal; where conflicts are allowed, by the debugger event."""
    telemetry.operated(SessionOperation.CREATE, OperationEnd.DONE)
    telemetry.operated(SessionOperation.CREATE, OperationEnd.REFUSED, Code.PROXY_IDENTIFIER_IN_USE)
    telemetry.operated(SessionOperation.ADD_PARTICIPANT, OperationEnd.REFUSED, Code.NO_UNUSED_PROXY)
    telemetry.debugger(event(Code.SIMULTANEOUS_REQUESTS))

    operations = series(telemetry, "maskline_session_operations_total")
    conflicts = series(telemetry, "maskline_participant_conflicts_total")
    assert operations['{operation="create",outcome="done"}'] == 1
    assert operations['{operation="create",outcome="refused"}'] == 1
    assert len(operations) == len(SessionOperation) * len(OperationEnd)
    assert conflicts['{rule="pair-in-use"}'] == conflicts['{rule="allowed-join"}'] == 1
    assert sum(conflicts.values()) == 2
    assert series(telemetry, "maskline_pool_exhausted_requests_total")['{code="80208"}'] == 1


def test_rate_limited_requests_are_counted_beside_their_route(telemetry: Telemetry) -> None:
    """And what is expected reads zero before."""
    telemetry.expect_requests([("GET", "/v1/Services", 200)])
    telemetry.requested(method="GET", route="/v1/Services", status=429, seconds=0.004)

    requests = series(telemetry, "maskline_api_requests_total")

    assert requests['{method="GET",route="/v1/Services",status="200"}'] == 0
    assert requests['{method="GET",route="/v1/Services",status="429"}'] == 1
    assert series(telemetry, "maskline_rate_limited_requests_total") == {"": 1}


def test_requests_are_timed_by_whether_they_change_something(telemetry: Telemetry) -> None:
    """A read waits for no commit."""
    telemetry.requested(method="GET", route="/v1/Services", status=200, seconds=0.002)
    telemetry.requested(method="POST", route="/v1/Services", status=201, seconds=0.02)
    telemetry.requested(method="DELETE", route="/v1/Services/{Sid}", status=204, seconds=0.03)

    assert series(telemetry, "maskline_api_seconds_count") == {'{access="read"}': 1, '{access="write"}': 2}
    assert series(telemetry, "maskline_api_seconds_sum")['{access="write"}'] == pytest.approx(0.05)


def test_what_is_late_or_elsewhere_is_counted(telemetry: Telemetry) -> None:
    """Expiry, retention and events of other hosts."""
    telemetry.expired(0.2)
    telemetry.retained(erased=1000, is_up_to_date=False)
    telemetry.retained(erased=7, is_up_to_date=True)
    telemetry.forwarded(64, is_answered=True)
    telemetry.forwarded(3, is_answered=False)

    lag = series(telemetry, "maskline_session_expiry_lag_seconds_bucket")
    assert (lag['{le="0.1"}'], lag['{le="0.25"}']) == (0, 1)
    assert series(telemetry, "maskline_retention_erased_sessions_total") == {"": 1007}
    assert series(telemetry, "maskline_retention_passes_total") == {"": 1}
    assert series(telemetry, "maskline_forwarded_events_total") == {'{end="answered"}': 64, '{end="failed"}': 3}


def test_hooks_and_deliveries_read_zero_before_they_happen(telemetry: Telemetry) -> None:
    """What egress tells is counted by closed labels, impossible pairs left out."""
    egress: EgressObserver = telemetry

    egress.asked(HookKind.INTERCEPT, HookEnd.BLOCKED)
    egress.delivered(OutboxKind.CALLBACK, DeliveryEnd.DIED)

    hooks = series(telemetry, "maskline_hooks_asked_total")
    deliveries = series(telemetry, "maskline_deliveries_total")
    assert hooks['{end="blocked",hook="intercept"}'] == 1
    assert sum(hooks.values()) == 1
    assert '{end="twiml",hook="intercept"}' not in hooks
    assert deliveries['{end="died",kind="callback"}'] == 1
    assert len(deliveries) == len(OutboxKind) * len(DeliveryEnd)
