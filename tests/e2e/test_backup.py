"""A backup taken from servers that answer calls, and what it is like to look at one: it calls nobody."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.live_cluster import LiveCluster
from tests.e2e.application import TOLD, pending, serving, settled
from tests.e2e.flood import flood
from tests.e2e.live import MASKLINE, LiveServer, clean_environment
from tests.e2e.tenant import Tenant, new_tenant
from tests.outbound.receiver import Reply

Keep = Callable[[Tenant], Tenant]
Start = Callable[[Path], LiveServer]

FLAGS = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--longest-retry-wait-seconds", "0.2")
PUBLIC = "http://maskline.example"
BOUND_SECONDS = 60.0
COUNTS_SECONDS = 5.0
"""How often a server looks whether deliveries were released."""


def maskline(*arguments: object, code: int = 0) -> str:
    """Run a command; returns what it says on both outputs."""
    done = subprocess.run(  # noqa: S603 - our own command
        [str(MASKLINE), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(params=["embedded", "ray"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start servers on the data directories given: processes, then clusters of hosts on Ray."""
    with ExitStack() as ends:

        def start(data_dir: Path) -> LiveServer:
            if request.param == "embedded":
                server = LiveServer(data_dir, *FLAGS, public_url=PUBLIC)
            else:
                hosts: int = request.config.getoption("--ray-hosts")
                server = cluster = LiveCluster(data_dir, *FLAGS, hosts=hosts, public_url=PUBLIC)
                cluster.serve()
            ends.callback(server.end)
            return server

        yield start


def test_a_backup_under_traffic_is_whole_and_calls_nobody_until_released(
    start: Start, keep: Keep, tmp_path: Path
) -> None:
    """What was acknowledged before it is in it; what it owes, and what comes to be owed, leaves when it is released."""
    server = start(tmp_path / "data")
    tenant = keep(new_tenant(server))
    with serving() as application:
        service = tenant.service(numbers=2, CallbackUrl=application.url(TOLD))
        pairings = [service.pairing() for _ in range(5)]
        application.answers(TOLD, Reply(hangs=True))
        answered = asyncio.run(flood(tenant, pairings, each=4))

        said = maskline("backup", tmp_path / "copy", "--data-dir", tmp_path / "data")
        after = asyncio.run(flood(tenant, pairings, each=1))
        server.end()
        application.receiver.release()
        application.answers(TOLD, Reply())
        restored = maskline("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
        heard = len(application.receiver.received)
        again = keep(tenant.moved(start(tmp_path / "new")))
        left = pending(again.server, account_sid=tenant.sid)
        asyncio.run(flood(again, pairings, each=1))
        listed = maskline("outbox", "list", "--data-dir", tmp_path / "new")
        time.sleep(COUNTS_SECONDS + 1)  # nothing tells that nothing comes
        heard_while_held = len(application.receiver.received)
        ready = again.server.metrics()

        released = maskline("outbox", "release", "--data-dir", tmp_path / "new")
        assert settled(again, seconds=BOUND_SECONDS)

    assert (answered, after) == (20, 5)
    assert "backed up" in said
    assert f"{left} deliveries are held" in restored
    assert left == 20
    assert "deliveries are held" in listed
    assert heard_while_held == heard
    assert "maskline_deliveries_held 1" in ready
    assert released == "released\n"
    assert len(application.receiver.received) == heard + 25


def test_a_server_that_starts_after_the_release_delivers_at_once(keep: Keep, tmp_path: Path) -> None:
    """Released while nothing ran; the second time there is nothing to release."""
    server = LiveServer(tmp_path / "data", *FLAGS, public_url=PUBLIC)
    tenant = keep(new_tenant(server))
    with serving() as application:
        service = tenant.service(numbers=2, CallbackUrl=application.url(TOLD))
        application.answers(TOLD, Reply(hangs=True))
        asyncio.run(flood(tenant, [service.pairing()], each=3))
        made = json.loads(maskline("backup", tmp_path / "copy", "--data-dir", tmp_path / "data", "--json"))
        server.end()
        application.receiver.release()
        application.answers(TOLD, Reply())
        done = json.loads(maskline("restore", tmp_path / "copy", "--data-dir", tmp_path / "new", "--json"))
        said = [maskline("outbox", "release", "--data-dir", tmp_path / "new") for _ in range(2)]
        again = LiveServer(tmp_path / "new", *FLAGS, public_url=PUBLIC)
        moved = keep(tenant.moved(again))
        assert settled(moved)
    code = again.stop()

    assert done["backup"] == made
    assert (done["owed"], done["is_held"], said, code) == (3, True, ["released\n", "nothing was held\n"], 0)
    assert "DELIVERIES ARE HELD" not in again.log


def test_a_damaged_backup_and_a_directory_in_use_are_refused_in_one_line(keep: Keep, tmp_path: Path) -> None:
    """Exit code 2; the running server is not disturbed, and nothing is left of the attempt."""
    server = LiveServer(tmp_path / "data", *FLAGS, public_url=PUBLIC)
    keep(new_tenant(server))
    maskline("backup", tmp_path / "copy", "--data-dir", tmp_path / "data")
    in_use = maskline("restore", tmp_path / "copy", "--data-dir", tmp_path / "data", code=2)
    content = bytearray((tmp_path / "copy" / "maskline.db").read_bytes())
    content[5000] ^= 1
    (tmp_path / "copy" / "maskline.db").write_bytes(content)

    damaged = maskline("restore", tmp_path / "copy", "--data-dir", tmp_path / "new", code=2)
    code = server.stop()

    assert "not empty" in in_use
    assert "its digest differs" in damaged
    assert all(said.startswith("maskline: ") and said.count("\n") == 1 for said in (in_use, damaged))
    assert not (tmp_path / "new" / "maskline.db").exists()
    assert code == 0
