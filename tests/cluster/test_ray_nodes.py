"""A cluster over two nodes of a Ray that was there before: where hosts run, and what the loss of a node means."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.live_cluster import LiveCluster, eventually
from tests.cluster.nodes import HEAD, SECOND, Nodes
from tests.e2e.tenant import new_tenant

NewCluster = Callable[..., LiveCluster]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Return the head of a Ray; all its nodes are ended afterwards."""
    nodes = Nodes(tmp_path)
    try:
        yield nodes
    finally:
        nodes.stop()


def test_a_lost_node_takes_its_hosts_along_until_it_is_back(nodes: Nodes, new_cluster: NewCluster) -> None:
    """They are not started where their files are not; the others serve on, and nothing acknowledged is lost."""
    second = nodes.add()
    cluster = new_cluster(nodes.data_dir, "--address", nodes.address, environ=nodes.environ)
    cluster.elsewhere = {1: nodes.data_dir_of(SECOND)}
    cluster.serve()
    started = cluster.status()
    tenant = new_tenant(cluster)
    services = {tenant.create("/Services", UniqueName=f"service-{number}")["sid"] for number in range(8)}
    tenant.close()

    nodes.kill(second)
    eventually(lambda: cluster.status()[1]["state"] == "unplaced", "the loss is noticed")
    lost = cluster.status()
    files_elsewhere = (nodes.data_dir / "host-1").exists()
    served_on = cluster.is_ready(0)
    nodes.add()
    eventually(lambda: [one["state"] for one in cluster.status()] == ["ready", "ready"], "both are ready again")
    back = cluster.status()
    tenant = tenant.moved(cluster)
    kept = {one["sid"] for one in tenant.everything("/Services", "services")}
    tenant.close()
    code = cluster.stop()

    assert [one["node"] for one in started] == [HEAD, SECOND]
    assert (nodes.data_dir_of(SECOND) / "host-1" / "maskline.db").exists()
    assert lost[0]["state"] == "ready"
    assert f"no node that is up has its files, which were on {SECOND}" in lost[1]["problem"]
    assert not files_elsewhere
    assert served_on
    assert back[1]["node_id"] != started[1]["node_id"]
    assert kept == services
    assert (code, nodes.head.poll()) == (0, None)
