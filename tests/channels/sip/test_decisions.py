"""What a decision is in SIP, and that nobody is shown or dialled but the caller id and the partner."""

import msgspec
import pytest

from engine.channels.sip.answers import PHRASES
from engine.channels.sip.decisions import SipAnswer, answer_to
from engine.channels.sip.styles import AnswerStyle, ContactStyle
from engine.core.routing.traffic import ENDINGS, Decision, Outcome, Reason

BOB, P2, INTERACTION = "+12125550122", "+14155550101", "KI" + "1" * 32
ROUTED = Decision(
    Outcome.ROUTED,
    Reason.IN_SESSION,
    to=BOB,
    caller_id=P2,
    session_sid="KC" + "1" * 32,
    interaction_sid=INTERACTION,
    inbound_participant_sid="KP" + "1" * 32,
    outbound_participant_sid="KP" + "2" * 32,
)
PLAIN = AnswerStyle(contact_host="192.0.2.1:5080")


def headers(answer: SipAnswer) -> list[str]:
    return answer.lines.decode().split("\r\n")[1:]


def test_a_routed_call_is_redirected_to_the_partner() -> None:
    """The caller id and the interaction stand beside it."""
    answer = answer_to(ROUTED, PLAIN, came_from="192.0.2.1")

    assert answer.status == 302
    assert headers(answer) == [
        "Contact: <sip:+12125550122@192.0.2.1:5080;user=phone>",
        "X-Maskline-Caller-Id: +14155550101",
        f"X-Maskline-Interaction: {INTERACTION}",
    ]


def test_a_peer_that_sees_the_user_part_alone_finds_all_there() -> None:
    """Of the length that an Asterisk extension holds, over the transport that it names."""
    style = AnswerStyle(contact_host="pbx.example", contact_transport="tcp", contact_style=ContactStyle.USER)

    (contact,) = headers(answer_to(ROUTED, style, came_from="192.0.2.1"))

    assert contact == f"Contact: <sip:+12125550122*+14155550101*{INTERACTION}@pbx.example;transport=tcp>"
    assert len(f"{BOB}*{P2}*{INTERACTION}") <= 79


@pytest.mark.parametrize("missing", ["to", "caller_id", "interaction_sid"])
def test_a_redirection_that_lacks_something_ends_the_call(missing: str) -> None:
    """A switch that finds no caller id would show the caller's own."""
    decision = msgspec.structs.replace(ROUTED, **{missing: ""})

    assert answer_to(decision, PLAIN, came_from="192.0.2.1").status == 500


@pytest.mark.parametrize(
    ("outcome", "reason", "status"),
    [(Outcome.REFUSED, reason, 486) for reason in ENDINGS[Outcome.REFUSED]]
    + [(Outcome.ANSWERED, reason, 480) for reason in ENDINGS[Outcome.ANSWERED]]
    + [
        (Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL, 404),
        (Outcome.NOT_READY, Reason.REBUILDING, 500),
        (Outcome.NOT_READY, Reason.STORE_UNAVAILABLE, 503),
        (Outcome.NOT_READY, Reason.BUSY, 503),
    ],
)
def test_whatever_is_not_routed_says_nothing(outcome: Outcome, reason: Reason, status: int) -> None:
    """No session, no number and no reason of ours reach the caller, who sees this answer."""
    decision = Decision(outcome, reason, to=BOB, caller_id=P2, session_sid="KC" + "1" * 32)

    answer = answer_to(decision, AnswerStyle(contact_host="h", refusal_status=486), came_from="192.0.2.1")

    assert answer.status == status
    assert answer.status in PHRASES
    assert set(headers(answer)) <= {"Reason: Q.850;cause=1", "Retry-After: 1"}
