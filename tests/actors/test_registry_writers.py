"""What every host may rely upon when it changes the registry, whoever commits it: one host for all, or each to tables.

The first part is the same of both; the second is of hosts that share tables, which need no host for it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import psycopg
import pytest
from anyio.from_thread import start_blocking_portal
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from actors.kernel.registry import Registry, RegistryMoved
from engine.core.model.changes import AccountErased, AccountSaved, RegistryChange, RegistryRevised, ServiceSaved
from engine.core.model.errors import ApiError, Code, MasklineError
from engine.core.model.records import Account, ProxyNumber, Service
from engine.core.model.requests import AccountUpdate, NumberRequest, ServiceRequest
from engine.core.model.sids import SidKind
from engine.core.ports.store import HeldRegistry
from storage.postgres.store import PostgresStore
from tests.actors.shared_world import SharedWorld
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import World
from tests.storage.cutting_proxy import CuttingProxy, cutting_proxy

pytestmark = pytest.mark.anyio

HOSTS = 4
WRITERS = 20
NUMBER = "+16465557000"


@pytest.fixture(params=["files", "tables"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Start four hosts and an account, on files of their own and on tables that they share."""
    world = (
        World(tmp_path / "data", count=HOSTS)
        if request.param == "files"
        else SharedWorld(request.getfixturevalue("database"), count=HOSTS)
    )
    await world.start()
    await world.furnish()
    yield world
    world.mend()
    await world.stop()


@pytest.fixture
async def shared(database: str) -> AsyncIterator[SharedWorld]:
    """Start four hosts on one database, and an account."""
    world = SharedWorld(database, count=HOSTS)
    await world.start()
    await world.furnish()
    yield world
    world.mend()
    await world.stop()


def registry(world: World, host: int) -> Registry:
    return world.hosts[host].parts.registry


def held_by(one: Registry) -> tuple[object, ...]:
    return one.accounts, one.keys, one.services, one.numbers


async def agreed(world: World) -> None:
    """Wait until every host holds the same version, and see that it is the same registry."""
    async with asyncio.timeout(WAIT_SECONDS):
        while len({registry(world, host).version for host in world.hosts}) > 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    first, *others = (held_by(registry(world, host)) for host in world.hosts)
    assert all(other == first for other in others)


def new_service(world: World, account: Account) -> Service:
    world.clock.move(0.001)
    return Service(
        sid=world.id_factory(SidKind.SERVICE),
        account_sid=account.sid,
        unique_name="new",
        inserts_mexican_one=False,
        date_created=world.clock.now,
        date_updated=world.clock.now,
    )


async def written(world: World, host: int, *changes: RegistryChange) -> MasklineError | None:
    """Write changes through a host; return what was refused."""
    try:
        await registry(world, host).write(*changes)
    except MasklineError as refused:
        return refused
    return None


async def test_many_change_different_records_at_once_and_all_come_through(world: World) -> None:
    """Whichever host they ask, however often another was quicker."""
    names = [f"service {nth}" for nth in range(WRITERS)]

    made = await asyncio.gather(
        *(
            world.hosts[nth % HOSTS].control.create_service(world.account.sid, ServiceRequest(unique_name=name))
            for nth, name in enumerate(names)
        )
    )

    await agreed(world)
    assert {one.sid: one for one in made}.items() <= registry(world, 0).services.items()
    assert len(made) == WRITERS


async def test_of_two_who_decided_upon_the_same_record_one_is_told_to_decide_again(world: World) -> None:
    """It holds the other one's record by then."""
    service = registry(world, 0).services[world.service_sid]
    longer = [msgspec.structs.replace(service, default_ttl_seconds=ttl) for ttl in (100, 200)]

    refused = await asyncio.gather(*(written(world, host, ServiceSaved(longer[host - 1])) for host in (1, 2)))

    assert sorted(map(type, refused), key=str) == sorted((type(None), RegistryMoved), key=str)
    winner = longer[refused.index(None)]
    loser = 2 - refused.index(None)
    assert registry(world, loser).services[service.sid] == winner
    await agreed(world)
    assert registry(world, 0).services[service.sid] == winner


async def test_two_settings_of_one_account_changed_on_two_hosts_are_both_kept(world: World) -> None:
    """Whoever comes second decides upon what the first left."""
    changes = (AccountUpdate(friendly_name="Both"), AccountUpdate(debugger_url="https://example.com/debugger"))

    await asyncio.gather(
        *(world.hosts[host].control.update_account(world.account.sid, changes[host - 1]) for host in (1, 2))
    )

    await agreed(world)
    account = registry(world, 0).accounts[world.account.sid]
    assert (account.friendly_name, account.debugger_url) == ("Both", "https://example.com/debugger")


