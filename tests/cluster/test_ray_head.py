"""The end of what holds Ray together: `serve` says so and ends, nothing of ours stays, and the next one has all."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from engine.cluster.head import LOST_SECONDS
from tests.cluster.live_cluster import LiveCluster, eventually, process_of, session_of
from tests.cluster.nodes import Nodes
from tests.e2e.carrier import Heard, resource_sid
from tests.e2e.tenant import Pairing, Tenant, new_tenant

NewCluster = Callable[..., LiveCluster]

pytestmark = pytest.mark.timeout(240)

END_SECONDS = 60
"""Bound on the wait for `serve` to end."""


def kill_gcs(head: int) -> None:
    """End the server that knows all actors."""
    os.kill(process_of(head, "gcs_server"), signal.SIGKILL)


def kill_gcs_unseen(head: int) -> None:
    """End it while the process that would notice hangs."""
    os.kill(head, signal.SIGSTOP)
    kill_gcs(head)


def kill_raylet(head: int) -> None:
    """End what starts and carries actors on a node."""
    os.kill(process_of(head, "raylet"), signal.SIGKILL)


def kill_head(head: int) -> None:
    """End what holds Ray's processes together."""
    os.kill(head, signal.SIGKILL)


@pytest.mark.parametrize("strike", [kill_head, kill_gcs_unseen, kill_raylet])
def test_the_end_of_ray_ends_the_server(new_cluster: NewCluster, tmp_path: Path, strike: Callable[[int], None]) -> None:
    """It says so, with exit status 2, and no process of ours is left."""
    cluster = new_cluster(tmp_path / "data", hosts=1)
    cluster.serve()

    code, said, left = struck(cluster, strike)

    assert code == 2, said
    assert said.count("maskline: Ray's head process ended") == 1
    assert left == []


def test_the_end_of_ray_loses_nothing(new_cluster: NewCluster, tmp_path: Path) -> None:
    """The next server starts everything again."""
    cluster = new_cluster(tmp_path / "data")
    cluster.serve()
    tenant = new_tenant(cluster)
    pairing = tenant.service().pairing()
    sid, answer = called(tenant, pairing)

    code, said, left = struck(cluster, kill_gcs)
    cluster.kill()
    unreached = cluster.run("cluster", "status")
    cluster.serve()
    cluster.await_ready()
    tenant = tenant.moved(cluster)
    _, again = called(tenant, pairing, sid)
    calls = tenant.everything(f"{pairing.path}/Interactions", "interactions")
    _, another = called(tenant, pairing)
    tenant.close()
    stopped = cluster.run("cluster", "stop")

    assert code == 2, said
    assert said.count("maskline: Ray's head process ended") == 1
    assert left == []
    assert (unreached.returncode, "no cluster runs" in unreached.stderr) == (2, True)
    assert again.content == answer.content
    assert [one["inbound_resource_sid"] for one in calls] == [sid]
    assert another.reached == (pairing.second.identifier, pairing.second.proxy)
    assert (stopped.returncode, cluster.process.wait(END_SECONDS)) == (0, 0), stopped.stderr


def test_the_end_of_a_joined_head_ends_the_server(new_cluster: NewCluster, tmp_path: Path) -> None:
    """It says so, with exit status 2, before Ray ends it without a word; what it did not start it does not end."""
    nodes = Nodes(tmp_path)
    try:
        cluster = new_cluster(nodes.data_dir, "--address", nodes.address, environ=nodes.environ)
        cluster.serve()

        kill_gcs(nodes.head.pid)
        code = cluster.process.wait(LOST_SECONDS + END_SECONDS)
        said = cluster.log_path.read_text("utf-8")
    finally:
        nodes.stop()

    assert code == 2, said
    assert said.splitlines()[-1].startswith(f"maskline: the Ray at {nodes.address} is gone")


def struck(cluster: LiveCluster, strike: Callable[[int], None]) -> tuple[int, str, list[int]]:
    """End some of Ray; returns the exit status of `serve`, what it had logged, and the processes that are left."""
    head = cluster.head
    strike(head)
    code = cluster.process.wait(END_SECONDS)
    return code, cluster.log_path.read_text("utf-8"), session_of(head)


def called(tenant: Tenant, pairing: Pairing, sid: str = "") -> tuple[str, Heard]:
    """Call, or repeat a call, until it is answered: a number may be rebuilt; returns its SID and the answer."""
    sid = sid or resource_sid("CA")
    answers: list[Heard] = []

    def is_answered() -> bool:
        answers[:] = [tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid)]
        return answers[0].status == httpx.codes.OK

    eventually(is_answered, "the call is answered")
    return sid, answers[0]
