"""What is true of every channel, whatever it speaks; each line of `PEERS` is one that is held to it."""

import asyncio
import logging

import pytest

from engine.core.model.errors import Code
from engine.core.model.records import Kind
from engine.core.routing.traffic import ENDINGS, Decision, InboundEvent, Outcome, Reason, ReportOutcome
from tests.channels.contract import (
    BODY,
    FeedPeer,
    Peer,
    SipPeer,
    SmppPeerOfUs,
    SwitchPeer,
    Talk,
    Told,
    ToyPeer,
    TwimlPeer,
    questions,
    talking,
)
from tests.http.rig import PROXY, ROUTED, SENDER, until

pytestmark = pytest.mark.anyio

PEERS = (TwimlPeer(), FeedPeer(), ToyPeer(), SipPeer(), SwitchPeer(), SmppPeerOfUs())
REPORTERS = tuple(peer for peer in PEERS if peer.reports_legs)
SESSION = "KC" + "7" * 32
SECRETS = (SENDER, PROXY, ROUTED.to, ROUTED.caller_id, SESSION)
"""What a peer whose call is refused has no business to read, short of what it said itself."""


@pytest.fixture(params=PEERS, ids=lambda peer: type(peer).__name__)
def peer(request: pytest.FixtureRequest) -> Peer:
    """A peer of one channel."""
    given: Peer = request.param
    return given


def refusal(reason: Reason) -> Decision:
    return Decision(Outcome.REFUSED, reason, code=Code.NOT_FOUND, to="", session_sid=SESSION)


def routed_for(peer: Peer) -> Told:
    return Told.REACH if peer.is_told_whom else Told.NOTHING


def shows(answer: bytes, *what: str) -> list[str]:
    """Tell which of these an answer shows, however it writes numbers."""
    return [one for one in what if one.removeprefix("+").encode() in answer]


async def test_a_routed_answer_shows_the_partner_and_a_proxy_number_only(peer: Peer) -> None:
    """Who called, which number was reached and which session it is stay here."""
    async with talking(peer) as talk:
        talk.plane.decision = ROUTED

        answers = [await talk.ask(one) for one in questions(peer)]

    whom = [ROUTED.to, ROUTED.caller_id, ROUTED.interaction_sid] if peer.is_told_whom else []
    for answer in answers:
        assert peer.told(answer) is routed_for(peer)
        assert shows(answer, ROUTED.to, ROUTED.caller_id, ROUTED.interaction_sid) == whom
        assert shows(answer, SENDER, PROXY, ROUTED.session_sid) == []


async def test_an_event_reaches_the_engine_as_it_came(peer: Peer) -> None:
    """Sender, number reached, the peer's own name for it, and the text."""
    async with talking(peer) as talk:
        for one in questions(peer):
            await talk.ask(one)

        events = [(one.is_call, one.sender, one.proxy, one.resource_sid, one.body) for one in talk.plane.events]

    both = [(True, SENDER, PROXY, peer.named("CA1"), ""), (False, SENDER, PROXY, peer.named("SM1"), BODY)]
    assert events == [one for one in both if (Kind.VOICE if one[0] else Kind.MESSAGE) in peer.asks]


@pytest.mark.parametrize("reason", ENDINGS[Outcome.REFUSED])
async def test_a_refusal_reveals_nothing(peer: Peer, reason: Reason) -> None:
    """Neither a number nor a session, whatever it was refused for."""
    async with talking(peer) as talk:
        talk.plane.decision = refusal(reason)

        answers = [await talk.ask(one) for one in questions(peer)]

    assert {peer.told(answer) for answer in answers} == {Told.NOTHING}
    assert [one for answer in answers for one in shows(answer, *SECRETS)] == []


@pytest.mark.parametrize("decision", [ROUTED, refusal(Reason.NO_SESSION)], ids=lambda one: one.outcome)
async def test_a_redelivery_gets_the_same_bytes(peer: Peer, decision: Decision) -> None:
    """The engine decides the same again, so the answer may not differ: a platform may compare."""
    async with talking(peer) as talk:
        talk.plane.decision = decision

        answers = [{await talk.ask(one) for _ in range(2)} for one in questions(peer)]

    assert {len(same) for same in answers} == {1}


@pytest.mark.parametrize("reason", ENDINGS[Outcome.NOT_READY])
async def test_not_ready_makes_the_peer_try_again(peer: Peer, reason: Reason) -> None:
    """A refusal would end a call that another try connects."""
    async with talking(peer) as talk:
        talk.plane.decision = Decision(Outcome.NOT_READY, reason)

        answers = [await talk.ask(one) for one in questions(peer)]

    assert {peer.told(answer) for answer in answers} == {Told.AGAIN}


