"""The log is moved into the database file while the store commits, and starts over."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from engine.core.model.changes import InteractionRecorded, SessionCreated
from engine.core.model.records import Kind
from storage.sqlite import SqliteStore, mover
from storage.sqlite.mover import LogMover
from storage.sqlite.walindex import LogIndex
from tests.storage.material import Observed, interaction, interactions_since, participant, session

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 20.0
ROWS = 20
"""Of a commit."""


async def test_the_log_is_moved_beside_the_commits_and_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is written, the log stays small and the file has it; all of it is read back."""
    monkeypatch.setattr(mover, "MOVED_AT", 50)
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
    (tmp_path / "maskline.db-shm").write_bytes(b"\xff" * 100)  # the log has pages
    with closing(sqlite3.connect(tmp_path / "y.db")) as writer:
        moving = LogMover(connection, LogIndex(tmp_path))
        for _ in range(3):
            moving.look()
            moving.follow(writer)
        moving.close()
        moving.drop_index()


async def test_a_change_of_many_pages_counts_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large messages fill a small disk as well as many small ones."""
    monkeypatch.setattr(mover, "MOVED_AT", 50)
    store = SqliteStore.open(tmp_path, observer=Observed())
    of = session()
    alice = participant(of)
    await store.write([SessionCreated(of, (alice,))])

    async with asyncio.timeout(WAIT_SECONDS):
        while store.sizes().database_bytes < 5_000_000:
            made = interaction(of, kind=Kind.MESSAGE, sender=alice)
            await store.write([InteractionRecorded(msgspec.structs.replace(made, body="x" * 100_000))])

    assert store.sizes().wal_bytes < 3_000_000
    await store.close()
