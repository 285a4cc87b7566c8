"""A writer to PostgreSQL of words alone, without a store around it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from math import inf
from typing import Any

import psycopg

from engine.core.model.changes import Change, ErasurePlanned
from engine.core.model.errors import Fenced, StoreUnavailable
from storage.postgres.connections import open_writer
from storage.postgres.places import take_place
from storage.postgres.schema import migrate
from storage.postgres.writer import Apply, PostgresTransaction
from storage.writer import GroupWriter
from tests import postgres
from tests.storage.material import Observed

PLACE = 3


def say(connection: psycopg.Connection[Any], changesets: Iterable[Sequence[Change]]) -> None:
    """Write the words of some changes, in place of what a store would write."""
    for changes in changesets:
        for change in changes:
            assert isinstance(change, ErasurePlanned)
            connection.execute("INSERT INTO said VALUES (%s)", (change.session_sid,))


def word(text: str) -> list[Change]:
    return [ErasurePlanned(text)]


def make_words(server: postgres.Server) -> str:
    """Make a database with nothing said, and tell how to connect to it."""
    with closing(server.admin()) as connection:
        connection.execute("CREATE DATABASE words")
    with psycopg.connect(server.conninfo("words"), autocommit=True) as connection:
        migrate(connection)
        connection.execute("CREATE TABLE said (word TEXT PRIMARY KEY)")
    return server.conninfo("words")


def said(conninfo: str) -> set[str]:
    with psycopg.connect(conninfo) as connection:
        return {text for (text,) in connection.execute("SELECT word FROM said")}


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; the test's own time-out bounds it."""
    while not holds():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)


class Rig:
    """A writer with its transaction."""

    def __init__(
        self,
        conninfo: str,
        observer: Observed,
        *,
        epoch: int | None = None,
        place: int = PLACE,
        apply: Apply = say,
        replicas: int = 0,
        lease_seconds: float = inf,
        not_before: float = 0.0,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fenced: list[Fenced] = []
        self.has_ended = threading.Event()
        if epoch is None:
            with psycopg.connect(conninfo, autocommit=True) as connection:
                epoch = take_place(connection, PLACE, node="here", lease_seconds=0)
        self.epoch = epoch
        self.conninfo = conninfo
        self.transaction = PostgresTransaction(
            lambda: open_writer(conninfo),
            apply,
            place=place,
            epoch=epoch,
            fenced=self._end,
            replicas=replicas,
            lease_seconds=lease_seconds,
            not_before=not_before,
            steady=steady,
        )
        self.writer = GroupWriter(self.transaction, observer)

    def _end(self, fenced: Fenced) -> None:
        self.fenced.append(fenced)
        self.has_ended.set()

    async def write(self, *changesets: Sequence[Change]) -> list[StoreUnavailable | None]:
        """Commit changesets in one turn of the loop, and return their outcomes."""
        came: list[StoreUnavailable | None] = []
        done = asyncio.Event()

        def take(error: StoreUnavailable | None) -> None:
            came.append(error)
            if len(came) == len(changesets):
                done.set()

        for changes in changesets:
            self.writer.put(changes, take)
        await done.wait()
        return came

    async def stop(self) -> None:
        """Have the writer's thread end."""
        stopped = self.writer.stop()
        if stopped is not None:
            await stopped

    async def close(self) -> None:
        """Stop, and disconnect."""
        await self.stop()
        await asyncio.to_thread(self.writer.close)
