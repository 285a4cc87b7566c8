"""A cluster over two nodes in two network namespaces, cut off from each other and joined again."""

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.cluster.live_cluster import LiveCluster, accounts, ask_operator, eventually
from tests.cluster.nodes import Nodes
from tests.e2e.carrier import Heard, resource_sid
from tests.e2e.tenant import Pairing, Tenant, numbers_of

NewCluster = Callable[..., LiveCluster]

pytestmark = pytest.mark.timeout(300)

FIRST, SECOND = "10.77.0.1", "10.77.0.2"
REACHED = "10.78.0.2", "10.78.1.2"
"""Where carriers reach the two, cut or not."""


class Network:
    """Two namespaces with a cable between them, and one from each to this process, which is never cut."""

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
            for place, name in enumerate(self.names):
                near, far = (f"mk{os.getpid() % 100_000}{side}{place}" for side in "nf")
                ip("link", "add", near, "type", "veth", "peer", far, "netns", name)
                self._undo.callback(ip, "link", "delete", near)
                ip("address", "add", f"10.78.{place}.1/30", "dev", near)
                ip("link", "set", near, "up")
                ip("-n", name, "address", "add", f"{REACHED[place]}/30", "dev", far)
                ip("-n", name, "link", "set", far, "up")
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


@pytest.fixture(params=[True])
def nodes(network: Network, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Return a Ray whose head is in the first namespace; all its nodes are ended afterwards."""
    prefixes = {FIRST: network.prefix(0), SECOND: network.prefix(1)}
    nodes = Nodes(tmp_path, head=FIRST, prefixes=prefixes, is_quick=request.param)
    try:
        yield nodes
    finally:
        nodes.stop()


def test_a_node_that_was_cut_off_comes_back_with_its_hosts(
    network: Network, nodes: Nodes, new_cluster: NewCluster
) -> None:
    """Meanwhile its hosts run nowhere else, and those on this side serve on."""
    second_dir = nodes.data_dir_of(SECOND) / "host-1"
    cluster = over_both(network, nodes, new_cluster)
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


def over_both(network: Network, nodes: Nodes, new_cluster: NewCluster) -> LiveCluster:
    """Return a cluster with a host in each namespace, not started yet."""
    nodes.add(SECOND)
    return new_cluster(
        nodes.data_dir,
        *("--address", nodes.address, "--listen", "0.0.0.0:0", "--operations-listen", "0.0.0.0:0"),
        *("--feed-listen", "0.0.0.0:0"),
        environ=nodes.environ,
        prefix=network.prefix(0),
        public_url=PUBLIC_URL,
    )


PUBLIC_URL = "http://maskline.test"


class Side(LiveCluster):
    """The cluster as it is reached on one side of the cut."""

    def __init__(self, cluster: LiveCluster, place: int) -> None:
        """Know only where it is."""
        self.address = f"http://{REACHED[place]}:{cluster.address.rpartition(':')[2]}"
        self.public_url = PUBLIC_URL


class Caller(threading.Thread):
    """Calls and calls again on one side, each call until it is answered; keeps every answer by the call's SID."""

    def __init__(self, tenant: Tenant, pairings: list[Pairing]) -> None:
        super().__init__(name="caller")
        self.tenant = tenant
        self.pairings = pairings
        self.answers: list[tuple[str, Pairing, Heard]] = []
        self.retries = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        """Call until told to stop; what gets 503 or no answer is repeated with the same SID."""
        for pairing in itertools.cycle(self.pairings):
            sid = resource_sid("CA")
            while not self.stopping.is_set():
                try:
                    heard = self.tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid)
                except httpx.TransportError:
                    self.retries += 1
                    continue
                if heard.status != httpx.codes.SERVICE_UNAVAILABLE:
                    self.answers.append((sid, pairing, heard))
                    break
                self.retries += 1
                self.stopping.wait(0.05)
            if self.stopping.wait(0.02):
                return

    def await_more(self) -> None:
        """Wait until some more calls were answered."""
        least = len(self.answers) + 8
        eventually(lambda: len(self.answers) >= least, "calls are answered")


CUT_SECONDS = 10
"""Longer than a host may be silent, shorter than Ray takes to count a node as lost."""


@pytest.mark.parametrize("nodes", [False], indirect=True, ids=["as Ray is set"])
def test_a_short_cut_restarts_no_host_and_misroutes_nothing(
    network: Network, nodes: Nodes, new_cluster: NewCluster
) -> None:
    """Carriers reach both sides; every call that is answered goes to its partner and stands there once."""
    cluster = over_both(network, nodes, new_cluster)
    cluster.serve()
    before = cluster.status()
    sides = [Side(cluster, place) for place in (0, 1)]
    ask = ask_operator(nodes.data_dir / "host-0", "POST", "/accounts", {"friendly_name": "cut"})
    sid, token = ask["account"]["sid"], ask["auth_token"]
    tenants = [Tenant(side, sid, token) for side in sides]
    eventually(lambda: sid in accounts(nodes.data_dir_of(SECOND) / "host-1"), "both hosts know the account")
    pool = numbers_of(0, 3) + numbers_of(1, 3)
    services = [tenant.service(pool=pool[place::2]) for place, tenant in enumerate(tenants)]
    pairings = [service.pairing() for service in services for _ in range(4)]
    callers = [Caller(tenant, pairings) for tenant in tenants]
    for caller in callers:
        caller.start()
        caller.await_more()

    network.cut()
    time.sleep(CUT_SECONDS)
    network.join()
    eventually(lambda: [one["state"] for one in cluster.status()] == ["ready", "ready"], "both are ready again")
    for caller in callers:
        caller.await_more()
        caller.stopping.set()
        caller.join(30)
    after = cluster.status()
    interactions = [
        one["inbound_resource_sid"]
        for pairing in pairings
        for one in tenants[0].everything(f"{pairing.path}/Interactions", "interactions")
    ]
    for tenant in tenants:
        tenant.close()
    code = cluster.stop()

    answers = [one for caller in callers for one in caller.answers]
    wrong = [
        (heard.status, heard.verbs)
        for _, pairing, heard in answers
        if heard.reached != (pairing.second.identifier, pairing.second.proxy)
    ]
    assert "host-1 is unreachable" in (nodes.data_dir / "supervisor.log").read_text("utf-8")
    assert wrong == []
    assert {sid for sid, _, _ in answers} <= set(interactions)
    assert len(interactions) == len(set(interactions))
    assert [(one["pid"], one["incarnation"]) for one in after] == [(one["pid"], one["incarnation"]) for one in before]
    assert code == 0
