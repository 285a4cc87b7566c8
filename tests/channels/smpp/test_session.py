"""One connection of either role: who may send what when, what is paired, and what silence means."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.smpp.pdu import GENERIC_NACK, RESPONSE, Bind, Command, Frame, Splitter, Status, frame, write_bind
from engine.channels.smpp.session import (
    BOUND_BY,
    MAY_SEND,
    BindAsked,
    Bound,
    End,
    Ended,
    Event,
    NotNow,
    OutbindAsked,
    RequestCame,
    ResponseCame,
    ResponseMissing,
    Role,
    Session,
    State,
    Timing,
)

NOW = 1_000.0
BIND = Bind(system_id="carrier", password="secret")
TIMING = Timing()


def session(role: Role, *, window: int = 10) -> Session:
    return Session(role, window=window, timing=TIMING, now=NOW)


def sent(one: Session) -> list[Frame]:
    return list(Splitter().feed(one.data_to_send()))


def passed(source: Session, target: Session, *, now: float = NOW) -> list[Event]:
    """Hand on what one side sends to the other."""
    return target.receive(source.data_to_send(), now=now)


def bound(command: Command = Command.BIND_TRANSCEIVER, *, window: int = 10) -> tuple[Session, Session]:
    esme, smsc = session(Role.ESME, window=window), session(Role.SMSC, window=window)
    esme.request(command, write_bind(BIND), now=NOW)
    assert passed(esme, smsc) == [BindAsked(command, BIND)]
    smsc.accept_bind(b"us\0")
    assert passed(smsc, esme) == [Bound(BOUND_BY[command])]
    return esme, smsc


def test_a_message_that_came_with_the_bind_is_taken_once_that_is_accepted() -> None:
    """Its sender did not wait; with a bind that is refused it is dropped, unanswered."""
    smsc = session(Role.SMSC)
    bind = frame(Command.BIND_TRANSCEIVER, 1, write_bind(BIND))
    asked = smsc.receive(bind + frame(Command.SUBMIT_SM, 2, b"message"), now=NOW)

    assert asked == [BindAsked(Command.BIND_TRANSCEIVER, BIND)]
    assert smsc.accept_bind(b"us\0") == [RequestCame(Command.SUBMIT_SM, 2, b"message")]


@pytest.mark.parametrize("command", BOUND_BY)
def test_a_bind_binds_both_sides_alike(command: Command) -> None:
    """As transmitter, receiver or both."""
    esme, smsc = bound(command)

    assert esme.state is smsc.state is BOUND_BY[command]


def test_a_refused_bind_ends_the_connection() -> None:
    """For both, with the status that was given."""
    esme, smsc = session(Role.ESME), session(Role.SMSC)
    esme.request(Command.BIND_RECEIVER, write_bind(BIND), now=NOW)
    passed(esme, smsc)

    assert smsc.refuse_bind(Status.WRONG_PASSWORD) == [Ended(End.REFUSED, Status.WRONG_PASSWORD)]
    assert passed(smsc, esme) == [Ended(End.REFUSED, Status.WRONG_PASSWORD)]
    assert esme.state is smsc.state is State.CLOSED


def test_a_bind_that_cannot_be_read_is_refused() -> None:
    """By its own status."""
    smsc = session(Role.SMSC)

    assert smsc.receive(frame(Command.BIND_RECEIVER, 1, b"no end"), now=NOW) == [Ended(End.REFUSED, 0x02)]
    assert [(one.command, one.status) for one in sent(smsc)] == [(Command.BIND_RECEIVER | RESPONSE, 0x02)]


LEGAL = {
    Role.ESME: {
        State.OPEN: {Command.BIND_RECEIVER, Command.BIND_TRANSMITTER, Command.BIND_TRANSCEIVER},
        State.TRANSMITTER: {
            Command.SUBMIT_SM,
            Command.DATA_SM,
            Command.QUERY_SM,
            Command.REPLACE_SM,
            Command.CANCEL_SM,
            Command.UNBIND,
        },
        State.RECEIVER: {Command.UNBIND},
        State.TRANSCEIVER: {
            Command.SUBMIT_SM,
            Command.DATA_SM,
            Command.QUERY_SM,
            Command.REPLACE_SM,
            Command.CANCEL_SM,
            Command.UNBIND,
        },
    },
    Role.SMSC: {
        State.OPEN: {Command.OUTBIND},
        State.TRANSMITTER: {Command.UNBIND},
        State.RECEIVER: {Command.DELIVER_SM, Command.DATA_SM, Command.ALERT_NOTIFICATION, Command.UNBIND},
        State.TRANSCEIVER: {Command.DELIVER_SM, Command.DATA_SM, Command.ALERT_NOTIFICATION, Command.UNBIND},
    },
}
"""SMPP 3.4, table 2-1; enquire_link always."""


@pytest.mark.parametrize(("role", "state", "command"), list(product(Role, State, Command)))
def test_a_side_sends_what_its_state_allows(role: Role, state: State, command: Command) -> None:
    """The table is the standard's, row by row; whatever else is a mistake of ours."""
    one = session(role)
    one.state = state
    is_legal = command in LEGAL[role].get(state, set()) or (
        command is Command.ENQUIRE_LINK and state is not State.CLOSED
    )

    assert (state in MAY_SEND.get((role, command), ())) is is_legal
    if is_legal:
        one.request(command, now=NOW)
        assert [each.command for each in sent(one)] == [command]
    else:
        with pytest.raises(NotNow):
            one.request(command, now=NOW)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (Command.SUBMIT_SM, Status.WRONG_BIND_STATE),
        (Command.DELIVER_SM, Status.WRONG_BIND_STATE),
        (Command.BIND_RECEIVER, Status.ALREADY_BOUND),
    ],
)
def test_what_they_may_not_send_now_is_refused(command: Command, status: Status) -> None:
    """The connection stays."""
    _, smsc = bound(Command.BIND_RECEIVER)

    assert smsc.receive(frame(command, 9, b""), now=NOW) == []
    assert [(one.command, one.status, one.sequence) for one in sent(smsc)] == [(command | RESPONSE, status, 9)]
    assert smsc.state is State.RECEIVER


