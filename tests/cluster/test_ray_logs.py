"""Logs of a cluster for machines: every line is JSON, and what Ray itself has to say stands in a file of its own."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cluster.hosting import SUPERVISOR_LOG
from tests.cluster.live_cluster import WAIT_SECONDS, LiveCluster

NewCluster = Callable[..., LiveCluster]

pytestmark = pytest.mark.timeout(240)


def test_all_that_a_cluster_writes_is_json_where_its_log_is(new_cluster: NewCluster, tmp_path: Path) -> None:
    """Lines of the start and of the end, the logs of hosts and supervisor."""
    cluster = new_cluster(tmp_path / "data", "--log-format", "json", "--log-level", "debug", hosts=1)
    cluster.serve()
    hosts_log = cluster.log
    cluster.process.send_signal(signal.SIGTERM)
    code = cluster.process.wait(WAIT_SECONDS)
    assert cluster.process.stdout is not None
    rest = cluster.process.stdout.read()

    records = [json.loads(line) for line in (*hosts_log.splitlines(), *cluster.log.splitlines()) if line]
    supervised = [json.loads(line) for line in (cluster.data_dir / SUPERVISOR_LOG).read_text("utf-8").splitlines()]
    said = [one["message"] for one in records]
    assert (code, rest) == (0, "")
    assert "Ray: starting" in said
    assert any(one.startswith("host-0: ready") for one in said)
    assert all({"time", "level", "logger", "message"} <= one.keys() for one in (*records, *supervised))
