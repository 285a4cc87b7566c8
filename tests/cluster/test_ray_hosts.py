"""Hosts on a real local Ray: what serves on, what comes back, what is reported."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.cluster.live_cluster import LiveCluster, eventually, session_of
from tests.e2e.feed import Feed
from tests.e2e.live import MASKLINE, NO_TLS, clean_environment
from tests.e2e.tenant import Tenant, numbers_of

NewCluster = Callable[..., LiveCluster]

pytestmark = pytest.mark.timeout(180)


def test_every_host_says_where_it_is_and_how_it_fares(cluster: LiveCluster) -> None:
    """State, process, addresses of its own, and the HTTP address that all share."""
    hosts = cluster.status()

    assert [(one["host"], one["state"], one["problem"]) for one in hosts] == [
        ("host-0", "ready", ""),
        ("host-1", "ready", ""),
    ]
    assert [one["pid"] for one in hosts] == [cluster.pid(0), cluster.pid(1)]
    assert {one["http"] for one in hosts} == {cluster.address}
    assert [one["operations"] for one in hosts] == [cluster.operations(0), cluster.operations(1)]
    assert hosts[0]["operations"] != hosts[1]["operations"]


def test_the_table_of_hosts_has_a_line_for_each(cluster: LiveCluster) -> None:
    """Under the columns, with the epoch below."""
    shown = cluster.run("cluster", "status")

    columns, first, second, epoch = shown.stdout.splitlines()
    assert shown.returncode == 0
    assert columns.split()[:6] == ["host", "node", "pid", "state", "incarnation", "restarts"]
    assert first.split()[:4] == ["host-0", "127.0.0.1", str(cluster.pid(0)), "ready"]
    assert second.split()[:4] == ["host-1", "127.0.0.1", str(cluster.pid(1)), "ready"]
    assert epoch.startswith("directory epoch ")


def test_what_ray_writes_to_standard_output_is_no_part_of_an_answer(cluster: LiveCluster) -> None:
    """Told so by a variable, its C++ client logs there; whoever reads JSON gets nothing else."""
    talkative = {"RAY_LOG_TO_STDERR": "1", "RAY_BACKEND_LOG_LEVEL": "info"}

    told = cluster.run("cluster", "status", "--json", environ=talkative)

    assert "core_worker_process.cc" in told.stderr
    assert [one["host"] for one in json.loads(told.stdout)["hosts"]] == ["host-0", "host-1"]


def test_each_host_has_metrics_of_its_own(cluster: LiveCluster) -> None:
    """On its own port, with health beside them; nothing else is served there."""
    for place in range(cluster.hosts):
        metrics = httpx.get(f"{cluster.operations(place)}/metrics", verify=NO_TLS)
        elsewhere = httpx.get(f"{cluster.operations(place)}/v1/Services", verify=NO_TLS)

        assert "maskline_ready 1.0" in metrics.text
        assert elsewhere.status_code == 404


def test_hosts_and_supervisor_have_the_priority_of_the_server(cluster: LiveCluster) -> None:
    """Ray would have them wait for every other process of the machine."""
    told = json.loads(cluster.run("cluster", "status", "--json").stdout)
    pids = (told["supervisor_pid"], *(one["pid"] for one in told["hosts"]))

    priorities = {os.getpriority(os.PRIO_PROCESS, pid) for pid in pids}

    assert priorities == {os.getpriority(os.PRIO_PROCESS, cluster.process.pid)}


def directory(cluster: LiveCluster, tenant: Tenant, place: int) -> tuple[int, int, list[dict[str, str]]]:
    """Ask a host's feed: epoch, whose answer it is, names and addresses of all hosts."""
    with Feed(cluster.status()[place]["feed"], tenant.sid, tenant.token) as feed:
        told = feed.welcome[2]["directory"]
    return told["epoch"], told["me"], told["hosts"]


def test_every_host_tells_clients_of_the_feed_who_the_hosts_are(cluster: LiveCluster, tenant: Tenant) -> None:
    """The same names, addresses and epoch on each."""
    addresses = [{"name": one["host"], "address": one["feed"]} for one in cluster.status()]

    epochs, asked, hosts = zip(*(directory(cluster, tenant, place) for place in range(2)), strict=True)

    assert asked == (0, 1)
    assert hosts == (addresses, addresses)
    assert epochs[0] == epochs[1] >= 1


