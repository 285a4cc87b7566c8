"""What a cluster comes through whose database Patroni looks after, by the file that we ship: `make failover-test`."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import postgres
from tests.cluster.machines import NoMachines
from tests.cluster.patroni import Member, NoPatroni, PatroniCluster
from tests.cluster.site import AnySite, patroni_site
from tests.cluster.witness import Witness
from tests.e2e.tenant import Tenant

pytestmark = pytest.mark.timeout(900)

HOSTS = 2
NODES = ("node-a", "node-b")

Way = Callable[[AnySite, Member], None]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[AnySite, PatroniCluster]]:
    """Run two nodes; whoever fails sees the logs."""
    try:
        with patroni_site(tmp_path) as (here, cluster):
            for name in NODES:
                here.add_clustered(name, hosts=HOSTS).serve()
            here.spread()
            yield here, cluster
            for log in (*(node.log for node in here.nodes), *(one.log for one in cluster.members)):
                print("---", log[-4000:])  # noqa: T201 - shown when the test fails
    except (NoMachines, NoPatroni, postgres.NoPostgres) as reason:
        pytest.skip(f"no machines with a database under Patroni here: {reason}")


@pytest.fixture
def tenant(running: tuple[AnySite, PatroniCluster]) -> Iterator[Tenant]:
    """Return a fresh account that every node knows."""
    here, _ = running
    first, *others = here.nodes
    tenant = here.tenant(first, others)
    yield tenant
    tenant.close()


@pytest.fixture
def witness(running: tuple[AnySite, PatroniCluster], tenant: Tenant) -> Iterator[Witness]:
    """Call and write all the while."""
    here, _ = running
    with here.witness(tenant, here.pairings(tenant, numbers=8, count=8)) as witness:
        witness.await_more("at first")
        yield witness


WAYS: Final[dict[str, tuple[Way, Way]]] = {
    "lost": (lambda _, one: one.kill(), lambda _, one: one.start()),
    "cut off": (lambda here, one: here.machines.isolate(one.machine), lambda here, _: here.machines.join()),
    "without its Patroni": (
        lambda _, one: one.signal_patroni(signal.SIGSTOP),
        lambda _, one: one.signal_patroni(signal.SIGCONT),
    ),
}
"""What becomes of a server, and how it comes back."""


@pytest.mark.parametrize("way", WAYS)
def test_patroni_replaces_a_primary(
    running: tuple[AnySite, PatroniCluster], tenant: Tenant, witness: Witness, way: str
) -> None:
    """By the standby that confirmed all; no host moves, and the old one follows when it comes back."""
    here, cluster = running
    lose, bring_back = WAYS[way]
    before = [one.node for one in here.places()]
    old = cluster.primary

    lose(here, old)
    seconds = cluster.await_primary_other_than(old)
    witness.await_more("with another primary")
    bring_back(here, old)
    cluster.await_whole()
    witness.await_more("when the old one follows")
    witness.stop()

    print(f"another primary after {seconds:.1f} s")  # noqa: T201 - for whoever tunes the file
    assert [one.node for one in here.places()] == before
    assert here.faults(witness, tenant, here.nodes[0]) == []


def test_patroni_names_another_standby(
    running: tuple[AnySite, PatroniCluster], tenant: Tenant, witness: Witness
) -> None:
    """When the synchronous one is lost; commits wait until then, and no host moves."""
    here, cluster = running
    before = [one.node for one in here.places()]
    lost = cluster.standby

    lost.kill()
    witness.await_more("with another standby")
    assert cluster.standby is not lost
    lost.start()
    cluster.await_whole()
    witness.stop()

    assert [one.node for one in here.places()] == before
    assert here.faults(witness, tenant, here.nodes[0]) == []
