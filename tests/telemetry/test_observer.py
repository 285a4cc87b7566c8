"""Metrics: what is counted, under which labels, and that the labels stay closed."""

import re

import pytest

from engine.core.errors import Code
from engine.core.overview import TrafficCount
from engine.core.ports import (
    DeliveryEnd,
    DoorProblem,
    DutyKind,
    EgressObserver,
    FeedObserver,
    FeedProblem,
    HookEnd,
    HookKind,
    Observer,
)
from engine.core.records import DebuggerEvent, Kind
from engine.core.traffic import Outcome, Reason, ReportOutcome
from engine.telemetry.observer import MAX_ROUTES, Telemetry

OPEN_ENDED = re.compile(r"\+?\d{7,}|[A-Z]{2}[0-9a-f]{32}")
"""A phone number or a SID."""


@pytest.fixture
def telemetry() -> Telemetry:
    """A fresh registry."""
    return Telemetry()


def series(telemetry: Telemetry, name: str) -> dict[str, float]:
    lines = telemetry.exposition().decode().splitlines()
    found = [line.rpartition(" ") for line in lines if re.match(rf"{name}[{{ ]", line)]
    return {labels.removeprefix(name): float(value) for labels, _, value in found}


def event(code: int) -> DebuggerEvent:
    return DebuggerEvent(
        code=code, account_sid="AC" + "0" * 32, resource_sid="CA" + "1" * 32, message="from +1415555XXXX", at=1.0
    )


def test_it_is_an_observer(telemetry: Telemetry) -> None:
    """The port is satisfied; the type checker agrees."""
    observer: Observer = telemetry

    observer.turned_away(DoorProblem.NOT_POST)

    assert series(telemetry, "maskline_turned_away_requests_total")['{problem="not-post"}'] == 1


def test_the_traffic_so_far_is_told_to_the_console(telemetry: Telemetry) -> None:
    """The same counts that the metrics show."""
    telemetry.decided(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION)
    telemetry.decided(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION)

    counts = telemetry.traffic()

    assert [one for one in counts if one.count] == [TrafficCount(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION, 2)]
    assert len(counts) > 20


def test_the_feed_is_counted_by_problem_and_by_what_it_resolved(telemetry: Telemetry) -> None:
    """Every problem reads 0 before it happens; resolved events are no events of the host."""
    observer: FeedObserver = telemetry

    observer.feed_refused(FeedProblem.NOT_MSGPACK)
    observer.resolved(64)
    observer.resolved(3)

    problems = series(telemetry, "maskline_feed_problems_total")
    assert (len(problems), problems['{problem="not-msgpack"}'], sum(problems.values())) == (len(FeedProblem), 1, 1)
    assert series(telemetry, "maskline_resolved_events_total") == {"": 67}


def test_every_ending_reads_zero_before_it_happens(telemetry: Telemetry) -> None:
    """Rates work from the first event on, and impossible pairs get no series."""
    events = series(telemetry, "maskline_events_total")

    assert set(events.values()) == {0}
    assert '{kind="message",outcome="refused",reason="stop-word"}' in events
    assert '{kind="voice",outcome="refused",reason="stop-word"}' not in events


def test_events_are_counted_by_kind_outcome_and_reason(telemetry: Telemetry) -> None:
    """Two routed calls and one refused message are two series."""
    telemetry.decided(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION)
    telemetry.decided(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION)
    telemetry.decided(Kind.MESSAGE, Outcome.REFUSED, Reason.STOP_WORD)

    events = series(telemetry, "maskline_events_total")

    assert events['{kind="voice",outcome="routed",reason="in-session"}'] == 2
    assert events['{kind="message",outcome="refused",reason="stop-word"}'] == 1


def test_every_combination_of_the_closed_enums_can_be_counted(telemetry: Telemetry) -> None:
    """An ending that nobody foresaw is counted, not raised."""
    for kind in Kind:
        for outcome in Outcome:
            for reason in Reason:
                telemetry.decided(kind, outcome, reason)
    for report in ReportOutcome:
        telemetry.reported(report)

    assert set(series(telemetry, "maskline_events_total").values()) == {1}
    assert set(series(telemetry, "maskline_leg_reports_total").values()) == {1}


