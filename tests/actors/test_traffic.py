"""Traffic through the host: who reaches whom, in strict and permissive accounts, and what is told (behaviour 7, 9)."""

import asyncio
from functools import partial
from itertools import product

import msgspec
import pytest

from engine.core.model.errors import Code
from engine.core.model.placement import owner_of
from engine.core.model.records import Kind, LegStatus, Mode, SessionStatus
from engine.core.model.requests import AccountUpdate, NumberUpdate, ServiceRequest
from engine.core.routing.decide import NOT_IN_POOL, STRANGERS, decision_of
from engine.core.routing.resolved import Route
from engine.core.routing.traffic import Decision, Outcome, Reason
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import ALICE, BOB, CAROL, DAVE, N1, N2, START, World, begun, refused, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]

MEXICAN = "+525512345678"


async def permit_conflicts(world: World) -> None:
    await world.control.update_account(world.account.sid, AccountUpdate(allow_participant_conflict=True))


def _tell(told: list[str], what: str, decision: Decision) -> None:
    told.append(what if decision.outcome is Outcome.ROUTED else decision.reason)


# -- deciding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
async def test_partners_reach_each_other_through_their_own_numbers(world: World, kind: Kind) -> None:
    """And the interaction is on disk when the answer comes."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    there = await world.receive(world.event(kind, ALICE, N1))
    back = await world.receive(world.event(kind, BOB, N2))

    assert (there.to, there.caller_id) == (BOB, N2)
    assert (back.to, back.caller_id) == (ALICE, N1)
    interaction = world.store.interaction(there.interaction_sid)
    assert interaction is not None
    assert (interaction.session_sid, interaction.proxy) == (session.sid, N1)
    assert interaction.inbound.participant_sid == world.participant(session, ALICE).sid
    assert interaction.outbound.participant_sid == world.participant(session, BOB).sid


async def test_a_number_is_unknown_to_the_traffic_of_another_account(world: World) -> None:
    """Recorded or not, and nothing is kept of it; the owner's traffic passes."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    foreign = msgspec.structs.replace(event, account_sid="AC" + "f" * 32)
    own = msgspec.structs.replace(event, account_sid=world.account.sid)

    decisions = [await world.host.resolve(foreign), await world.receive(foreign), await world.host.resolve(own)]

    assert decisions[:2] == [NOT_IN_POOL, NOT_IN_POOL]
    assert decisions[2].to == BOB
    assert (await world.receive(own)).to == BOB


@pytest.mark.parametrize("mode", Mode)
async def test_many_resolved_at_once_are_what_each_of_them_resolves_to(world: World, mode: Mode) -> None:
    """In order, with the numbers of other accounts unknown; nothing is counted or recorded."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), mode=mode)
    asked = [
        world.event(kind, sender, proxy)
        for kind in Kind
        for sender in (ALICE, BOB, CAROL)
        for proxy in (N1, N2, "+16465559999")
    ]

    for account_sid, (place, host) in product((None, world.account.sid, "AC" + "f" * 32), world.hosts.items()):
        own = [event for event in asked if owner_of(event.proxy, len(world.hosts)) == place]
        scoped = [msgspec.structs.replace(event, account_sid=account_sid) for event in own]
        resolved = host.traffic.resolve_all(own, account_sid=account_sid)
        assert resolved is not None
        decisions = [decision_of(one) if isinstance(one, Route) else one for one in resolved.decisions]
        routes = sum(isinstance(one, Route) for one in resolved.decisions)
        assert resolved.strangers == sum(any(one is stranger for stranger in STRANGERS) for one in resolved.decisions)
        assert resolved.strangers + resolved.others + routes == len(own)
        assert decisions == [host.traffic.resolve(event) for event in scoped]
        if len(own) < len(asked):
            assert host.traffic.resolve_all(asked, account_sid=account_sid) is None

    assert (await world.look(session)).date_last_interaction is None


@pytest.mark.parametrize("host_count", [1])
async def test_a_host_settles_when_what_came_before_is_answered(world: World) -> None:
    """Not before: the answers of earlier events come first, whatever comes after."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    told: list[str] = []
    is_settled = asyncio.Event()

    for number in ("first", "second", "third"):
        answers = partial(_tell, told, number)
        world.hosts[0].traffic.receive(world.event(Kind.VOICE, ALICE, N1), answers)
    world.hosts[0].traffic.settle(lambda: told.append("settled"))
    world.hosts[0].traffic.receive(world.event(Kind.VOICE, ALICE, N1), lambda _: is_settled.set())
    assert told == []
    await asyncio.wait_for(is_settled.wait(), WAIT_SECONDS)

    assert told == ["first", "second", "third", "settled"]


