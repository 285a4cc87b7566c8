"""What must never happen to inbound traffic, and that a question is answered as an event is decided."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.records import (
    Address,
    Kind,
    Mode,
)
from engine.core.routing.decide import (
    STRANGERS,
    NumberRules,
    decision_of,
    outbound_address,
    resolve,
    resolve_all,
)
from engine.core.routing.resolved import Route
from engine.core.routing.traffic import Outcome, Question
from engine.core.sessions.bindings import ActiveSession, Bindings
from tests.core.pairings import (
    ALICE,
    ARGENTINE,
    BOB,
    CAROL,
    MEXICAN,
    NOW,
    P1,
    P2,
    PLAIN,
    arrival,
    bound,
    call,
    couple,
    endpoint,
    pairing,
    ruled,
)

PEOPLE = [ALICE, BOB, CAROL, MEXICAN, ARGENTINE]


@st.composite
def pairings(draw: st.DrawFn) -> ActiveSession:
    """Draw a session of two people over two numbers."""
    people = draw(st.lists(st.sampled_from(PEOPLE), min_size=2, max_size=2, unique=True))
    proxies = draw(st.lists(st.sampled_from([P1, P2]), min_size=2, max_size=2))
    mode = draw(st.sampled_from(Mode))
    date_expiry = draw(st.none() | st.sampled_from([NOW - 1, NOW + 1]))
    return pairing(*map(endpoint, people, proxies), mode=mode, date_expiry=date_expiry)


@given(
    sessions=st.lists(pairings(), max_size=6),
    sender=st.sampled_from([*PEOPLE, "+525512345678", "+5215512345678", " 12125552001", "anonymous"]),
    body=st.sampled_from(["on my way", " Stop", ""]),
    kind=st.sampled_from(Kind),
    rules=st.just(PLAIN)
    | st.builds(NumberRules, st.booleans(), st.booleans(), st.booleans(), carrier=st.sampled_from([None, "main"])),
    account_sid=st.sampled_from([None, "AC1", "AC2"]),
    is_ready=st.booleans(),
)
def test_what_is_resolved_is_what_is_decided(
    *,
    sessions: list[ActiveSession],
    sender: Address,
    body: str,
    kind: Kind,
    rules: NumberRules,
    account_sid: str | None,
    is_ready: bool,
) -> None:
    """Alone or among many, the same decision in every respect but the interaction, which is not made.

    Who asks may leave the text out: it is not told that nothing could be sent.
    """
    bindings = bound(*sessions)
    bindings.remember_expired(PEOPLE[0], "KC" + "9" * 32)
    event = msgspec.structs.replace(arrival(kind, sender), body=body)
    sent = event if body else msgspec.structs.replace(event, media=("https://m.example/1",))

    decision = msgspec.structs.replace(ruled(bindings, sent, rules=rules).decision, interaction_sid="")
    resolved = resolve(bindings, event, rules=rules, now=NOW)
    together = resolve_all(
        [event, event],
        {P1: Number(bindings, rules, "AC1", is_ready=is_ready)},
        account_sid=account_sid,
        now=NOW,
        otherwise=lambda _: decision,
    )

    assert resolved == decision
    assert together is not None
    assert [decision_of(one) if isinstance(one, Route) else one for one in together.decisions] == [decision, decision]
    routes = sum(isinstance(one, Route) for one in together.decisions)
    strangers = sum(any(one is stranger for stranger in STRANGERS) for one in together.decisions)
    assert (together.strangers, together.others) == (strangers, 2 - routes - strangers)


@pytest.mark.parametrize(
    ("account_sid", "is_ready", "to"), [("AC2", True, P1), ("AC1", False, P1), ("AC1", True, P2), (None, False, P1)]
)
def test_many_are_resolved_only_where_one_may_look(account_sid: str | None, to: Address, *, is_ready: bool) -> None:
    """Not of another account, not before its pairs are known; and one that nobody can tell is told of none."""
    numbers = {P1: Number(bound(couple()), PLAIN, "AC1", is_ready=is_ready)}
    asked: list[Question] = []

    def otherwise(question: Question) -> None:
        asked.append(question)

    told = resolve_all([call(ALICE, to)], numbers, account_sid=account_sid, now=NOW, otherwise=otherwise)

    assert (told, asked) == (None, [call(ALICE, to)])


class Number(msgspec.Struct):
    """A proxy number as `resolve_all` sees it."""

    bindings: Bindings
    rules: NumberRules
    account_sid: str
    is_ready: bool


@given(
    sessions=st.lists(pairings(), max_size=6),
    sender=st.sampled_from(PEOPLE),
    to=st.sampled_from([P1, P2]),
    kind=st.sampled_from(Kind),
    rules=st.builds(NumberRules, st.booleans(), st.booleans(), st.booleans()),
)
def test_nobody_reaches_anyone_but_their_partner(
    *, sessions: list[ActiveSession], sender: Address, to: Address, kind: Kind, rules: NumberRules
) -> None:
    """Whatever is bound, routed traffic goes to the partner of the newest live session, from the partner's number."""
    met = [
        session for session in sessions if any((one.identifier, one.proxy) == (sender, to) for one in session.endpoints)
    ]

    decision = ruled(bound(*sessions, to=to), arrival(kind, sender, to), rules=rules).decision

    assert decision.caller_id not in PEOPLE
    if decision.outcome is Outcome.ROUTED:
        session = met[-1]
        partner = next(one for one in session.endpoints if one.identifier != sender)
        assert decision.to == outbound_address(partner.identifier, is_call=kind is Kind.VOICE, rules=rules)
        assert (decision.caller_id, decision.session_sid) == (partner.proxy, session.sid)
        assert not session.is_expired(NOW)
    else:
        assert (decision.to, decision.caller_id) == ("", "")
