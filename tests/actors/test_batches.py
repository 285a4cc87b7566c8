"""Batches of sessions: side by side where they can be, in order where they must, each key once."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from actors.cluster.control import BATCH_CHUNK, cluster_control
from actors.cluster.rpc import HostRpc
from actors.control.batch import erase_old_keys
from engine.core.model.errors import Code, PeerUnavailable
from engine.core.model.records import NumberSelectionBehavior, Session, SessionStatus
from engine.core.model.requests import AccountUpdate, ParticipantRequest, SessionRequest, SessionUpdate
from engine.core.ports.operations import ControlPlane
from engine.core.sessions.batch import BatchItem, CreateItem, ItemDone, ItemKey, ItemRefused, ItemResult, UpdateItem
from tests.actors.world import ALICE, BOB, CAROL, DAVE, N1, N2, World, asking, begun, refused, wanting

pytestmark = pytest.mark.anyio


def key(number: int, fingerprint: bytes = b"f") -> ItemKey:
    return ItemKey(number.to_bytes(16, "big"), fingerprint * 16)


def create(
    *people: str | ParticipantRequest,
    unique_name: str | None = None,
    of: ItemKey | None = None,
    status: SessionStatus = SessionStatus.OPEN,
) -> CreateItem:
    request = SessionRequest(participants=tuple(map(asking, people)), unique_name=unique_name, status=status)
    return CreateItem(request=request, key=of)


def update(
    session: Session | str,
    *,
    status: SessionStatus | msgspec.UnsetType = msgspec.UNSET,
    ttl_seconds: int | msgspec.UnsetType = msgspec.UNSET,
    of: ItemKey | None = None,
) -> UpdateItem:
    named = session if isinstance(session, str) else session.sid
    return UpdateItem(session=named, update=SessionUpdate(status=status, ttl_seconds=ttl_seconds), key=of)


def close(session: Session | str, *, of: ItemKey | None = None) -> UpdateItem:
    return update(session, status=SessionStatus.CLOSED, of=of)


async def run(world: World, *items: BatchItem) -> Sequence[ItemResult]:
    return await world.control.batch_sessions(world.account.sid, world.service_sid, items)


def sids(results: Sequence[ItemResult]) -> list[str]:
    return [result.session.sid for result in results if isinstance(result, ItemDone)]


def codes(results: Sequence[ItemResult]) -> list[int | None]:
    return [result.code if isinstance(result, ItemRefused) else None for result in results]


async def erase_keys(world: World) -> None:
    """Forget the keys that are past their time, on every host."""
    for host in world.hosts.values():
        await erase_old_keys(host.parts.context)


async def count(world: World) -> int:
    """Return how many sessions the service has."""
    closed = await world.store.sessions_closed_before(world.clock.now + 1, limit=100_000)
    return world.host.active_sessions + len(closed)


# -- results ---------------------------------------------------------------------------------------------------------


async def test_a_batch_makes_changes_and_closes_and_answers_in_order(world: World) -> None:
    """Each item has its own result; what was made comes with its participants."""
    changed, closed = await world.session(CAROL), await world.session(DAVE)

    results = await run(world, create(ALICE, BOB), update(changed, ttl_seconds=60), close(closed))

    made, longer, ended = results
    assert isinstance(made, ItemDone)
    assert isinstance(longer, ItemDone)
    assert isinstance(ended, ItemDone)
    assert made.participants == world.store.participants(made.session.sid)
    assert [one.identifier for one in made.participants or ()] == [ALICE, BOB]
    assert (longer.session, longer.participants) == (await world.look(changed), None)
    assert longer.session.ttl_seconds == 60
    assert ended.session.status is SessionStatus.CLOSED
    assert (await world.call(ALICE, world.proxy(made.session, ALICE))).to == BOB


async def test_an_item_that_is_refused_keeps_no_other_from_being_done(world: World) -> None:
    """It changes nothing; its code is the one that a request of its own would have got."""
    results = await run(
        world,
        create("+1", BOB),
        create(ALICE, BOB),
        close("KC" + "0" * 32),
        close("nobody"),
        create(CAROL, status=SessionStatus.FAILED),
    )

    assert codes(results) == [
        Code.IDENTIFIER_INVALID,
        None,
        Code.NOT_FOUND,
        Code.SESSION_NAME_NOT_FOUND,
        Code.SESSION_STATUS_INVALID,
    ]
    assert [result.http_status for result in results if isinstance(result, ItemRefused)] == [400, 404, 404, 400]
    assert await count(world) == 1


async def test_a_batch_for_a_service_that_is_not_there_is_refused_whole(world: World) -> None:
    """As any other request."""
    batch = world.control.batch_sessions(world.account.sid, "KS" + "0" * 32, (create(ALICE, BOB),))

    assert await refused(batch) is Code.NOT_FOUND


async def test_an_empty_batch_is_done_at_once(world: World) -> None:
    """With no results."""
    assert await run(world) == ()


# -- order -----------------------------------------------------------------------------------------------------------


async def test_a_hundred_items_for_one_person_over_ten_numbers_are_served_in_order(world: World) -> None:
    """The first ten get a number each, the others are told that none is left."""
    service = await world.make_service("ten")
    numbers = [f"+1718555{index:04d}" for index in range(10)]
    await world.pool(*numbers, service_sid=service.sid)
    world.service_sid = service.sid

    results = await run(world, *(create(ALICE, f"+1212555{3000 + index}") for index in range(100)))

    made = [result for result in results if isinstance(result, ItemDone)]
    assert codes(results) == [None] * 10 + [Code.NO_UNUSED_PROXY] * 90
    assert {world.proxy(one.session, ALICE) for one in made} == set(numbers)


async def test_names_that_are_looked_up_change_no_order(world: World) -> None:
    """Every other item has one, which is read before its numbers are chosen."""
    service = await world.make_service("ten")
    await world.pool(*(f"+1718555{index:04d}" for index in range(10)), service_sid=service.sid)
    world.service_sid = service.sid
    names = [f"ride-{index}" if index % 2 else None for index in range(40)]

    results = await run(
        world, *(create(ALICE, f"+1212555{3000 + index}", unique_name=name) for index, name in enumerate(names))
    )

    assert codes(results) == [None] * 10 + [Code.NO_UNUSED_PROXY] * 30


async def test_items_for_one_person_share_a_commit(world: World) -> None:
    """They are put in order without waiting for the disk one by one."""
    await world.pool(*(f"+1718555{index:04d}" for index in range(8)))
    world.store.keep_back()

    (batch,) = await begun(run(world, *(create(ALICE, f"+1212555{3000 + index}") for index in range(10))))

    await world.breathe()
    assert world.store.kept_back >= 10  # the host's own chores commit too
    world.store.let_through()
    assert codes(await batch) == [None] * 10


async def test_a_number_that_an_earlier_item_frees_is_there_for_a_later_one(world: World) -> None:
    """A close in the batch comes before what follows it, however the person is written."""
    first, second = await world.session(ALICE, BOB), await world.session(ALICE, CAROL)
    spaced = "+1 (212) 555-2001"

    results = await run(world, create(spaced, DAVE), close(second), create(spaced, DAVE), close(first))

    assert codes(results) == [Code.NO_UNUSED_PROXY, None, None, None]


async def test_a_session_may_be_made_and_closed_by_name_in_one_batch(world: World) -> None:
    """And its people have their number back for the item after that; the name stays taken."""
    await world.session(ALICE, BOB)

    results = await run(
        world,
        create(ALICE, CAROL, unique_name="ride"),
        close("ride"),
        create(ALICE, CAROL),
        create(DAVE, unique_name="ride"),
    )

    assert codes(results) == [None, None, None, Code.SESSION_NAME_TAKEN]


async def test_changes_of_one_session_are_done_in_order(world: World) -> None:
    """By SID and by name, one after the other."""
    session = await world.session(ALICE, BOB, unique_name="ride")

    results = await run(
        world,
        close(session),
        update("ride", ttl_seconds=1),
        update("ride", status=SessionStatus.IN_PROGRESS),
        update(session, ttl_seconds=7),
    )

    assert codes(results) == [None, Code.SESSION_CLOSED, None, None]
    now = await world.look(session)
    assert (now.status, now.ttl_seconds) == (SessionStatus.IN_PROGRESS, 7)


async def test_a_permissive_account_may_bind_a_pair_twice_in_one_batch(world: World) -> None:
    """With its warning; an item that asks for strictness is refused."""
    await world.control.update_account(world.account.sid, AccountUpdate(allow_participant_conflict=True))
    pair = wanting(ALICE, N1)

    results = await run(world, create(pair), create(pair), create(wanting(ALICE, N1, fail_on=True)), create(pair))

    assert codes(results) == [None, None, Code.PROXY_IDENTIFIER_IN_USE, None]
    assert world.observer.codes() == [Code.SIMULTANEOUS_REQUESTS] * 2


async def test_a_batch_larger_than_the_allowance_is_carried_out_beside_another(world: World) -> None:
    """Nobody is lost, nobody is served twice, and the other account's items are not kept waiting for the end."""
    other = await world.make_service("other", behavior=NumberSelectionBehavior.AVOID_STICKY)
    await world.pool("+17185550001", "+17185550002", service_sid=other.sid)
    people = [f"+1212{5_000_000 + index}" for index in range(2_000)]
    large = asyncio.create_task(run(world, *(create(*people[at : at + 2]) for at in range(0, 2_000, 2))))
    await asyncio.sleep(0)

    small = await world.control.batch_sessions(world.account.sid, other.sid, (create(ALICE, BOB),))

    assert not large.done()
    assert codes(small) == [None]
    results = await large
    assert codes(results) == [None] * 1_000
    assert len(set(sids(results))) == 1_000
    assert [one.participants[0].identifier for one in results if isinstance(one, ItemDone) and one.participants] == (
        people[::2]
    )