@pytest.mark.parametrize(
    ("mode", "kind", "code"),
    [
        (Mode.VOICE_AND_MESSAGE, Kind.VOICE, None),
        (Mode.VOICE_AND_MESSAGE, Kind.MESSAGE, None),
        (Mode.VOICE_ONLY, Kind.VOICE, None),
        (Mode.VOICE_ONLY, Kind.MESSAGE, Code.MESSAGE_TO_VOICE_ONLY),
        (Mode.MESSAGE_ONLY, Kind.VOICE, Code.CALL_TO_MESSAGE_ONLY),
        (Mode.MESSAGE_ONLY, Kind.MESSAGE, None),
    ],
)
async def test_the_mode_matrix(world: World, mode: Mode, kind: Kind, code: Code | None) -> None:
    """Three modes by two kinds; a refusal is told to the debugger with session and resource."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), mode=mode)
    event = world.event(kind, ALICE, N1)

    decision = await world.receive(event)

    assert decision.code is code
    assert (decision.outcome is Outcome.ROUTED) is (code is None)
    told = [(told.code, told.session_sid, told.resource_sid) for told in world.observer.events]
    assert told == ([] if code is None else [(code, session.sid, event.resource_sid)])


async def test_debugger_events_name_no_whole_number(world: World) -> None:
    """People are masked wherever they are named; the proxy number reached has a place of its own."""
    await permit_conflicts(world)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.session(wanting(ALICE, N1), CAROL)
    await world.call(DAVE, N1)

    assert len(world.observer.events) == 2
    for event in world.observer.events:
        assert not any(number in event.message for number in (ALICE, BOB, CAROL, DAVE, N1, N2))
    refused = world.observer.events[-1]
    assert (refused.proxy, refused.sender) == (N1, f"{DAVE[:-4]}XXXX")


async def test_a_number_that_writes_its_address_differently_is_found(world: World) -> None:
    """The "+" may have become a space on its way."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    decision = await world.text(" " + ALICE[1:], " " + N1[1:])

    assert decision.to == BOB


async def test_stop_words_follow_the_account_and_the_number(world: World) -> None:
    """Dropped, unless the account respects the number's filter and that is off."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    codes = [(await world.text(ALICE, N1, "STOP")).code]
    await world.control.update_account(world.account.sid, AccountUpdate(respect_sms_stop_filter=True))
    codes.append((await world.text(ALICE, N1, "STOP")).code)

    await world.control.update_owned_number(
        world.account.sid, await world.number_sid(N1), NumberUpdate(stop_filtering=False)
    )
    codes += [(await world.text(ALICE, N1, "STOP")).code, (await world.text(BOB, N2, "STOP")).code]

    assert codes == [Code.STOP_WORD, Code.STOP_WORD, None, Code.STOP_WORD]


async def test_mexico_follows_the_service(world: World) -> None:
    """Services of today dial without the "1"; the operator may choose; both spellings are the same person."""
    await world.session(wanting(ALICE, N1), wanting("+5215512345678", N1))
    new = await world.call(ALICE, N1)

    await world.control.update_service(world.account.sid, world.service_sid, ServiceRequest(inserts_mexican_one=True))
    old = await world.text(ALICE, N1)

    assert (new.to, old.to) == (MEXICAN, "+5215512345678")
    assert (await world.call("+5215512345678", N1)).to == ALICE
    assert (await world.call(MEXICAN, N1)).to == ALICE


async def test_a_service_of_before_october_2020_dials_mexico_the_old_way(world: World) -> None:
    """Behaviour 14: the service's own date decides."""
    world.clock.now = 1_600_000_000.0
    old = await world.make_service("old")
    world.clock.now = START
    new = await world.make_service("new")

    assert (old.inserts_mexican_one, new.inserts_mexican_one) == (True, False)


