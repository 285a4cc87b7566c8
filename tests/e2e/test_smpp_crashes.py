"""kill -9 of a server under SMPP traffic, again and again: nothing it has answered is lost, nothing counts twice."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.application import eventually
from tests.e2e.live import LiveServer, free_port
from tests.e2e.smpp_traffic import Carrier, Hub, serving_arguments
from tests.e2e.tenant import new_tenant

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

CRASHES, MESSAGES = 8, 150


async def test_nothing_answered_is_lost_and_nothing_counts_twice(tmp_path: Path) -> None:
    """Long ones included; the carrier may see twice only what had no answer yet when the server was killed."""
    carrier, ports = Carrier(), (free_port(), free_port())
    far = await asyncio.start_server(carrier.connected, "127.0.0.1", ports[1])
    start = serving_arguments(tmp_path, listen=ports[0], port=ports[1])
    server = await asyncio.to_thread(LiveServer, tmp_path / "data", *start)
    tenant = await asyncio.to_thread(new_tenant, server)
    pairing = await asyncio.to_thread(lambda: tenant.service().pairing())
    hub, texts = Hub(ports[0], pairing), []
    for number in range(MESSAGES):
        is_long = number % 5 == 0
        texts.append(f"{number:04d}" * (40 if is_long else 1))
        hub.add(texts[-1], reference=number if is_long else None)

    for crash in range(CRASHES):
        await hub.run(crash_after=7 + 2 * crash, crash=server.crash)
        server = await asyncio.to_thread(LiveServer, tmp_path / "data", *start)
    await hub.run()

    tenant = tenant.moved(server)
    path = f"{pairing.path}/Interactions"
    await asyncio.to_thread(
        eventually,
        lambda: {one["outbound_resource_status"] for one in tenant.everything(path, "interactions")} == {"sent"},
    )
    interactions = await asyncio.to_thread(tenant.everything, path, "interactions")
    tenant.close()
    server.end()
    far.close()
    assert hub.unanswered == []
    assert [one["outbound_resource_status"] for one in interactions] == ["sent"] * MESSAGES
    whole = {text for text in carrier.texts if len(text) < 100}
    assert whole >= {text for text in texts if len(text) < 100}
    assert len([text for text in carrier.texts if len(text) > 100]) >= 1
    twice = carrier.texts.total() - len(carrier.texts)
    assert twice <= CRASHES * 10
