"""Owned numbers and pools: who may be in which, how many, and when they may leave (behaviour 3.2, 3.3, 5)."""

import asyncio

import pytest

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import Account, Capability, ProxyNumber
from engine.core.model.requests import AccountUpdate, NumberRequest, NumberUpdate
from engine.core.ports.lists import PageCursor
from engine.core.ports.operations import PoolEntry
from engine.core.routing.traffic import Outcome
from tests.actors.world import ALICE, BOB, N1, N2, N3, START, World, refused, wanting

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("number", "country"), [("+14155550188", "FR"), ("+14155550188", "ZZ"), ("12345", "ZZ")])
async def test_a_number_is_owned_in_a_country_of_its_dialling_code_alone(
    world: World, number: str, country: str
) -> None:
    """The country decides whom it serves; a short code is at home in any that there is."""
    with pytest.raises(ApiError, match=f"{country} is no country of") as refused:
        await own(world, number, iso_country=country)

    assert refused.value.code is Code.INVALID_PARAMETER


async def own(
    world: World, address: str = N3, *, account: Account | None = None, iso_country: str | None = None
) -> ProxyNumber:
    request = NumberRequest(address=address, iso_country=iso_country)
    return await world.control.own_number((account or world.account).sid, request)


async def add(
    world: World,
    *,
    number_sid: str | None = None,
    address: str | None = None,
    service_sid: str | None = None,
    is_reserved: bool = False,
) -> PoolEntry:
    return await world.control.add_to_pool(
        world.account.sid,
        service_sid or world.service_sid,
        number_sid=number_sid,
        address=address,
        is_reserved=is_reserved,
    )


async def reserve(world: World, number_sid: str, *, is_reserved: bool | None) -> PoolEntry:
    return await world.control.reserve(world.account.sid, world.service_sid, number_sid, is_reserved=is_reserved)


async def remove(world: World, address: str) -> None:
    await world.control.remove_from_pool(world.account.sid, world.service_sid, await world.number_sid(address))


async def crowd(world: World, how_many: int, *, is_reserved: bool = False) -> None:
    """Fill the pool of the service, which has two unreserved numbers, with that many more."""
    addresses = [f"+1718555{index:04d}" for index in range(how_many)]
    numbers = await world.control.own_numbers(
        world.account.sid, [NumberRequest(address=address) for address in addresses]
    )
    for number in numbers:
        assert isinstance(number, ProxyNumber)
        await add(world, number_sid=number.sid, is_reserved=is_reserved)


# -- owning ----------------------------------------------------------------------------------------------------------


async def test_an_owned_number_tells_its_country_and_display_form(world: World) -> None:
    """Read from the number; the SID is the one the pool entry will have."""
    number = await own(world)

    entry = await add(world, number_sid=number.sid)

    assert (number.iso_country, number.friendly_name, number.service_sid) == ("US", "(646) 555-0003", None)
    assert (entry.number.sid, entry.number.service_sid, entry.in_use) == (number.sid, world.service_sid, 0)
    assert world.control.owned_number(world.account.sid, number.sid).date_pooled == START


async def test_a_short_code_needs_a_country_and_never_has_voice(world: World) -> None:
    """Messaging only."""
    assert await refused(own(world, "12345")) is Code.INVALID_PARAMETER

    number = await own(world, "12345", iso_country="us")

    assert (number.sid[:2], number.iso_country) == ("SC", "US")
    assert not number.capabilities & Capability.VOICE


async def test_one_wrong_number_does_not_stop_the_others(world: World) -> None:
    """An import says what became of each."""
    requests = [NumberRequest(address=address) for address in (N3, "+1", N3, N1)]

    results = await world.control.own_numbers(world.account.sid, requests)

    codes = [result.code if isinstance(result, ApiError) else None for result in results]
    assert codes == [None, Code.NUMBER_INVALID, Code.NUMBER_NOT_AVAILABLE, Code.NUMBER_NOT_AVAILABLE]


async def test_a_number_in_a_pool_is_not_released(world: World) -> None:
    """20409 until it has left; then anyone may own it."""
    release = world.control.release_number
    number_sid = await world.number_sid(N1)

    assert await refused(release(world.account.sid, number_sid)) is Code.CONFLICT
    await remove(world, N1)
    await release(world.account.sid, number_sid)

    other = await world.control.create_account(AccountUpdate(friendly_name="Other"))
    assert (await own(world, N1, account=other)).account_sid == other.sid


