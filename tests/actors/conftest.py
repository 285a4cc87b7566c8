"""A world of its own for every actor test, of one host and of several."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.actors.world import N1, N2, World


@pytest.fixture(params=[1, 2, 3], ids=["one host", "two hosts", "three hosts"])
def host_count(request: pytest.FixtureRequest) -> int:
    """Tell how many hosts the world has: the same tests for the embedded runtime and for a cluster."""
    count: int = request.param
    return count


@pytest.fixture
async def world(tmp_path: Path, host_count: int) -> AsyncIterator[World]:
    """Start hosts with one account, one service and two numbers, and stop them afterwards."""
    world = World(tmp_path / "data", count=host_count)
    await world.start()
    await world.furnish(N1, N2)
    yield world
    await world.stop()
