"""Sessions from creation to end: names, numbers, expiry, re-opening (behaviour 3.4, 6, 8, 21)."""

import pytest

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import ClosedReason, Kind, Mode, NumberSelectionBehavior, Session, SessionStatus
from engine.core.model.requests import ParticipantRequest, ServiceRequest, SessionRequest
from engine.core.routing.traffic import Outcome, Reason
from tests.actors.world import ALICE, BOB, CAROL, DAVE, DAY, ERIN, N1, N2, START, World, refused, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]


async def routes(world: World, sender: str, proxy: str) -> bool:
    return (await world.call(sender, proxy)).outcome is Outcome.ROUTED


# -- numbers ---------------------------------------------------------------------------------------------------------


async def test_the_worked_example(world: World) -> None:
    """Three live sessions over two numbers; the driver in two of them holds both (behaviour 6.2)."""
    first = await world.session(ALICE, DAVE)
    await world.session(BOB, ERIN)
    third = await world.session(CAROL, DAVE)

    assert world.proxy(third, DAVE) != world.proxy(first, DAVE)
    assert (await world.call(DAVE, world.proxy(first, DAVE))).to == ALICE
    assert (await world.call(DAVE, world.proxy(third, DAVE))).to == CAROL


async def test_a_pool_of_one_pairs_two_people_once(world: World) -> None:
    """The second pairing of the same two fails while the first lives, and succeeds after."""
    service = await world.make_service("one")
    await world.pool("+16465550009", service_sid=service.sid)
    first = await world.session(ALICE, BOB, service_sid=service.sid)

    code = await refused(world.session(ALICE, BOB, service_sid=service.sid))
    await world.close(first)
    second = await world.session(ALICE, BOB, service_sid=service.sid)

    assert code is Code.NO_UNUSED_PROXY
    assert world.proxy(second, ALICE) == "+16465550009"


@pytest.mark.parametrize(
    ("behavior", "is_same"),
    [(NumberSelectionBehavior.PREFER_STICKY, True), (NumberSelectionBehavior.AVOID_STICKY, False)],
)
async def test_stickiness_after_a_close(world: World, behavior: NumberSelectionBehavior, *, is_same: bool) -> None:
    """A new session gives the same number again, or another one."""
    await world.control.update_service(
        world.account.sid, world.service_sid, ServiceRequest(number_selection_behavior=behavior)
    )
    first = await world.session(ALICE, BOB)
    await world.close(first)
    world.clock.move(1)

    second = await world.session(ALICE, BOB)

    assert (world.proxy(second, ALICE) == world.proxy(first, ALICE)) is is_same


async def test_stickiness_survives_a_restart(world: World) -> None:
    """Which number a person had is on disk."""
    first = await world.session(wanting(ALICE, N2), wanting(BOB, N2))
    await world.close(first)
    await world.session(CAROL, wanting(DAVE, N2))
    await world.restart()

    again = await world.session(ALICE)

    assert world.proxy(again, ALICE) == N2


async def test_in_use_counts_a_session_once_per_number(world: World) -> None:
    """A shared number counts once; it is free when the session ends."""
    shared = await world.session(wanting(ALICE, N1), wanting(BOB, N1))
    apart = await world.session(wanting(CAROL, N1), wanting(DAVE, N2))

    assert (await world.in_use(N1), await world.in_use(N2)) == (2, 1)
    await world.close(shared)
    await world.delete(apart)

    assert (await world.in_use(N1), await world.in_use(N2)) == (0, 0)


async def test_a_service_without_numbers_refuses_participants_only(world: World) -> None:
    """80205; a session without participants is made all the same."""
    empty = await world.make_service("empty")

    session = await world.session(service_sid=empty.sid)

    assert session.status is SessionStatus.OPEN
    assert await refused(world.join(session, ALICE)) is Code.NO_PROXIES_FOR_SERVICE


# -- names -----------------------------------------------------------------------------------------------------------


async def test_a_name_is_owned_until_the_session_is_deleted(world: World) -> None:
    """A closed session still owns its name; deletion frees it at once."""
    first = await world.session(unique_name="ride-1")
    await world.close(first)

    code = await refused(world.session(unique_name="ride-1"))
    await world.delete(first)
    second = await world.session(unique_name="ride-1")

    assert code is Code.SESSION_NAME_TAKEN
    assert (await world.control.session(world.account.sid, world.service_sid, "ride-1")).sid == second.sid


