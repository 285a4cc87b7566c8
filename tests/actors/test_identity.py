"""An event is the number reached, its kind and its SID: carriers that count alike disturb nobody."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.traffic.answers import AnswerCache
from engine.core.model.errors import Code
from engine.core.model.records import Account, Interaction, Kind, LegStatus, Session
from engine.core.model.requests import AccountUpdate, ParticipantRequest, SessionRequest
from engine.core.ports.lists import PageCursor
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, Reason, ReportOutcome
from tests.actors.hooked_world import OUT_OF_SESSION, HookedWorld
from tests.actors.world import ALICE, BOB, CAROL, DAVE, N1, N2, N3, START, World, wanting

pytestmark = pytest.mark.anyio

PAGE = PageCursor(limit=50)
N4 = "+16465550004"


@pytest.fixture
async def hooked(tmp_path: Path, host_count: int, tables: str | None) -> AsyncIterator[HookedWorld]:
    """Start hosts whose service has an out-of-session hook."""
    world = HookedWorld(tmp_path / "data", count=host_count, database=tables)
    await world.start()
    await world.furnish(N1, N2)
    yield world
    await world.stop()


def forget_answers(world: World) -> None:
    """Let only the records tell what was answered."""
    for host in world.hosts.values():
        host.parts.interaction_log.answers = AnswerCache(window_seconds=600.0)


def recorded(world: World, decision: Decision) -> Interaction:
    found = world.store.interaction(decision.interaction_sid)
    assert found is not None
    return found


async def another_account(world: World) -> tuple[Account, Session]:
    """Make an account whose Carol and Dave meet over two numbers of its own."""
    account = await world.control.create_account(AccountUpdate(friendly_name="Clinic"))
    service = await world.make_service("clinic", account=account)
    for number in (N3, N4):
        await world.control.add_to_pool(account.sid, service.sid, number_sid=None, address=number, is_reserved=False)
    participants = (
        ParticipantRequest(identifier=CAROL, proxy_identifier=N3),
        ParticipantRequest(identifier=DAVE, proxy_identifier=N4),
    )
    return account, await world.control.create_session(
        account.sid, service.sid, SessionRequest(participants=participants)
    )


def one_sid(world: World, sid: str = "1001") -> list[InboundEvent]:
    """Return a call and a message on each of two numbers, all with one SID."""
    pairs = ((ALICE, N1), (BOB, N2))
    return [world.event(kind, sender, proxy, resource_sid=sid) for kind in Kind for sender, proxy in pairs]


@pytest.mark.parametrize("memory", ["at hand", "from the record", "after a restart"])
async def test_events_of_one_sid_are_each_recorded_once(world: World, memory: str) -> None:
    """On every number and of either kind; a redelivery of each gets its own answer."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    events = one_sid(world)

    first = [await world.receive(event) for event in events]
    if memory == "from the record":
        forget_answers(world)
    elif memory == "after a restart":
        await world.restart()
    again = [await world.receive(event) for event in events]

    assert again == first
    assert len({decision.interaction_sid for decision in first}) == 4
    assert len((await world.store.interactions_page(session.sid, PAGE)).records) == 4


@pytest.mark.parametrize("memory", ["at hand", "from the record", "after a restart", "after the close"])
async def test_two_senders_on_one_number_with_one_sid_are_each_recorded_once(world: World, memory: str) -> None:
    """It is a platform's mistake; neither is lost, doubled or given the other's answer."""
    sessions = [await world.session(wanting(ALICE, N1), wanting(BOB, N2))]
    sessions.append(await world.session(wanting(CAROL, N1), wanting(DAVE, N2)))
    events = [world.event(Kind.MESSAGE, sender, N1, resource_sid="1001") for sender in (ALICE, CAROL)]

    first = [await world.receive(event) for event in events]
    if memory == "from the record":
        forget_answers(world)
    elif memory != "at hand":
        for session in sessions if memory == "after the close" else ():
            await world.close(session)
        await world.restart()
    again = [await world.receive(event) for event in (*events, *events)]

    assert [decision.to for decision in first] == [BOB, DAVE]
    assert again == first * 2


async def test_refusals_of_one_sid_are_told_one_by_one(world: World) -> None:
    """Each raises its own debugger event, once."""
    events = one_sid(world)

    first = [await world.receive(event) for event in events]
    told = world.observer.codes()
    again = [await world.receive(event) for event in events]

    assert first == again
    assert sorted(told) == sorted([Code.NO_ACTIVE_SESSION, Code.UNKNOWN_SCENARIO] * 2)
    assert world.observer.codes() == []


