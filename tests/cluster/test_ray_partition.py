"""A cluster over two nodes in two network namespaces, cut off from each other and joined again."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.live_cluster import LiveCluster, accounts, ask_operator, eventually
from tests.cluster.nodes import Nodes

NewCluster = Callable[..., LiveCluster]

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(300)]

FIRST, SECOND = "10.77.0.1", "10.77.0.2"


class Network:
    """Two namespaces with a cable between them."""

    def __init__(self) -> None:
        """Lay it; raises CalledProcessError or FileNotFoundError where that is not permitted."""
        self.names = tuple(f"maskline-{os.getpid()}-{place}" for place in (1, 2))
        self._undo = ExitStack()
        try:
            for name in self.names:
                ip("netns", "add", name)
                self._undo.callback(ip, "netns", "delete", name)
            ends = [f"mk{os.getpid() % 100_000}{place}" for place in (1, 2)]
            ip("link", "add", ends[0], "netns", self.names[0], "type", "veth", "peer", ends[1], "netns", self.names[1])
            for name, end, address in zip(self.names, ends, (FIRST, SECOND), strict=True):
                ip("-n", name, "address", "add", f"{address}/24", "dev", end)
                ip("-n", name, "link", "set", end, "up")
                ip("-n", name, "link", "set", "lo", "up")
            self._end = ends[0]
        except BaseException:
            self._undo.close()
            raise

    def prefix(self, place: int) -> tuple[str, ...]:
        """Return what runs a command in a namespace."""
        return ("ip", "netns", "exec", self.names[place])

    def cut(self) -> None:
        """Pull the cable."""
        ip("-n", self.names[0], "link", "set", self._end, "down")

    def join(self) -> None:
        """Plug it in again."""
        ip("-n", self.names[0], "link", "set", self._end, "up")

    def remove(self) -> None:
        """Take all away."""
        self._undo.close()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607 - the system's own


@pytest.fixture
def network() -> Iterator[Network]:
    """Return two namespaces where the system lets us make some."""
    try:
        network = Network()
    except FileNotFoundError:
        pytest.skip("the command ip is not installed")
    except subprocess.CalledProcessError as problem:
        pytest.skip(f"network namespaces are not permitted here: {problem.stderr.strip()}")
    try:
        yield network
    finally:
        network.remove()


@pytest.fixture
def nodes(network: Network, tmp_path: Path) -> Iterator[Nodes]:
    """Return a Ray whose head is in the first namespace; all its nodes are ended afterwards."""
    prefixes = {FIRST: network.prefix(0), SECOND: network.prefix(1)}
    nodes = Nodes(tmp_path, head=FIRST, prefixes=prefixes)
    try:
        yield nodes
    finally:
        nodes.stop()


def test_a_node_that_was_cut_off_comes_back_with_its_hosts(
    network: Network, nodes: Nodes, new_cluster: NewCluster
) -> None:
    """Meanwhile its hosts run nowhere else, and those on this side serve on."""
    nodes.add(SECOND)
    second_dir = nodes.data_dir_of(SECOND) / "host-1"
    cluster = new_cluster(
        nodes.data_dir,
        *("--address", nodes.address, "--listen", "0.0.0.0:0", "--operations-listen", "0.0.0.0:0"),
        *("--feed-listen", "0.0.0.0:0"),
        environ=nodes.environ,
        prefix=network.prefix(0),
    )
    cluster.serve()
    started = cluster.status()
    ask_operator(nodes.data_dir / "host-0", "POST", "/accounts", {"friendly_name": "before"})
    eventually(lambda: [*accounts(second_dir).values()] == ["before"], "both hosts know the account")

    network.cut()
    eventually(lambda: cluster.status()[1]["state"] == "unplaced", "the loss is noticed")
    lost = cluster.status()
    here = [*accounts(nodes.data_dir / "host-0").values()]
    network.join()
    cut_off = nodes.nodes[-1]
    eventually(lambda: cut_off.poll() is not None, "Ray ends the node that it had counted as lost", seconds=90)
    nodes.add(SECOND)
    eventually(lambda: [one["state"] for one in cluster.status()] == ["ready", "ready"], "both are ready again")
    back, there = cluster.status(), [*accounts(second_dir).values()]
    targets = json.loads((nodes.data_dir / "prometheus-targets.json").read_bytes())
    code = cluster.stop()

    assert [one["node"] for one in started] == [FIRST, SECOND]
    assert [one["operations"].partition("//")[2].partition(":")[0] for one in started] == [FIRST, SECOND]
    assert {one["labels"]["node"] for one in targets} == {FIRST, SECOND}
    assert lost[0]["state"] == "ready"
    assert f"which were on {SECOND}" in lost[1]["problem"]
    assert not (nodes.data_dir / "host-1").exists()
    assert here == there == ["before"]
    assert back[1]["incarnation"] > started[1]["incarnation"]
    assert back[1]["node_id"] != started[1]["node_id"]
    assert code == 0
