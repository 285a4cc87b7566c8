"""Nodes that take part in a cluster on a database, and hosts on the one place that tests are about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from engine.core.ports.membership import HostTold, PlaceRow, PlaceState
from storage.postgres.connections import conninfo_of
from storage.postgres.ledger import PostgresLedger
from storage.postgres.places import attach_place
from tests import postgres
from tests.storage.material import Observed
from tests.storage.words import PLACE, Rig, word

HOSTS = 4
LEASE = 0.5
FREE, HELD, TAKEN = PlaceState.FREE, PlaceState.HELD, PlaceState.TAKEN


def change(conninfo: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Do something to the database behind everybody's back."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def unserved(server: postgres.Server) -> str:
    """Say how to connect to a database of words, made such that nobody has served on it."""
    conninfo = conninfo_of(server.conninfo("words"))
    change(conninfo, "TRUNCATE said, hosts, nodes")
    change(conninfo, "UPDATE cluster SET hosts = NULL")
    return conninfo


@asynccontextmanager
async def joined(conninfo: str, node: str = "a", *, hosts: int = HOSTS, **values: str) -> AsyncIterator[PostgresLedger]:
    """Have a node take part, and disconnect afterwards, as one that is lost does."""
    address = f"192.0.2.{ord(node[0]) - 96}"
    ledger = await PostgresLedger.join(conninfo, node=node, address=address, hosts=hosts, lease_seconds=LEASE, **values)
    try:
        yield ledger
    finally:
        await ledger.close()


async def place(ledger: PostgresLedger, number: int = PLACE) -> PlaceRow:
    return (await ledger.beat({})).places[number]


async def assigned(ledger: PostgresLedger, node: str, state: PlaceState = FREE) -> PlaceRow:
    """Assign the one place that tests are about."""
    row = await place(ledger)
    assert await ledger.assign(PLACE, epoch=row.epoch, node=node, state=state)
    return await place(ledger)


def attached(conninfo: str, node: str) -> Rig:
    """Start a host on that place."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return Rig(conninfo, Observed(), epoch=attach_place(connection, PLACE, node=node).epoch)


@asynccontextmanager
async def serving(conninfo: str, node: str) -> AsyncIterator[Rig]:
    rig = attached(conninfo, node)
    assert await rig.write(word(f"first of {node}")) == [None]
    try:
        yield rig
    finally:
        await rig.close()


async def until_told(ledger: PostgresLedger, told: HostTold) -> None:
    """Wait until something is known; the test's own time-out bounds it."""
    while (await place(ledger)).told != told:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