async def test_services_do_not_share_session_names(world: World) -> None:
    """Unique inside the service only."""
    other = await world.make_service("other")
    await world.session(unique_name="ride-1")

    assert (await world.session(unique_name="ride-1", service_sid=other.sid)).unique_name == "ride-1"


async def test_a_name_that_nobody_owns_is_not_found(world: World) -> None:
    """80308."""
    with pytest.raises(ApiError) as caught:
        await world.control.session(world.account.sid, world.service_sid, "nobody")

    assert caught.value.code is Code.SESSION_NAME_NOT_FOUND


async def test_a_refused_creation_leaves_nothing(world: World) -> None:
    """One participant failing fails the whole request; name and numbers stay free."""
    code = await refused(world.session(ALICE, "+15551234567", unique_name="ride-1"))

    assert code is Code.IDENTIFIER_INVALID
    assert await world.in_use(N1) == await world.in_use(N2) == 0
    assert (await world.session(ALICE, BOB, unique_name="ride-1")).unique_name == "ride-1"


async def test_service_names_are_free_at_once_after_deletion(world: World) -> None:
    """80602 while it exists, also for a rename; nothing of it is found afterwards."""
    other = await world.make_service("other")
    session = await world.session(ALICE, BOB)

    rename = world.control.update_service(world.account.sid, other.sid, ServiceRequest(unique_name="rides"))
    assert await refused(rename) is Code.SERVICE_NAME_TAKEN
    assert await refused(world.make_service("rides")) is Code.SERVICE_NAME_TAKEN
    await world.control.delete_service(world.account.sid, world.service_sid)

    assert (await world.make_service("rides")).unique_name == "rides"
    assert await refused(world.close(session)) is Code.NOT_FOUND
    with pytest.raises(ApiError):
        world.control.service(world.account.sid, world.service_sid)


# -- participants ----------------------------------------------------------------------------------------------------


async def test_participants_may_join_later_in_any_order(world: World) -> None:
    """The session stays open; each routes once the partner is there."""
    session = await world.session()
    await world.join(session, BOB)
    alone = await world.call(BOB, world.proxy(session, BOB))
    await world.join(session, ALICE)

    assert alone.reason is Reason.NO_PARTNER
    assert (await world.look(session)).status is SessionStatus.OPEN
    assert (await world.call(BOB, world.proxy(session, BOB))).to == ALICE


async def test_a_removed_participant_neither_calls_nor_is_reached(world: World) -> None:
    """Neither sender nor target; the pair is free for another session; the person cannot come back."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.leave(session, ALICE)

    assert (await world.call(ALICE, N1)).reason is Reason.NO_SESSION
    assert (await world.call(BOB, N2)).reason is Reason.NO_PARTNER
    assert (await world.in_use(N1), await world.in_use(N2)) == (0, 1)
    assert await refused(world.join(session, ALICE)) is Code.DUPLICATE_ENTRY
    elsewhere = await world.session(wanting(ALICE, N1), CAROL)
    assert (await world.call(ALICE, N1)).session_sid == elsewhere.sid


async def test_a_removed_participant_may_be_replaced(world: World) -> None:
    """Somebody else joins instead, on the same number if asked."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.leave(session, ALICE)

    await world.join(session, wanting(CAROL, N1))

    assert (await world.call(BOB, N2)).to == CAROL
    assert (await world.call(CAROL, N1)).to == BOB


async def test_removing_twice_is_not_found(world: World) -> None:
    """The row stays and can be read, but it is gone."""
    session = await world.session(ALICE, BOB)
    await world.leave(session, ALICE)

    assert await refused(world.leave(session, ALICE)) is Code.NOT_FOUND
    assert world.participant(session, ALICE).date_deleted == START


async def test_a_third_participant_is_refused(world: World) -> None:
    """80609, on creation and later."""
    session = await world.session(ALICE, BOB)

    assert await refused(world.join(session, CAROL)) is Code.TOO_MANY_PARTICIPANTS
    assert await refused(world.session(ALICE, BOB, CAROL)) is Code.TOO_MANY_PARTICIPANTS


async def test_nobody_joins_a_closed_session(world: World) -> None:
    """80607."""
    session = await world.session(ALICE)
    await world.close(session)

    assert await refused(world.join(session, BOB)) is Code.SESSION_CLOSED


# -- status ----------------------------------------------------------------------------------------------------------


