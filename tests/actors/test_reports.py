"""Leg reports reach their interaction: by our own SID or by the platform's, in any order (behaviour 9, 10, 11.1)."""

import pytest

from engine.core.model.errors import Code
from engine.core.model.records import Interaction, Kind, LegStatus
from engine.core.routing.traffic import Decision, Outcome, ReportOutcome
from tests.actors.world import ALICE, ALL, BOB, CAROL, N1, N2, World, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]

OUTBOUND_SID = "CA" + "e" * 32


async def routed(world: World, kind: Kind = Kind.VOICE, *, ttl_seconds: int = 0) -> tuple[str, Decision]:
    """Pair Alice and Bob, let Alice call or text; return the SID of her leg and the answer."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=ttl_seconds)
    event = world.event(kind, ALICE, N1)
    return event.resource_sid, await world.receive(event)


def interaction(world: World, decision: Decision) -> Interaction:
    found = world.store.interaction(decision.interaction_sid)
    assert found is not None
    return found


async def test_a_call_runs_its_course(world: World) -> None:
    """Both legs end in their own time; the outbound leg's length stands."""
    inbound_sid, decision = await routed(world)
    assert world.host.open_calls == 1
    steps = [
        (True, LegStatus.RINGING, None),
        (False, LegStatus.IN_PROGRESS, None),
        (True, LegStatus.COMPLETED, 30),
        (False, LegStatus.COMPLETED, 42),
    ]

    outcomes = [
        await world.report(
            status,
            resource_sid=OUTBOUND_SID if is_outbound else inbound_sid,
            interaction_sid=decision.interaction_sid,
            is_outbound=is_outbound,
            seconds=seconds,
        )
        for is_outbound, status, seconds in steps
    ]

    done = interaction(world, decision)
    assert outcomes == [ReportOutcome.RECORDED] * 4
    assert world.observer.reports == outcomes
    assert (done.inbound.status, done.outbound.status) == (LegStatus.COMPLETED, LegStatus.COMPLETED)
    assert (done.outbound.resource_sid, done.duration_seconds) == (OUTBOUND_SID, 30)
    assert world.host.open_calls == 0


async def test_a_call_whose_end_is_never_told_ends_as_unknown(world: World) -> None:
    """After its time and no sooner, both legs of it; who tells it later is heard."""
    inbound_sid, decision = await routed(world)
    world.clock.now += world.settings.longest_call_seconds - 1
    await world.host.end_untold_calls()
    before = interaction(world, decision)

    world.clock.now += 2
    await world.host.end_untold_calls()
    ended = interaction(world, decision)
    late = await world.report(
        LegStatus.COMPLETED, resource_sid=inbound_sid, interaction_sid=decision.interaction_sid, seconds=9_000
    )
    told = interaction(world, decision)

    assert before.inbound.status is not LegStatus.UNKNOWN
    assert (ended.inbound.status, ended.outbound.status) == (LegStatus.UNKNOWN, LegStatus.UNKNOWN)
    assert world.host.open_calls == 0
    assert (late, told.inbound.status, told.duration_seconds) == (ReportOutcome.RECORDED, LegStatus.COMPLETED, 9_000)
    assert world.observer.reports == [ReportOutcome.NEVER_TOLD, ReportOutcome.RECORDED]


async def test_the_inbound_leg_is_found_by_the_platforms_sid(world: World) -> None:
    """Without our own SID in the URL, while the call is open, before and after a restart."""
    inbound_sid, decision = await routed(world)

    first = await world.report(LegStatus.IN_PROGRESS, resource_sid=inbound_sid)
    await world.restart()
    assert world.host.open_calls == 1
    second = await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid, seconds=9)

    assert (first, second) == (ReportOutcome.RECORDED, ReportOutcome.RECORDED)
    assert interaction(world, decision).duration_seconds == 9
    assert world.host.open_calls == 0


@pytest.mark.parametrize("meanwhile", ["", "a restart", "a restart, and its number left the pool"])
async def test_the_end_of_a_call_is_no_news_when_it_is_told_again(world: World, meanwhile: str) -> None:
    """By either SID; nobody is alerted."""
    inbound_sid, decision = await routed(world)
    await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid)
    if "number" in meanwhile:
        await world.close((await world.control.find_session(decision.session_sid))[0])
        await world.control.remove_from_pool(world.account.sid, world.service_sid, await world.number_sid(N1))
    if meanwhile:
        await world.restart()

    by_platform = await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid)
    by_number = await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid, proxy=N1)
    by_ours = await world.report(
        LegStatus.COMPLETED, resource_sid=inbound_sid, interaction_sid=decision.interaction_sid
    )

    assert [by_platform, by_number, by_ours] == [ReportOutcome.REPEATED] * 3
    assert world.observer.codes() == []


