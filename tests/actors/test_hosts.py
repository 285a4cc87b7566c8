"""What only several hosts can do: lose each other, hear late, hear twice, come back with nothing in memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.kernel.yielding import STEPS_PER_TURN
from actors.traffic.stream import GUARD_SECONDS, Batch, Begun, Completed, Routed
from engine.core.model.changes import InteractionRecorded
from engine.core.model.errors import ApiError, Code, PeerUnavailable, StoreUnreadable
from engine.core.model.records import (
    Address,
    ClosedReason,
    Interaction,
    Kind,
    LegStatus,
    Mode,
    Session,
    SessionStatus,
)
from engine.core.model.requests import AccountUpdate, SessionRequest, SessionUpdate
from engine.core.ports.lists import PageCursor
from engine.core.routing.traffic import Outcome, Reason, ReportOutcome
from engine.core.sessions.bindings import Endpoint
from tests.actors.stores import WAIT_SECONDS
from tests.actors.three_hosts import (
    FIRST,
    HOSTS,
    SECOND,
    THIRD,
    arrived,
    coordinated_by,
    direct,
    number_of,
    outbound_leg_ended,
    outcomes,
    silenced,
    started_anew,
    stopped,
)
from tests.actors.world import ALICE, BOB, CAROL, START, World, wanting
from tests.storage.material import interaction, interactions_since

pytestmark = pytest.mark.anyio

PAGE = PageCursor(limit=100)


@pytest.fixture(params=["files", "postgres"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Start three hosts, with files or one database, and a service whose numbers are on all of them."""
    database = None if request.param == "files" else request.getfixturevalue("database")
    world = World(tmp_path / "data", count=HOSTS, database=database)
    await world.start()
    await world.furnish()
    await coordinated_by(world, 0)
    yield world
    world.mend()
    await world.stop()


async def test_a_read_that_waits_for_what_passed_elsewhere_is_refused_as_a_read(world: World) -> None:
    """The store refuses what was told of a session: nothing of the caller's was to be stored."""
    await world.session(wanting(ALICE, SECOND), wanting(BOB, SECOND))
    world.store.keep_back()
    texting = asyncio.create_task(world.text(ALICE, SECOND))
    await world.in_flight()
    world.store.let_through()
    world.store.keep_back()  # from the touch on, which the host of the number tells then
    await texting
    await world.in_flight()

    reading = asyncio.create_task(world.hosts[0].parts.catch_up())
    async with asyncio.timeout(WAIT_SECONDS):
        while all(changes for _, changes, _, _ in world.mood.kept_back or ()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    world.store.let_through(failing=range(world.store.kept_back))

    with pytest.raises(StoreUnreadable):
        await reading


# -- reaching each other ---------------------------------------------------------------------------------------------


async def test_partners_reach_each_other_whichever_hosts_they_come_to(world: World) -> None:
    """Coordinator, both numbers and the listener may be four different hosts; what passed is found on any."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))

    for _ in range(HOSTS):
        assert (await world.text(ALICE, SECOND)).to == BOB
        assert (await world.text(BOB, THIRD)).to == ALICE

    for _ in range(HOSTS):
        page = await world.control.interactions_page(world.account.sid, world.service_sid, session.sid, PAGE)
        assert [one.proxy for one in page.records] == [SECOND, THIRD] * HOSTS
    assert (await world.look(session)).status is SessionStatus.IN_PROGRESS


async def test_pages_of_interactions_on_several_hosts_fit_together(world: World) -> None:
    """Forwards and backwards, each once, in order."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    for _ in range(4):
        world.clock.move(0.01)
        await world.text(ALICE, SECOND)
        await world.text(BOB, THIRD)

    async def page(*, after: str | None = None, before: str | None = None) -> list[str]:
        cursor = PageCursor(limit=3, after=after, before=before)
        found = await world.control.interactions_page(world.account.sid, world.service_sid, session.sid, cursor)
        return [one.sid for one in found.records]

    whole = await world.control.interactions_page(world.account.sid, world.service_sid, session.sid, PAGE)
    first = await page()
    second = await page(after=first[-1])
    third = await page(after=second[-1])
    assert [*first, *second, *third] == [one.sid for one in whole.records]
    assert await page(before=third[0]) == second


async def test_a_leg_is_reported_to_any_host(world: World) -> None:
    """The host of the interaction takes it; what nobody knows is 80907 once."""
    await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    decision = await world.call(ALICE, SECOND)
    world.observer.codes()

    told = await outbound_leg_ended(world, decision)
    unknown = await world.report(LegStatus.COMPLETED, resource_sid="CA" + "8" * 32)

    assert told == [ReportOutcome.RECORDED] * 3
    assert unknown is ReportOutcome.NOT_FOUND
    assert world.observer.codes() == [Code.OPEN_INTERACTION_NOT_FOUND]


async def test_the_ttl_counts_what_passed_on_the_partners_number(world: World) -> None:
    """An actor that finds a session idle past its ttl asks before it refuses."""
    await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD), ttl_seconds=10)
    world.clock.move(8)
    await world.text(BOB, THIRD)
    world.clock.move(8)

    assert (await world.text(ALICE, SECOND)).outcome is Outcome.ROUTED
    world.clock.move(11)
    assert (await world.text(BOB, THIRD)).code is Code.SESSION_EXPIRED


