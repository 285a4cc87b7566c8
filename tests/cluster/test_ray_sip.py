"""SIP in a cluster: any host takes any question, and whichever is asked about a call, it is one call."""

import json
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from engine.cli import main
from tests.cluster.live_cluster import LiveCluster
from tests.e2e.live import free_port
from tests.e2e.tenant import Pairing, new_tenant, numbers_of

pytestmark = pytest.mark.timeout(300)

SETTINGS = """
sip_listen = "127.0.0.1:{port}"
[sip_peers.switch]
networks = ["127.0.0.1"]
"""


def two_ports() -> int:
    """Return a port that is free as the next one is: a host takes each."""
    while True:
        port = free_port()
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port + 1))
            return port


def ask(port: int, pairing: Pairing, call_id: str) -> dict[str, object]:
    """Ask one host over SIP."""
    caller = ("--from", pairing.first.identifier, "--to", pairing.first.proxy)
    where = ("--server", f"127.0.0.1:{port}", "--timeout", "30", "--json", "--call-id", call_id)
    result = CliRunner().invoke(main, ["sip", "ask", *caller, *where])
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.output)
    return found


def test_any_host_takes_any_question(tmp_path: Path) -> None:
    """About numbers of its own and of the other one; the second host asked about a call tells the same interaction."""
    port = two_ports()
    configuration = tmp_path / "maskline.toml"
    configuration.write_text(SETTINGS.format(port=port))
    cluster = LiveCluster(tmp_path / "data", "--config", str(configuration))
    try:
        cluster.serve()
        tenant = new_tenant(cluster)
        pairings = [tenant.service(pool=numbers_of(place, 1)).pairing() for place in (0, 1)]

        answers = [
            [ask(port + host, pairing, f"call-{place}") for host in (0, 1)] for place, pairing in enumerate(pairings)
        ]
        kept = [tenant.everything(f"{one.path}/Interactions", "interactions") for one in pairings]
        ended = [
            httpx.post(
                f"{cluster.address}/carrier/status",
                json={"sid": "call", "interaction": told[0]["interaction"], "status": "completed", "duration": 7},
            ).status_code
            for told in answers
        ]
        after = [tenant.everything(f"{one.path}/Interactions", "interactions") for one in pairings]
        tenant.close()
        assert cluster.stop() == 0
    finally:
        cluster.end()

    for told, pairing, calls in zip(answers, pairings, kept, strict=True):
        assert [(one["status"], one["callee"]) for one in told] == [(302, pairing.second.identifier)] * 2
        assert {one["interaction"] for one in told} == {call["sid"] for call in calls}
        assert len(calls) == 1
    assert ended == [204, 204]
    assert [[call["inbound_resource_status"] for call in calls] for calls in after] == [["completed"], ["completed"]]