async def test_the_first_interaction_starts_a_session(world: World) -> None:
    """Open becomes in-progress; date_started stays, date_last_interaction moves."""
    session = await world.session(ALICE, BOB)
    world.clock.move(5)
    await world.text(ALICE, world.proxy(session, ALICE))
    world.clock.move(5)
    await world.call(BOB, world.proxy(session, BOB))

    seen = await world.look(session)

    assert seen.status is SessionStatus.IN_PROGRESS
    assert (seen.date_started, seen.date_last_interaction) == (START + 5, START + 10)


async def test_what_is_refused_starts_nothing(world: World) -> None:
    """A stop word, a stranger or a wrong mode is no interaction."""
    session = await world.session(ALICE, BOB, mode=Mode.MESSAGE_ONLY)
    proxy = world.proxy(session, ALICE)

    await world.text(ALICE, proxy, "STOP")
    await world.call(ALICE, proxy)
    await world.text(CAROL, proxy)

    assert (await world.look(session)).status is SessionStatus.OPEN
    assert world.observer.codes() == [80901, 80911, 80905]


async def test_closing_ends_routing_at_once_and_frees_the_numbers(world: World) -> None:
    """Whoever calls is a stranger from then on (behaviour 9)."""
    session = await world.session(ALICE, BOB)
    proxy = world.proxy(session, ALICE)

    closed = await world.close(session)

    assert (closed.status, closed.closed_reason, closed.date_ended) == (SessionStatus.CLOSED, ClosedReason.API, START)
    assert closed.date_started is None
    assert (await world.call(ALICE, proxy)).code is Code.NO_ACTIVE_SESSION
    assert (await world.text(ALICE, proxy)).code is Code.UNKNOWN_SCENARIO
    assert await world.in_use(proxy) == 0


async def test_reopening_keeps_the_numbers(world: World) -> None:
    """Date_ended and closed_reason are gone, the pairs route as before; Status=open is 80608."""
    session = await world.session(ALICE, BOB)
    alice, bob = world.proxy(session, ALICE), world.proxy(session, BOB)
    await world.close(session)

    assert await refused(world.update(session, status=SessionStatus.OPEN)) is Code.SESSION_STATUS_INVALID
    again = await world.reopen(session)

    assert (again.status, again.closed_reason, again.date_ended) == (SessionStatus.IN_PROGRESS, None, None)
    assert (world.proxy(session, ALICE), world.proxy(session, BOB)) == (alice, bob)
    assert (await world.call(ALICE, alice)).to == BOB


async def test_reopening_after_the_pair_was_given_away_is_refused(world: World) -> None:
    """80604, and nothing is changed: the other session routes on, this one stays closed."""
    first = await world.session(wanting(ALICE, N1), wanting(BOB, N1))
    await world.close(first)
    second = await world.session(wanting(ALICE, N1), wanting(CAROL, N1))

    assert await refused(world.reopen(first)) is Code.PROXY_IDENTIFIER_IN_USE
    assert (await world.look(first)).status is SessionStatus.CLOSED
    assert (await world.call(ALICE, N1)).session_sid == second.sid
    assert await world.in_use(N1) == 1
    await world.close(second)
    assert (await world.reopen(first)).is_active


async def test_reopening_needs_the_number_still_in_the_pool(world: World) -> None:
    """80605 when it left meanwhile."""
    session = await world.session(wanting(ALICE, N1))
    await world.close(session)
    await world.control.remove_from_pool(world.account.sid, world.service_sid, await world.number_sid(N1))

    assert await refused(world.reopen(session)) is Code.PROXY_IDENTIFIER_NOT_IN_SERVICE


async def test_a_removed_participants_pair_does_not_stop_a_reopening(world: World) -> None:
    """Only the live participants come back."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N1))
    await world.leave(session, ALICE)
    await world.close(session)
    await world.session(wanting(ALICE, N1), CAROL)

    assert (await world.reopen(session)).is_active
    assert (await world.call(BOB, N1)).reason is Reason.NO_PARTNER


async def test_deleting_a_session_leaves_strangers(world: World) -> None:
    """404 for everything in it; numbers and name are free; traffic is as unknown."""
    session = await world.session(ALICE, BOB, unique_name="ride-1")
    proxy = world.proxy(session, ALICE)
    await world.text(ALICE, proxy)

    await world.delete(session)

    assert await refused(world.delete(session)) is Code.NOT_FOUND
    assert (await world.call(ALICE, proxy)).reason is Reason.NO_SESSION
    assert await world.in_use(proxy) == 0
    assert world.store.participants(session.sid) == ()


# -- expiry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toucher", [ALICE, BOB])
@pytest.mark.parametrize("kind", list(Kind))
async def test_an_interaction_on_either_number_keeps_a_session_alive(world: World, toucher: str, kind: Kind) -> None:
    """ttl=2: touched at 1 it lives at 2.5, from the other number too, and ends at 3 exactly."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2), ttl_seconds=2)
    world.clock.move(1)
    await world.receive(world.event(kind, toucher, world.proxy(session, toucher)))
    world.clock.move(1.5)
    await world.host.sweep()

    assert (await world.look(session)).is_active
    world.clock.move(0.5)
    late = await world.call(ALICE, N1)

    assert (late.reason, late.code) == (Reason.SESSION_EXPIRED, Code.SESSION_EXPIRED)