def test_an_unknown_command_is_told_so_and_the_connection_stays() -> None:
    """By a generic_nack with its number."""
    _, smsc = bound()

    smsc.receive(frame(0x0001_0001, 9), now=NOW)

    assert [(one.command, one.status, one.sequence) for one in sent(smsc)] == [(GENERIC_NACK, 0x03, 9)]
    assert smsc.state is State.TRANSCEIVER


def test_what_is_no_pdu_ends_the_connection() -> None:
    """What waits for a response will have none."""
    esme, _ = bound()
    esme.request(Command.SUBMIT_SM, now=NOW, token="a text")
    sent(esme)

    assert esme.receive(bytes(16), now=NOW) == [ResponseMissing("a text"), Ended(End.UNFRAMED)]
    assert [(one.command, one.status) for one in sent(esme)] == [(GENERIC_NACK, 0x02)]
    assert esme.receive(frame(Command.ENQUIRE_LINK, 1), now=NOW) == []


def test_responses_are_paired_in_any_order() -> None:
    """By number and command; an answer to nothing is ignored."""
    esme, smsc = bound()
    for token in "abc":
        esme.request(Command.SUBMIT_SM, token.encode(), now=NOW, token=token)
    came = passed(esme, smsc)
    asked = [one for one in came if isinstance(one, RequestCame)]
    assert [one.body for one in asked] == [b"a", b"b", b"c"]

    for one in reversed(asked):
        smsc.respond(one, b"id-" + one.body, status=Status.THROTTLED if one.body == b"b" else Status.OK)
    answers = passed(smsc, esme)

    assert answers == [
        ResponseCame("c", Status.OK, b"id-c"),
        ResponseCame("b", Status.THROTTLED, b"id-b"),
        ResponseCame("a", Status.OK, b"id-a"),
    ]
    assert esme.receive(frame(Command.SUBMIT_SM | RESPONSE, 77), now=NOW) == []


def test_a_generic_nack_answers_a_request() -> None:
    """As peers do that do not know the command."""
    esme, _ = bound()
    esme.request(Command.DATA_SM, now=NOW, token="a text")
    (asked,) = sent(esme)

    nack = frame(GENERIC_NACK, asked.sequence, status=Status.UNKNOWN_COMMAND)

    assert esme.receive(nack, now=NOW) == [ResponseCame("a text", Status.UNKNOWN_COMMAND, b"")]


def test_a_response_of_another_command_answers_nothing() -> None:
    """Nor does it take the request's place."""
    esme, _ = bound()
    esme.request(Command.SUBMIT_SM, now=NOW, token="a text")
    (asked,) = sent(esme)

    assert esme.receive(frame(Command.DATA_SM | RESPONSE, asked.sequence), now=NOW) == []
    assert esme.room == 9


def test_the_window_counts_messages_without_a_response() -> None:
    """Proofs of life take no room."""
    esme, smsc = bound(window=2)
    assert esme.room == 2
    esme.request(Command.SUBMIT_SM, now=NOW)
    esme.request(Command.SUBMIT_SM, now=NOW)
    esme.request(Command.ENQUIRE_LINK, now=NOW)
    assert esme.room == 0

    for one in passed(esme, smsc):
        assert isinstance(one, RequestCame)
        smsc.respond(one)
    passed(smsc, esme)

    assert esme.room == 2


