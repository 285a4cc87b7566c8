"""What a cluster on a database comes through, at length: `make failover-test`."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.core.model.placement import Placement
from tests import postgres
from tests.cluster.live_cluster import eventually, title_of
from tests.cluster.machines import NoMachines
from tests.cluster.site import LEASE_SECONDS, Node, Place, Site, site
from tests.cluster.witness import Witness
from tests.e2e.tenant import Pairing, Tenant

pytestmark = pytest.mark.timeout(900)

HOSTS = 3
NODES = ("node-a", "node-b", "node-c")
KILLS = 3


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    """Run three nodes on one database; whoever fails sees their logs."""
    try:
        with site(tmp_path) as found:
            for name in NODES:  # one by one: each has the whole bound for its start
                node = found.add_clustered(name, hosts=HOSTS)
                node.serve()
                found.await_joined(node)
            found.spread()
            yield found
            for node in found.nodes:
                print(f"--- {node.name}", node.log[-4000:])  # noqa: T201 - shown when the test fails
    except (NoMachines, postgres.NoPostgres) as reason:
        pytest.skip(f"no machines with a database here: {reason}")


@pytest.fixture
def tenant(here: Site) -> Iterator[Tenant]:
    """Return a fresh account that every node knows."""
    first, *others = here.nodes
    tenant = here.tenant(first, others)
    yield tenant
    tenant.close()


@pytest.fixture
def witness(here: Site, tenant: Tenant) -> Iterator[Witness]:
    """Call and write all the while."""
    apart = [one for place in range(HOSTS) for one in here.pairings_of(tenant, place, count=2, hosts=HOSTS)]
    with here.witness(tenant, [*apart, *here.pairings(tenant, numbers=9, count=6)]) as witness:
        witness.await_more("at first")
        yield witness


def lost_and_others(here: Site) -> tuple[Node, list[Node]]:
    """Choose the node of host 0."""
    lost = here.node(here.places()[0].node)
    return lost, [node for node in here.nodes if node is not lost]


def is_of_ray(pid: int) -> bool:
    """Tell whether a process is a host or a supervisor."""
    return title_of(pid).startswith("ray::")


def is_served(row: Place, *, elsewhere_than: Node) -> bool:
    """Tell whether another node has a host there that serves."""
    return row.node != elsewhere_than.name and row.told.get("state") == "ready"


def pairings_at(witness: Witness, place: int) -> list[Pairing]:
    """Choose those of which all belongs to one host."""
    owner = Placement(HOSTS, by_shard=True)
    return [
        one
        for one in witness.orders.pairings
        if {owner(key) for key in (one.path.split("/")[2], one.first.proxy, one.second.proxy)} == {place}
    ]


def test_nodes_that_are_killed_one_after_the_other_lose_nothing(here: Site, tenant: Tenant, witness: Witness) -> None:
    """At no particular moment, each back before the next one goes."""
    dice = random.Random(seed := random.randrange(2**32))  # noqa: S311 - a test's dice
    print(f"seed {seed}")  # noqa: T201 - to be seen when it fails
    for _ in range(KILLS):
        lost = here.node(dice.choice(here.places()).node)
        time.sleep(dice.uniform(0, 1))
        lost.kill()
        here.await_whole(other_than=lost.name)
        lost.serve()
        here.await_joined(lost)
        witness.await_more("after a loss")
    witness.stop()

    assert here.faults(witness, tenant, here.node(here.places()[0].node)) == []


@pytest.mark.parametrize("way", ["both ways", "to the database", "from the database"])
def test_a_node_without_the_database_is_replaced(here: Site, tenant: Tenant, witness: Witness, way: str) -> None:
    """Although the others and the carrier hear it; what it forwards is decided by the successor."""
    lost, others = lost_and_others(here)

    for machine in here.database_machines:
        if way == "from the database":
            here.machines.cut(machine, lost.machine, one_way=True)
        else:
            here.machines.cut(lost.machine, machine, one_way=way == "to the database")
    here.await_whole(other_than=lost.name)
    witness.await_more("by the other nodes")
    here.machines.join()
    witness.await_more("when it has its database back")
    witness.stop()

    assert here.faults(witness, tenant, others[0]) == []


def test_nodes_that_do_not_hear_each_other_move_nothing(here: Site, tenant: Tenant, witness: Witness) -> None:
    """Each is alive for the database; what was answered is right, and all is again when they hear each other."""
    lost, others = lost_and_others(here)
    before = [(one.node, one.epoch) for one in here.places()]

    here.machines.cut(lost.machine, *(node.machine for node in others))
    time.sleep(3 * LEASE_SECONDS)
    during = [(one.node, one.epoch) for one in here.places()]
    here.machines.join()
    witness.await_more("when they hear each other")
    witness.stop()

    assert during == before
    assert here.faults(witness, tenant, others[0]) == []


def test_a_primary_that_is_lost_is_replaced_under_load(here: Site, tenant: Tenant, witness: Witness) -> None:
    """The old one comes back with a node that reaches nothing else, and acknowledges nothing."""
    apart, others = lost_and_others(here)
    old, new = here.databases.primary, here.databases.standby

    old.kill()
    here.machines.cut(apart.machine, new.machine, *(node.machine for node in others))
    here.databases.promote()
    old.start()
    here.machines.cut(old.machine, new.machine, *(node.machine for node in others))
    here.databases.swap()
    here.await_whole(other_than=apart.name)
    taken = time.monotonic()
    witness.await_more("by the other nodes")
    witness.stop()

    assert [one for one in witness.answers if one.node == apart.name and one.at > taken] == []
    assert here.faults(witness, tenant, others[0]) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_database_that_is_restarted_moves_no_place(
    here: Site, tenant: Tenant, witness: Witness, how: signal.Signals
) -> None:
    """Its silence is everybody's: nobody takes anything from anybody for that."""
    before = [one.node for one in here.places()]

    here.databases.primary.stop(how)
    time.sleep(LEASE_SECONDS + 2)
    here.databases.primary.start()
    witness.await_more("after the restart")
    witness.stop()

    assert [one.node for one in here.places()] == before
    assert here.faults(witness, tenant, here.nodes[0]) == []


