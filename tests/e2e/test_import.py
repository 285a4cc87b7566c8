"""A server on a file goes on from a database, and back on a file, with its sessions, calls and all that it owes."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.application import TOLD, pending, serving, settled
from tests.e2e.carrier import resource_sid
from tests.e2e.conftest import ONE_COPY
from tests.e2e.flood import flood
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant
from tests.e2e.test_backup import BOUND_SECONDS, FLAGS, PUBLIC, maskline
from tests.outbound.receiver import Reply

Keep = Callable[[Tenant], Tenant]
Start = Callable[..., LiveServer]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers on the data directories given; what still runs at the end is killed."""
    with ExitStack() as ends:

        def start(data_dir: Path, *arguments: str) -> LiveServer:
            server = LiveServer(data_dir, *FLAGS, *arguments, public_url=PUBLIC)
            ends.callback(server.end)
            return server

        yield start


@pytest.mark.timeout(300)
def test_a_server_goes_on_in_a_database_and_back_on_a_file(
    start: Start, keep: Keep, database: str, tmp_path: Path
) -> None:
    """Killed in the middle of its work: what it owes is sent once a server runs on what was imported, not before."""
    config = tmp_path / "maskline.toml"
    config.write_text(f'database_url = "{database}"\n')
    in_database = ("--config", str(config), *ONE_COPY)
    tenant = keep(new_tenant(server := start(tmp_path / "data")))
    with serving() as application:
        service = tenant.service(numbers=2, CallbackUrl=application.url(TOLD))
        pairings = [service.pairing() for _ in range(3)]
        application.answers(TOLD, Reply(hangs=True))
        call_sid = resource_sid("CA")
        first = pairings[0].first
        reached = tenant.carrier.call(first.identifier, first.proxy, sid=call_sid).reached
        assert asyncio.run(flood(tenant, pairings, each=3)) == 9
        owed = pending(server, account_sid=tenant.sid)
        history = [tenant.everything(f"{one.path}/Interactions", "interactions") for one in pairings]
        server.crash()
        application.receiver.release()
        application.answers(TOLD, Reply())
        heard = len(application.receiver.received)

        imported = maskline("database", "import", "--config", config, "--data-dir", tmp_path / "data")
        again = maskline("database", "import", "--config", config, "--data-dir", tmp_path / "data", code=2)
        heard_after_import = len(application.receiver.received)

        server = start(tmp_path / "data", *in_database)
        in_use = maskline("database", "export", "--config", config, "--data-dir", tmp_path / "back", code=2)
        tenant = keep(tenant.moved(server))
        assert settled(tenant, seconds=BOUND_SECONDS)
        heard_in_database = len(application.receiver.received)
        histories = [tenant.everything(f"{one.path}/Interactions", "interactions") for one in pairings]
        where = ("--config", config, "--data-dir", tmp_path / "data", "--json")
        explained = json.loads(maskline("explain", "--to", first.proxy, "--from", first.identifier, *where))
        redelivered = tenant.carrier.call(first.identifier, first.proxy, sid=call_sid).reached
        asyncio.run(flood(tenant, pairings, each=1))
        tenant.update(pairings[2].path, Status="closed")
        assert settled(tenant, seconds=BOUND_SECONDS)
        server.stop()

        exported = maskline("database", "export", "--config", config, "--data-dir", tmp_path / "back")
        tenant = keep(tenant.moved(start(tmp_path / "back")))
        routed = [tenant.carrier.call(one.first.identifier, one.first.proxy).reached for one in pairings]

    assert owed == 10
    assert f"owes {owed} deliveries" in imported
    assert "is not empty (accounts, " in again
    assert heard_after_import == heard
    assert heard_in_database >= heard + owed
    assert "serves on this database; stop that one first" in in_use
    assert histories == history
    assert reached == redelivered == (pairings[0].second.identifier, pairings[0].second.proxy)
    assert explained["partner_sid"] == pairings[0].second.sid
    assert "owes 0 deliveries; take database_url out of the settings" in exported
    assert tenant.get(pairings[2].path)["status"] == "closed"
    assert routed == [*((one.second.identifier, one.second.proxy) for one in pairings[:2]), None]