async def test_traffic_past_the_end_closes_the_session(world: World) -> None:
    """Found before the sweep: refused with 80904, closed with the reason, numbers freed."""
    session = await world.session(ALICE, BOB, ttl_seconds=60)
    proxy = world.proxy(session, ALICE)
    world.clock.move(60)

    first = await world.call(ALICE, proxy)
    await world.settle()
    second = await world.text(BOB, world.proxy(session, BOB))

    assert (first.code, second.code) == (Code.SESSION_EXPIRED, Code.SESSION_EXPIRED)
    assert first.session_sid == second.session_sid == session.sid
    closed = await world.look(session)
    assert (closed.status, closed.closed_reason, closed.date_ended) == (
        SessionStatus.CLOSED,
        ClosedReason.TTL,
        START + 60,
    )
    assert await world.in_use(proxy) == 0


async def test_what_ended_while_the_engine_was_down_is_closed_when_it_is_back(world: World) -> None:
    """Nothing routes past its end; `date_ended` is when that was noticed."""
    session = await world.session(ALICE, BOB, ttl_seconds=60)
    await world.stop()
    world.clock.move(3600)
    await world.start()

    refusal = await world.call(ALICE, world.proxy(session, ALICE))
    await world.settle()
    closed = await world.look(session)

    assert (refusal.outcome, refusal.code) == (Outcome.REFUSED, Code.SESSION_EXPIRED)
    assert (closed.closed_reason, closed.date_ended) == (ClosedReason.TTL, START + 3600)


async def test_a_session_made_closed_holds_nothing(world: World) -> None:
    """A number named for somebody is looked at when it is made, and again when it is re-opened."""
    await world.session(wanting(ALICE, N1), BOB)

    async def made(participant: ParticipantRequest) -> Session:
        request = SessionRequest(status=SessionStatus.CLOSED, participants=(participant,))
        return await world.control.create_session(world.account.sid, world.service_sid, request)

    code = await refused(made(wanting(ALICE, N1)))
    closed = await made(wanting(CAROL, N1))
    in_use = await world.in_use(N1)
    await world.session(wanting(CAROL, N1), DAVE)

    assert code is Code.PROXY_IDENTIFIER_IN_USE
    assert (closed.status, closed.closed_reason, closed.date_ended) == (SessionStatus.CLOSED, ClosedReason.API, START)
    assert (world.proxy(closed, CAROL), in_use) == (N1, 1)
    assert await refused(world.reopen(closed)) is Code.PROXY_IDENTIFIER_IN_USE


async def test_stickiness_remembers_sessions_that_still_exist(world: World) -> None:
    """A closed one counts, and one whose participant left; a deleted one is forgotten."""
    await world.session(wanting(BOB, N2))
    past = await world.session(wanting(ALICE, N2))
    await world.leave(past, ALICE)
    await world.close(past)

    sticky = await world.session(ALICE)
    remembered = world.proxy(sticky, ALICE)
    await world.delete(sticky)
    await world.delete(past)
    anew = await world.session(ALICE)

    assert (remembered, world.proxy(anew, ALICE)) == (N2, N1)


async def test_the_sweep_closes_what_has_ended(world: World) -> None:
    """Ttl and date_expiry alike; what goes on is left."""
    idle = await world.session(ALICE, BOB, ttl_seconds=60)
    dated = await world.session(CAROL, DAVE, date_expiry=START + 60)
    lasting = await world.session(ERIN, ttl_seconds=61)
    world.clock.move(60)

    await world.host.sweep()

    assert (await world.look(idle)).closed_reason == ClosedReason.TTL
    assert (await world.look(dated)).closed_reason == ClosedReason.DATE_EXPIRY
    assert (await world.look(lasting)).is_active
    assert world.host.active_sessions == 1
    assert await world.in_use(N1) + await world.in_use(N2) == 1