async def test_before_it_is_loaded_and_after_it_stopped_a_host_asks_to_come_again(world: World) -> None:
    """Never a wrong or empty answer."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.host.stop()

    decision = await world.call(ALICE, N1)

    assert (decision.outcome, decision.reason) == (Outcome.NOT_READY, Reason.REBUILDING)
    assert not world.host.is_ready
    assert await world.report(LegStatus.COMPLETED, resource_sid="CA" + "9" * 32) is None


async def test_a_restart_changes_no_answer(world: World) -> None:
    """Bindings, modes, rules and counts are rebuilt from what is committed."""
    await world.control.update_account(world.account.sid, AccountUpdate(argentina=True))
    await world.session(wanting(ALICE, N1), wanting("+542231234567", N1))
    voice_only = await world.session(wanting(CAROL, N1), wanting(DAVE, N2), mode=Mode.VOICE_ONLY)
    await world.close(await world.session(wanting(BOB, N1)))

    async def answers() -> list[tuple[Outcome, str, str, Code | None]]:
        found = []
        for sender, proxy in ((ALICE, N1), (CAROL, N1), (DAVE, N2), (BOB, N1), (ALICE, N2)):
            for kind in Kind:
                decision = await world.receive(world.event(kind, sender, proxy))
                found.append((decision.outcome, decision.to, decision.caller_id, decision.code))
        return found

    before = await answers()
    counts = (await world.in_use(N1), await world.in_use(N2), world.host.active_sessions, world.host.bindings)
    await world.restart()

    assert await answers() == before
    assert (await world.in_use(N1), await world.in_use(N2), world.host.active_sessions, world.host.bindings) == counts
    assert counts == (2, 1, 2, 4)
    assert (await world.look(voice_only)).status is SessionStatus.IN_PROGRESS


# -- permissive accounts ---------------------------------------------------------------------------------------------


async def test_a_permissive_account_may_pair_twice_and_the_newest_is_met(world: World) -> None:
    """80802; when the newest ends, the one before is met again."""
    await permit_conflicts(world)
    first = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    second = await world.session(wanting(ALICE, N1), wanting(CAROL, N2))
    assert world.observer.codes() == [80802]

    met = [(await world.call(ALICE, N1)).to]
    in_use = await world.in_use(N1)
    await world.close(second)
    met.append((await world.call(ALICE, N1)).to)
    await world.close(first)

    assert (met, in_use, await world.in_use(N1)) == ([CAROL, BOB], 2, 0)
    assert (await world.call(ALICE, N1)).reason is Reason.NO_SESSION


async def test_fail_on_conflict_is_strict_in_a_permissive_account(world: World) -> None:
    """For a participant, a session with all of its participants, and a re-opening: 80604."""
    await permit_conflicts(world)
    await world.session(wanting(ALICE, N1), BOB)
    closed = await world.session(wanting(ALICE, N1))
    await world.close(closed)
    other = await world.session()

    codes = [
        await refused(world.session(wanting(ALICE, N1, fail_on=True))),
        await refused(world.session(wanting(ALICE, N1), fail_on=True)),
        await refused(world.join(other, wanting(ALICE, N1, fail_on=True))),
        await refused(world.reopen(closed, fail_on=True)),
    ]

    assert codes == [Code.PROXY_IDENTIFIER_IN_USE] * 4


async def test_fail_on_conflict_counts_for_its_request_alone(world: World) -> None:
    """A session made with it, or changed with it, is as permissive as its account afterwards, a restart later too."""
    await permit_conflicts(world)
    await world.session(wanting(ALICE, N1), BOB)
    made = await world.session(wanting(CAROL, N1), fail_on=True)
    changed = await world.update(await world.session(), ttl_seconds=60, fail_on=True)
    ended = await world.session(fail_on=True)
    again = await world.session(wanting(CAROL, N2), fail_on=True)
    await world.close(again)
    await world.session(wanting(CAROL, N2))

    joined = [await world.join(one, wanting(ALICE, N1)) for one in (made, changed)]
    await world.restart()
    joined.append(await world.join(ended, wanting(ALICE, N1)))
    reopened = await world.reopen(again)

    assert [one.proxy_identifier for one in joined] == [N1] * 3
    assert reopened.status is SessionStatus.IN_PROGRESS


async def test_a_permissive_reopening_is_met_first(world: World) -> None:
    """80801; the most recently activated session wins."""
    await permit_conflicts(world)
    first = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.close(first)
    await world.session(wanting(ALICE, N1), wanting(CAROL, N2))
    world.clock.move(1)
    await world.reopen(first)

    assert world.observer.codes() == [80801]
    assert (await world.call(ALICE, N1)).to == BOB
    await world.restart()
    assert (await world.call(ALICE, N1)).to == BOB


async def test_who_joins_an_older_session_still_meets_the_newer_one(world: World) -> None:
    """It is the session's activation that counts, before and after a restart."""
    await permit_conflicts(world)
    older = await world.session(wanting(BOB, N2))
    world.clock.move(1)
    await world.session(wanting(ALICE, N1), wanting(CAROL, N2))
    world.clock.move(1)
    await world.join(older, wanting(ALICE, N1))

    before = (await world.call(ALICE, N1)).to
    await world.restart()
    after = (await world.call(ALICE, N1)).to

    assert before == after == CAROL