# -- keys ------------------------------------------------------------------------------------------------------------


async def test_an_item_that_comes_again_with_its_key_is_not_done_again(world: World) -> None:
    """It gets the same result, after a restart as well."""
    session = await world.session(CAROL, DAVE)
    items = (create(ALICE, BOB, of=key(1)), update(session, ttl_seconds=9, of=key(2)))
    first = await run(world, *items)

    second = await run(world, *items)
    await world.restart()
    third = await run(world, *items)

    assert sids(first) == sids(second) == sids(third)
    assert [one.participants for one in first if isinstance(one, ItemDone)] == [
        one.participants for one in third if isinstance(one, ItemDone)
    ]
    assert [one.is_repeat for one in (*first, *second, *third) if isinstance(one, ItemDone)] == [False] * 2 + [True] * 4
    assert await count(world) == 2


async def test_a_key_that_comes_twice_in_one_batch_counts_once(world: World) -> None:
    """The second item gets what the first one made."""
    results = await run(world, create(ALICE, BOB, of=key(1)), create(ALICE, BOB, of=key(1)))

    assert len(set(sids(results))) == 1
    assert codes(results) == [None, None]
    assert await count(world) == 1


async def test_a_key_with_another_item_is_a_conflict(world: World) -> None:
    """Whatever the other item asks for; another service may use the key for its own."""
    other = await world.make_service("other")
    await world.pool("+17185550001", service_sid=other.sid)
    await run(world, create(ALICE, BOB, of=key(1)))

    results = await run(world, create(CAROL, DAVE, of=key(1, b"g")))
    elsewhere = await world.control.batch_sessions(
        world.account.sid, other.sid, (create(CAROL, DAVE, of=key(1, b"g")),)
    )

    assert codes(results) == [Code.CONFLICT]
    assert [result.http_status for result in results if isinstance(result, ItemRefused)] == [409]
    assert codes(elsewhere) == [None]


