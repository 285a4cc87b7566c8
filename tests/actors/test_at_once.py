"""What is asked at the same time: every request counts, in some order, none is lost or doubled."""

import asyncio

import pytest

from engine.core.model.errors import ApiError, Code, StoreUnavailable
from engine.core.model.records import GeoMatchLevel, Participant, Session, SessionStatus
from engine.core.model.requests import NumberUpdate, ServiceRequest
from engine.core.routing.traffic import Outcome, Reason
from tests.actors.world import ALICE, ALL, BOB, CAROL, N1, N3, World, begun, refused, wanting

pytestmark = pytest.mark.anyio


# -- creations -------------------------------------------------------------------------------------------------------


async def test_a_hundred_creations_for_one_person_over_ten_numbers(world: World) -> None:
    """Exactly ten succeed, all numbers distinct; the rest are 80208, none is refused for being concurrent."""
    service = await world.make_service("ten")
    numbers = [f"+1718555{index:04d}" for index in range(10)]
    await world.pool(*numbers, service_sid=service.sid)

    results = await asyncio.gather(
        *(world.session(ALICE, f"+1212555{3000 + index}", service_sid=service.sid) for index in range(100)),
        return_exceptions=True,
    )

    made = [result for result in results if isinstance(result, Session)]
    codes = [result.code for result in results if isinstance(result, ApiError)]
    assert {world.proxy(session, ALICE) for session in made} == set(numbers)
    assert len(made) == 10
    assert codes == [Code.NO_UNUSED_PROXY] * 90
    assert [(await world.call(ALICE, world.proxy(session, ALICE))).session_sid for session in made] == [
        session.sid for session in made
    ]


async def test_a_name_is_given_once(world: World) -> None:
    """Ten simultaneous creations with one name: one succeeds."""
    results = await asyncio.gather(*(world.session(unique_name="ride-1") for _ in range(10)), return_exceptions=True)

    codes = [result.code for result in results if isinstance(result, ApiError)]
    assert codes == [Code.SESSION_NAME_TAKEN] * 9


async def test_a_service_name_is_given_once(world: World) -> None:
    """By creations and renames alike."""
    other = await world.make_service("other")
    renames = [
        world.control.update_service(world.account.sid, sid, ServiceRequest(unique_name="fleet"))
        for sid in (other.sid, world.service_sid)
    ]

    results = await asyncio.gather(*renames, world.make_service("fleet"), return_exceptions=True)

    codes = [result.code for result in results if isinstance(result, ApiError)]
    assert codes == [Code.SERVICE_NAME_TAKEN] * 2


async def test_two_join_for_the_last_place(world: World) -> None:
    """One joins, the other is one too many."""
    session = await world.session(ALICE)

    results = await asyncio.gather(world.join(session, BOB), world.join(session, CAROL), return_exceptions=True)

    codes = [result.code for result in results if isinstance(result, ApiError)]
    joined = [result.identifier for result in results if isinstance(result, Participant)]
    assert codes == [Code.TOO_MANY_PARTICIPANTS]
    assert [(await world.call(ALICE, world.proxy(session, ALICE))).to] == joined


async def test_a_pair_is_reopened_or_given_away_but_not_both(world: World) -> None:
    """A re-opening and a creation for the same pair at once: one is 80604."""
    session = await world.session(wanting(ALICE, N1))
    await world.close(session)

    results = await asyncio.gather(world.session(wanting(ALICE, N1)), world.reopen(session), return_exceptions=True)

    codes = [result.code for result in results if isinstance(result, ApiError)]
    assert codes == [Code.PROXY_IDENTIFIER_IN_USE]
    assert await world.in_use(N1) == 1


async def test_a_number_that_is_being_given_does_not_leave(world: World) -> None:
    """80611 while the creation that uses it is in flight."""
    world.store.keep_back()
    (creation,) = await begun(world.session(wanting(ALICE, N1)))

    removal = world.control.remove_from_pool(world.account.sid, world.service_sid, await world.number_sid(N1))
    code = await refused(removal)
    world.store.let_through()
    await creation

    assert code is Code.NUMBER_IN_ACTIVE_SESSIONS