async def test_a_number_that_two_hosts_are_asked_for_at_once_is_bought_once(world: World) -> None:
    """The other is told that it is owned, and the rest of what it asked for is bought."""
    others = ["+16465557001", "+16465557002"]

    bought = await asyncio.gather(
        *(
            world.hosts[host].control.own_numbers(
                world.account.sid, [NumberRequest(address=NUMBER), NumberRequest(address=others[host - 1])]
            )
            for host in (1, 2)
        )
    )

    await agreed(world)
    results = [one for some in bought for one in some]
    assert [one.code for one in results if isinstance(one, ApiError)] == [Code.NUMBER_NOT_AVAILABLE]
    owned = [one for one in results if isinstance(one, ProxyNumber)]
    assert {one.address for one in owned} == {NUMBER, *others}
    assert {one.sid: one for one in owned} == registry(world, 3).numbers


async def test_an_account_is_not_erased_under_a_service_that_is_made(world: World) -> None:
    """Either it stays with the service, or the service finds none."""
    gone = await world.hosts[0].control.create_account(AccountUpdate(friendly_name="Gone"))
    service = new_service(world, gone)

    erased, made = await asyncio.gather(
        written(world, 1, AccountErased(gone.sid)), written(world, 2, ServiceSaved(service))
    )

    await agreed(world)
    is_there = gone.sid in registry(world, 0).accounts
    assert (service.sid in registry(world, 0).services) is is_there
    if is_there:
        assert (type(erased), made) == (RegistryMoved, None)
    else:
        assert erased is None
        assert isinstance(made, ApiError)
        assert made.code is Code.NOT_FOUND


async def test_a_name_that_two_hosts_give_at_once_is_given_once(world: World) -> None:
    """As if one had asked after the other."""
    asked = [
        world.hosts[host].control.create_service(world.account.sid, ServiceRequest(unique_name="same"))
        for host in (1, 2)
    ]

    results = await asyncio.gather(*asked, return_exceptions=True)

    await agreed(world)
    assert [one.code for one in results if isinstance(one, ApiError)] == [Code.SERVICE_NAME_TAKEN]
    assert [one.unique_name for one in registry(world, 0).services.values()].count("same") == 1


async def test_a_host_that_was_away_for_ten_changes_holds_them_when_it_is_back(world: World) -> None:
    """With what others ask of it, if not before."""
    for other in range(HOSTS - 1):
        world.cut(HOSTS - 1, other)

    made = [
        await world.hosts[nth % (HOSTS - 1)].control.create_service(
            world.account.sid, ServiceRequest(unique_name=f"away {nth}")
        )
        for nth in range(10)
    ]

    world.mend()
    await agreed(world)
    assert {one.sid for one in made} <= registry(world, HOSTS - 1).services.keys()


# -- hosts that share tables -----------------------------------------------------------------------------------------


async def test_no_host_is_needed_to_change_the_registry(shared: SharedWorld) -> None:
    """Nor to start: whoever comes reads the tables."""
    for away in (0, 1):
        await gone(shared, away)

    made = await shared.hosts[2].control.create_service(shared.account.sid, ServiceRequest(unique_name="without"))
    await gone(shared, 3)
    await shared.start_host(3)

    async with asyncio.timeout(WAIT_SECONDS):
        while not shared.hosts[3].is_ready:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    assert shared.hosts[3].control.service(shared.account.sid, made.sid) == made
    for back in (0, 1):
        await shared.start_host(back)
    shared.renew()


async def gone(world: World, host: int) -> None:
    """End a host; the others hear nothing of it."""
    for other in range(HOSTS):
        if other != host:
            world.cut(host, other)
    await world.hosts[host].stop()
    await world.stores[host].close()
    world.mend()


async def test_a_change_whose_host_ended_before_it_told_is_found(shared: SharedWorld) -> None:
    """By whoever changes something next, and by all who only look."""
    account = msgspec.structs.replace(shared.account, friendly_name="Untold")
    after = registry(shared, 0).version
    await shared.stores[0].write((RegistryRevised(after, (AccountSaved(account),)),))

    await shared.hosts[1].control.create_service(shared.account.sid, ServiceRequest(unique_name="next"))

    assert registry(shared, 1).accounts[account.sid] == account
    assert registry(shared, 1).version == after + 2
    await agreed(shared)

    await shared.stores[0].write((RegistryRevised(after + 2, (AccountSaved(shared.account),)),))
    async with asyncio.timeout(WAIT_SECONDS):
        while any(registry(shared, host).version < after + 3 for host in shared.hosts):  # noqa: ASYNC110 - they look
            await asyncio.sleep(0.01)
    await agreed(shared)
    assert registry(shared, 2).accounts[account.sid] == shared.account


async def test_what_was_committed_while_a_host_loads_is_held_before_it_serves(shared: SharedWorld) -> None:
    """It was told when it did not listen yet."""
    await gone(shared, 3)
    made: list[Service] = []

    class Between(PostgresStore):
        async def held_registry(self) -> HeldRegistry:
            held = await super().held_registry()
            if not made:
                request = ServiceRequest(unique_name="between")
                made.append(await shared.hosts[0].control.create_service(shared.account.sid, request))
            return held

    shared.kinds[3] = Between  # type: ignore[type-abstract] # its reads are filled in
    await shared.start_host(3)

    async with asyncio.timeout(WAIT_SECONDS):
        while not shared.hosts[3].is_loaded:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
    assert registry(shared, 3).services[made[0].sid] == made[0]
    assert registry(shared, 3).version == registry(shared, 0).version


