"""INVITEs that wait: what they are told, what is repeated, and that each is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.transactions import Send, State, Transaction, Transactions

NOW = 1_000.0
KEY = b"carrier\0call\0tag\x001\0z9hG4bK1"


def waiting(*, is_reliable: bool = False) -> Transaction:
    return Transaction(KEY, is_reliable=is_reliable, now=NOW, deadline=NOW + 2)


def tried(*, is_reliable: bool = False) -> Transaction:
    one = waiting(is_reliable=is_reliable)
    assert one.wake(now=NOW + 0.2) is Send.TRYING
    return one


def test_a_quick_answer_is_given_once_and_forgotten() -> None:
    """The client repeats itself if it is lost, and is answered anew."""
    one = waiting()

    assert one.repeat() is Send.NOTHING
    assert one.decide(b"302", now=NOW + 0.1) is Send.ANSWER
    assert (one.state, one.timer) == (State.OVER, None)


def test_a_late_one_is_told_that_it_is_tried() -> None:
    """After a fifth of a second, and whenever it repeats itself."""
    one = waiting()

    assert one.wake(now=NOW + 0.19) is Send.NOTHING
    assert one.wake(now=NOW + 0.2) is Send.TRYING
    assert one.repeat() is Send.TRYING
    assert one.timer == NOW + 2
    assert not one.is_overdue(now=NOW + 1.9)
    assert one.is_overdue(now=NOW + 2)


def test_its_answer_is_repeated_until_it_is_acknowledged() -> None:
    """At half a second, then twice as long each time, up to four seconds."""
    one = tried()
    assert one.decide(b"302", now=NOW + 1) is Send.ANSWER

    times: list[float] = []
    while one.timer is not None and len(times) < 5:
        times.append(one.timer - NOW - 1)
        assert one.wake(now=one.timer) is Send.ANSWER

    assert times == [0.5, 1.5, 3.5, 7.5, 11.5]
    assert one.repeat() is Send.ANSWER
    assert one.acknowledge() is Send.NOTHING
    assert one.state is State.OVER


def test_an_answer_that_is_never_acknowledged_is_given_up() -> None:
    """After thirty-two seconds."""
    one = tried()
    one.decide(b"302", now=NOW)

    sent = 0
    while one.timer is not None:
        sent += one.wake(now=one.timer) is Send.ANSWER

    assert sent == 10
    assert one.state is State.OVER


def test_over_a_reliable_transport_nothing_is_repeated() -> None:
    """The answer arrives, or the connection is gone."""
    one = tried(is_reliable=True)

    assert one.decide(b"302", now=NOW) is Send.ANSWER
    assert (one.state, one.timer) == (State.OVER, None)


def test_the_first_answer_stays() -> None:
    """A decision that comes behind a CANCEL's answer is for nobody."""
    one = tried()
    one.decide(b"487", now=NOW)

    assert one.decide(b"302", now=NOW) is Send.NOTHING
    assert one.answer == b"487"


def test_they_are_found_woken_and_forgotten() -> None:
    """By key and time, so many and no more."""
    held = Transactions(most=2)
    first = Transaction(KEY, is_reliable=False, now=NOW, deadline=NOW + 9)
    held.hold(first)
    held.hold(Transaction(b"carrier\0call\0tag\x002\0", is_reliable=False, now=NOW + 1, deadline=NOW + 9))

    assert (held.is_full, held.find(KEY), held.next_timer()) == (True, first, NOW + 0.2)
    assert held.due(now=NOW + 0.2) == [first]
    first.decide(b"302", now=NOW)
    held.settle(first)
    assert (held.is_full, held.find(KEY), len(held)) == (False, None, 1)


def test_one_is_woken_once_by_a_timer_that_it_had_before() -> None:
    """Its third wait ends just when its decision would have been overdue."""
    held = Transactions(most=1)
    one = waiting()
    held.hold(one)

    def woken(now: float) -> list[Transaction]:
        found = held.due(now=now)
        for each in found:
            each.wake(now=now)
            held.settle(each)
        return found

    assert woken(NOW + 0.25) == [one]
    one.decide(b"302", now=NOW + 0.5)
    held.settle(one)
    assert woken(NOW + 1) == [one]
    assert one.timer == NOW + 2
    assert woken(NOW + 2) == [one]


@given(st.lists(st.sampled_from(["repeat", "acknowledge", "decide", "wake"]), max_size=40), st.booleans())
def test_every_one_ends(steps: list[str], is_reliable: bool) -> None:  # noqa: FBT001 - drawn
    """And is answered with the one answer that it has."""
    one, now = waiting(is_reliable=is_reliable), NOW

    for step in steps:
        match step:
            case "repeat":
                sent = one.repeat()
            case "acknowledge":
                sent = one.acknowledge()
            case "decide":
                sent = one.decide(b"302", now=now)
            case _:
                now = now if one.timer is None else one.timer
                sent = one.wake(now=now)
        assert sent is not Send.ANSWER or one.answer == b"302"

    one.decide(b"302", now=now)
    while one.timer is not None:
        one.wake(now=one.timer)
    assert one.state is State.OVER