async def test_a_service_erased_anywhere_is_gone_everywhere(world: World) -> None:
    """Its numbers are nobody's on any host, its interactions on no disk."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    await world.text(ALICE, SECOND)

    await world.control.delete_service(world.account.sid, world.service_sid)

    assert await outcomes(world, ALICE, SECOND) == {Outcome.UNKNOWN_NUMBER}
    assert not any(interactions_since(store.inner, 0.0) for store in world.stores.values())
    assert world.store.session(session.sid) is None
    assert not any(host.bindings for host in world.hosts.values())


async def test_one_address_is_owned_once_though_two_hosts_are_asked_at_once(world: World) -> None:
    """The registrar decides."""
    other = await coordinated_by_other_account(world)
    number = number_of(1, nth=5)

    attempts = [
        world.control.add_to_pool(account, service, number_sid=None, address=number, is_reserved=False)
        for account, service in ((world.account.sid, world.service_sid), other)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)

    codes = [result.code for result in results if isinstance(result, ApiError)]
    assert codes == [Code.NUMBER_NOT_AVAILABLE]


async def coordinated_by_other_account(world: World) -> tuple[str, str]:
    """Return account and service of another tenant."""
    account = await world.control.create_account(AccountUpdate(friendly_name="Other"))
    service = await world.make_service("other", account=account)
    return account.sid, service.sid


# -- losing each other -----------------------------------------------------------------------------------------------


async def test_a_host_that_hears_nothing_of_a_coordinator_stops_to_route_for_it(world: World) -> None:
    """In doubt it does not route; what is its own goes on; joined again, all is as before."""
    await world.session(wanting(ALICE, FIRST), wanting(BOB, SECOND))

    await silenced(world, 1)
    here = await direct(world, 0, ALICE, FIRST)
    there = await direct(world, 1, BOB, SECOND)
    world.mend()
    await world.joined()

    assert here is Outcome.ROUTED
    assert there is Outcome.NOT_READY
    assert await direct(world, 1, BOB, SECOND) is Outcome.ROUTED


async def test_a_host_that_is_cut_off_is_ready_and_says_which_part_it_does_not_serve(world: World) -> None:
    """Its own services' numbers serve on; joined again, it serves all."""
    await silenced(world, 1)
    cut_off = world.hosts[1]
    is_ready, waiting, limits = cut_off.is_ready, cut_off.rebuilding_numbers, cut_off.limits
    world.mend()
    await world.joined()

    assert is_ready
    assert waiting > 0
    assert limits == f"{waiting} numbers wait for their bindings and answer 503"
    assert (cut_off.rebuilding_numbers, cut_off.limits) == (0, "")


