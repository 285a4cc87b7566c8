"""A world of its own for every actor test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.actors.world import N1, N2, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Start a host with one account, one service and two numbers, and stop it afterwards."""
    world = World(tmp_path / "data")
    await world.start()
    await world.furnish(N1, N2)
    yield world
    await world.stop()