async def test_the_expiry_date_wins_over_the_ttl(world: World) -> None:
    """A session with both ends at the date, interactions or not."""
    session = await world.session(wanting(ALICE, N1), BOB, ttl_seconds=10, date_expiry=START + 60)
    world.clock.move(59)

    assert await routes(world, ALICE, N1)
    world.clock.move(1)
    assert not await routes(world, ALICE, N1)
    await world.settle()
    assert (await world.look(session)).closed_reason == ClosedReason.DATE_EXPIRY


async def test_an_expiry_moves_on_the_fly(world: World) -> None:
    """Nearer, further, away: the sweep follows."""
    session = await world.session(wanting(ALICE, N1), BOB, date_expiry=START + 1000)
    await world.update(session, date_expiry=START + 10)
    world.clock.move(5)
    await world.update(session, date_expiry=START + 20)
    world.clock.move(10)
    await world.host.sweep()
    assert (await world.look(session)).is_active

    await world.update(session, date_expiry=None, ttl_seconds=0)
    world.clock.move(DAY)
    await world.host.sweep()

    assert await routes(world, ALICE, N1)


async def test_a_shorter_ttl_counts_from_the_last_interaction(world: World) -> None:
    """An idle session may be past its new limit at once."""
    session = await world.session(wanting(ALICE, N1), BOB)
    world.clock.move(100)

    await world.update(session, ttl_seconds=50)

    assert (await world.call(ALICE, N1)).reason is Reason.SESSION_EXPIRED


async def test_an_update_finds_an_expired_session_closed(world: World) -> None:
    """A session past its end takes no new limits; it may be re-opened with a later one."""
    session = await world.session(ALICE, BOB, date_expiry=START + 10)
    world.clock.move(10)

    assert await refused(world.update(session, date_expiry=START + 99)) is Code.SESSION_CLOSED
    assert (await world.look(session)).closed_reason == ClosedReason.DATE_EXPIRY
    again = await world.update(session, status=SessionStatus.IN_PROGRESS, date_expiry=START + 99)
    assert (again.is_active, again.date_expiry) == (True, START + 99)


async def test_nobody_joins_a_session_past_its_end(world: World) -> None:
    """80607 although the sweep has not come yet."""
    session = await world.session(ALICE, ttl_seconds=10)
    world.clock.move(10)

    assert await refused(world.join(session, BOB)) is Code.SESSION_CLOSED


async def test_reopening_restarts_the_ttl(world: World) -> None:
    """The clock counts from the re-opening."""
    session = await world.session(wanting(ALICE, N1), BOB, ttl_seconds=10)
    world.clock.move(10)
    await world.host.sweep()
    world.clock.move(100)

    await world.reopen(session)
    world.clock.move(9)

    assert await routes(world, ALICE, N1)


async def test_reopening_with_a_past_expiry_ends_again(world: World) -> None:
    """A stored date in the past is not replaced by itself."""
    session = await world.session(wanting(ALICE, N1), BOB, date_expiry=START + 10)
    world.clock.move(10)
    await world.host.sweep()

    await world.reopen(session)

    assert (await world.call(ALICE, N1)).reason is Reason.SESSION_EXPIRED
    await world.settle()
    assert (await world.look(session)).closed_reason == ClosedReason.DATE_EXPIRY


async def test_a_deleted_session_is_not_remembered_as_expired(world: World) -> None:
    """80904 while it exists, then as unknown."""
    session = await world.session(wanting(ALICE, N1), BOB, ttl_seconds=10)
    world.clock.move(10)
    await world.host.sweep()
    assert (await world.call(ALICE, N1)).code is Code.SESSION_EXPIRED

    await world.delete(session)

    assert (await world.call(ALICE, N1)).code is Code.NO_ACTIVE_SESSION


async def test_a_restart_keeps_idle_clocks(world: World) -> None:
    """The ttl counts on over a restart."""
    session = await world.session(wanting(ALICE, N1), BOB, ttl_seconds=10)
    world.clock.move(6)
    await world.text(ALICE, N1)
    await world.restart()
    world.clock.move(9)
    assert await routes(world, ALICE, N1)

    world.clock.move(10)
    await world.host.sweep()

    assert (await world.look(session)).closed_reason == ClosedReason.TTL