async def test_a_close_waits_for_a_host_that_may_still_route(world: World) -> None:
    """It is answered when the lease has run out, and from then on nothing routes, on either side of the cut."""
    session = await world.session(wanting(ALICE, FIRST), wanting(BOB, SECOND))
    for other in (0, 2):
        world.cut(1, other)
    assert await direct(world, 1, BOB, SECOND) is Outcome.ROUTED

    closing = asyncio.create_task(
        world.hosts[0].control.update_session(world.account.sid, world.service_sid, session.sid, closing_update())
    )
    await world.breathe()
    assert not closing.done()
    assert await direct(world, 1, BOB, SECOND) is Outcome.ROUTED
    await world.outlast_leases()
    closed = await closing

    assert closed.status is SessionStatus.CLOSED
    assert await direct(world, 1, BOB, SECOND) is Outcome.NOT_READY
    assert await direct(world, 0, ALICE, FIRST) is Outcome.REFUSED
    world.mend()
    await world.joined()
    assert await direct(world, 1, BOB, SECOND) is Outcome.REFUSED


def closing_update() -> SessionUpdate:
    """Return the request to close."""
    return SessionUpdate(status=SessionStatus.CLOSED)


async def test_a_session_made_while_a_host_is_away_routes_there_when_it_is_back(world: World) -> None:
    """Until then its traffic is told to come again, never refused."""
    await silenced(world, 1)
    request = session_request(ALICE, FIRST, BOB, SECOND)

    await world.hosts[0].control.create_session(world.account.sid, world.service_sid, request)

    assert await direct(world, 1, BOB, SECOND) is Outcome.NOT_READY
    world.mend()
    await world.joined()
    assert await direct(world, 1, BOB, SECOND) is Outcome.ROUTED


def session_request(one: Address, first: Address, other: Address, second: Address) -> SessionRequest:
    """Return the request to pair two people on these numbers."""
    return SessionRequest(participants=(wanting(one, first), wanting(other, second)))


async def test_a_session_past_its_ttl_is_not_closed_while_a_host_may_know_better(world: World) -> None:
    """Neither routed nor refused; the host is back and tells what passed: it goes on."""
    session = await world.session(wanting(ALICE, FIRST), wanting(BOB, SECOND), ttl_seconds=10)
    world.clock.move(8)
    await direct(world, 1, BOB, SECOND)
    for other in (0, 2):
        world.cut(1, other)
    await world.outlast_leases()
    world.clock.move(8)
    await world.hosts[0].parts.upkeep.sweep()

    waiting = await direct(world, 0, ALICE, FIRST)
    world.mend()
    await world.joined()

    assert waiting in {Outcome.NOT_READY, Outcome.ROUTED}  # the touch may have been told before the cut
    assert await direct(world, 0, ALICE, FIRST) is Outcome.ROUTED
    assert (await world.look(session)).is_active