async def test_an_answer_after_the_deadline_reaches_nobody(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """Its peer has left; who asks next reads the own answer and nothing else."""
    async with talking(peer) as talk:
        talk.plane.decision, talk.plane.is_holding = ROUTED, True
        async with talk.connected(questions(peer)[0]):
            await until(lambda: len(talk.plane.events) == 1)
        talk.plane.decision, talk.plane.is_holding = refusal(Reason.NO_SESSION), False

        async with talk.connected(questions(peer, sid="2")[0]) as reader, asyncio.timeout(5):
            for late in talk.plane.held:
                late()
            answer = await peer.read(reader)

    assert (peer.told(answer), shows(answer, *SECRETS)) == (Told.NOTHING, [])
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_what_was_taken_is_answered_before_a_stop(peer: Peer) -> None:
    """Within the grace; whoever waited hears the decision, not an end of the connection."""
    async with talking(peer) as talk:
        talk.plane.decision, talk.plane.is_holding = ROUTED, True
        async with talk.connected(questions(peer)[0]) as reader:
            await until(lambda: len(talk.plane.events) == 1)
            stopping = asyncio.create_task(talk.stop())
            await asyncio.sleep(0)
            for answer in talk.plane.held:
                answer()
            async with asyncio.timeout(5):
                read = await peer.read(reader)
        await stopping

    assert peer.told(read) is routed_for(peer)


@pytest.mark.parametrize("peer", REPORTERS, ids=lambda peer: type(peer).__name__)
async def test_the_end_of_a_leg_is_reported(peer: Peer) -> None:
    """With the interaction of the answer; it is acknowledged once it is committed."""
    async with talking(peer) as talk:
        answer = await talk.ask(peer.leg(sid="CA2"))

        (report,) = talk.plane.reports

    assert peer.told(answer) is Told.NOTHING
    assert (report.interaction_sid, report.is_outbound) == (ROUTED.interaction_sid, True)
    assert (report.resource_sid, report.status.value) == ("CA2", "completed")


@pytest.mark.parametrize("peer", REPORTERS, ids=lambda peer: type(peer).__name__)
async def test_a_report_that_is_not_committed_is_to_come_again(peer: Peer) -> None:
    """The store is away; what was acknowledged would be lost."""
    async with talking(peer) as talk:
        talk.plane.report_outcome = None

        answer = await talk.ask(peer.leg(sid="CA2"))

    assert peer.told(answer) is Told.AGAIN


async def test_what_is_malformed_is_rejected_undecided(peer: Peer) -> None:
    """And nothing is kept of it."""
    async with talking(peer) as talk:
        answer = await talk.ask(peer.broken())

        asked: list[InboundEvent] = talk.plane.events

    assert (peer.told(answer), asked) == (Told.REJECTED, [])


async def test_who_has_no_secret_is_rejected_undecided(peer: Peer) -> None:
    """An engine that decided first would tell a stranger who may be reached."""
    async with talking(peer) as talk:
        talk.plane.decision = ROUTED

        answers = [await talk.ask(one, source=peer.stranger_at) for one in questions(peer, secret="wrong")]

        asked: list[InboundEvent] = talk.plane.events

    assert ({peer.told(answer) for answer in answers}, asked) == ({Told.REJECTED}, [])
    assert [one for answer in answers for one in shows(answer, *SECRETS)] == []


async def test_every_decision_is_counted_once(peer: Peer) -> None:
    """Under its reason, for the ingress of the channel."""
    async with talking(peer) as talk:
        for one in questions(peer):
            await talk.ask(one)

        counts = counted(talk)

    assert counts == {Reason.NO_SESSION: (int(Kind.VOICE in peer.asks), int(Kind.MESSAGE in peer.asks))}


def counted(talk: Talk) -> dict[Reason, tuple[int, int]]:
    meter = talk.offered.meter
    counts = {reason: (meter.calls[reason.slot], meter.messages[reason.slot]) for reason in Reason}
    return {reason: both for reason, both in counts.items() if any(both)}


@pytest.mark.parametrize("peer", REPORTERS, ids=lambda peer: type(peer).__name__)
async def test_a_redelivered_report_is_acknowledged(peer: Peer) -> None:
    """Whatever became of it: a peer that is not heard reports for ever."""
    async with talking(peer) as talk:
        for outcome in (ReportOutcome.REPEATED, ReportOutcome.NOT_OPEN, ReportOutcome.NOT_FOUND):
            talk.plane.report_outcome = outcome

            answer = await talk.ask(peer.leg(sid="CA2"))

            assert peer.told(answer) is Told.NOTHING