async def test_another_end_of_a_finished_call_is_ignored(world: World) -> None:
    """80906, by either SID."""
    inbound_sid, decision = await routed(world)
    await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid)

    by_platform = await world.report(LegStatus.NO_ANSWER, resource_sid=inbound_sid)
    by_ours = await world.report(LegStatus.FAILED, resource_sid=inbound_sid, interaction_sid=decision.interaction_sid)

    assert (by_platform, by_ours) == (ReportOutcome.NOT_OPEN, ReportOutcome.NOT_OPEN)
    assert world.observer.codes() == [Code.INTERACTION_NOT_OPEN] * 2
    assert interaction(world, decision).inbound.status is LegStatus.COMPLETED


async def test_a_report_of_an_unknown_call_is_ignored(world: World) -> None:
    """80907 for a call; a message's is just not found."""
    call = await world.report(LegStatus.COMPLETED, resource_sid="CA" + "9" * 32)
    message = await world.report(LegStatus.DELIVERED, resource_sid="SM" + "9" * 32, kind=Kind.MESSAGE)

    assert (call, message) == (ReportOutcome.NOT_FOUND, ReportOutcome.NOT_FOUND)
    assert world.observer.codes() == [Code.OPEN_INTERACTION_NOT_FOUND]


async def test_a_leg_has_one_sid(world: World) -> None:
    """A report of another call with our SID in its URL is not believed."""
    _, decision = await routed(world)
    ours = decision.interaction_sid
    await world.report(LegStatus.RINGING, resource_sid=OUTBOUND_SID, interaction_sid=ours, is_outbound=True)

    other = await world.report(
        LegStatus.COMPLETED, resource_sid="CA" + "f" * 32, interaction_sid=ours, is_outbound=True
    )

    assert other is ReportOutcome.NOT_FOUND
    assert interaction(world, decision).outbound.status is LegStatus.RINGING


@pytest.mark.parametrize("by_ours", [True, False])
async def test_another_account_reports_nothing(world: World, *, by_ours: bool) -> None:
    """The interaction is not its own."""
    inbound_sid, decision = await routed(world)

    outcome = await world.report(
        LegStatus.COMPLETED,
        resource_sid=inbound_sid,
        interaction_sid=decision.interaction_sid if by_ours else None,
        account_sid="AC" + "9" * 32,
    )

    assert outcome is ReportOutcome.NOT_FOUND
    assert world.host.open_calls == 1


async def test_a_messages_report_is_not_a_calls(world: World) -> None:
    """The kinds must agree."""
    inbound_sid, decision = await routed(world)

    outcome = await world.report(
        LegStatus.DELIVERED,
        resource_sid=inbound_sid,
        interaction_sid=decision.interaction_sid,
        kind=Kind.MESSAGE,
    )

    assert outcome is ReportOutcome.NOT_FOUND


async def test_a_message_runs_its_course(world: World) -> None:
    """Queued, sent, delivered; late ones change nothing."""
    _, decision = await routed(world, Kind.MESSAGE)
    sent = "SM" + "e" * 32

    outcomes = [
        await world.report(
            status, resource_sid=sent, interaction_sid=decision.interaction_sid, is_outbound=True, kind=Kind.MESSAGE
        )
        for status in (LegStatus.SENT, LegStatus.SENDING, LegStatus.SENT, LegStatus.DELIVERED)
    ]

    assert outcomes == [
        ReportOutcome.RECORDED,
        ReportOutcome.REPEATED,
        ReportOutcome.REPEATED,
        ReportOutcome.RECORDED,
    ]
    assert interaction(world, decision).outbound.status is LegStatus.DELIVERED


@pytest.mark.parametrize(
    ("kind", "status", "is_told"),
    [
        (Kind.VOICE, LegStatus.FAILED, True),
        (Kind.MESSAGE, LegStatus.UNDELIVERED, True),
        (Kind.MESSAGE, LegStatus.FAILED, True),
        (Kind.VOICE, LegStatus.BUSY, False),
        (Kind.VOICE, LegStatus.NO_ANSWER, False),
        (Kind.VOICE, LegStatus.COMPLETED, False),
    ],
)
async def test_an_outbound_leg_that_was_refused_is_told(
    world: World, kind: Kind, status: LegStatus, *, is_told: bool
) -> None:
    """80613 once it is recorded; a busy partner is no fault."""
    _, decision = await routed(world, kind)

    await world.report(
        status, resource_sid=OUTBOUND_SID, interaction_sid=decision.interaction_sid, is_outbound=True, kind=kind
    )

    assert world.observer.codes() == ([Code.DOWNSTREAM_REJECTED] if is_told else [])


async def test_the_end_of_a_call_restarts_the_ttl(world: World) -> None:
    """Behaviour 10: the last interaction is at its end too; on disk as in memory."""
    inbound_sid, decision = await routed(world, ttl_seconds=10)
    world.clock.move(9)
    await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid)
    await world.restart()
    world.clock.move(9)

    assert (await world.call(ALICE, N1)).outcome is Outcome.ROUTED
    session, _ = await world.control.find_session(decision.session_sid)
    assert session.date_last_interaction == world.clock.now


