"""A store in a directory of its own, for every storage test that wants one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.sqlite import SqliteStore
from tests.storage.material import Observed


@pytest.fixture
def observer() -> Observed:
    """Remember what the store tells."""
    return Observed()


@pytest.fixture
async def store(tmp_path: Path, observer: Observed) -> AsyncIterator[SqliteStore]:
    """Open a store and close it afterwards."""
    store = SqliteStore.open(tmp_path / "data", synchronous="NORMAL", observer=observer)
    yield store
    await store.close()
