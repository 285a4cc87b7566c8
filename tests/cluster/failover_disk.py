"""What a server comes through whose database has no room left: `make failover-test`."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from tests import postgres
from tests.cluster.databases import DatabaseServer
from tests.cluster.live_cluster import eventually
from tests.cluster.machines import NoMachines
from tests.cluster.site import Node, Site, site
from tests.cluster.witness import Witness
from tests.e2e.live import NO_TLS
from tests.e2e.tenant import Tenant

pytestmark = pytest.mark.timeout(300)

MEGABYTES = 160
FULL_SECONDS = 5.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    """Run a database on two machines, and a server."""
    try:
        with site(tmp_path) as found:
            node = found.add("node-a")
            node.serve()
            node.await_ready()
            yield found
            print("---", node.log[-4000:])  # noqa: T201 - shown when the test fails
    except (NoMachines, postgres.NoPostgres) as reason:
        pytest.skip(f"no machines with a database here: {reason}")


@pytest.fixture
def tenant(here: Site) -> Iterator[Tenant]:
    """Return a fresh account."""
    tenant = here.tenant(here.nodes[0])
    yield tenant
    tenant.close()


@pytest.fixture
def witness(here: Site, tenant: Tenant) -> Iterator[Witness]:
    """Call and write all the while."""
    with here.witness(tenant, here.pairings(tenant, numbers=4, count=8)) as witness:
        witness.await_more("at first")
        yield witness


def test_rows_that_find_no_room_are_refused_until_there_is_some(here: Site, tenant: Tenant, witness: Witness) -> None:
    """What still fits is kept, so it may be answered; whatever was is there in the end."""
    (node,), primary = here.nodes, here.databases.primary

    with on_small_disk(primary, "base") as disk:
        witness.await_more("on the small disk")
        ballast = fill(disk)
        eventually(lambda: "the database's disk is full" in node.log, "a row is refused")
        time.sleep(FULL_SECONDS)
        ballast.unlink()
        witness.await_more("when there is room")
        witness.stop()

        assert lacking(node) == ""
        assert here.faults(witness, tenant, node) == []


def test_a_database_that_finds_no_room_for_its_log_is_waited_for(here: Site, tenant: Tenant, witness: Witness) -> None:
    """It stops; nothing is acknowledged until it was started again with some."""
    (node,), primary = here.nodes, here.databases.primary

    with on_small_disk(primary, "pg_wal") as disk:
        witness.await_more("on the small disk")
        ballast = fill(disk)
        with suppress(psycopg.OperationalError):  # it ends in the middle of one
            while True:
                primary.run("SELECT pg_switch_wal(), pg_sleep(0.05)")
        primary.wait()
        stopped = time.monotonic()
        eventually(lambda: "disk-writable" in lacking(node), "the server is not ready")
        time.sleep(FULL_SECONDS)
        until = time.monotonic()
        ballast.unlink()
        primary.start()
        witness.await_more("when there is room")
        witness.stop()

        decided = [one for one in witness.answers if not one.is_again]
        assert [one for one in decided if stopped < one.began and one.at < until] == []
        assert lacking(node) == ""
        assert here.faults(witness, tenant, node) == []


@contextmanager
def on_small_disk(server: DatabaseServer, what: str) -> Iterator[Path]:
    """Have a part of its files on a disk of few megabytes while the context lasts."""
    place = server.data / what
    kept = place.with_name(f"{what}.kept")
    server.stop(signal.SIGINT)
    place.rename(kept)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "maskline", str(place)], check=True)  # noqa: S603, S607 - the system's own
    try:
        shutil.copytree(kept, place, dirs_exist_ok=True)
        shutil.rmtree(kept)
        subprocess.run(["chown", "-R", "--reference", str(server.data), str(place)], check=True)  # noqa: S603, S607 - likewise
        place.chmod(0o700)
        server.start()
        yield place
    finally:
        server.remove()
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S603, S607 - likewise


def fill(disk: Path) -> Path:
    """Leave no room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


def lacking(node: Node) -> str:
    """Name what a server lacks to be ready."""
    try:
        answer = httpx.get(f"{node.address}/readyz", verify=NO_TLS, timeout=5)
    except httpx.TransportError:
        return "it does not answer"
    return "" if answer.is_success else answer.text
