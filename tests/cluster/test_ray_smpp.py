"""SMPP in a cluster: each connection is one host's, and messages go to and come from numbers of every host."""

import asyncio
from pathlib import Path

import pytest

from engine.core.model.placement import owner_of
from tests.cluster.live_cluster import LiveCluster, eventually
from tests.e2e.live import free_port
from tests.e2e.smpp_traffic import SETTINGS, Carrier, Hub
from tests.e2e.tenant import Pairing, Tenant, new_tenant, numbers_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


def states(tenant: Tenant, pairing: Pairing) -> list[str]:
    found = tenant.everything(f"{pairing.path}/Interactions", "interactions")
    return [one["outbound_resource_status"] for one in found]


def await_delivered(tenant: Tenant, pairing: Pairing, count: int) -> None:
    try:
        eventually(lambda: states(tenant, pairing) == ["delivered"] * count, "all are delivered", seconds=30)
    except AssertionError as late:
        late.add_note(str(states(tenant, pairing)))
        raise


def made(tenant: Tenant) -> list[Pairing]:
    """Make two sessions, each on a number of another host."""
    return [tenant.service(pool=numbers_of(place, 1)).pairing() for place in (0, 1)]


async def test_messages_reach_the_host_of_the_connection_and_those_of_the_numbers(tmp_path: Path) -> None:
    """In and out, receipts too; a host that is killed has its connections again when it is back."""
    assert {owner_of(name, 2) for name in ("smpp", "carrier")} <= {0, 1}
    carrier, ports = Carrier(reports=True), (free_port(), free_port())
    far = await asyncio.start_server(carrier.connected, "127.0.0.1", ports[1])
    configuration = tmp_path / "maskline.toml"
    configuration.write_text(SETTINGS.format(listen=ports[0], port=ports[1]))
    cluster = LiveCluster(tmp_path / "data", "--config", str(configuration))
    try:
        await asyncio.to_thread(cluster.serve)
        tenant = await asyncio.to_thread(new_tenant, cluster)
        pairings = await asyncio.to_thread(made, tenant)
        for pairing in pairings:
            hub = Hub(ports[0], pairing)
            for number in range(10):
                hub.add(f"{pairing.sid[-4:]} {number}")
            await hub.run()
        for pairing in pairings:
            await asyncio.to_thread(await_delivered, tenant, pairing, 10)
        assert len(carrier.texts) == 20
        assert set(carrier.texts.values()) == {1}

        place = owner_of("carrier", 2)
        old = await asyncio.to_thread(cluster.kill_host, place)
        await asyncio.to_thread(cluster.await_ready, other_than={place: old})
        for pairing in pairings:
            hub = Hub(ports[0], pairing)
            hub.add(f"{pairing.sid[-4:]} again")
            await hub.run()
            await asyncio.to_thread(await_delivered, tenant, pairing, 11)
        tenant.close()
        assert await asyncio.to_thread(cluster.stop) == 0
    finally:
        await asyncio.to_thread(cluster.end)
        far.close()