async def test_an_event_does_not_wait_for_the_hook_of_another_with_its_sid(hooked: HookedWorld) -> None:
    """On another number, in another account or of the other kind it is decided at once."""
    await hooked.configure(out_of_session=OUT_OF_SESSION)
    await another_account(hooked)
    hooked.hooks.go_on.clear()
    waiting = [hooked.deliver(hooked.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))]
    await hooked.waits()
    waiting.append(hooked.deliver(hooked.event(Kind.MESSAGE, ALICE, N1, resource_sid="1001")))
    await hooked.waits()

    other = await hooked.receive(hooked.event(Kind.VOICE, CAROL, N3, resource_sid="1001"))
    stranger = await hooked.receive(hooked.event(Kind.VOICE, ALICE, N3, resource_sid="1001"))
    hooked.hooks.go_on.set()

    assert (other.to, stranger.reason) == (DAVE, Reason.NO_SESSION)
    assert [(await one).reason for one in waiting] == [Reason.OUT_OF_SESSION] * 2
    assert len(hooked.hooks.cases) == 2


async def test_a_refusal_does_not_follow_a_number_into_another_service(world: World) -> None:
    """Nor does a routed answer that is at hand."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    routed, refused = (
        world.event(Kind.VOICE, sender, N1, resource_sid=sid) for sender, sid in ((ALICE, "1"), (CAROL, "2"))
    )
    await world.receive(routed)
    await world.receive(refused)
    await world.close(session)
    await world.control.remove_from_pool(world.account.sid, world.service_sid, await world.number_sid(N1))
    world.service_sid = (await world.make_service("other")).sid
    await world.pool(N1, N3)
    await world.session(wanting(CAROL, N1), wanting(DAVE, N3))

    was_routed, was_refused = await world.receive(routed), await world.receive(refused)

    assert was_routed.reason is Reason.NO_SESSION
    assert was_refused.to == DAVE


async def test_a_report_ends_the_call_on_the_number_that_it_names(world: World) -> None:
    """However the carrier writes the number, before and after a restart."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    calls = [await world.receive(event) for event in one_sid(world)[:2]]

    first = await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=f" {N2[1:]}", seconds=7)
    await world.restart()
    second = await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=N1, seconds=8)

    assert (first, second) == (ReportOutcome.RECORDED, ReportOutcome.RECORDED)
    assert [recorded(world, call).duration_seconds for call in calls] == [8, 7]
    assert world.host.open_calls == 0


async def test_a_report_without_a_number_is_of_the_reporters_only_call(world: World) -> None:
    """Each account's report ends its own call of that SID, in either order, before and after a restart."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    account, _ = await another_account(world)
    own = await world.receive(world.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))
    others = await world.receive(world.event(Kind.VOICE, CAROL, N3, resource_sid="1001"))

    first = await world.report(LegStatus.COMPLETED, resource_sid="1001", account_sid=account.sid)
    await world.restart()
    second = await world.report(LegStatus.COMPLETED, resource_sid="1001")

    assert (first, second) == (ReportOutcome.RECORDED, ReportOutcome.RECORDED)
    assert recorded(world, own).session_sid == session.sid
    assert {recorded(world, one).inbound.status for one in (own, others)} == {LegStatus.COMPLETED}


async def test_a_report_that_may_be_of_several_calls_is_refused(world: World) -> None:
    """It says which SID, and not on which number; nothing changes until it does."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    calls = [await world.receive(event) for event in one_sid(world)[:2]]

    vague = await world.report(LegStatus.COMPLETED, resource_sid="1001")
    named = await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=N1)
    told_again = await world.report(LegStatus.COMPLETED, resource_sid="1001")

    assert (vague, named, told_again) == (ReportOutcome.AMBIGUOUS, ReportOutcome.RECORDED, ReportOutcome.AMBIGUOUS)
    assert [recorded(world, call).inbound.status for call in calls] == [LegStatus.COMPLETED, LegStatus.RINGING]
    assert world.observer.reports == [vague, named, told_again]
    assert world.observer.codes() == []


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_the_end_of_a_call_that_is_told_again_ends_no_other(world: World, *, is_restarted: bool) -> None:
    """Each account's ended calls of a SID are known by it, whatever other accounts have, also after a restart."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    account, _ = await another_account(world)
    calls = [await world.receive(event) for event in one_sid(world)[:2]]
    await world.receive(world.event(Kind.VOICE, CAROL, N3, resource_sid="1001"))
    await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=N1)
    await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=N3, account_sid=account.sid)
    if is_restarted:
        await world.restart()

    own = await world.report(LegStatus.COMPLETED, resource_sid="1001")
    others = await world.report(LegStatus.COMPLETED, resource_sid="1001", account_sid=account.sid)

    assert (own, others) == (ReportOutcome.AMBIGUOUS, ReportOutcome.REPEATED)
    assert [recorded(world, call).inbound.status for call in calls] == [LegStatus.COMPLETED, LegStatus.RINGING]
    assert world.observer.codes() == []


async def test_a_number_that_is_nobodys_says_as_little_as_none(world: World) -> None:
    """Some platforms name the other end there."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    call = await world.receive(world.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))

    outcome = await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=BOB)

    assert outcome is ReportOutcome.RECORDED
    assert recorded(world, call).inbound.status is LegStatus.COMPLETED


