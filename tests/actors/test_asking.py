"""Explanations of what people type: the reading that is known counts, and a swap is noticed."""

import pytest

from engine.core.routing.asking import explained, swapped
from engine.core.routing.traffic import Outcome
from tests.actors.world import ALICE, BOB, CAROL, N1, N2, World, wanting

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "write", [lambda number: number[2:], lambda number: number[1:], lambda number: f"00{number[1:]}"]
)
async def test_numbers_may_be_written_at_home(world: World, write: object) -> None:
    """Both of them; what is shown is the number that was meant."""
    assert callable(write)
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    told = await explained(world.control, to=write(N1), sender=write(ALICE))

    assert (told.proxy, told.session) == (N1, session)
    assert told.call.outcome is Outcome.ROUTED


async def test_a_stranger_is_shown_with_country(world: World) -> None:
    """Nobody knows them, so the likeliest number is told."""
    told = await explained(world.control, to=N1, sender=CAROL[2:])

    assert told.sender == f"{CAROL[:-4]}XXXX"
    assert told.session is None


async def test_a_swap_of_from_and_to_is_noticed(world: World) -> None:
    """Only where the other number is in a pool; the person's number stays masked."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    told = await explained(world.control, to=ALICE, sender=N1)
    other = await swapped(world.control, to=ALICE, sender=N1)

    assert (told.account_sid, told.proxy) == (None, f"{ALICE[:-4]}XXXX")
    assert other is not None
    assert (other.proxy, other.session) == (N1, session)
    assert await swapped(world.control, to=ALICE, sender=BOB) is None