def test_debugger_events_are_counted_by_code_and_level(telemetry: Telemetry) -> None:
    """A code outside the catalogue falls into one series."""
    telemetry.debugger(event(Code.STOP_WORD))
    telemetry.debugger(event(99999))
    telemetry.debugger(event(99998))

    counted = series(telemetry, "maskline_debugger_events_total")

    assert counted == {'{code="80901",level="WARNING"}': 1, '{code="other",level="ERROR"}': 2}


def test_requests_cannot_grow_the_number_of_series_without_bound(telemetry: Telemetry) -> None:
    """Odd methods and a flood of routes end in `other`."""
    for number in range(MAX_ROUTES + 5):
        telemetry.requested(method="GET", route=f"/v1/made-up/{number}", status=404)
    telemetry.requested(method="BREW", route="/v1/made-up/0", status=405)

    counted = series(telemetry, "maskline_api_requests_total")

    assert len(counted) == MAX_ROUTES + 2
    assert counted['{method="GET",route="other",status="404"}'] == 5
    assert counted['{method="other",route="/v1/made-up/0",status="405"}'] == 1


def test_commits_are_measured_and_failures_counted_apart(telemetry: Telemetry) -> None:
    """A refused commit does not enter the histogram of lengths."""
    telemetry.committed(changes=3, seconds=0.004, is_ok=True)
    telemetry.committed(changes=9, seconds=9.0, is_ok=False)

    assert series(telemetry, "maskline_commit_seconds_count") == {"": 1}
    assert series(telemetry, "maskline_commit_seconds_bucket")['{le="0.005"}'] == 1
    assert series(telemetry, "maskline_commit_changes_sum") == {"": 3}
    assert series(telemetry, "maskline_failed_commits_total") == {"": 1}


def test_gauges_are_read_when_asked_for(telemetry: Telemetry) -> None:
    """Readiness and sizes are functions, so that nothing has to keep them up to date."""
    sessions: set[str] = set()
    telemetry.watch(is_ready=lambda: "KC1" in sessions, active_sessions=lambda: len(sessions))
    before = telemetry.exposition()

    sessions.add("KC1")

    after = telemetry.exposition()
    assert b"maskline_ready 0.0" in before
    assert b"maskline_active_sessions 0.0" in before
    assert b"maskline_ready 1.0" in after
    assert b"maskline_active_sessions 1.0" in after


def test_names_say_what_and_labels_hold_no_number_and_no_sid(telemetry: Telemetry) -> None:
    """Whatever is told, our names start alike and no label can name a person or a resource."""
    telemetry.debugger(event(Code.NO_ACTIVE_SESSION))
    telemetry.requested(method="GET", route="/v1/Services/{Sid}", status=200)

    lines = [line for line in telemetry.exposition().decode().splitlines() if not line.startswith("#")]

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


def test_every_reason_belongs_to_a_known_ending(telemetry: Telemetry) -> None:
    """A new reason must be given its series."""
    events = series(telemetry, "maskline_events_total")

    assert {reason for reason in Reason if any(f'reason="{reason}"' in labels for labels in events)} == set(Reason)


def test_hooks_and_deliveries_read_zero_before_they_happen(telemetry: Telemetry) -> None:
    """What egress tells is counted by closed labels, impossible pairs left out."""
    egress: EgressObserver = telemetry

    egress.asked(HookKind.INTERCEPT, HookEnd.BLOCKED)
    egress.delivered(DutyKind.CALLBACK, DeliveryEnd.DIED)

    hooks = series(telemetry, "maskline_hooks_asked_total")
    deliveries = series(telemetry, "maskline_deliveries_total")
    assert hooks['{end="blocked",hook="intercept"}'] == 1
    assert sum(hooks.values()) == 1
    assert '{end="twiml",hook="intercept"}' not in hooks
    assert deliveries['{end="died",kind="callback"}'] == 1
    assert len(deliveries) == len(DutyKind) * len(DeliveryEnd)
