"""A publisher in a test's hands: what it sends, when that is settled, what it does with an answer without sense."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from actors.cluster.publisher import BindingPublisher
from actors.traffic.stream import (
    LEASE_SECONDS,
    Batch,
    Begun,
    Completed,
    Operation,
    Routed,
    Taken,
    Touch,
    Withdrawn,
)
from engine.core.model.errors import PeerUnavailable
from engine.core.sessions.bindings import ActiveSession
from tests.core.pairings import couple

pytestmark = pytest.mark.anyio


class Far:
    """The other end: takes batches, or is away."""

    def __init__(self) -> None:
        self.now = 100.0
        self.life = "far-1"
        self.applied = 0
        self.stream = ""
        self.batches: list[Batch] = []
        self.is_away = False
        self.failure: Exception | None = None
        self.touches: tuple[Touch, ...] = ()
        self.got = asyncio.Event()

    async def take(self, batch: Batch) -> Taken:
        """Answer as a replica does."""
        self.got.set()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self.is_away:
            raise PeerUnavailable("away")
        self.batches.append(batch)
        if batch.incarnation != self.stream:
            if not batch.operations or not isinstance(batch.operations[0], Begun):
                return Taken(incarnation=self.life, applied=0, stamp=self.now)
            self.stream, self.applied = batch.incarnation, 0
        self.applied = batch.first - 1 + len(batch.operations)
        return Taken(incarnation=self.life, applied=self.applied, stamp=self.now, report=1, touches=self.touches)

    def said(self) -> list[Operation]:
        """Return all that was said, in order."""
        return [operation for batch in self.batches for operation in batch.operations]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, for a bounded number of messages."""
        async with asyncio.timeout(20):
            while not holds():
                self.got.clear()
                await self.got.wait()
                await asyncio.sleep(0)


class Near:
    """This end: a publisher, its clock, and the sessions that route."""

    def __init__(self, far: Far) -> None:
        self.now = 1_000.0
        self.sessions: list[ActiveSession] = []
        self.others: list[ActiveSession] = []
        self.is_loaded = True
        self.heard: list[Touch] = []
        self.publisher = BindingPublisher(
            source=0,
            incarnation="near-1",
            send=far.take,
            sessions=lambda: tuple(self.sessions),
            concerns=lambda session: session not in self.others,
            take_touches=self.hear,
            is_loaded=lambda: self.is_loaded,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    def hear(self, touches: tuple[Touch, ...], kept: Callable[[], None]) -> None:
        """Take touches over."""
        self.heard += touches
        kept()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BindingPublisher]:
        """Let the publisher speak."""
        task = asyncio.create_task(self.publisher.run())
        try:
            yield self.publisher
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def routing() -> ActiveSession:
    """Return a session that routes."""
    session = couple()
    session.is_bound = True
    return session


async def test_a_link_begins_with_all_that_routes() -> None:
    """Between begun and completed; what does not route any more, or not there, is left out."""
    far = Far()
    near = Near(far)
    near.others = [routing()]
    near.sessions = [routing(), couple(), *near.others]

    async with near.running() as publisher:
        await far.until(lambda: publisher.is_up)

    begun, one, completed = far.said()
    assert (type(begun), type(one), type(completed)) == (Begun, Routed, Completed)
    assert isinstance(one, Routed)
    assert one.sid == near.sessions[0].sid


async def test_a_far_end_that_has_lost_its_memory_is_told_all_anew() -> None:
    """Its new life is told apart; what waited to be heard is heard with it."""
    far = Far()
    near = Near(far)
    session = routing()
    near.sessions = [session]
    async with near.running() as publisher:
        await far.until(lambda: publisher.is_up)
        far.life, far.stream, far.batches = "far-2", "", []
        session.is_bound = False

        heard = await asyncio.wait_for(publisher.put(Withdrawn(session.sid)), 20)

    assert heard
    assert not any(isinstance(one, Routed) for one in far.said())


async def test_nothing_is_lost_that_was_said_while_the_far_end_was_away() -> None:
    """It is said again, under the same numbers."""
    far = Far()
    near = Near(far)
    async with near.running() as publisher:
        await far.until(lambda: publisher.is_up)
        far.is_away = True
        heard = publisher.put(Withdrawn("KC1"))
        await far.until(lambda: not publisher.is_up)
        far.is_away = False

        assert await asyncio.wait_for(heard, 20)

    firsts = [batch.first for batch in far.batches if any(isinstance(one, Withdrawn) for one in batch.operations)]
    assert len(firsts) == 1


async def test_who_waits_waits_no_longer_than_the_lease_of_a_silent_host() -> None:
    """Until then it may route; it is told whether it was acknowledged."""
    far = Far()
    near = Near(far)
    async with near.running() as publisher:
        await far.until(lambda: publisher.is_up)
        far.is_away = True
        heard = publisher.put(Withdrawn("KC1"))
        near.now += LEASE_SECONDS - 0.5
        await far.until(lambda: not publisher.is_up)
        is_early = heard.done()
        near.now += 1.0

        assert not await asyncio.wait_for(heard, 20)

    assert not is_early


async def test_a_lease_is_not_prolonged_past_what_the_far_end_has_not_heard() -> None:
    """While the stream begins anew with somebody waiting, no stamp is given back."""
    far = Far()
    near = Near(far)
    near.sessions = [routing() for _ in range(5_000)]
    async with near.running() as publisher:
        await far.until(lambda: publisher.is_up)
        far.batches.clear()
        near.sessions[0].is_bound = False
        waiting = publisher.put(Withdrawn(near.sessions[0].sid))
        far.stream = ""  # what a replica does that has missed something

        assert await asyncio.wait_for(waiting, 20)

    anew = [batch for batch in far.batches if batch.incarnation == far.stream]
    assert len(anew) >= 3
    assert all(batch.echo is None for batch in anew[:3])


async def test_a_link_survives_what_nobody_foresaw() -> None:
    """It is logged, and all is said anew."""
    far = Far()
    near = Near(far)
    async with near.running() as publisher:
        await far.until(lambda: publisher.is_up)
        far.failure = RuntimeError("nobody foresaw this")

        assert await asyncio.wait_for(publisher.put(Withdrawn("KC1")), 20)


async def test_a_host_that_loads_says_that_it_is_there_and_no_more() -> None:
    """The far end goes on to route what an earlier life of this host had said."""
    far = Far()
    near = Near(far)
    near.is_loaded = False
    async with near.running() as publisher:
        await far.until(lambda: any(batch.echo is not None for batch in far.batches))
        is_up = publisher.is_up
        near.is_loaded = True
        await far.until(lambda: publisher.is_up)

    assert not is_up
    assert [type(one) for one in far.said()] == [Begun, Completed]


async def test_touches_are_taken_over_before_who_waits_hears() -> None:
    """So that an end that is being decided counts all that passed."""
    far = Far()
    near = Near(far)
    async with near.running() as publisher:
        await far.until(lambda: publisher.is_up)
        near.heard.clear()
        far.touches = (Touch("KS1", "KC1", 1.0, 2.0),)

        await asyncio.wait_for(publisher.put(Withdrawn("KC1")), 20)

        assert near.heard[-1] == far.touches[0]