async def test_a_report_on_another_accounts_number_reaches_nothing(world: World) -> None:
    """Whatever SID it quotes."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    account, _ = await another_account(world)
    call = await world.receive(world.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))

    named = await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=N1, account_sid=account.sid)
    vague = await world.report(LegStatus.COMPLETED, resource_sid="1001", account_sid=account.sid)

    assert (named, vague) == (ReportOutcome.NOT_FOUND, ReportOutcome.NOT_FOUND)
    assert recorded(world, call).inbound.status is LegStatus.RINGING


async def test_an_outbound_leg_is_not_found_by_its_sid(world: World) -> None:
    """It may be the SID of an inbound leg on the same number; our own SID names it."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    call = await world.receive(world.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))

    for proxy in (N1, None):
        outcome = await world.report(LegStatus.BUSY, resource_sid="1001", proxy=proxy, is_outbound=True)
        assert outcome is ReportOutcome.NOT_FOUND

    assert recorded(world, call).outbound.status is LegStatus.INITIATED


async def test_the_end_of_a_long_call_is_known_when_it_is_told_again(world: World) -> None:
    """By the number or by the SID alone, although the call came before the redelivery window."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.receive(world.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))
    for number in range(10):
        world.clock.move(700)
        await world.receive(world.event(Kind.VOICE, ALICE, N1, resource_sid=f"later {number}"))
    await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=N1)

    by_number = await world.report(LegStatus.COMPLETED, resource_sid="1001", proxy=N1)
    by_sid = await world.report(LegStatus.COMPLETED, resource_sid="1001")

    assert world.clock.now > START + 5000
    assert ReportOutcome.NOT_FOUND not in (by_number, by_sid)


async def test_the_calls_of_an_operators_carrier_are_found_in_every_account(world: World) -> None:
    """It reports for all, and is refused where two of them have a call of that SID."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await another_account(world)
    await world.receive(world.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))
    await world.receive(world.event(Kind.VOICE, CAROL, N3, resource_sid="1001"))
    await world.receive(world.event(Kind.VOICE, CAROL, N3, resource_sid="1002"))

    outcomes = [
        await world.tell(
            LegReport(
                kind=Kind.VOICE,
                account_sid=None,
                interaction_sid=None,
                is_outbound=False,
                resource_sid=sid,
                status=LegStatus.COMPLETED,
            )
        )
        for sid in ("1001", "1002")
    ]

    assert outcomes == [ReportOutcome.AMBIGUOUS, ReportOutcome.RECORDED]


async def test_a_call_that_was_not_kept_is_not_open(world: World) -> None:
    """Its SID is free for another number's call, which a report without a number then finds."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.store.keep_back()
    lost = world.deliver(world.event(Kind.VOICE, ALICE, N1, resource_sid="1001"))
    await world.breathe()
    world.store.let_through(failing=range(1_000_000))
    assert (await asyncio.wait_for(lost, 20)).outcome is Outcome.NOT_READY

    kept = await world.receive(world.event(Kind.VOICE, BOB, N2, resource_sid="1001"))

    assert world.host.open_calls == 1
    assert await world.report(LegStatus.COMPLETED, resource_sid="1001") is ReportOutcome.RECORDED
    assert recorded(world, kept).inbound.status is LegStatus.COMPLETED