async def test_two_batches_with_one_key_at_once_carry_it_out_once(world: World) -> None:
    """The one that comes second waits for the disk and gets the first one's session."""
    world.store.keep_back()

    batches = await begun(run(world, create(ALICE, BOB, of=key(1))), run(world, create(ALICE, BOB, of=key(1))))

    await world.breathe()
    assert [batch.done() for batch in batches] == [False, False]
    world.store.let_through()
    first, second = [await batch for batch in batches]
    assert sids(first) == sids(second)
    assert await count(world) == 1


async def test_a_refused_item_leaves_no_trace_of_its_key(world: World) -> None:
    """It may be corrected, or tried again when there is room."""
    busy = [await world.session(ALICE), await world.session(ALICE)]
    item = create(ALICE, BOB, of=key(1))
    first = await run(world, item)

    await world.close(busy[0])
    second = await run(world, item)

    assert (codes(first), codes(second)) == ([Code.NO_UNUSED_PROXY], [None])
    assert [one.is_repeat for one in second if isinstance(one, ItemDone)] == [False]


async def test_a_change_that_changes_nothing_uses_its_key_too(world: World) -> None:
    """A late repetition must not close what was re-opened since."""
    session = await world.close(await world.session(ALICE, BOB))
    await run(world, close(session, of=key(1)))
    await world.reopen(session)

    results = await run(world, close(session, of=key(1)))

    assert codes(results) == [None]
    assert (await world.look(session)).status is SessionStatus.IN_PROGRESS