async def test_rest_is_told_of_a_host_that_does_not_answer(world: World) -> None:
    """As unavailable, not as not found."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    await silenced(world, 0)

    with pytest.raises(PeerUnavailable):
        await world.hosts[1].control.session(world.account.sid, world.service_sid, session.sid)
    assert await direct(world, 2, ALICE, SECOND) is Outcome.NOT_READY


async def test_the_registry_is_caught_up_with_by_a_host_that_was_away(world: World) -> None:
    """A number pooled meanwhile routes there, a key revoked meanwhile opens nothing."""
    key, secret = await world.control.create_api_key(world.account.sid, "till")
    await silenced(world, 2)
    number = number_of(2, nth=7)
    control = world.hosts[0].control
    await control.add_to_pool(world.account.sid, world.service_sid, number_sid=None, address=number, is_reserved=False)
    await control.revoke_api_key(key.sid)

    world.mend()
    await world.joined()
    await world.session(wanting(ALICE, number), wanting(BOB, FIRST))

    assert await direct(world, 2, ALICE, number) is Outcome.ROUTED
    assert world.hosts[2].control.authenticate(key.sid, secret) is None


async def test_a_host_that_was_away_learns_what_became_of_accounts(world: World) -> None:
    """Disabled, its numbers there do not route; deleted, it is unknown there, and nobody else has lost anything."""
    session = await world.session(wanting(ALICE, THIRD), wanting(BOB, FIRST))
    gone = await world.control.create_account(AccountUpdate(friendly_name="Gone"))
    key, secret = await world.control.create_api_key(gone.sid, "till")
    await silenced(world, 2)
    control = world.hosts[0].control
    await control.enable_account(world.account.sid, is_enabled=False)
    await control.enable_account(gone.sid, is_enabled=False)
    await control.delete_account(gone.sid)

    world.mend()
    await world.joined()

    away = world.hosts[2].control
    assert await direct(world, 2, ALICE, THIRD) is Outcome.REFUSED
    assert away.authenticate(world.account.sid, world.account.auth_token) is None
    assert (away.accounts(), away.authenticate(key.sid, secret)) == (control.accounts(), None)
    await away.enable_account(world.account.sid, is_enabled=True)
    assert await direct(world, 2, ALICE, THIRD) is Outcome.ROUTED
    assert (await world.look(session)).is_active


# -- coming back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", range(HOSTS))
async def test_a_host_that_comes_back_knows_all_that_was_acknowledged(world: World, host: int) -> None:
    """Whether it coordinated or had a number: bindings, redelivered answers, idle clocks, the registry."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD), ttl_seconds=60)
    ended = await world.session(wanting(CAROL, SECOND), wanting(BOB, SECOND))
    event = world.event(Kind.MESSAGE, ALICE, SECOND)
    before = world.event(Kind.MESSAGE, CAROL, SECOND)
    answers = [await world.receive(event), await world.receive(before)]
    await world.close(ended)
    world.clock.move(30)
    await world.text(BOB, THIRD)

    await started_anew(world, host)

    assert [await world.receive(event), await world.receive(before)] == answers
    assert (await world.text(CAROL, SECOND)).reason is Reason.NO_SESSION
    world.clock.move(45)
    assert (await world.text(ALICE, SECOND)).outcome is Outcome.ROUTED
    assert (await world.look(session)).status is SessionStatus.IN_PROGRESS
    assert (await world.look(ended)).closed_reason == ClosedReason.API