def test_proofs_of_life_leave_before_a_backlog() -> None:
    """Theirs are answered before anything else that waits to be sent."""
    esme, _ = bound()
    for _ in range(1_000):
        esme.respond(RequestCame(Command.DELIVER_SM, 5, b""))

    esme.receive(frame(Command.ENQUIRE_LINK, 3), now=NOW)

    assert sent(esme)[0] == Frame(Command.ENQUIRE_LINK | RESPONSE, 0, 3)


def test_a_message_without_response_is_unknown_after_its_time() -> None:
    """Once; a late response is for nobody."""
    esme, smsc = bound()
    esme.request(Command.SUBMIT_SM, now=NOW, token="first")
    esme.request(Command.SUBMIT_SM, now=NOW + 1, token="second")
    asked = passed(esme, smsc)

    assert esme.next_timer() == NOW + 30
    assert esme.wake(now=NOW + 29.9) == []
    assert esme.wake(now=NOW + 30) == [ResponseMissing("first")]
    for one in asked:
        assert isinstance(one, RequestCame)
        smsc.respond(one)
    assert passed(smsc, esme, now=NOW + 30.5) == [ResponseCame("second", 0, b"")]


def test_a_lost_connection_leaves_its_messages_unknown() -> None:
    """And ends once."""
    esme, _ = bound()
    esme.request(Command.SUBMIT_SM, now=NOW, token="a text")

    assert esme.lose() == [ResponseMissing("a text"), Ended(End.LOST)]
    assert esme.lose() == []
    assert esme.next_timer() is None


def test_whoever_does_not_bind_in_time_is_let_go() -> None:
    """Of either role."""
    for role in Role:
        one = session(role)
        assert one.next_timer() == NOW + 10
        assert one.wake(now=NOW + 9.9) == []
        assert one.wake(now=NOW + 10) == [Ended(End.NOT_BOUND)]


def test_a_silent_side_is_asked_twice_and_then_left() -> None:
    """Thirty seconds of silence, then ten for each answer."""
    esme, _ = bound()
    sent(esme)

    assert esme.next_timer() == NOW + 30
    assert esme.wake(now=NOW + 30) == []
    assert [one.command for one in sent(esme)] == [Command.ENQUIRE_LINK]
    assert esme.next_timer() == NOW + 40
    assert esme.wake(now=NOW + 40) == []
    assert [one.command for one in sent(esme)] == [Command.ENQUIRE_LINK]
    assert esme.wake(now=NOW + 50) == [Ended(End.SILENT)]


def test_any_pdu_proves_life() -> None:
    """Not only the answer to the question."""
    esme, _ = bound()
    esme.wake(now=NOW + 30)

    esme.receive(frame(Command.DELIVER_SM, 1), now=NOW + 31)

    assert esme.next_timer() == NOW + 61


def test_either_side_may_unbind() -> None:
    """Answered, and then over for both; messages are refused meanwhile, for another connection to take."""
    esme, smsc = bound()
    esme.request(Command.UNBIND, now=NOW)
    esme.receive(frame(Command.DELIVER_SM, 4), now=NOW)
    assert [(one.command, one.status) for one in sent(esme)] == [
        (Command.UNBIND, 0),
        (Command.DELIVER_SM | RESPONSE, Status.SYSTEM_ERROR),
    ]

    assert smsc.receive(frame(Command.UNBIND, 2), now=NOW) == [Ended(End.UNBOUND)]
    assert passed(smsc, esme) == [Ended(End.UNBOUND)]


def test_an_unbind_that_is_not_answered_ends_all_the_same() -> None:
    """After the time for a response."""
    esme, _ = bound()
    esme.request(Command.UNBIND, now=NOW)

    assert esme.wake(now=NOW + 30) == [Ended(End.UNBOUND)]


def test_an_outbind_is_told() -> None:
    """Whether to follow it is configuration."""
    assert session(Role.ESME).receive(frame(Command.OUTBIND, 1, b"smsc\0pw\0"), now=NOW) == [
        OutbindAsked(b"smsc\0pw\0")
    ]


@given(
    st.sampled_from(Role),
    st.lists(
        st.tuples(st.integers(0, 0x110) | st.sampled_from(Command), st.booleans(), st.binary(max_size=20)), max_size=12
    ),
)
def test_nothing_that_comes_can_do_harm(role: Role, frames: list[tuple[int, bool, bytes]]) -> None:
    """Every request is answered once or told; the end is the last event."""
    one = session(role)
    events: list[Event] = []

    for sequence, (command, is_response, body) in enumerate(frames, 1):
        events += one.receive(frame(command | (RESPONSE if is_response else 0), sequence, body), now=NOW)

    answered = [each.sequence for each in sent(one) if each.command & RESPONSE]
    assert len(answered) == len(set(answered))
    assert [event for event in events[:-1] if isinstance(event, Ended)] == []
    assert (one.state is State.CLOSED) is any(isinstance(event, Ended) for event in events)
