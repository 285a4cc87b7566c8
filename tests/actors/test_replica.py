"""A replica in a test's hands: what it makes of what it has missed, of services that are gone, of ends and touches."""

from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from actors.cluster.replica import BindingReplica
from actors.traffic.stream import (
    Batch,
    Begun,
    Completed,
    Expired,
    ExpiredForgotten,
    Operation,
    Routed,
    Touch,
    Withdrawn,
)
from engine.core.model.errors import Code
from engine.core.model.records import Address, Kind, Mode
from engine.core.routing.traffic import Decision
from engine.core.sessions.bindings import Endpoint
from tests.actors.three_hosts import HOSTS, SECOND, THIRD, coordinated_by, number_of
from tests.actors.world import ALICE, BOB, CAROL, START, World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Start three hosts and a service whose numbers are on all of them."""
    world = World(tmp_path / "data", count=HOSTS)
    await world.start()
    await world.furnish()
    await coordinated_by(world, 0)
    yield world
    await world.stop()


class Replicated:
    """A replica of the second host, and what a coordinator says to it."""

    def __init__(self, world: World) -> None:
        host = world.hosts[1]

        async def nothing(_: BindingReplica) -> None:
            """Read nothing back."""

        self.world = world
        self.directory = host.parts.directory
        self.replica = BindingReplica(
            self.directory,
            incarnation="here",
            is_here=host.parts.routes.is_here,
            wait_for_commits=host.parts.interaction_log.wait_for_commits,
            reload=nothing,
            clock=world.clock,
            monotonic=monotonic,
        )
        self.streams = 0
        self.said = 0

    async def all_that_holds(self, *operations: Operation) -> int:
        """Begin a stream; returns how far it was taken."""
        self.streams, self.said = self.streams + 1, 0
        return await self.say(Begun(), *operations, Completed())

    async def say(self, *operations: Operation) -> int:
        """Say what is new; returns how far it was taken."""
        first, self.said = self.said + 1, self.said + len(operations)
        batch = Batch(
            source=0,
            incarnation=f"there.{self.streams}",
            upon=float(self.streams),
            first=first,
            operations=operations,
        )
        return (await self.replica.take(batch)).applied

    async def touches(self, *, taken: int = 0) -> tuple[int, tuple[Touch, ...]]:
        """Ask what has passed, where a report is on disk by now; returns its number too."""
        batch = Batch(
            source=0,
            incarnation=f"there.{self.streams}",
            upon=float(self.streams),
            first=self.said + 1,
            taken=taken,
        )
        told = await self.replica.take(batch)
        return told.report, told.touches

    def text(self, sender: Address) -> Decision:
        """Tell what becomes of a text to the number of this host."""
        actor = self.directory.find(SECOND)
        assert actor is not None
        return actor.would_decide(self.world.event(Kind.MESSAGE, sender, SECOND)).decision


@pytest.fixture
def replicated(world: World) -> Replicated:
    """Return a replica that has heard nothing."""
    return Replicated(world)


def routed(
    name: str,
    partner: Address,
    *,
    activation: int,
    ttl_seconds: int = 0,
    proxy: Address = SECOND,
) -> Routed:
    """Return the operation that lets Alice, on a number of this host, and a partner route."""
    endpoints = (Endpoint(f"KP{name}1", ALICE, proxy), Endpoint(f"KP{name}2", partner, THIRD))
    mode = Mode.VOICE_AND_MESSAGE
    return Routed(f"KC{name}", "KS", "AC", mode, endpoints, START, ttl_seconds, None, activation, None)


@pytest.mark.parametrize("is_missed", [True, False], ids=["end missed", "end heard"])
async def test_a_session_that_was_opened_again_is_met_before_one_that_was_opened_meanwhile(
    replicated: Replicated, *, is_missed: bool
) -> None:
    """Where both pair the same two, though the host was away from the close of the first until after its re-opening."""
    await replicated.all_that_holds(routed("a", BOB, activation=1), routed("b", CAROL, activation=2))
    before = replicated.text(ALICE).to
    again = routed("a", BOB, activation=3)

    if is_missed:
        await replicated.all_that_holds(again, routed("b", CAROL, activation=2))
    else:
        await replicated.say(Withdrawn("KCa"), again)

    assert (before, replicated.text(ALICE).to) == (CAROL, BOB)
    await replicated.say(Withdrawn("KCa"))
    assert replicated.text(ALICE).to == CAROL
    await replicated.say(Withdrawn("KCb"))
    assert replicated.text(ALICE).to == ""


async def test_what_is_said_of_a_number_whose_service_was_erased_meanwhile_does_no_harm(
    replicated: Replicated,
) -> None:
    """The stream goes on with what comes after it."""
    gone = routed("a", BOB, activation=1, proxy=number_of(1, nth=9))

    taken = await replicated.all_that_holds(gone, routed("b", CAROL, activation=2))
    withdrawn = await replicated.say(Withdrawn("KCa"))

    assert (taken, withdrawn) == (4, 5)
    assert replicated.text(ALICE).to == CAROL


async def test_a_host_that_only_mirrors_says_that_a_session_has_expired(
    replicated: Replicated,
) -> None:
    """As its coordinator tells it, whatever the time is here; until the session is erased."""
    await replicated.all_that_holds(routed("a", BOB, activation=1, ttl_seconds=60))
    await replicated.say(Withdrawn("KCa"))
    ended = replicated.text(ALICE)

    await replicated.say(Expired("KCa", ((ALICE, SECOND), (BOB, THIRD))))
    expired = replicated.text(ALICE)
    await replicated.say(ExpiredForgotten("KCa", ALICE, SECOND))

    assert ended.code is not Code.SESSION_EXPIRED
    assert (expired.code, expired.session_sid) == (Code.SESSION_EXPIRED, "KCa")
    assert replicated.text(ALICE).code is not Code.SESSION_EXPIRED


async def test_a_host_that_missed_that_a_session_expired_says_so_nevertheless(
    replicated: Replicated,
) -> None:
    """It knows the end itself, and that the session does not route any more."""
    await replicated.all_that_holds(routed("a", BOB, activation=1, ttl_seconds=60))
    replicated.world.clock.move(61)

    await replicated.all_that_holds()

    assert replicated.text(ALICE).code is Code.SESSION_EXPIRED


async def test_what_passed_is_told_until_it_is_known_and_no_longer(
    replicated: Replicated,
) -> None:
    """A report counts as known when it is the one that is on disk, not when it is an earlier one."""
    await replicated.all_that_holds(routed("a", BOB, activation=1))
    replicated.replica.touch(replicated.replica.sessions["KCa"], START + 5)

    first, told = await replicated.touches()
    second, again = await replicated.touches(taken=first - 1)
    _, known = await replicated.touches(taken=second)

    assert told == again == (Touch("KS", "KCa", START + 5, START + 5),)
    assert known == ()