def test_a_killed_host_comes_back_with_all_that_was_acknowledged(cluster: LiveCluster, tenant: Tenant) -> None:
    """At the same address; the other host serves on, and the directory is the same."""
    service = tenant.service(pool=numbers_of(1, 2))
    pairings = [service.pairing() for _ in range(3)]
    before, epoch = cluster.status(), directory(cluster, tenant, 1)

    old = {1: cluster.kill_host(1)}
    served_on = cluster.is_ready(0)
    cluster.await_ready(other_than=old)
    eventually(lambda: cluster.status()[1]["state"] == "ready", "the supervisor has heard of it")
    after = cluster.status()
    tenant = tenant.moved(cluster)
    epoch_after = directory(cluster, tenant, 1)

    assert served_on
    assert epoch_after == epoch
    assert after[1]["pid"] != old[1]
    assert after[1]["operations"] == before[1]["operations"]
    assert after[1]["incarnation"] > before[1]["incarnation"]
    assert after[1]["restarts"] > before[1]["restarts"]
    assert after[0]["pid"] == before[0]["pid"]
    eventually(
        lambda: all(
            tenant.carrier.call(pairing.first.identifier, pairing.first.proxy).reached
            == (pairing.second.identifier, pairing.second.proxy)
            for pairing in pairings
        ),
        "every session routes",
    )
    tenant.close()


def test_a_hung_host_is_killed_and_comes_back(cluster: LiveCluster) -> None:
    """Ray alone would not notice."""
    old = {1: cluster.kill_host(1, signal.SIGSTOP)}

    cluster.await_ready(other_than=old)

    assert not Path(f"/proc/{old[1]}").exists()
    assert "did not answer" in (cluster.data_dir / "supervisor.log").read_text("utf-8")


def test_a_killed_supervisor_comes_back_and_takes_the_hosts_as_they_are(cluster: LiveCluster) -> None:
    """They serve on meanwhile, and keep their processes."""
    told = json.loads(cluster.run("cluster", "status", "--json").stdout)
    pids = [cluster.pid(0), cluster.pid(1)]

    os.kill(told["supervisor_pid"], signal.SIGKILL)
    served_on = cluster.is_ready(0) and cluster.is_ready(1)
    eventually(cluster.is_whole, "the supervisor knows all hosts again")
    after = json.loads(cluster.run("cluster", "status", "--json").stdout)

    assert served_on
    assert after["supervisor_pid"] != told["supervisor_pid"]
    assert after["epoch"] == told["epoch"]
    assert [cluster.pid(0), cluster.pid(1)] == pids


def test_a_killed_driver_leaves_the_cluster_serving_and_the_next_one_attaches(cluster: LiveCluster) -> None:
    """No host is restarted for it, and the port stays."""
    pids, address, head = [cluster.pid(0), cluster.pid(1)], cluster.address, cluster.head
    cluster.kill()

    served_on = httpx.get(f"{address}/readyz", verify=NO_TLS).status_code
    cluster.serve("--retention-days", "30")

    assert served_on == 200
    assert "runs on with the settings of its start" in cluster.log
    assert (cluster.address, cluster.head) == (address, head)
    assert [cluster.pid(0), cluster.pid(1)] == pids


