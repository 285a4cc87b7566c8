"""Two nodes with a Ray each on one database: each carries hosts, and those of a node that is lost or stopped."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.cluster.live_cluster import ask_operator, eventually
from tests.cluster.live_node import HOSTS, LiveNode
from tests.e2e.carrier import resource_sid
from tests.e2e.tenant import Pairing, Tenant

pytestmark = pytest.mark.timeout(600)

NEW_NODE = "a", "b"


@pytest.fixture
def new_node(tmp_path: Path, database: str) -> Iterator[Callable[[str], LiveNode]]:
    """Set up nodes of one cluster; what runs of them at the end is killed."""
    with ExitStack() as stack:

        def new(name: str) -> LiveNode:
            node = LiveNode(tmp_path, name, database)
            stack.callback(node.end)
            return node

        yield new


def call(tenant: Tenant, pairing: Pairing, sid: str) -> bytes:
    """Call until it is decided, as a carrier does; return the answer, which reaches the partner."""
    answers: list[bytes] = []

    def is_answered() -> bool:
        try:
            heard = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid)
        except httpx.TransportError:
            return False
        if heard.status == httpx.codes.SERVICE_UNAVAILABLE:
            return False
        assert heard.reached == (pairing.second.identifier, pairing.second.proxy)
        answers.append(heard.content)
        return True

    eventually(is_answered, "the call is decided")
    return answers[0]


def test_the_hosts_of_a_lost_node_go_on_on_the_other_and_those_of_a_stopped_one_at_once(
    new_node: Callable[[str], LiveNode],
) -> None:
    """Sessions route, and what comes again gets its first answer; a node that comes back takes nothing away."""
    first, second = map(new_node, NEW_NODE)
    first.serve()
    second.serve()
    refused = second.run("cluster", "move", "host-1", "c")
    balanced = second.run("cluster", "balance")
    first.await_carriers("a", "b")
    made = ask_operator(first.host_dir(0), "POST", "/accounts", {"friendly_name": "nodes"})
    sid, token = made["account"]["sid"], made["auth_token"]
    eventually(partial(second.knows, sid, token), "the other node knows the account")
    with closing(Tenant(first, sid, token)) as one, closing(Tenant(second, sid, token)) as other:
        service = one.service(numbers=4)
        pairings = [service.pairing() for _ in range(4)]
        read = [other.get(pairing.path)["status"] for pairing in pairings]
        calls = [(pairing, resource_sid("CA")) for pairing in pairings]
        answers = [call(tenant, *made) for made, tenant in zip(calls, (one, other, one, other), strict=True)]

        first.crash()
        second.await_carriers("b", "b")
        after_loss = [call(other, *made) for made in calls]
        reached = [call(other, pairing, resource_sid("CA")) for pairing in pairings]

        first.serve()
        was_idle = not first.is_serving
        first.await_carriers("b", "b")
        moved = first.run("cluster", "move", "host-1", "a")
        first.await_carriers("b", "a")
        code = second.stop()
        first.await_carriers("a", "a")
        after_stop = [call(one, *made) for made in calls]

    assert refused.returncode == 1
    assert "no node 'c' that shows life; there are a, b" in refused.stderr
    assert balanced.stdout == "host-1: moved to b\n", balanced.stderr
    assert moved.returncode == 0, moved.stderr
    assert set(read) == {"open"}
    assert after_loss == answers
    assert len(reached) == len(pairings)
    assert was_idle
    assert code == 0
    assert after_stop == answers
    assert first.stop() == 0


def test_a_node_serves_on_without_its_driver_and_starts_anew_without_its_ray(
    new_node: Callable[[str], LiveNode],
) -> None:
    """The next `serve` attaches to what runs; when Ray is lost it ends, and the one after it starts all again."""
    node = new_node("a")
    node.serve()
    pids = [node.pid(place) for place in range(HOSTS)]

    node.kill()
    node.serve()
    attached = [node.pid(place) for place in range(HOSTS)]
    os.kill(node.head, signal.SIGKILL)
    code = node.process.wait(60.0)
    node.kill()
    node.serve()
    node.await_carriers("a", "a")
    drained = node.run("cluster", "drain", "host-1")
    states = [one["state"] for one in node.status()]
    refused = node.run("cluster", "move", "host-1", "a")
    undrained = node.run("cluster", "undrain", "host-1")
    node.await_carriers("a", "a")

    assert attached == pids
    assert code == 2
    assert (drained.returncode, undrained.returncode) == (0, 0), drained.stderr + undrained.stderr
    assert states == ["ready", "drained"]
    assert "host-1 is drained" in refused.stderr
    assert node.stop() == 0