@pytest.mark.parametrize("status", [SessionStatus.CLOSED, SessionStatus.IN_PROGRESS])
async def test_closing_and_reopening_keep_their_key(world: World, status: SessionStatus) -> None:
    """It is committed with each kind of change."""
    session = await world.session(ALICE, BOB)
    if status is SessionStatus.IN_PROGRESS:
        await world.close(session)

    first = await run(world, update(session, status=status, of=key(1)))
    second = await run(world, update(session, status=status, of=key(1)))

    assert [one.is_repeat for one in (*first, *second) if isinstance(one, ItemDone)] == [False, True]


async def test_a_key_whose_session_was_erased_makes_no_new_one(world: World) -> None:
    """The item was done once, and its session is gone."""
    (sid,) = sids(await run(world, create(ALICE, BOB, of=key(1))))
    await world.control.delete_session(world.account.sid, world.service_sid, sid)

    results = await run(world, create(ALICE, BOB, of=key(1)))

    assert codes(results) == [Code.NOT_FOUND]
    assert await count(world) == 0


async def test_a_key_is_forgotten_after_its_time(world: World) -> None:
    """A day, unless the operator says otherwise; then it is as new."""
    item = create(ALICE, BOB, of=key(1))
    (first,) = sids(await run(world, item))
    world.clock.move(86_399)
    await erase_keys(world)
    (kept,) = sids(await run(world, item))
    world.clock.move(2)

    await erase_keys(world)

    assert kept == first
    assert sids(await run(world, item)) != [first]


# -- trouble ---------------------------------------------------------------------------------------------------------


async def test_a_disk_that_fails_in_the_middle_fails_those_items_only(world: World) -> None:
    """They are told to come again with their key, and then are done once; nothing routes meanwhile."""
    world.store.keep_back()
    items = [create(ALICE, of=key(1)), create(BOB, of=key(2)), create(CAROL, of=key(3))]
    (batch,) = await begun(run(world, *items))
    await world.breathe()

    world.store.let_through(failing={1})
    results = await batch
    again = await run(world, *items)

    assert Counter(codes(results)) == {None: 2, Code.STORAGE_FAILED: 1}
    assert [result.http_status for result in results if isinstance(result, ItemRefused)] == [500]
    assert codes(again) == [None] * 3
    assert [one.is_repeat for one in again if isinstance(one, ItemDone)] == [code is None for code in codes(results)]
    assert await count(world) == 3
    assert await world.in_use(N1) + await world.in_use(N2) == 3


async def test_a_batch_is_carried_out_although_its_caller_hung_up(world: World) -> None:
    """Half of it may be on disk already."""
    world.store.keep_back()
    (batch,) = await begun(run(world, create(ALICE, BOB), close("nobody")))
    await world.breathe()

    batch.cancel()
    world.store.let_through()
    await world.settle()

    assert await count(world) == 1


