"""The scanners of SIPVicious find no server where they are no peer; they find it where they are one, so they would."""

import asyncio
from pathlib import Path

import pytest

from engine.channels.sip.tables import SipPeerSettings
from engine.channels.sockets import ListenAddress
from tests.test_outgoing import opened, settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

SCANNERS = Path(__file__).parents[2] / ".venv" / "sip" / "bin"
if not (SCANNERS / "sipvicious_svmap").exists():
    pytest.skip("needs SIPVicious", allow_module_level=True)

PATIENCE = 60.0


async def scanned(scanner: str, port: int, *arguments: str) -> str:
    """Return all that a scanner says of a port."""
    process = await asyncio.create_subprocess_exec(
        *(str(SCANNERS / f"sipvicious_{scanner}"), *arguments, "-p", str(port), "127.0.0.1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        told, _ = await process.communicate()
    return told.decode()


@pytest.mark.parametrize(("network", "told"), [("192.0.2.0/24", "found nothing"), ("127.0.0.1", "127.0.0.1:{}")])
async def test_a_scan_finds_the_server_only_as_a_peer(tmp_path: Path, network: str, told: str) -> None:
    """By OPTIONS, INVITE and REGISTER, and no number by trying some."""
    peers = (SipPeerSettings(name="switch", networks=(network,)),)
    chosen = settings(tmp_path / "data", sip_listen=ListenAddress("127.0.0.1", 0), sip_peers=peers)
    async with opened(chosen) as shop:
        port = int(shop.engine.channels.addresses["sip"].rpartition(":")[2])

        servers = [await scanned("svmap", port, "-m", method) for method in ("OPTIONS", "INVITE", "REGISTER")]
        numbers = await scanned("svwar", port, "-m", "INVITE", "-e", "100-105", "--force")

    assert [one for one in servers if told.format(port) not in one] == []
    assert "Maskline" not in "".join(servers)
    assert "found nothing" in numbers, numbers