def refused(*arguments: str) -> str:
    """Try to serve; returns why not."""
    tried = subprocess.run(  # noqa: S603 - our own command
        [str(MASKLINE), "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment(),
    )
    assert (tried.returncode, tried.stdout) == (2, "")
    return tried.stderr


def test_a_second_server_on_the_same_directory_is_refused(cluster: LiveCluster) -> None:
    """It names the process that watches."""
    assert f"process {cluster.process.pid} watches over" in refused(*cluster.arguments)
    assert cluster.is_ready(0)


def test_a_server_for_another_number_of_hosts_is_refused(cluster: LiveCluster) -> None:
    """It names the command that changes that."""
    assert "maskline rebalance" in refused(*cluster.arguments, "--hosts", "3")


def test_an_embedded_server_on_the_same_directory_is_refused(cluster: LiveCluster) -> None:
    """The data is laid out for two hosts."""
    assert "maskline rebalance" in refused("--data-dir", str(cluster.data_dir), "--listen", "127.0.0.1:0")


def test_a_drained_host_stays_out_over_a_restart_until_it_is_taken_in(cluster: LiveCluster) -> None:
    """It listens nowhere and holds no file; the other one serves."""
    targets = cluster.operations(1)
    drained = cluster.run("cluster", "drain", "host-1")
    eventually(lambda: cluster.status()[1]["state"] == "drained", "it is out")
    out = cluster.status()[1]
    os.kill(out["pid"], signal.SIGKILL)
    eventually(lambda: cluster.status()[1]["pid"] not in {None, out["pid"]}, "its process is another one")
    again = cluster.status()[1]
    served = cluster.is_ready(0)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{targets}/readyz", verify=NO_TLS)
    taken_in = cluster.run("cluster", "undrain", "1")
    eventually(lambda: cluster.status()[1]["state"] == "ready", "it is in again")

    assert (drained.returncode, taken_in.returncode) == (0, 0), drained.stderr + taken_in.stderr
    assert out["http"] == ""
    assert again["state"] == "drained"
    assert served


def test_operator_commands_reach_whichever_host_runs(cluster: LiveCluster) -> None:
    """Also when the first one is out."""
    cluster.run("cluster", "drain", "host-0")

    listed = cluster.run("account", "list", "--json")
    cluster.run("cluster", "undrain", "host-0")
    eventually(lambda: cluster.status()[0]["state"] == "ready", "it is in again")

    assert listed.returncode == 0, listed.stderr


def test_a_host_that_cannot_open_its_file_is_reported_and_does_not_loop(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    """The other one runs; when the file is right again, `undrain` starts it. `cluster stop` needs no `serve`."""
    cluster = new_cluster(tmp_path / "data")
    database = cluster.host_dir(1) / "maskline.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database" * 1000)

    cluster.serve()
    head = cluster.head
    failed, incarnation = cluster.status()[1], host_note(cluster, 1)["incarnation"]
    database.unlink()
    later = cluster.status()[1]
    mended = cluster.run("cluster", "undrain", "host-1")
    eventually(lambda: cluster.status()[1]["state"] == "ready", "it runs")
    cluster.kill()
    stopped = cluster.run("cluster", "stop")

    assert failed["state"] == later["state"] == "failed"
    assert "file is not a database" in failed["problem"]
    assert later["incarnation"] == incarnation == failed["incarnation"] == 1
    assert "host-1: failed" in cluster.log
    assert mended.returncode == 0, mended.stderr
    assert stopped.returncode == 0, stopped.stderr
    eventually(lambda: session_of(head) == [], "all processes of Ray ended")


def test_a_cluster_none_of_whose_hosts_can_start_ends(new_cluster: NewCluster, tmp_path: Path) -> None:
    """In a line that says why, and with all of Ray's processes."""
    cluster = new_cluster(tmp_path / "data", hosts=1)
    cluster.data_dir.mkdir()
    (cluster.data_dir / "maskline.db").write_bytes(b"this is no database" * 1000)

    told = refused(*cluster.arguments)

    assert "host-0: failed" in told
    assert "file is not a database" in told
    assert told.splitlines()[-1] == "maskline: no host can start; the lines above say why"
    head = re.search(r"Ray: runs at \S+, process (\d+)", told)
    assert head is not None
    eventually(lambda: session_of(int(head[1])) == [], "all processes of Ray ended")


def test_a_server_told_to_stop_while_ray_starts_leaves_nothing(new_cluster: NewCluster, tmp_path: Path) -> None:
    """It undoes what it has begun."""
    cluster = new_cluster(tmp_path / "data")
    process = subprocess.Popen(  # noqa: S603 - our own command
        [str(MASKLINE), "serve", *cluster.arguments], stderr=subprocess.PIPE, text=True, env=clean_environment()
    )
    eventually(lambda: cluster.head > 0, "Ray has been started")
    head = cluster.head

    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)

    assert process.returncode == 1, told
    eventually(lambda: session_of(head) == [], "all processes of Ray ended")


def host_note(cluster: LiveCluster, place: int) -> dict[str, int]:
    note: dict[str, int] = json.loads((cluster.host_dir(place) / "host.json").read_bytes())
    return note
