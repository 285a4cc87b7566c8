"""What is erased in time, and what is then forgotten: behaviour 8 and 21."""

import pytest

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import SessionStatus
from tests.actors.world import ALICE, BOB, DAY, N1, World, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]


async def test_a_session_closed_for_ninety_days_is_erased(world: World) -> None:
    """With participants and interactions; 404 from then on."""
    session = await world.session(ALICE, BOB, unique_name="ride-1")
    decision = await world.text(ALICE, world.proxy(session, ALICE))
    await world.close(session)
    world.clock.move(90 * DAY)
    await world.host.erase_old()
    assert (await world.look(session)).status is SessionStatus.CLOSED

    world.clock.move(1)
    await world.host.erase_old()

    with pytest.raises(ApiError):
        await world.look(session)
    assert world.store.interaction(decision.interaction_sid) is None
    assert (await world.session(unique_name="ride-1")).unique_name == "ride-1"


async def test_reopening_on_day_89_restarts_the_count(world: World) -> None:
    """An active session is never old; closed again, it has ninety days more."""
    session = await world.session(ALICE, BOB)
    await world.close(session)
    world.clock.move(89 * DAY)
    await world.reopen(session)
    world.clock.move(30 * DAY)
    await world.host.erase_old()
    assert (await world.look(session)).is_active

    await world.close(session)
    world.clock.move(89 * DAY)
    await world.host.erase_old()

    assert (await world.look(session)).status is SessionStatus.CLOSED


async def test_an_erased_session_is_not_remembered_as_expired(world: World) -> None:
    """Retention forgets as deletion does."""
    await world.session(wanting(ALICE, N1), BOB, ttl_seconds=10)
    world.clock.move(10)
    await world.host.sweep()
    world.clock.move(91 * DAY)

    await world.host.erase_old()

    assert (await world.call(ALICE, N1)).code is Code.NO_ACTIVE_SESSION


async def test_one_removed_after_the_expiry_is_not_told_of_it(world: World) -> None:
    """Who was removed is a stranger, whatever became of the session."""
    session = await world.session(wanting(ALICE, N1), BOB, ttl_seconds=10)
    world.clock.move(10)
    await world.host.sweep()

    await world.leave(session, ALICE)

    assert (await world.call(ALICE, N1)).code is Code.NO_ACTIVE_SESSION