@pytest.mark.parametrize("host_count", [1])
async def test_a_host_that_stops_begins_no_more_items(world: World) -> None:
    """What was begun is finished, the rest is told to come again."""
    items = [create(f"+1212{5_000_000 + index}", of=key(index)) for index in range(1_000)]
    world.store.keep_back()
    (batch,) = await begun(run(world, *items))
    await world.breathe()

    finishing = asyncio.create_task(world.hosts[0].parts.local.finish())
    await asyncio.sleep(0)
    world.store.let_through()
    await finishing
    results = await batch

    refusals = [result for result in results if isinstance(result, ItemRefused)]
    assert 0 < len(refusals) < 1_000
    assert {(one.code, one.http_status) for one in refusals} == {(Code.UNAVAILABLE, 503)}
    assert await count(world) == 1_000 - len(refusals)


async def test_a_service_that_is_erased_under_a_batch_refuses_the_rest(world: World) -> None:
    """Item by item, as requests of their own would be."""
    world.store.keep_back()
    (batch,) = await begun(run(world, create(ALICE, BOB), *(create(f"+1212{5_000_000 + n}") for n in range(400))))
    await world.breathe()
    erasing = asyncio.create_task(world.control.delete_service(world.account.sid, world.service_sid))
    await world.breathe()

    world.store.let_through()
    await erasing

    assert Code.NOT_FOUND in codes(await batch)


# -- in a cluster ----------------------------------------------------------------------------------------------------


class Wire:
    """Two hosts, of which the other one answers some messages and then no more."""

    me = 0
    count = 2

    def __init__(self, other: HostRpc | None = None, *, answers: int = 1_000) -> None:
        self._other = other
        self.answers = answers

    async def ask(self, host: int, message: bytes) -> bytes:
        """Have the other host answer."""
        assert host == 1
        if self._other is None or not self.answers:
            raise PeerUnavailable("Host 1 is silent")
        self.answers -= 1
        return await self._other.answer(message)


def control_beside(world: World, *, answers: int = 1_000) -> ControlPlane:
    """Return the control plane of a host beside the world's."""
    other = HostRpc(Wire())
    other.serve(world.hosts[0].parts.local)
    return cluster_control(
        world.hosts[0].parts.local, HostRpc(Wire(other, answers=answers)), lambda _: 1, is_shared=False
    )


@pytest.mark.parametrize("host_count", [1])  # the other host is the test\'s own
async def test_a_batch_is_carried_out_by_the_host_of_its_service(world: World) -> None:
    """Items and results are the same, whichever host is asked."""
    session = await world.session(CAROL)
    items = (
        create(ALICE, BOB, unique_name="ride", of=key(1)),
        update(session, ttl_seconds=5),
        create("+1", of=key(2)),
        update("ride", status=SessionStatus.CLOSED),
        UpdateItem(session=session.sid, update=SessionUpdate(date_expiry=None, fail_on_participant_conflict=True)),
    )

    results = await control_beside(world).batch_sessions(world.account.sid, world.service_sid, items)

    assert codes(results) == [None, None, Code.IDENTIFIER_INVALID, None, None]
    first, *_, last = results
    assert isinstance(first, ItemDone)
    assert isinstance(last, ItemDone)
    assert [one.identifier for one in first.participants or ()] == [ALICE, BOB]
    assert last.session == await world.look(session)
    assert last.session.ttl_seconds == 5


@pytest.mark.parametrize("host_count", [1])  # the other host is the test\'s own
async def test_a_host_that_falls_silent_leaves_the_rest_unknown(world: World) -> None:
    """What it answered before stands; sent again with its keys, nothing is done twice."""
    items = [create(f"+1212{5_000_000 + index}", of=key(index)) for index in range(BATCH_CHUNK + 5)]

    results = await control_beside(world, answers=1).batch_sessions(world.account.sid, world.service_sid, items)
    again = await control_beside(world).batch_sessions(world.account.sid, world.service_sid, items)

    assert codes(results) == [None] * BATCH_CHUNK + [Code.UNAVAILABLE] * 5
    assert codes(again) == [None] * len(items)
    assert await count(world) == len(items)


@pytest.mark.parametrize("host_count", [1])  # the other host is the test\'s own
async def test_an_empty_batch_finds_out_whether_the_service_is_there(world: World) -> None:
    """On whatever host."""
    assert await control_beside(world).batch_sessions(world.account.sid, world.service_sid, ()) == ()
    assert await refused(control_beside(world).batch_sessions(world.account.sid, "KS" + "0" * 32, ())) is Code.NOT_FOUND