async def test_a_number_may_be_renamed_while_pooled(world: World) -> None:
    """Pool and account show the same record, and selection uses the new capabilities."""
    number_sid = await world.number_sid(N1)
    update = NumberUpdate(friendly_name="Front desk", capabilities=Capability.SMS)

    await world.control.update_owned_number(world.account.sid, number_sid, update)

    entry = await world.control.pool_entry(world.account.sid, world.service_sid, number_sid)
    assert entry.number == world.control.owned_number(world.account.sid, number_sid)
    assert entry.number.friendly_name == "Front desk"
    assert await refused(world.session(wanting(ALICE, N1))) is Code.NO_VOICE_PROXY


# -- joining a pool --------------------------------------------------------------------------------------------------


async def test_a_number_may_be_named_by_address(world: World) -> None:
    """Owned or not yet: every number is ours by default."""
    owned = await own(world, N3)

    by_address = await add(world, address=N3)
    new = await add(world, address="+1 646 555 0004")

    assert by_address.number.sid == owned.sid
    assert new.number.address == "+16465550004"


@pytest.mark.parametrize(
    ("number_sid", "address", "code"),
    [
        (None, None, Code.INVALID_PARAMETER),
        ("PN12", None, Code.NUMBER_SID_INVALID),
        ("PN" + "f" * 32, None, Code.NUMBER_SID_NOT_FOUND),
        ("SC" + "f" * 32, None, Code.SHORT_CODE_SID_NOT_FOUND),
        (None, "12", Code.NUMBER_INVALID),
        (None, "nobody", Code.NUMBER_INVALID),
        (None, N1, Code.NUMBER_ALREADY_IN_SERVICE),
    ],
)
async def test_what_may_not_join(world: World, number_sid: str | None, address: str | None, code: Code) -> None:
    """80701, 80407, 80301, 80303, 80406, 80104."""
    assert await refused(add(world, number_sid=number_sid, address=address)) is code


async def test_sid_and_address_must_agree(world: World) -> None:
    """80701 when they name different numbers."""
    number = await own(world)

    assert await refused(add(world, number_sid=number.sid, address=N1)) is Code.INVALID_PARAMETER
    assert (await add(world, number_sid=number.sid, address=N3)).number.sid == number.sid


async def test_a_short_code_joins_once(world: World) -> None:
    """80105."""
    code = await own(world, "12345", iso_country="US")
    await add(world, number_sid=code.sid)

    assert await refused(add(world, number_sid=code.sid)) is Code.SHORT_CODE_ALREADY_IN_SERVICE


async def test_a_number_is_in_one_service_only(world: World) -> None:
    """80101; free once the other service let it go."""
    other = await world.make_service("other")

    assert await refused(add(world, address=N1, service_sid=other.sid)) is Code.NUMBER_IN_ANOTHER_SERVICE
    await remove(world, N1)

    assert (await add(world, address=N1, service_sid=other.sid)).number.service_sid == other.sid


async def test_a_number_of_another_account_is_not_available(world: World) -> None:
    """80601 by address, 80301 by SID: not even its existence is told."""
    other = await world.control.create_account(AccountUpdate(friendly_name="Other"))
    theirs = await own(world, N3, account=other)

    assert await refused(add(world, address=N3)) is Code.NUMBER_NOT_AVAILABLE
    assert await refused(add(world, number_sid=theirs.sid)) is Code.NUMBER_SID_NOT_FOUND


async def test_a_number_that_joins_routes_at_once_and_one_that_left_does_not(world: World) -> None:
    """The pool is what is ours to answer."""
    before = await world.call(ALICE, N3)
    await add(world, address=N3)
    within = await world.call(ALICE, N3)
    await remove(world, N3)
    after = await world.call(ALICE, N3)

    outcomes = [decision.outcome for decision in (before, within, after)]
    assert outcomes == [Outcome.UNKNOWN_NUMBER, Outcome.REFUSED, Outcome.UNKNOWN_NUMBER]


