"""A node with its warden on a real database: what a lost one had it gets, and nothing else moves."""

import asyncio
import time

import psycopg
import pytest

from actors.cluster.warden import Warden
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.membership import ClusterRows, PlaceState
from storage.postgres.ledger import PostgresLedger
from storage.postgres.places import attach_place

pytestmark = pytest.mark.anyio

HOSTS = 4
BEAT = 0.25


class Node:
    """What a supervisor does with a ledger and a warden."""

    def __init__(self, name: str, ledger: PostgresLedger) -> None:
        self.name = name
        self.ledger = ledger
        self.rows: ClusterRows | None = None
        self._warden = Warden(name, start_seconds=60)

    async def run(self) -> None:
        """Beat, decide and act until cancelled."""
        while True:
            try:
                self.rows = await self.ledger.beat({})
                for one in self._warden.decide(self.rows, time.monotonic()):
                    await self.ledger.assign(one.place, epoch=one.epoch, node=one.node, state=one.state)
            except StoreUnavailable:  # a busy machine: the next beat looks again
                pass
            await asyncio.sleep(BEAT)

    def nodes(self) -> list[str | None]:
        """Tell the node of each place, as last read."""
        return [] if self.rows is None else [row.node for row in self.rows.places]


async def joined(database: str, name: str) -> PostgresLedger:
    return await PostgresLedger.join(database, node=name, address="192.0.2.1", hosts=HOSTS, lease_seconds=0.5)


async def test_what_a_lost_node_had_is_taken_and_what_the_other_has_stays(database: str) -> None:
    """A place that was never begun is free for the other one, one that was is taken."""
    lost, ledger = await joined(database, "a"), await joined(database, "b")
    for place, name in enumerate("aabb"):
        assert await lost.assign(place, epoch=0, node=name, state=PlaceState.FREE)
    with psycopg.connect(database, autocommit=True) as connection:
        epoch = attach_place(connection, 0, node="a").epoch
        connection.execute("UPDATE hosts SET state = 1 WHERE place = 0")
    await lost.close()
    node = Node("b", ledger)
    running = asyncio.create_task(node.run())

    while node.nodes() != ["b"] * HOSTS:  # noqa: ASYNC110 - there is no event for it; the test's own time-out bounds it
        await asyncio.sleep(0.05)
    running.cancel()
    await ledger.close()

    assert node.rows is not None
    assert [(row.epoch, row.state) for row in node.rows.places] == [
        (epoch + 1, PlaceState.TAKEN),
        (2, PlaceState.FREE),
        (1, PlaceState.FREE),
        (1, PlaceState.FREE),
    ]