async def test_what_a_host_said_in_an_earlier_life_is_not_believed_when_it_is_heard_late(world: World) -> None:
    """A host that hung reads it last, after what the next life of the other has said; a session is closed since."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    world.said.clear()
    await started_anew(world, 0)
    early = [what for source, to, what in world.said if (source, to) == (0, 1) and b"Begun" in what]
    await started_anew(world, 0)
    await world.close(session)

    for message in early:
        await world.hosts[1].answer(0, message)

    assert early
    assert await direct(world, 1, ALICE, SECOND) is Outcome.REFUSED


async def test_a_host_that_is_told_of_very_many_sessions_answers_others_meanwhile(world: World) -> None:
    """And does not route before it has taken up all of them."""
    membership = world.hosts[1].parts.node
    assert membership is not None
    replica = membership.replicas[0]
    said = [
        routed_on(SECOND, f"+1212{number:07}", number) for number in range(2_000_000, 2_000_000 + 4 * STEPS_PER_TURN)
    ]
    told = Batch(
        source=0,
        incarnation="anew",
        upon=monotonic(),
        first=1,
        operations=(Begun(), *said, Completed()),
        echo=monotonic(),
    )

    taking = asyncio.create_task(replica.take(told))
    seen = []
    while not taking.done():
        await asyncio.sleep(0)
        seen.append((replica.is_ready, len(replica.sessions)))

    assert taking.result().applied == len(told.operations)
    assert seen[-1] == (True, len(said))
    assert {(False, times * STEPS_PER_TURN) for times in (1, 2, 3)} <= set(seen)


def routed_on(proxy: Address, identifier: Address, number: int) -> Routed:
    """Return the operation that lets a session of one person route."""
    endpoint = Endpoint(f"KP{number:032}", identifier, proxy)
    return Routed(f"KC{number:032}", "KS", "AC", Mode.VOICE_AND_MESSAGE, (endpoint,), 0.0, 0, None, 1, None)


async def test_traffic_of_a_host_that_is_away_is_told_to_come_again(world: World) -> None:
    """Whichever host it comes to; the numbers of the others go on."""
    await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    await stopped(world, 1)
    world.cut(0, 1)
    world.cut(2, 1)

    away = {await direct(world, host, ALICE, SECOND) for host in (0, 2)}
    here = {await direct(world, host, BOB, THIRD) for host in (0, 2)}

    assert away == {Outcome.NOT_READY}
    assert here == {Outcome.ROUTED}
    world.mend()
    await world.start_host(1)
    world.renew()
    await world.joined()
    assert await outcomes(world, ALICE, SECOND) == {Outcome.ROUTED}


# -- a network that loses, repeats and delays ------------------------------------------------------------------------

fates = st.lists(st.sampled_from(["through", "through", "lost", "unanswered", "twice", "late"]), max_size=60)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fates=fates, closes=st.lists(st.booleans(), min_size=4, max_size=4))
async def test_whatever_the_network_does_nobody_reaches_anyone_but_their_partner(
    tmp_path_factory: pytest.TempPathFactory, fates: list[str], closes: list[bool]
) -> None:
    """And after a close is answered nothing routes; joined again, what was made routes."""
    world = World(tmp_path_factory.mktemp("hosts"), count=HOSTS)
    await world.start()
    await world.furnish()
    await coordinated_by(world, 0)
    world.fates = iter(fates)
    try:
        await pairings_under_faults(world, closes)
    finally:
        world.fates = iter(())
        await world.stop()


async def pairings_under_faults(world: World, closes: list[bool]) -> None:
    """Pair four couples, text both ways, close some of them."""
    couples = [(f"+1212300{n}000", f"+1212301{n}000") for n in range(4)]
    made = []
    for (one, other), is_closed in zip(couples, closes, strict=True):
        session = await world.hosts[0].control.create_session(
            world.account.sid, world.service_sid, session_request(one, SECOND, other, THIRD)
        )
        partners = {(one, SECOND): other, (other, THIRD): one}
        for (sender, proxy), partner in partners.items():
            decision = await world.text(sender, proxy)
            assert decision.to in {"", partner}
            assert decision.outcome in {Outcome.ROUTED, Outcome.NOT_READY}
        if is_closed:
            await world.hosts[0].control.update_session(
                world.account.sid, world.service_sid, session.sid, closing_update()
            )
        made.append((partners, is_closed))
        for earlier, was_closed in made:
            for (sender, proxy), partner in earlier.items():
                decision = await world.text(sender, proxy)
                assert decision.to in ({""} if was_closed else {"", partner})
    world.fates = iter(())
    await world.joined()
    for partners, is_closed in made:
        for (sender, proxy), partner in partners.items():
            assert (await world.text(sender, proxy)).to == ("" if is_closed else partner)


async def test_a_service_is_known_to_a_host_that_missed_its_creation(world: World) -> None:
    """Whoever asks says which version of the registry it takes for known."""
    for host in world.hosts.values():
        assert host.parts.node is not None
        for publisher in host.parts.node.publishers.values():
            publisher.is_up = False  # the registrar does not wait for hosts that it does not reach

    services = [await world.make_service(f"new-{nth}") for nth in range(6)]

    for service in services:
        page = await world.control.pool_page(world.account.sid, service.sid, PAGE, short_codes=False)
        assert page.records == ()


async def test_a_fixed_end_needs_nobodys_word(world: World) -> None:
    """What has come to it is refused although the coordinator does not answer."""
    await world.session(wanting(ALICE, FIRST), wanting(BOB, SECOND), date_expiry=world.clock.now + 10)
    world.clock.move(11)
    for other in (0, 2):
        world.cut(1, other)

    assert await direct(world, 1, BOB, SECOND) is Outcome.REFUSED


async def test_a_deletion_while_a_host_is_away_is_whole(world: World) -> None:
    """It is gone at once, and from that host's disk when it is back; nothing of other sessions is touched.

    From tables that all see it is gone at once too; what that host may be committing yet it erases when it is back.
    """
    gone = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    kept = await world.session(wanting(CAROL, SECOND), wanting(BOB, SECOND))
    for sender, proxy in ((ALICE, SECOND), (BOB, THIRD), (CAROL, SECOND)):
        await world.text(sender, proxy)
    await silenced(world, 1)

    await world.hosts[0].control.delete_session(world.account.sid, world.service_sid, gone.sid)

    left = [one.session_sid for one in interactions_since(world.stores[1].inner, 0.0)]
    assert sorted(left) == sorted([kept.sid] if world.is_shared else [gone.sid, kept.sid])
    assert await world.stores[0].planned_erasures() == (gone.sid,)
    await world.stores[1].inner.write((InteractionRecorded(late_in(gone), is_elsewhere=True),))
    world.mend()
    await world.joined()
    await world.hosts[0].parts.erasures.pay()
    await world.settle()
    assert [one.session_sid for one in world.store.interactions_since(0.0)] == [kept.sid]
    assert world.store.session(gone.sid) is None
    assert await world.stores[0].planned_erasures() == ()


def late_in(session: Session) -> Interaction:
    """Return what a host was about to commit when it was cut off."""
    return msgspec.structs.replace(interaction(session), proxy=SECOND, date_created=START)


async def test_a_deletion_is_whole_although_all_hosts_ended_before_one_heard_of_it(world: World) -> None:
    """What other hosts are to erase is committed with the deletion, and struck out when they have."""
    gone = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    await world.text(ALICE, SECOND)
    await silenced(world, 1)
    await world.hosts[0].control.delete_session(world.account.sid, world.service_sid, gone.sid)
    left = [one.session_sid for one in interactions_since(world.stores[1].inner, 0.0)]

    world.mend()
    await world.restart()
    await world.hosts[0].parts.erasures.pay()
    await world.settle()

    assert left == ([] if world.is_shared else [gone.sid])
    assert world.store.interactions_since(0.0) == []
    assert await world.stores[0].planned_erasures() == ()


async def test_a_redelivery_after_the_session_is_over_is_answered_from_its_record(world: World) -> None:
    """Its coordinator, on another host, says who was in it; while that is away it is to come again.

    What all see needs no coordinator.
    """
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    event = world.event(Kind.MESSAGE, ALICE, SECOND)
    first = await world.receive(event)
    await world.close(session)
    await world.restart()
    world.cut(0, 1)

    meanwhile = await arrived(world, 1, event)
    world.mend()
    await world.joined()

    assert meanwhile == first if world.is_shared else meanwhile.outcome is Outcome.NOT_READY
    assert await arrived(world, 1, event) == first


async def test_nothing_is_decided_that_might_be_answered_past_the_lease(world: World) -> None:
    """The last half second of a lease is for what is being committed."""
    node = world.hosts[1].parts.node
    assert node is not None
    source = node.replicas[0]
    is_ready, end = source.is_ready, source._serves_until

    source._monotonic = lambda: end - GUARD_SECONDS + 0.01
    is_late = source.is_ready
    source._monotonic = lambda: end - GUARD_SECONDS - 0.01

    assert is_ready
    assert not is_late
    assert source.is_ready