async def test_many_may_join_at_the_same_time_once(world: World) -> None:
    """Simultaneous additions of one number: one succeeds."""
    results = await asyncio.gather(*(add(world, address=N3) for _ in range(5)), return_exceptions=True)

    codes = [result.code for result in results if isinstance(result, ApiError)]
    assert codes == [Code.NUMBER_ALREADY_IN_SERVICE] * 4


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_the_501st_unreserved_number_is_refused_and_the_425th_warns(world: World) -> None:
    """80624 from the 425th addition on, 80622 at the 501st; reserved ones have room of their own."""
    await crowd(world, 422)
    assert world.observer.codes() == []
    await add(world, address="+17185559000")
    assert world.observer.codes() == [80624]
    for index in range(75):
        await add(world, address=f"+1718556{index:04d}")
    world.observer.codes()

    assert await refused(add(world, address="+17185559001")) is Code.POOL_FULL
    assert world.observer.codes() == []
    entry = await add(world, address="+17185559001", is_reserved=True)
    assert await refused(reserve(world, entry.number.sid, is_reserved=False)) is Code.POOL_FULL
    assert (await reserve(world, await world.number_sid(N1), is_reserved=True)).number.is_reserved
    assert not (await reserve(world, entry.number.sid, is_reserved=False)).number.is_reserved


async def test_simultaneous_additions_do_not_pass_the_limit(world: World) -> None:
    """At 499, ten at once: one succeeds."""
    await crowd(world, 497)

    results = await asyncio.gather(
        *(add(world, address=f"+1718558{index:04d}") for index in range(10)), return_exceptions=True
    )

    assert sum(isinstance(result, PoolEntry) for result in results) == 1


async def test_the_limits_hold_after_a_restart(world: World) -> None:
    """The pool is counted anew from the store."""
    await crowd(world, 498)
    await world.restart()

    assert await refused(add(world, address=N3)) is Code.POOL_FULL


# -- reserving and leaving -------------------------------------------------------------------------------------------


async def test_reserving_does_not_disturb_a_session(world: World) -> None:
    """Selection leaves the number alone; whoever has it keeps it."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N1))

    entry = await reserve(world, await world.number_sid(N1), is_reserved=True)

    assert (entry.number.is_reserved, entry.in_use) == (True, 1)
    assert (await world.call(ALICE, N1)).session_sid == session.sid
    other = await world.session("+12125552009")
    assert world.proxy(other, "+12125552009") == N2


async def test_reserving_nothing_changes_nothing(world: World) -> None:
    """An update without IsReserved, or with the same, returns the entry."""
    entry = await reserve(world, await world.number_sid(N1), is_reserved=None)

    assert entry.number.date_pool_updated == START
    world.clock.move(5)
    assert (await reserve(world, entry.number.sid, is_reserved=False)).number.date_pool_updated == START


async def test_a_number_in_use_does_not_leave(world: World) -> None:
    """80611; drained by reserving it and letting its sessions end."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N1))
    await reserve(world, await world.number_sid(N1), is_reserved=True)

    assert await refused(remove(world, N1)) is Code.NUMBER_IN_ACTIVE_SESSIONS
    await world.close(session)
    number_sid = await world.number_sid(N1)
    await remove(world, N1)

    owned = world.control.owned_number(world.account.sid, number_sid)
    assert (owned.service_sid, owned.is_reserved) == (None, False)


async def test_the_numbers_of_a_deleted_service_are_free(world: World) -> None:
    """They stay owned, belong to no pool, and may join another."""
    await world.session(ALICE, BOB)
    await world.control.delete_service(world.account.sid, world.service_sid)
    other = await world.make_service("other")

    assert (await world.call(ALICE, N1)).outcome is Outcome.UNKNOWN_NUMBER
    entry = await add(world, address=N1, service_sid=other.sid)

    assert (entry.number.service_sid, entry.in_use) == (other.sid, 0)


async def test_pools_are_listed_by_kind_newest_first(world: World) -> None:
    """Short codes have a list of their own."""
    code = await own(world, "12345", iso_country="US")
    await add(world, number_sid=code.sid)

    numbers = await world.control.pool_page(
        world.account.sid, world.service_sid, PageCursor(limit=1), short_codes=False
    )
    codes = await world.control.pool_page(world.account.sid, world.service_sid, PageCursor(limit=9), short_codes=True)

    assert ([entry.number.address for entry in numbers.records], numbers.has_next) == ([N2], True)
    assert [entry.number.address for entry in codes.records] == ["12345"]


async def test_a_pool_of_one_asks_for_no_history(world: World) -> None:
    """There is nothing to choose, so the store is spared; nor is it asked where a number is named."""
    service = await world.make_service("lone")
    await world.pool(N3, service_sid=service.sid)

    await world.session(ALICE, service_sid=service.sid)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    spared = world.store.histories_read
    await world.session(ALICE)

    assert (spared, world.store.histories_read) == (0, 1)
