"""How fast a peer is sent to, and how long it is left alone after a connection has ended."""

import pytest

from engine.channels.smpp.dialer import Backoff
from engine.channels.smpp.pace import Pace
from engine.channels.smpp.pdu import Status
from engine.channels.smpp.session import End, Ended


def sent_in(pace: Pace, seconds: float, *, since: float) -> int:
    """Count what may be sent by a sender that always has something."""
    now, count = since, 0
    while True:
        wait = pace.wait(now)
        now += wait
        if now >= since + seconds:
            return count
        if not wait:
            pace.take(now)
            count += 1


def test_a_limit_is_kept() -> None:
    """Ten a second, and at most one more for the first."""
    assert sent_in(Pace(10, now=0), 10, since=0) in range(99, 102)


def test_a_complaint_halves_the_rate_and_it_grows_again() -> None:
    """By a twentieth a second, up to what was agreed on."""
    pace = Pace(100, now=0)
    sent_in(pace, 1, since=0)

    pace.complained(1)
    slow = sent_in(pace, 1, since=1)
    sent_in(pace, 30, since=2)

    assert slow in range(45, 56)
    assert not pace.is_slowed
    assert sent_in(pace, 1, since=32) in range(95, 115)


def test_a_peer_without_a_limit_is_slowed_from_what_it_got() -> None:
    """The rate of the last second is what it complains about."""
    pace = Pace(0, now=0)
    for step in range(200):
        assert pace.wait(step / 200) == 0
        pace.take(step / 200)

    pace.complained(0.995)

    assert sent_in(pace, 1, since=0.995) in range(90, 115)


def test_all_that_was_under_way_is_one_complaint() -> None:
    """A window of messages that left in one moment is answered alike; it must not cost minutes."""
    pace = Pace(1000, now=0)
    sent_in(pace, 1, since=0)
    for answer in range(100):
        pace.complained(1 + answer / 1000)

    first = sent_in(pace, 1, since=1.1)
    pace.complained(2.1)

    assert first in range(450, 580)
    assert sent_in(pace, 1, since=2.1) in range(220, 290)


def test_a_complaint_at_the_beginning_of_a_second_is_about_the_one_before() -> None:
    """It is not taken for a rate of which next to nothing was used."""
    pace = Pace(0, now=0)
    for step in range(201):
        pace.take(step / 200)

    pace.complained(1.001)

    assert sent_in(pace, 1, since=1.001) in range(90, 115)


def test_a_peer_that_always_complains_still_gets_messages() -> None:
    """One in ten seconds."""
    pace = Pace(1, now=0)
    for second in range(50):
        pace.complained(second)

    assert sent_in(pace, 100, since=50) > 0


@pytest.mark.parametrize(
    ("ended", "waits"),
    [
        (None, [1, 2, 4, 8, 16, 32, 60, 60]),
        (Ended(End.LOST), [1, 2, 4, 8, 16, 32, 60]),
        (Ended(End.UNBOUND), [0, 2, 4]),
        (Ended(End.REFUSED, Status.WRONG_PASSWORD), [90, 90]),
        (Ended(End.REFUSED, Status.BIND_FAILED), [90]),
        (Ended(End.REFUSED, Status.ALREADY_BOUND), [10, 10]),
        (Ended(End.REFUSED, Status.SYSTEM_ERROR), [1, 2]),
    ],
)
def test_the_wait_depends_on_why_a_connection_ended(ended: Ended | None, waits: list[float]) -> None:
    """Here the longest that may be drawn."""
    backoff = Backoff(draw=lambda _, most: most)

    assert [backoff.wait(ended, lasted_seconds=0) for _ in waits] == waits


def test_a_connection_that_lasted_begins_the_waits_anew() -> None:
    """What came before it is forgotten."""
    backoff = Backoff(draw=lambda _, most: most)
    for _ in range(5):
        backoff.wait(None, lasted_seconds=0)

    assert backoff.wait(Ended(End.LOST), lasted_seconds=60) == 1