async def test_a_close_that_failed_does_not_make_a_session_the_newest(world: World) -> None:
    """Permissive mode: what is met stays what it was."""
    await permit_conflicts(world)
    older = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.session(wanting(ALICE, N1), wanting(CAROL, N2))
    world.store.is_failing = True

    with pytest.raises(Exception, match="full"):
        await world.close(older)
    world.store.is_failing = False

    assert (await world.call(ALICE, N1)).to == CAROL


async def test_withdrawing_the_permission_leaves_what_is(world: World) -> None:
    """Sessions in conflict go on; new conflicts are refused; a restart does not mind."""
    await permit_conflicts(world)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    newest = await world.session(wanting(ALICE, N1), wanting(CAROL, N2))
    await world.control.update_account(world.account.sid, AccountUpdate(allow_participant_conflict=False))

    assert await refused(world.session(wanting(ALICE, N1))) is Code.PROXY_IDENTIFIER_IN_USE
    await world.restart()
    assert (await world.call(ALICE, N1)).session_sid == newest.sid
    await world.close(newest)
    assert (await world.call(ALICE, N1)).to == BOB


# -- messages of the application -------------------------------------------------------------------------------------


async def test_a_pushed_message_comes_from_the_recipients_own_number(world: World) -> None:
    """Queued, in the session's list, restarting the ttl and starting the session; one participant is enough."""
    session = await world.session(wanting(ALICE, N1), ttl_seconds=10)
    world.clock.move(6)
    alice = world.participant(session, ALICE).sid

    sent = await world.control.send_message(
        world.account.sid, world.service_sid, session.sid, alice, body="Hi", media=()
    )

    assert sent.is_message_interaction
    assert (sent.proxy, sent.outbound.participant_sid, sent.outbound.status) == (N1, alice, LegStatus.QUEUED)
    assert (await world.look(session)).status is SessionStatus.IN_PROGRESS
    assert await world.control.interaction(world.account.sid, world.service_sid, session.sid, sent.sid) == sent
    world.clock.move(9)
    await world.host.sweep()
    assert (await world.look(session)).is_active


async def test_where_no_message_may_be_pushed(world: World) -> None:
    """Closed, past its end, voice-only, removed, unknown: each its code, and nothing is recorded."""
    closed, voice, left = await world.session(ALICE), await world.session(BOB, mode=Mode.VOICE_ONLY), None
    expired = await world.session(CAROL, ttl_seconds=10)
    left = await world.session(DAVE)
    endpoints = {
        session.sid: world.store.participants(session.sid)[0].sid for session in (closed, voice, expired, left)
    }
    await world.close(closed)
    await world.leave(left, DAVE)
    world.clock.move(10)

    codes = [
        await refused(
            world.control.send_message(
                world.account.sid, world.service_sid, session.sid, endpoints[session.sid], body="Hi", media=()
            )
        )
        for session in (closed, voice, expired, left)
    ]
    unknown = world.control.send_message(
        world.account.sid, world.service_sid, voice.sid, "KP" + "0" * 32, body="Hi", media=()
    )

    assert codes == [
        Code.SESSION_CLOSED,
        Code.IDENTIFIER_TYPE_UNSUPPORTED,
        Code.SESSION_CLOSED,
        Code.NOT_FOUND,
    ]
    assert await refused(unknown) is Code.NOT_FOUND


async def test_no_message_is_pushed_into_a_session_that_is_being_deleted(world: World) -> None:
    """It would be recorded in a session that is gone."""
    session = await world.session(ALICE)
    alice = world.participant(session, ALICE).sid
    world.store.keep_back()
    (deletion,) = await begun(world.delete(session))

    code = await refused(
        world.control.send_message(world.account.sid, world.service_sid, session.sid, alice, body="Hi", media=())
    )
    world.store.let_through()
    await deletion

    assert code is Code.SESSION_CLOSED


