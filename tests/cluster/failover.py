"""What a site on a database comes through, at length: `make failover-test`. The short ones are in test_failover.py."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests import postgres
from tests.cluster.databases import DATABASE
from tests.cluster.machines import NoMachines
from tests.cluster.site import LEASE_SECONDS, Node, Site, site
from tests.cluster.slow_cable import slow_cable
from tests.cluster.witness import Witness
from tests.e2e.live import NO_TLS
from tests.e2e.tenant import Tenant

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    """Run a database on two machines; nodes are added."""
    try:
        with site(tmp_path) as found:
            yield found
    except (NoMachines, postgres.NoPostgres) as reason:
        pytest.skip(f"no machines with a database here: {reason}")


@pytest.fixture
def nodes(here: Site) -> tuple[Node, Node]:
    """Serve on one machine, with a spare one beside it."""
    first, spare = here.add("node-a"), here.add("node-b")
    first.serve()
    first.await_ready()
    spare.serve()
    return first, spare


@pytest.fixture
def tenant(here: Site, nodes: tuple[Node, Node]) -> Iterator[Tenant]:
    """Return a fresh account."""
    tenant = here.tenant(nodes[0])
    yield tenant
    tenant.close()


@pytest.fixture
def witness(here: Site, tenant: Tenant) -> Iterator[Witness]:
    """Call and write all the while."""
    pairings = here.pairings(tenant, numbers=4, count=8)
    with here.witness(tenant, pairings) as witness:
        witness.await_more("at first")
        yield witness


def test_a_spare_machine_takes_over_from_a_lost_one(
    here: Site, nodes: tuple[Node, Node], tenant: Tenant, witness: Witness
) -> None:
    """Killed at once with all that it runs; what it acknowledged is there."""
    first, spare = nodes

    first.kill()
    witness.await_more("by the spare machine")
    witness.stop()

    assert {one.node for one in witness.answers} == {first.name, spare.name}
    assert here.faults(witness, tenant, spare) == []


def test_an_old_primary_that_comes_back_acknowledges_nothing(
    here: Site, nodes: tuple[Node, Node], tenant: Tenant, witness: Witness
) -> None:
    """Even to a server that reaches no other one: its standby has become a primary and confirms no more."""
    first, spare = nodes
    old, new = here.databases.primary, here.databases.standby

    old.kill()
    here.machines.cut(new.machine, first.machine, old.machine)
    here.databases.promote()
    old.start()
    here.machines.cut(old.machine, spare.machine)
    witness.await_more("by the spare machine")
    began = min(one.at for one in witness.answers if one.node == spare.name)
    witness.await_more("by the spare machine, again")
    witness.stop()

    assert [one for one in witness.answers if one.node == first.name and one.at > began] == []
    assert here.faults(witness, tenant, spare) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_database_that_is_restarted_loses_nothing(  # noqa: PLR0917 - fixtures
    here: Site, nodes: tuple[Node, Node], tenant: Tenant, witness: Witness, how: signal.Signals
) -> None:
    """Whatever was under way is found out, or tried again; nobody is called twice for it."""
    for round_of in ("first", "second"):
        here.databases.primary.stop(how)
        here.databases.primary.start()
        witness.await_more(f"after the {round_of} restart")
    witness.stop()

    serving = next(node for node in nodes if node.answers)
    assert here.faults(witness, tenant, serving) == []


def test_nothing_is_acknowledged_while_the_standby_is_frozen(
    here: Site, nodes: tuple[Node, Node], tenant: Tenant, witness: Witness
) -> None:
    """For longer than a lease; then all goes on, and no second server has begun meanwhile."""
    frozen, thawed = here.databases.freeze_for(2 * LEASE_SECONDS)
    witness.await_more("after the thaw")
    witness.stop()

    decided = [one for one in witness.answers if not one.is_again]
    assert [one for one in decided if frozen < one.at < thawed] == []
    assert {one.node for one in witness.answers} == {nodes[0].name}
    assert here.faults(witness, tenant, nodes[0]) == []


@pytest.mark.parametrize(("delay_seconds", "keeps_its_lease"), [(0.025, True), (0.25, True), (2.5, False)])
def test_a_slow_database_is_waited_for_and_loses_nothing(
    here: Site,
    delay_seconds: float,
    keeps_its_lease: bool,  # noqa: FBT001 - a column
) -> None:
    """Late by less than a lease it serves on; by more it answers nothing, and all goes on when that is over."""
    primary = here.databases.primary.machine
    with slow_cable(primary.address, 5432) as cable:
        url = f"postgresql://{postgres.OWNER}@{here.machines.test.address}:{cable.port}/{DATABASE}"
        node = here.add("node-a", database_url=url)
        node.serve()
        node.await_ready()
        tenant = here.tenant(node)
        with closing(tenant), here.witness(tenant, here.pairings(tenant, numbers=4, count=8)) as witness:
            witness.await_more("at first")
            cable.delay_seconds = delay_seconds
            slow = time.monotonic()
            if keeps_its_lease:
                witness.await_more("slowly")
            else:
                time.sleep(3 * LEASE_SECONDS)
            over = time.monotonic()
            backlog = max(_gauges(node, "maskline_commit_backlog"))
            lost = max(_gauges(node, "maskline_leases_lost"))
            cable.delay_seconds = 0.0
            witness.await_more("when it is quick again")
            witness.stop()

            late = [one for one in witness.answers if slow + LEASE_SECONDS + 1 < one.at < over]
            assert (lost == 0) == keeps_its_lease
            assert keeps_its_lease or late == []
            assert backlog < 100
            assert here.faults(witness, tenant, node) == []


def _gauges(node: Node, name: str) -> list[float]:
    """Read a metric."""
    page = httpx.get(f"{node.address}/metrics", verify=NO_TLS, timeout=10).text
    return [float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name} ")]
