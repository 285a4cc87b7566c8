"""A cluster on a database whose node is lost, cut off or stopped: nothing lost, nobody misrouted, within seconds.

One cluster for all, whole again after each test. What takes longer is in failover.py.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import pytest

from tests import postgres
from tests.cluster.machines import NoMachines
from tests.cluster.site import Node, Site, patiently, site
from tests.cluster.witness import Witness
from tests.e2e.feed import Feed, FeedGone
from tests.e2e.tenant import Pairing, Service, Tenant, proxy_number

pytestmark = pytest.mark.timeout(240)

HOSTS = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run two nodes on one database; whoever fails sees their logs."""
    try:
        with site(tmp_path_factory.mktemp("site")) as here:
            for name in ("node-a", "node-b"):
                here.add_clustered(name, hosts=HOSTS).serve()
            here.await_whole()
            yield here
    except (NoMachines, postgres.NoPostgres) as reason:
        pytest.skip(f"no machines with a database here: {reason}")


@pytest.fixture
def here(cluster: Site) -> Iterator[Site]:
    """Return the cluster, whole, and leave it so."""
    cluster.spread()
    began = {node.name: len(node.log) for node in cluster.nodes}
    yield cluster
    for node in cluster.nodes:
        print(f"--- {node.name}", node.log[began[node.name] :][-6000:])  # noqa: T201 - shown when the test fails
    cluster.machines.join()


@pytest.fixture
def tenant(here: Site) -> Iterator[Tenant]:
    """Return a fresh account that every node knows."""
    first, *others = here.nodes
    tenant = here.tenant(first, others)
    yield tenant
    tenant.close()


@pytest.fixture
def pairings(here: Site, tenant: Tenant) -> list[Pairing]:
    """Return sessions whose numbers are of both hosts."""
    return here.pairings(tenant, numbers=6, count=8)


@pytest.fixture
def witness(here: Site, tenant: Tenant, pairings: list[Pairing]) -> Iterator[Witness]:
    """Call and write all the while."""
    with here.witness(tenant, pairings) as witness:
        witness.await_more("at first")
        yield witness


def lost_and_other(here: Site) -> tuple[Node, Node]:
    """Choose the node of host 0 to lose; the other one is to go on."""
    lost = here.node(here.places()[0].node)
    (other,) = (node for node in here.nodes if node is not lost)
    return lost, other


def test_hosts_of_a_lost_node_are_started_on_another_one(here: Site, tenant: Tenant, witness: Witness) -> None:
    """That of host 0, at once with all that it runs; meanwhile accounts, services and numbers are made as ever."""
    lost, other = lost_and_other(here)

    lost.kill()
    made = patiently(lambda: here.tenant(other))
    service = patiently(lambda: made.service(pool=(proxy_number(), proxy_number())))
    places = here.await_whole(other_than=lost.name)
    witness.await_more("by the other node")
    lost.serve()
    here.await_joined(lost)
    witness.await_more("when the node is back")
    witness.stop()

    assert {one.node for one in places} == {other.name}
    assert reaches_partner(here, made, service)
    assert here.faults(witness, tenant, other) == []


def test_a_node_that_is_cut_off_ends_its_hosts(here: Site, tenant: Tenant, witness: Witness) -> None:
    """From everybody but the carrier: from the first answer of a successor on it answers nothing."""
    lost, other = lost_and_other(here)
    before = {one.place: one for one in here.places() if one.node == lost.name}

    here.machines.cut(lost.machine, *here.database_machines, other.machine)
    after = here.await_whole(other_than=lost.name)
    taken = time.monotonic()
    witness.await_more("by the other node")
    cut_off = [one for one in witness.answers if one.node == lost.name and one.at > taken]
    here.machines.join()
    witness.await_more("when the node is back")
    witness.stop()

    assert cut_off == []
    assert all(after[place].epoch > row.epoch for place, row in before.items())
    assert here.faults(witness, tenant, other) == []


def test_a_node_that_was_stopped_answers_nothing_that_is_not_its_own_any_more(
    here: Site, tenant: Tenant, pairings: list[Pairing], witness: Witness
) -> None:
    """All its processes for 10 s: of a session that its successor closes it says nothing when it goes on."""
    lost, other = lost_and_other(here)
    rows = [one for one in here.places() if one.node == lost.name]
    closed = pairings[0]
    with ExitStack() as stack:
        feeds = [stack.enter_context(Feed(row.told["feed"], tenant.sid, tenant.token)) for row in rows]
        lost.machine.signal(signal.SIGSTOP)
        began = time.monotonic()
        here.await_whole(other_than=lost.name)
        witness.await_more("by the other node")
        witness.stop()
        with closing(tenant.moved(other)) as there:
            patiently(lambda: there.update(closed.path, Status="closed"))
        asked = [["resolve", "call", caller.identifier, caller.proxy] for caller, _ in closed.sides]
        for feed in feeds:
            feed.send(asked)
        time.sleep(max(0.0, began + 10 - time.monotonic()))
        lost.machine.signal(signal.SIGCONT)
        said = [answer for feed in feeds for answer in answered(feed)]
    here.await_whole()

    assert [answer for answer in said if isinstance(answer, list) and answer[0] == "routed"] == []
    assert here.faults(witness, tenant, other) == []


def reaches_partner(here: Site, tenant: Tenant, service: Service) -> bool:
    """Make a session on the service and call by way of every node."""
    pairing = patiently(service.pairing)
    (first, second), _ = pairing.sides
    for name in {one.node for one in here.places()}:
        with closing(tenant.moved(here.node(name))) as there:
            heard = patiently(lambda: called(there, first.identifier, first.proxy))
        if heard != (second.identifier, second.proxy):
            return False
    return True


def called(tenant: Tenant, caller: str, proxy: str) -> tuple[str, str] | None:
    """Call once; who is reached, and what they see."""
    heard = tenant.carrier.call(caller, proxy)
    assert heard.status != httpx.codes.SERVICE_UNAVAILABLE
    return heard.reached


def answered(feed: Feed) -> list[object]:
    """Read what is answered to a frame; nothing where the connection ends instead."""
    try:
        return feed.answers()
    except (FeedGone, TimeoutError):
        return []
