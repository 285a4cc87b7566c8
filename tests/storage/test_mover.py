"""The log is moved into the database file while the store commits, and starts over."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.core.changes import InteractionRecorded, SessionCreated
from engine.core.records import Kind
from storage import SqliteStore, mover
from storage.mover import LogMover
from tests.storage.material import Observed, interaction, interactions_since, participant, session

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 20.0
ROWS = 20
"""Of a commit."""


async def test_the_log_is_moved_beside_the_commits_and_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is written, the log stays small and the file has it; all of it is read back."""
    monkeypatch.setattr(mover, "MOVED_AT", 5 * ROWS)
    store = SqliteStore.open(tmp_path, observer=Observed())
    of = session()
    alice = participant(of)
    await store.write([SessionCreated(of, (alice,))])
    before, written = store.sizes(), 0

    async with asyncio.timeout(WAIT_SECONDS):
        while store.sizes().database_bytes < before.database_bytes + 2_000_000:
            await store.write(
                [InteractionRecorded(interaction(of, kind=Kind.MESSAGE, sender=alice)) for _ in range(ROWS)]
            )
            written += ROWS

    assert store.sizes().wal_bytes < store.sizes().database_bytes
    assert len(interactions_since(store, 0.0)) == written
    await store.close()


def test_a_log_that_cannot_be_moved_is_left_for_the_next_time(tmp_path: Path) -> None:
    """The thread goes on, and the writer is not disturbed."""
    connection = sqlite3.connect(tmp_path / "x.db", check_same_thread=False, isolation_level=None)
    connection.close()  # every statement fails from now on
    with closing(sqlite3.connect(tmp_path / "y.db")) as writer:
        moving = LogMover(connection)
        for _ in range(3):
            moving.count(mover.MOVED_AT)
            moving.follow(writer)
        moving.close()
