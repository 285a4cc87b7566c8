"""What is told of the operations on sessions: each once, with what it came to."""

import pytest

from engine.core.model.errors import Code, StoreUnavailable
from engine.core.pools.pool import PoolState
from engine.core.ports.observing import OperationEnd, SessionOperation
from tests.actors.world import ALICE, BOB, CAROL, DAY, N1, N2, World, refused, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]

DONE, REFUSED, UNAVAILABLE = OperationEnd.DONE, OperationEnd.REFUSED, OperationEnd.UNAVAILABLE


async def test_every_change_of_a_session_is_told_once(world: World) -> None:
    """An update is told by what it asks for."""
    session = await world.session(wanting(ALICE, N1))
    await world.join(session, wanting(BOB, N2))
    await world.leave(session, BOB)
    await world.update(session, ttl_seconds=60)
    await world.close(session)
    await world.reopen(session)
    await world.delete(session)

    assert world.observer.operations == [
        (SessionOperation.CREATE, DONE, None),
        (SessionOperation.ADD_PARTICIPANT, DONE, None),
        (SessionOperation.REMOVE_PARTICIPANT, DONE, None),
        (SessionOperation.UPDATE, DONE, None),
        (SessionOperation.CLOSE, DONE, None),
        (SessionOperation.REOPEN, DONE, None),
        (SessionOperation.DELETE, DONE, None),
    ]


async def test_a_refusal_is_told_with_its_code(world: World) -> None:
    """Which rule was met, and that the pool was exhausted, follow from it."""
    await world.session(wanting(ALICE, N1))

    await refused(world.session(wanting(ALICE, N1)))

    assert world.observer.operations[1:] == [(SessionOperation.CREATE, REFUSED, Code.PROXY_IDENTIFIER_IN_USE)]


async def test_a_store_that_cannot_commit_is_told_apart(world: World) -> None:
    """It is neither the caller's fault nor a bug."""
    world.store.is_failing = True
    with pytest.raises(StoreUnavailable):
        await world.session(wanting(ALICE, N1))

    assert world.observer.operations == [(SessionOperation.CREATE, UNAVAILABLE, None)]


async def test_how_late_an_expired_session_closed_is_told(world: World) -> None:
    """From its end to the close on disk."""
    await world.session(wanting(ALICE, N1), ttl_seconds=60)
    world.clock.move(62.5)

    await world.host.sweep()

    assert world.observer.expiry_lags == [2.5]


async def test_an_expiry_that_cannot_be_committed_is_told(world: World) -> None:
    """Once for each try."""
    await world.session(wanting(ALICE, N1), ttl_seconds=60)
    world.clock.move(61)
    world.store.is_failing = True

    await world.host.sweep()

    assert world.observer.operations[1:] == [(SessionOperation.EXPIRE, UNAVAILABLE, None)]
    assert world.observer.expiry_lags == []


async def test_retention_tells_what_it_erased_and_that_it_came_to_its_end(world: World) -> None:
    """The last turn finds nothing that is due."""
    for identifier in (ALICE, BOB):
        await world.close(await world.session(identifier))
    world.clock.move(91 * DAY)

    await world.host.erase_old()

    assert sum(erased for erased, _ in world.observer.erasures) == 2
    assert (2, False) in world.observer.erasures
    assert world.observer.erasures[-1] == (0, True)


async def test_the_pools_tell_how_full_they_are(world: World) -> None:
    """Numbers by their use, and how many the busiest person has."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.session(wanting(ALICE, N2), wanting(CAROL, N2))

    ((service, state, sessions),) = (one for host in world.hosts.values() for one in host.pools())

    assert (service.sid, sessions) == (world.service_sid, 2)
    assert state == PoolState(free=0, in_use=2, reserved=0, most_held=2)


async def test_every_host_hears_all_and_waits_for_no_number(world: World) -> None:
    """Alone, it hears itself."""
    names = {f"host-{place}" for place in world.hosts}

    assert [host.hosts_heard() for host in world.hosts.values()] == [dict.fromkeys(names, True)] * len(names)
    assert [host.rebuilding_numbers for host in world.hosts.values()] == [0] * len(names)