async def test_only_the_end_restarts_the_ttl(world: World) -> None:
    """Ringing and answering do not."""
    inbound_sid, _ = await routed(world, ttl_seconds=10)
    world.clock.move(9)
    await world.report(LegStatus.IN_PROGRESS, resource_sid=inbound_sid)
    world.clock.move(1)

    assert (await world.call(ALICE, N1)).code is Code.SESSION_EXPIRED


async def test_the_end_of_a_call_does_not_revive_a_session_past_its_end(world: World) -> None:
    """The sweep may be late; the end is exact all the same."""
    inbound_sid, decision = await routed(world, ttl_seconds=10)
    world.clock.move(10)

    outcome = await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid)

    assert outcome is ReportOutcome.RECORDED
    assert (await world.call(ALICE, N1)).code is Code.SESSION_EXPIRED
    await world.settle()
    session = world.store.session(decision.session_sid)
    assert session is not None
    assert not session.is_active


async def test_a_report_after_the_close_is_recorded_and_revives_nothing(world: World) -> None:
    """Closing does not end running calls; their ends are still of interest."""
    inbound_sid, decision = await routed(world)
    session = world.store.session(decision.session_sid)
    assert session is not None
    await world.close(session)
    world.clock.move(5)

    outcome = await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid, seconds=5)

    assert outcome is ReportOutcome.RECORDED
    assert interaction(world, decision).duration_seconds == 5
    assert not (await world.look(session)).is_active
    assert (await world.call(ALICE, N1)).outcome is Outcome.REFUSED


async def test_reports_in_flight_build_on_one_another(world: World) -> None:
    """The second is applied to what the first makes of the legs, before either is on disk."""
    inbound_sid, decision = await routed(world)
    world.store.keep_back()
    first = world.tell_report(LegStatus.RINGING, OUTBOUND_SID, decision.interaction_sid, is_outbound=True)
    second = world.tell_report(LegStatus.COMPLETED, inbound_sid, decision.interaction_sid, is_outbound=False)
    world.store.let_through()

    assert (await first, await second) == (ReportOutcome.RECORDED, ReportOutcome.RECORDED)
    done = interaction(world, decision)
    assert (done.inbound.status, done.outbound.status) == (LegStatus.COMPLETED, LegStatus.RINGING)


async def test_a_report_that_could_not_be_kept_is_to_come_again(world: World) -> None:
    """No outcome is answered; the call is still open; the second attempt is recorded."""
    inbound_sid, decision = await routed(world, ttl_seconds=10)
    world.clock.move(9)
    world.store.keep_back()
    lost = world.tell_report(LegStatus.COMPLETED, inbound_sid, None, is_outbound=False)
    await world.in_flight()
    world.store.let_through(failing=ALL)

    assert await lost is None
    assert world.host.open_calls == 1
    assert await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid) is ReportOutcome.RECORDED
    assert interaction(world, decision).inbound.status is LegStatus.COMPLETED
    assert world.host.open_calls == 0


async def test_a_lost_end_of_a_call_does_not_restart_the_ttl(world: World) -> None:
    """The idle clock is what is on disk."""
    inbound_sid, _ = await routed(world, ttl_seconds=10)
    world.clock.move(9)
    world.store.keep_back()
    lost = world.tell_report(LegStatus.COMPLETED, inbound_sid, None, is_outbound=False)
    await world.in_flight()
    world.store.let_through(failing=ALL)
    await lost
    world.clock.move(1)

    assert (await world.call(ALICE, N1)).code is Code.SESSION_EXPIRED


async def test_the_calls_of_an_erased_session_are_open_no_more(world: World) -> None:
    """Their reports find nothing, and nothing is kept of them."""
    inbound_sid, decision = await routed(world)
    session = world.store.session(decision.session_sid)
    assert session is not None
    await world.delete(session)

    outcome = await world.report(LegStatus.COMPLETED, resource_sid=inbound_sid)

    assert outcome is ReportOutcome.NOT_FOUND
    assert world.host.open_calls == 0


async def test_a_pushed_message_has_an_outbound_leg_only(world: World) -> None:
    """Nobody sent it: there is no inbound leg to report."""
    session = await world.session(wanting(CAROL, N1))
    carol = world.participant(session, CAROL).sid
    sent = await world.control.send_message(
        world.account.sid, world.service_sid, session.sid, carol, body="Hi", media=()
    )

    outcomes = [
        await world.report(
            LegStatus.DELIVERED,
            resource_sid="SM" + "e" * 32,
            interaction_sid=sent.sid,
            is_outbound=is_outbound,
            kind=Kind.MESSAGE,
        )
        for is_outbound in (False, True)
    ]

    assert outcomes == [ReportOutcome.NOT_FOUND, ReportOutcome.RECORDED]