# -- explaining ------------------------------------------------------------------------------------------------------


async def test_an_explanation_tells_the_decision_and_changes_nothing(world: World) -> None:
    """Masked numbers, the session, its end, a sentence per step; no interaction, no debugger event."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), mode=Mode.MESSAGE_ONLY, ttl_seconds=60)

    told = await world.control.explain(proxy=N1, sender=ALICE)

    assert (told.message.outcome, told.message.caller_id, told.call.code) == (
        Outcome.ROUTED,
        N2,
        Code.CALL_TO_MESSAGE_ONLY,
    )
    assert told.session == session
    assert (told.expires_at, told.service_sid) == (START + 60, world.service_sid)
    assert not any(number in " ".join(told.story) + told.sender + told.message.to for number in (ALICE, BOB))
    assert await world.look(session) == session
    assert world.observer.events == []


async def test_an_explanation_tells_two_people_apart_whose_masked_numbers_are_the_same(world: World) -> None:
    """By the SIDs of the participants, in what is reached and in the sentences; also once the session is closed."""
    session = await world.session(wanting("+12125550111", N1), wanting("+12125550122", N2))
    caller, partner = (world.participant(session, number) for number in ("+12125550111", "+12125550122"))

    live = await world.control.explain(proxy=N1, sender=caller.identifier)
    back = await world.control.explain(proxy=N2, sender=partner.identifier)
    await world.close(session)
    closed = await world.control.explain(proxy=N1, sender=caller.identifier)

    assert live.sender == live.call.to == "+1212555XXXX"
    for told in (live, closed):
        assert (told.sender_sid, told.partner_sid) == (caller.sid, partner.sid)
        assert (
            f"the sender as participant {caller.sid} (+1212555XXXX) and as the other {partner.sid} (+1212555XXXX)"
            in told.story[1]
        )
    assert any(step.startswith(f"A call reaches +1212555XXXX ({partner.sid}), who sees {N2}") for step in live.story)
    assert (back.sender_sid, back.partner_sid) == (partner.sid, caller.sid)


async def test_an_explanation_knows_what_was(world: World) -> None:
    """A closed session that paired them is named; strangers and foreign numbers are told as such."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.close(session)

    closed = await world.control.explain(proxy=N1, sender=ALICE)
    stranger = await world.control.explain(proxy=N1, sender=CAROL)
    nowhere = await world.control.explain(proxy="+16465559999", sender=ALICE)

    assert closed.session is not None
    assert (closed.session.sid, closed.call.reason) == (session.sid, Reason.NO_SESSION)
    assert (stranger.session, stranger.message.reason) == (None, Reason.NO_SESSION)
    assert (nowhere.call.outcome, nowhere.account_sid) == (Outcome.UNKNOWN_NUMBER, None)


async def test_an_explanation_of_an_expired_session_does_not_close_it(world: World) -> None:
    """Only traffic and the sweep do."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=10)
    world.clock.move(10)

    told = await world.control.explain(proxy=N1, sender=ALICE)
    await world.settle()

    assert told.call.code is Code.SESSION_EXPIRED
    assert (await world.look(session)).is_active


async def test_media_beyond_the_tenth_are_told_of(world: World) -> None:
    """Once, also where the message comes again; the first ten are recorded."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    urls = tuple(f"https://m.example/{index}" for index in range(10))
    event = msgspec.structs.replace(world.event(Kind.MESSAGE, ALICE, N1), media=urls, media_left_out=2)

    decision = await world.receive(event)
    await world.receive(event)

    interaction = world.store.interaction(decision.interaction_sid)
    assert interaction is not None
    assert interaction.media == urls
    assert world.observer.codes() == [Code.TOO_MANY_MEDIA]


async def test_an_empty_text_is_refused_and_told_of(world: World) -> None:
    """It would be an empty message; the session is as idle as before."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = msgspec.structs.replace(world.event(Kind.MESSAGE, ALICE, N1, body=""), form={"Body": ""})

    first, again = await world.receive(event), await world.receive(event)

    assert first.reason is Reason.EMPTY_MESSAGE
    assert again == first
    assert world.observer.codes() == [Code.MESSAGE_WITHOUT_CONTENT]
    assert (await world.look(session)).date_last_interaction is None
