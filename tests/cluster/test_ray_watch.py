"""What `serve` does when what watches over the hosts is itself in trouble, on a real local Ray."""

import json
import os
import signal

import pytest

from tests.cluster.live_cluster import LiveCluster, eventually

pytestmark = pytest.mark.timeout(180)


def test_a_hung_supervisor_is_ended_by_the_server_and_the_hosts_stay(cluster: LiveCluster) -> None:
    """Nobody watches the watch but `serve`."""
    told = json.loads(cluster.run("cluster", "status", "--json").stdout)
    pids = [cluster.pid(0), cluster.pid(1)]

    os.kill(told["supervisor_pid"], signal.SIGSTOP)
    eventually(lambda: cluster.run("cluster", "status").returncode == 0, "another supervisor tells of the hosts")
    after = json.loads(cluster.run("cluster", "status", "--json").stdout)

    assert after["supervisor_pid"] != told["supervisor_pid"]
    assert [cluster.pid(0), cluster.pid(1)] == pids
    assert cluster.process.poll() is None
