"""The sliding-window rate limit."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.core.rate import SlidingWindow


def test_burst_of_a_whole_window_passes_and_the_next_request_does_not() -> None:
    """30 a second over 5 seconds lets 150 pass at once."""
    limit = SlidingWindow(rate_per_second=30, window_seconds=5)

    verdicts = [limit.take("sessions", now=100.0) for _ in range(151)]

    assert [verdict.is_allowed for verdict in verdicts] == [True] * 150 + [False]
    assert verdicts[-1].retry_after_seconds == 5.0


def test_window_slides() -> None:
    """What passed longer than a window ago no longer counts."""
    limit = SlidingWindow(rate_per_second=1, window_seconds=5)
    for second in range(5):
        assert limit.take("sessions", now=float(second)).is_allowed

    refused = limit.take("sessions", now=4.5)
    allowed = limit.take("sessions", now=5.0)

    assert not refused.is_allowed
    assert refused.retry_after_seconds == 0.5
    assert allowed.is_allowed


def test_keys_do_not_disturb_one_another() -> None:
    """One service at its limit leaves the others alone."""
    limit = SlidingWindow(rate_per_second=1, window_seconds=1)

    verdicts = [limit.take(key, now=0.0).is_allowed for key in ("one", "one", "two")]

    assert verdicts == [True, False, True]


def test_rate_of_zero_allows_everything() -> None:
    """0 turns the limit off."""
    limit = SlidingWindow(rate_per_second=0, window_seconds=5)

    assert all(limit.take("sessions", now=0.0).is_allowed for _ in range(1000))


def test_first_refusal_of_a_window_is_marked() -> None:
    """A flood is told once a window, not once a request."""
    limit = SlidingWindow(rate_per_second=1, window_seconds=5)
    for _ in range(5):
        limit.take("sessions", now=0.0)

    marks = [limit.take("sessions", now=moment).is_first_refusal for moment in (1.0, 1.1, 4.0)]
    for _ in range(5):
        limit.take("sessions", now=6.0)

    assert marks == [True, False, False]
    assert limit.take("sessions", now=7.0).is_first_refusal


def test_refused_requests_do_not_prolong_the_refusal() -> None:
    """A client that keeps knocking gets in when its allowed requests have aged."""
    limit = SlidingWindow(rate_per_second=1, window_seconds=2)
    for _ in range(2):
        limit.take("sessions", now=0.0)
    for tenth in range(1, 20):
        assert not limit.take("sessions", now=tenth / 10).is_allowed

    assert limit.take("sessions", now=2.0).is_allowed


def test_idle_keys_are_forgotten() -> None:
    """Memory follows the keys in use, not all that were ever seen."""
    limit = SlidingWindow(rate_per_second=1, window_seconds=1)
    for number in range(1000):
        limit.take(number, now=0.0)

    for second in range(1, 4):
        limit.take("busy", now=float(second))

    assert len(limit) == 1


def test_clock_set_back_does_not_lock_anybody_out() -> None:
    """A correction of the clock forgives."""
    limit = SlidingWindow(rate_per_second=1, window_seconds=1)
    limit.take("sessions", now=10_000.0)

    assert limit.take("sessions", now=5.0).is_allowed


@given(
    st.lists(st.floats(min_value=0, max_value=3), max_size=200),
    st.integers(min_value=1, max_value=4),
    st.integers(min_value=1, max_value=5),
)
def test_no_window_ever_holds_more_than_its_allowance(gaps: list[float], rate: int, window: int) -> None:
    """Whatever the pace, any window of the length holds at most rate times length allowed requests."""
    limit = SlidingWindow(rate_per_second=rate, window_seconds=window)
    now = 1000.0
    allowed = []
    for gap in gaps:
        now += gap
        if limit.take("sessions", now=now).is_allowed:
            allowed.append(now)

    assert all(earlier <= later for earlier, later in pairwise(allowed))
    for start in allowed:
        assert sum(1 for moment in allowed if start <= moment < start + window - 1e-6) <= rate * window
