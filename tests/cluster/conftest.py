"""The shared cluster for tests that leave it as they found it, and clusters of a test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.live_cluster import LiveCluster, eventually
from tests.e2e.tenant import Tenant, new_tenant


@pytest.fixture
def anyio_backend() -> str:
    """Run the clients of async tests on the standard loop: on uvloop a connection that is reset at once trips anyio."""
    return "asyncio"


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Callable[..., LiveCluster]]:
    """Make clusters of the test's own, not started yet; whatever still runs at the end is killed."""
    clusters: list[LiveCluster] = []

    def new(data_dir: Path, *arguments: str, **more: Any) -> LiveCluster:  # noqa: ANN401 - what LiveCluster takes
        clusters.append(LiveCluster(data_dir, *arguments, **more))
        return clusters[-1]

    yield new
    for cluster in clusters:
        cluster.end()


@pytest.fixture
def cluster(shared_cluster: LiveCluster) -> Iterator[LiveCluster]:
    """Return the shared cluster, all hosts ready, and leave it so."""
    yield shared_cluster
    shared_cluster.await_ready()
    eventually(shared_cluster.is_whole, "the supervisor has heard of it")


@pytest.fixture
def tenant(cluster: LiveCluster) -> Iterator[Tenant]:
    """Return a fresh account."""
    tenant = new_tenant(cluster)
    yield tenant
    tenant.close()
