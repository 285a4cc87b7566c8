"""One local Ray with two hosts for all tests that leave it as they found it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.live_cluster import LiveCluster, eventually, session_of
from tests.e2e.tenant import Tenant, new_tenant


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Return a cluster that serves; afterwards it stops in order and leaves no process."""
    cluster = LiveCluster(tmp_path_factory.mktemp("ray") / "data")
    try:
        cluster.serve()
        head = cluster.head
        yield cluster
        code = cluster.stop()
        assert (code, "Traceback" in cluster.log) == (0, False), cluster.log[-4000:]
        eventually(lambda: session_of(head) == [], "all processes of Ray ended")
    finally:
        cluster.end()


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
    eventually(
        lambda: all(one["state"] == "ready" for one in shared_cluster.status()), "the supervisor has heard of it"
    )


@pytest.fixture
def tenant(cluster: LiveCluster) -> Iterator[Tenant]:
    """Return a fresh account."""
    tenant = new_tenant(cluster)
    yield tenant
    tenant.close()