def test_a_standby_that_is_frozen_stops_all_and_moves_nothing(here: Site, tenant: Tenant, witness: Witness) -> None:
    """For longer than leases last; all goes on afterwards where it was."""
    before = [one.node for one in here.places()]

    frozen, thawed = here.databases.freeze_for(2 * LEASE_SECONDS)
    witness.await_more("after the thaw")
    witness.stop()

    assert [one for one in witness.answers if frozen < one.at < thawed] == []
    assert [one.node for one in here.places()] == before
    assert here.faults(witness, tenant, here.nodes[0]) == []


def test_whoever_watches_may_stop_in_the_middle_of_a_takeover(here: Site, tenant: Tenant, witness: Witness) -> None:
    """One of two stands still at a random moment of it, and goes on when the other one has done something."""
    dice = random.Random(seed := random.randrange(2**32))  # noqa: S311 - a test's dice
    print(f"seed {seed}")  # noqa: T201 - to be seen when it fails
    for _ in range(KILLS):
        lost = here.node(here.places()[0].node)
        watcher = dice.choice([node for node in here.nodes if node is not lost])
        lost.kill()
        time.sleep(dice.uniform(2.0, 6.0))
        (watching,) = watcher.processes_called("ray::SupervisorActor")
        os.kill(watching, signal.SIGSTOP)
        time.sleep(dice.uniform(0.5, 2.5))
        os.kill(watching, signal.SIGCONT)
        here.await_whole(other_than=lost.name)
        lost.serve()
        here.await_joined(lost)
        witness.await_more("after a takeover")
    witness.stop()

    assert here.faults(witness, tenant, here.node(here.places()[0].node)) == []


def test_a_ray_that_is_lost_takes_no_other_node_along(here: Site, tenant: Tenant, witness: Witness) -> None:
    """Its GCS server is killed: what belongs to the other nodes is answered before the lost hosts serve elsewhere."""
    lost, others = lost_and_others(here)
    gone = {row.place for row in here.places() if row.node == lost.name}
    apart = [one for place in {*range(HOSTS)} - gone for one in pairings_at(witness, place)]

    (head,) = lost.processes_called("gcs_server")
    os.kill(head, signal.SIGKILL)
    eventually(lambda: not any(map(is_of_ray, lost.machine.processes())), "the hosts of that Ray have ended")
    witness.await_more("by the other nodes", of=apart)
    meanwhile = here.places()
    here.await_whole(other_than=lost.name)
    witness.await_more("again")
    witness.stop()

    assert [row for row in meanwhile if row.place in gone and is_served(row, elsewhere_than=lost)] == []
    assert here.faults(witness, tenant, others[0]) == []


def test_a_machine_that_is_lost_together_with_the_primary_loses_nothing(
    here: Site, tenant: Tenant, witness: Witness
) -> None:
    """Its hosts are taken when the standby has become the primary, and had time to be found by all that live."""
    lost, others = lost_and_others(here)
    kept = {row.place: row.node for row in here.places() if row.node != lost.name}

    here.databases.primary.machine.signal(signal.SIGKILL)
    lost.kill()
    here.databases.primary.kill()
    time.sleep(LEASE_SECONDS)  # as long as whoever looks after the database takes
    here.databases.promote()
    here.databases.swap()
    here.await_whole(other_than=lost.name)
    witness.await_more("by the other nodes")
    moved = {row.place: row.node for row in here.places() if row.node != kept.get(row.place)}
    lost.serve()
    here.await_joined(lost)
    witness.await_more("when the lost machine is back")
    witness.stop()

    assert kept.keys().isdisjoint(moved)
    assert here.faults(witness, tenant, others[0]) == []
