"""How long is waited between two tries, and what a receiver may say about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.outbound.delivery import Delivery, retry_after, wait_before
from engine.outbound.exchange import Answer
from engine.outbound.settings import TRIES, EgressSettings
from engine.settings import Settings

NOW = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT"""

BUSY = Delivery(error="answered 503", may_retry=True)


def least(low: float, high: float) -> float:
    return low


def most(low: float, high: float) -> float:
    return high


def test_tries_last_for_ten_minutes_by_default() -> None:
    """However the waits are drawn; and no longer than twenty."""
    settings = EgressSettings()

    shortest = sum(wait_before(tries, BUSY, settings=settings, draw=least) for tries in range(1, TRIES))
    longest = sum(wait_before(tries, BUSY, settings=settings, draw=most) for tries in range(1, TRIES))

    assert Settings().webhook_tries == Settings().carrier_tries == settings.webhook_tries == settings.carrier_tries
    assert settings.webhook_tries == TRIES
    assert settings.longest_retry_wait_seconds == Settings().longest_retry_wait_seconds
    assert 600 <= shortest < longest <= 1210


def test_waits_grow_up_to_the_longest() -> None:
    """Doubling from the first, half of each at random."""
    settings = EgressSettings(first_wait_seconds=1.0, longest_retry_wait_seconds=60.0)

    waits = [wait_before(tries, BUSY, settings=settings, draw=most) for tries in (1, 2, 3, 6, 7, 8, 1_000_000)]

    assert waits == [1, 2, 4, 32, 60, 60, 60]
    assert wait_before(3, BUSY, settings=settings, draw=least) == 2


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 2.0), (30.0, 32.0), (600.0, 602.0), (86_400.0, 602.0)])
def test_a_receiver_may_ask_for_a_longer_wait(asked: float, waited: float) -> None:
    """It comes on top, up to ten minutes."""
    delivery = Delivery(error="answered 429", may_retry=True, retry_after_seconds=asked)

    assert wait_before(2, delivery, settings=EgressSettings(), draw=most) == waited


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
        ("Sun Nov  6 08:50:37 1994", 60),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("9" * 500, 0),
        ("Sun, 99 Nov 1994 08:49:00 GMT", 0),
        ("Sun, 06 Nov 99999 08:49:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    """In the three forms of RFC 9110; what cannot be read asks for nothing."""
    answer = Answer(status=503, headers=(("retry-after", value),))

    assert retry_after(answer, now=NOW) == seconds


@given(st.text())
def test_nothing_in_retry_after_does_harm(value: str) -> None:
    """A wait is never negative."""
    assert retry_after(Answer(status=503, headers=(("retry-after", value),)), now=NOW) >= 0


def test_no_retry_after_asks_for_nothing() -> None:
    """Most answers have none."""
    assert retry_after(Answer(status=503), now=NOW) == 0