# -- callers that hang up --------------------------------------------------------------------------------------------


async def test_a_creation_whose_caller_hung_up_is_whole(world: World) -> None:
    """It commits, and then it routes: nothing is half done."""
    world.store.keep_back()
    (creation,) = await begun(world.session(wanting(ALICE, N1), wanting(BOB, N1), unique_name="ride-1"))

    creation.cancel()
    world.store.let_through()
    await world.settle()

    session = await world.control.session(world.account.sid, world.service_sid, "ride-1")
    assert (await world.call(ALICE, N1)).session_sid == session.sid
    assert await world.in_use(N1) == 1


async def test_a_creation_that_failed_after_the_caller_hung_up_leaves_nothing(world: World) -> None:
    """Name, pairs and numbers are free."""
    world.store.keep_back()
    (creation,) = await begun(world.session(wanting(ALICE, N1), unique_name="ride-1"))

    creation.cancel()
    world.store.let_through(failing=ALL)
    await world.settle()

    assert await world.in_use(N1) == 0
    assert (await world.session(wanting(ALICE, N1), unique_name="ride-1")).is_active


async def test_a_close_whose_caller_hung_up_is_a_close(world: World) -> None:
    """Closed on disk and in routing."""
    session = await world.session(wanting(ALICE, N1), BOB)
    world.store.keep_back()
    (closing,) = await begun(world.close(session))

    closing.cancel()
    world.store.let_through()
    await world.settle()

    assert (await world.look(session)).status is SessionStatus.CLOSED
    assert await world.in_use(N1) == 0
    assert (await world.call(ALICE, N1)).reason is Reason.NO_SESSION


async def test_stopping_waits_for_the_changes_under_way(world: World) -> None:
    """A request that has begun is carried out before the host is gone."""
    creation = asyncio.create_task(world.session(ALICE, BOB, unique_name="ride-1"))
    await asyncio.sleep(0)

    await world.restart()

    assert (await creation).unique_name == "ride-1"
    assert (await world.control.session(world.account.sid, world.service_sid, "ride-1")).is_active


# -- updates ---------------------------------------------------------------------------------------------------------


async def test_simultaneous_changes_of_a_service_all_count(world: World) -> None:
    """Each touches its own fields; a rename that another change overtakes still frees the old name."""
    changes = (
        ServiceRequest(unique_name="fleet"),
        ServiceRequest(default_ttl_seconds=60),
        ServiceRequest(geo_match_level=GeoMatchLevel.RADIUS),
    )

    await asyncio.gather(
        *(world.control.update_service(world.account.sid, world.service_sid, change) for change in changes)
    )

    service = world.control.service(world.account.sid, "fleet")
    assert (service.unique_name, service.default_ttl_seconds) == ("fleet", 60)
    assert service.geo_match_level is GeoMatchLevel.RADIUS
    assert (await world.make_service("rides")).sid != service.sid
    await world.restart()
    assert world.control.service(world.account.sid, world.service_sid) == service


async def test_a_number_renamed_and_reserved_at_once_is_both(world: World) -> None:
    """Neither change is made from the record of before the other."""
    number_sid = await world.number_sid(N1)
    account, service = world.account.sid, world.service_sid

    await asyncio.gather(
        world.control.update_owned_number(account, number_sid, NumberUpdate(friendly_name="Front desk")),
        world.control.reserve(account, service, number_sid, is_reserved=True),
    )

    number = (await world.control.pool_entry(account, service, number_sid)).number
    assert (number.friendly_name, number.is_reserved) == ("Front desk", True)
    assert world.control.owned_number(account, number_sid) == number


async def test_a_rename_whose_caller_hung_up_reaches_the_pool(world: World) -> None:
    """The record of the pool is that of the account."""
    number_sid = await world.number_sid(N1)
    world.store.keep_back()
    update = world.control.update_owned_number(world.account.sid, number_sid, NumberUpdate(friendly_name="Desk"))
    (rename,) = await begun(update)

    rename.cancel()
    world.store.let_through()
    await world.settle()

    assert (
        await world.control.pool_entry(world.account.sid, world.service_sid, number_sid)
    ).number.friendly_name == "Desk"


