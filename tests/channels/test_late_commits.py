"""What is true of every channel while a commit hangs: its peer is not kept waiting, and in the end gets one answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from engine.core.model.records import LegStatus
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, ReportOutcome
from tests.actors.world import World, wanting
from tests.channels.contract import Peer, Talk, Told, questions, talking
from tests.channels.offered import ChannelPlane
from tests.channels.test_contract import PEERS, REPORTERS, routed_for
from tests.http.rig import PROXY, ROUTED, SENDER, until

pytestmark = pytest.mark.anyio

PARTNER, OTHER_PROXY = "+14155550102", "+14155550198"


class HostedPlane(ChannelPlane):
    """Hands what comes to a host, whose account stands for the peer's."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Hand an event on."""
        self.events.append(event)
        self._world.host.receive(msgspec.structs.replace(event, account_sid=None), answer)

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Hand a report of the latest call on, its interaction named."""
        (*_, interaction) = self._world.store.interactions_since(0.0)
        hosted = msgspec.structs.replace(report, account_sid=None, interaction_sid=interaction.sid)
        self._world.host.report(hosted, answer)

    def settle(self, done: Callable[[], None]) -> None:
        """Have the host tell when all before it is committed."""
        self._world.host.all[0].traffic.settle(done)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Start a host with a session of who asks."""
    world = World(tmp_path / "data")
    await world.start()
    await world.furnish(PROXY, OTHER_PROXY)
    await world.session(wanting(SENDER, PROXY), wanting(PARTNER, OTHER_PROXY))
    yield world
    await world.stop()


async def asked_late(talk: Talk, world: World, request: bytes) -> list[bytes]:
    """Ask once while the commit hangs until it is late, once more after that, and once when it has landed."""
    world.store.keep_back()
    asking = asyncio.create_task(talk.ask(request))
    await until(lambda: world.store.kept_back > 0)
    world.store.be_late()
    late = await asking
    meanwhile = await talk.ask(request)
    world.store.let_through()
    await world.settle()
    return [late, meanwhile, await talk.ask(request)]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: type(peer).__name__)
async def test_an_event_whose_commit_hangs_is_to_come_again_and_gets_its_first_answer(peer: Peer, world: World) -> None:
    """It is decided once, however often it comes meanwhile."""
    async with talking(peer, HostedPlane(world)) as talk:
        answers = [await asked_late(talk, world, one) for one in questions(peer)]

    expected = [Told.AGAIN, Told.AGAIN, routed_for(peer)]
    assert [[peer.told(one) for one in told] for told in answers] == [expected] * len(answers)
    assert len(world.store.interactions_since(0.0)) == len(answers)


@pytest.mark.parametrize("peer", REPORTERS, ids=lambda peer: type(peer).__name__)
async def test_a_report_whose_commit_hangs_is_to_come_again_and_is_taken_once(peer: Peer, world: World) -> None:
    """Whoever was told that it is taken could not tell it again."""
    async with talking(peer, HostedPlane(world)) as talk:
        await talk.ask(peer.call(sid="CA1"))

        answers = await asked_late(talk, world, peer.leg(sid=ROUTED.interaction_sid))

    (interaction,) = world.store.interactions_since(0.0)
    assert [peer.told(one) for one in answers] == [Told.AGAIN, Told.AGAIN, Told.NOTHING]
    assert interaction.outbound.status is LegStatus.COMPLETED
