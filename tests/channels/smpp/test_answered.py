"""What a connection remembers of messages that it has answered."""

from engine.channels.smpp.answered import RECENT_SECONDS, AnsweredArrivals
from engine.channels.smpp.arrivals import Arrival, sid_at, sid_for

NOW = 1_000.25


def arrival(number: int) -> Arrival:
    """Return one, with either kind of name."""
    digest = number.to_bytes(16)
    sid = sid_at(digest, "them", 1.5, connection=7, sequence=number) if number % 2 else sid_for(digest, number)
    return Arrival(digest, sid, 1_750_000_000.123456 + number, bool(number % 3))


def test_what_was_answered_is_told_as_it_came() -> None:
    """In the order of the answers."""
    came = [arrival(number) for number in (3, 1, 2, 2)]
    answered = AnsweredArrivals()

    for one in came:
        answered.add(one, NOW)

    assert answered.recent(NOW) == came


def test_an_answer_that_has_arrived_by_now_is_not_told() -> None:
    """Whether another one came since or not; at the very second it is."""
    came = [arrival(number) for number in range(4)]
    answered = AnsweredArrivals()
    for seconds, one in enumerate(came):
        answered.add(one, NOW + 4 * seconds)

    last = NOW + 12

    assert answered.recent(last) == came[1:]
    assert answered.recent(NOW + 8 + RECENT_SECONDS) == came[2:]
    assert answered.recent(last + RECENT_SECONDS + 1) == []


def test_what_is_over_takes_no_memory() -> None:
    """However many there were."""
    answered = AnsweredArrivals()
    for number in range(1_000):
        answered.add(arrival(number), NOW)
    full = len(answered._rows)

    answered.add(arrival(0), NOW + RECENT_SECONDS + 1)

    assert len(answered._rows) * 1_000 == full