# -- a service that is being deleted ---------------------------------------------------------------------------------


async def delete_service(world: World) -> None:
    await world.control.delete_service(world.account.sid, world.service_sid)


async def test_nothing_routes_while_a_service_is_being_deleted(world: World) -> None:
    """Before the commit already; when it fails, everything routes as before."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N1))
    world.store.keep_back()
    (deletion,) = await begun(delete_service(world))

    meanwhile = await world.call(ALICE, N1)
    world.store.let_through(failing=ALL)
    with pytest.raises(StoreUnavailable):
        await deletion

    assert meanwhile.outcome is Outcome.REFUSED
    assert (await world.call(ALICE, N1)).session_sid == session.sid
    assert await world.in_use(N1) == 1


async def test_a_number_renamed_while_its_service_is_deleted_is_free(world: World) -> None:
    """It belongs to no pool afterwards, in memory and on disk, and may be released."""
    number_sid = await world.number_sid(N1)
    world.store.keep_back()
    _, rename = await begun(
        delete_service(world),
        world.control.update_owned_number(world.account.sid, number_sid, NumberUpdate(friendly_name="Desk")),
    )
    world.store.let_through()
    await rename

    assert world.control.owned_number(world.account.sid, number_sid).service_sid is None
    await world.restart()
    assert world.control.owned_number(world.account.sid, number_sid).service_sid is None
    await world.control.release_number(world.account.sid, number_sid)


@pytest.mark.parametrize("is_failing", [False, True])
async def test_a_number_added_while_its_service_is_deleted(world: World, *, is_failing: bool) -> None:
    """404 and in no pool, in memory and on disk, free for another service; or in the pool when the deletion fails."""
    world.store.keep_back()
    deletion, addition = await begun(delete_service(world), world.pool(N3))
    world.store.let_through(failing=ALL if is_failing else ())
    outcomes = await asyncio.gather(deletion, addition, return_exceptions=True)

    if is_failing:
        assert isinstance(outcomes[0], StoreUnavailable)
        assert outcomes[1] == [await world.number_sid(N3)]
        assert (await world.session(wanting(ALICE, N3))).is_active
        return
    assert isinstance(outcomes[1], ApiError)
    assert outcomes[1].code is Code.NOT_FOUND
    await world.restart()
    other = await world.make_service("other")
    assert len(await world.pool(N1, N3, service_sid=other.sid)) == 2


async def test_a_service_deleted_while_a_number_is_added_lets_it_go(world: World) -> None:
    """The addition came first: it is answered as made, and the number leaves with the pool."""
    world.store.keep_back()
    addition, deletion = await begun(world.pool(N3), delete_service(world))
    world.store.let_through()
    ((number_sid,), _) = await asyncio.gather(addition, deletion)

    assert world.control.owned_number(world.account.sid, number_sid).service_sid is None
    await world.restart()
    assert world.control.owned_number(world.account.sid, number_sid).service_sid is None
    await world.control.release_number(world.account.sid, number_sid)


async def test_a_number_whose_removal_and_service_deletion_both_fail_stays(world: World) -> None:
    """Both are undone, whichever fails first."""
    number_sid = await world.number_sid(N1)
    world.store.keep_back()
    tasks = await begun(
        world.control.remove_from_pool(world.account.sid, world.service_sid, number_sid),
        delete_service(world),
    )
    world.store.let_through(failing=ALL)
    world.store.is_failing = True
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    world.store.is_failing = False

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    assert (await world.control.pool_entry(world.account.sid, world.service_sid, number_sid)).in_use == 0
    assert (await world.session(wanting(ALICE, N1))).is_active


async def test_a_session_made_while_a_failing_deletion_was_in_flight_is_whole(world: World) -> None:
    """The creation came first: it is answered as made, and it is."""
    world.store.keep_back()
    creation, deletion = await begun(world.session(wanting(ALICE, N1), wanting(BOB, N1)), delete_service(world))
    world.store.let_through(failing={1})

    session = await creation
    with pytest.raises(StoreUnavailable):
        await deletion

    assert (await world.call(ALICE, N1)).session_sid == session.sid
