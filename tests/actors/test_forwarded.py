"""What is told of events that are handed to the host that owns their number."""

import asyncio
from pathlib import Path

import pytest

from actors.cluster.forward import Forwarder
from actors.cluster.rpc import HostRpc
from actors.kernel.context import HostContext
from actors.kernel.settings import HostSettings
from engine.core.model.errors import PeerUnavailable
from engine.core.model.records import Kind
from engine.core.routing.decide import NOT_IN_POOL, REBUILDING
from engine.core.routing.traffic import Decision, InboundEvent
from engine.runtime import OrderedIdFactory
from storage.sqlite import SqliteStore
from tests.actors.observed import Observed
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import ALICE, N1, FakeClock

pytestmark = pytest.mark.anyio

EVENTS = [InboundEvent(Kind.VOICE, ALICE, N1, f"CA{number:032x}") for number in range(3)]


class Wire:
    """Peers of which the other one answers, or does not."""

    me = 0
    count = 2

    def __init__(self, other: HostRpc | None) -> None:
        self._other = other

    async def ask(self, host: int, message: bytes) -> bytes:
        """Hand a message over."""
        if self._other is None:
            raise PeerUnavailable(f"host-{host}")
        return await self._other.answer(message)


class HostNumbers:
    """Stands for the one that another host serves."""

    async def decide(self, events: tuple[InboundEvent, ...]) -> tuple[Decision | None, ...]:
        """Know no number."""
        return (NOT_IN_POOL,) * len(events)


async def decided(wire: Wire, observer: Observed, data_dir: Path) -> list[Decision]:
    """Forward the events in one turn of the loop, and wait for what becomes of them."""
    store = SqliteStore.open(data_dir, observer=observer)
    context = HostContext(store, FakeClock(), OrderedIdFactory(), lambda _: 0, observer, HostSettings())
    forwarder = Forwarder(HostRpc(wire), context)
    answers: list[asyncio.Future[Decision]] = [asyncio.get_running_loop().create_future() for _ in EVENTS]
    for event, answer in zip(EVENTS, answers, strict=True):
        forwarder.receive(1, event, answer.set_result)
    decisions = await asyncio.wait_for(asyncio.gather(*answers), WAIT_SECONDS)
    await store.close()
    return decisions


async def test_events_that_the_owner_answered_are_told_together(tmp_path: Path) -> None:
    """One message, one count."""
    observer, other = Observed(), HostRpc(Wire(None))
    other.serve(HostNumbers())

    decisions = await decided(Wire(other), observer, tmp_path)

    assert decisions == [NOT_IN_POOL] * 3
    assert observer.forwards == [(3, True)]


async def test_events_that_the_owner_did_not_answer_are_told_apart(tmp_path: Path) -> None:
    """Their carriers are told to come again."""
    observer = Observed()

    decisions = await decided(Wire(None), observer, tmp_path)

    assert decisions == [REBUILDING] * 3
    assert observer.forwards == [(3, False)]