async def test_a_host_that_missed_more_than_is_kept_reads_the_whole(shared: SharedWorld) -> None:
    """What is gone is gone there, what is new is there."""
    number = await bought(shared, NUMBER)
    for other in range(HOSTS - 1):
        shared.cut(HOSTS - 1, other)
    await shared.hosts[0].control.release_number(shared.account.sid, number.sid)
    await bought(shared, "+16465557001")
    with psycopg.connect(shared.database) as connection:
        connection.execute("DELETE FROM registry_changes")

    shared.mend()
    await agreed(shared)

    assert [one.address for one in registry(shared, HOSTS - 1).numbers.values()] == ["+16465557001"]


async def bought(world: World, address: str) -> ProxyNumber:
    (number,) = await world.hosts[0].control.own_numbers(world.account.sid, [NumberRequest(address=address)])
    assert isinstance(number, ProxyNumber)
    return number


async def test_very_many_changes_are_taken_over_in_several_turns(shared: SharedWorld) -> None:
    """Whoever is stopped in between goes on from there; the version is the new one when all are held."""
    numbers = [NumberRequest(address=f"+1646556{nth:04}") for nth in range(1_200)]
    for other in range(HOSTS - 1):
        shared.cut(HOSTS - 1, other)
    before = registry(shared, HOSTS - 1).version
    await shared.hosts[0].control.own_numbers(shared.account.sid, numbers)
    node = shared.hosts[HOSTS - 1].parts.node
    assert node is not None

    catching_up = asyncio.create_task(node._follower.synchronise())
    async with asyncio.timeout(WAIT_SECONDS):
        while not registry(shared, HOSTS - 1).numbers:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    part, version = len(registry(shared, HOSTS - 1).numbers), registry(shared, HOSTS - 1).version
    catching_up.cancel()
    await node._follower.synchronise()

    assert 0 < part < len(numbers)
    assert version == before
    assert len(registry(shared, HOSTS - 1).numbers) == len(numbers)
    shared.mend()
    await agreed(shared)


async def test_a_database_that_knows_less_than_another_host_is_not_believed(shared: SharedWorld) -> None:
    """A backup was put back under hosts that run."""
    before = registry(shared, 1).version
    await shared.hosts[0].control.update_account(shared.account.sid, AccountUpdate(friendly_name="Later"))
    await agreed(shared)
    with psycopg.connect(shared.database) as connection:
        connection.execute("UPDATE cluster SET registry_version = %s", (before,))
    node = shared.hosts[1].parts.node
    assert node is not None

    with pytest.raises(MasklineError, match="knows less"):
        await node._follower.synchronise()
    with pytest.raises(MasklineError, match=r"knows (more|less)"):
        await node._follower.know(before + 5)


@pytest.mark.timeout(120)
async def test_a_change_is_made_once_wherever_the_connection_is_cut(database: str, tmp_path: Path) -> None:
    """The database is asked whether it was committed; the others are told if so, and it is tried again if not."""
    world = SharedWorld(database, count=2)
    socket = ".s.PGSQL.5432"
    server = Path(str(conninfo_to_dict(database)["host"])) / socket
    with (  # on a thread of its own, as a host that starts keeps the loop
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(cutting_proxy(server, tmp_path / socket)) as through,
    ):
        world.ways[1] = make_conninfo(database, host=str(tmp_path))
        await world.start()
        await world.furnish()
        names = await cut_at_many_bytes(world, through)
        await agreed(world)
        services = registry(world, 0).services.values()
        unknown = world.stores[1].inner.unknown_outcomes
        await world.stop()

    assert sorted(one.unique_name for one in services) == sorted(["rides", *names])
    assert unknown > 0


async def cut_at_many_bytes(world: World, through: CuttingProxy) -> Sequence[str]:
    names = [f"cut {position}" for position in range(1, 240, 12)]
    for position, name in zip(range(1, 240, 12), names, strict=True):
        await world.stores[1].write((AccountSaved(world.account),))  # a whole connection again
        through.arm(answers=position)
        await world.hosts[1].control.create_service(world.account.sid, ServiceRequest(unique_name=name))
        through.arm()
    return names


async def test_the_tables_have_the_last_word(shared: SharedWorld) -> None:
    """What somebody wrote there by hand is met with the answer of the API, and nothing is changed."""
    other = new_service(shared, shared.account)
    with psycopg.connect(shared.database) as connection:
        connection.execute("UPDATE services SET unique_name = 'new'")
    before = registry(shared, 0).version

    refused = await written(shared, 0, ServiceSaved(other))

    assert isinstance(refused, ApiError)
    assert refused.code is Code.SERVICE_NAME_TAKEN
    assert registry(shared, 0).version == before
    assert other.sid not in registry(shared, 0).services
