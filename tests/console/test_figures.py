"""Rates of counters, limits of failed logins, and how values are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.console.limits import FailedLogins
from engine.console.monitor import depth
from engine.console.pages import lasting, rate, when
from engine.console.rates import Rates, TrafficLine
from engine.core.model.overview import HostFigures, HostStatus, TrafficCount
from engine.core.model.records import Kind
from engine.core.ports.lists import OutboxDepth
from engine.core.routing.traffic import Outcome, Reason

ROUTED = (Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION)


def host(routed: int, *, name: str = "host-0", started_at: float = 0.0) -> HostStatus:
    """Return a host that has routed so many calls."""
    counts = (TrafficCount(*ROUTED, routed), TrafficCount(Kind.VOICE, Outcome.REFUSED, Reason.NO_SESSION, 0))
    return HostStatus(name=name, started_at=started_at, figures=HostFigures(traffic=counts))


def test_a_rate_is_the_gain_over_the_last_ten_seconds() -> None:
    """The first reading has nothing to be compared with; what never happened is left out."""
    rates = Rates()

    seen = [rates.lines([host(100 + 5 * second)], now=float(second)) for second in range(0, 21, 2)]

    assert seen[0] == (TrafficLine(*ROUTED, 100, None),)
    assert [line.per_second for (line,) in seen[1:]] == [pytest.approx(5.0)] * 10


def test_a_rate_follows_a_change_within_ten_seconds() -> None:
    """A burst that is over is forgotten."""
    rates = Rates()
    for second in range(10):
        rates.lines([host(1_000 * second)], now=float(second))

    seen = [rates.lines([host(9_000)], now=float(second)) for second in range(10, 25)]

    assert [line.per_second for line in seen[-1]] == [0.0]


def test_a_reading_of_long_ago_says_nothing_of_now() -> None:
    """Whoever comes back after a while waits for the next reading."""
    rates = Rates()
    rates.lines([host(0)], now=0.0)

    (line,) = rates.lines([host(90)], now=31.0)

    assert line.per_second is None


def test_a_host_that_started_again_counts_from_its_start() -> None:
    """Never backwards; the others are counted as ever."""
    rates = Rates()
    rates.lines([host(500), host(10, name="host-1")], now=0.0)

    (line,) = rates.lines([host(3, started_at=1.0), host(30, name="host-1")], now=2.0)

    assert (line.count, line.per_second) == (33, 10.0)


def test_a_host_that_falls_silent_is_left_out() -> None:
    """Neither its counts nor its loss of them are shown."""
    rates = Rates()
    rates.lines([host(500), host(10, name="host-1")], now=0.0)

    (line,) = rates.lines([host(500), HostStatus(name="host-1", is_answering=False)], now=2.0)

    assert (line.count, line.per_second) == (500, 0.0)


def test_what_the_hosts_owe_is_added_up() -> None:
    """The oldest is the oldest of all."""
    one = HostStatus(name="host-0", figures=HostFigures(outbox=OutboxDepth(3, 1, 20.0)))
    other = HostStatus(name="host-1", figures=HostFigures(outbox=OutboxDepth(4, 0, 10.0)))

    assert depth([one, other, HostStatus(name="host-2", is_answering=False)]) == OutboxDepth(7, 1, 10.0)
    assert depth([]) == OutboxDepth(0, 0, None)


def test_failures_are_counted_by_network() -> None:
    """An IPv6 address has 2**64 neighbours that are the same person."""
    failed = FailedLogins(of_source=2, in_all=100, window_seconds=60.0)

    failed.failed("2001:db8::1", now=0.0)
    failed.failed("2001:db8::ffff:2", now=10.0)

    assert failed.wait_seconds("2001:db8::3", now=20.0) == 40.0
    assert failed.wait_seconds("2001:db8:0:1::3", now=20.0) == 0.0
    assert failed.wait_seconds("::ffff:192.0.2.1", now=20.0) == failed.wait_seconds("192.0.2.1", now=20.0) == 0.0
    assert failed.wait_seconds("2001:db8::3", now=60.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 50))))
def test_no_more_failures_are_remembered_than_are_allowed(tries: list[tuple[str, float]]) -> None:
    """However many there are, and however the clock goes."""
    failed = FailedLogins(of_source=3, in_all=5, window_seconds=10.0)

    for source, now in tries:
        if not failed.wait_seconds(source, now=now):
            failed.failed(source, now=now)

        assert len(failed._failures) <= 5
        assert sum(failed._by_source.values()) == len(failed._failures)
        assert max(failed._by_source.values(), default=0) <= 3


@pytest.mark.parametrize(("seconds", "shown"), [(None, ""), (-5, "0 s"), (59, "59 s"), (60, "1 min"), (86_400, "1 d")])
def test_a_length_of_time_is_shown_in_its_largest_unit(seconds: float | None, shown: str) -> None:
    """A clock that was set back shows no negative age."""
    assert lasting(seconds) == shown


@pytest.mark.parametrize(("per_second", "shown"), [(None, "…"), (0.0, "0"), (0.25, "0.2"), (1234.5, "1,234")])
def test_a_rate_is_shown_with_a_digit_where_it_matters(per_second: float | None, shown: str) -> None:
    """Below ten."""
    assert rate(per_second) == shown


def test_times_are_shown_in_utc() -> None:
    """To the second; none is shown as nothing."""
    assert when(1_438_286_400.9) == "2015-07-30 20:00:00"
    assert when(None) == ""
