"""A world of its own for every actor test, of one host and of several."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.actors.stores import never
from tests.actors.world import N1, N2, World

SUSPENDING: Final = -1
"""One host whose store suspends at every point read, as a database elsewhere does."""

SHARED: Final = -2
"""Two hosts on the tables of one PostgreSQL database, whose reads suspend too."""


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark."""
    config.addinivalue_line("markers", "shared: also run on two hosts that are on one database")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run over a database what is marked so: a test that counts turns of the loop cannot, nor has all to be twice."""
    items[:] = [item for item in items if _host_count_of(item) != SHARED or item.get_closest_marker("shared")]


def _host_count_of(item: pytest.Item) -> object:
    return item.callspec.params.get("host_count") if hasattr(item, "callspec") else None


@pytest.fixture(
    params=[1, 2, 3, SUSPENDING, SHARED],
    ids=["one host", "two hosts", "three hosts", "one host whose reads suspend", "two hosts on postgres"],
)
def host_count(request: pytest.FixtureRequest) -> int:
    """Tell how many hosts the world has: the same tests for the embedded runtime and for a cluster."""
    count: int = request.param
    return abs(count)


@pytest.fixture
def turns(request: pytest.FixtureRequest) -> Callable[[], int]:
    """Tell for how many turns of the loop reads suspend."""
    if request.node.callspec.params["host_count"] != SUSPENDING:
        return never
    return partial(Random(0).randrange, 1, 4)  # noqa: S311 - no secret


@pytest.fixture
def tables(request: pytest.FixtureRequest) -> str | None:
    """Say how to connect to the database of the hosts, where they have one."""
    if request.node.callspec.params["host_count"] != SHARED:
        return None
    conninfo: str = request.getfixturevalue("database")
    return conninfo


@pytest.fixture
async def world(tmp_path: Path, host_count: int, turns: Callable[[], int], tables: str | None) -> AsyncIterator[World]:
    """Start hosts with one account, one service and two numbers, and stop them afterwards."""
    world = World(tmp_path / "data", count=host_count, turns=turns, database=tables)
    await world.start()
    await world.furnish(N1, N2)
    yield world
    await world.stop()
