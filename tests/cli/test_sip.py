"""`maskline sip ask`: what whoever sets up a switch sees of a server."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.channels.sip.tables import SipPeerSettings
from engine.channels.sockets import ListenAddress
from engine.cli import main
from tests.certificates import made
from tests.test_outgoing import ALICE, BOB, STRANGER, Shop, opened, settings

pytestmark = pytest.mark.anyio

HERE = ListenAddress("127.0.0.1", 0)
PEER = SipPeerSettings(name="here", networks=("127.0.0.1",), trust_pai=True, refusal_status=603)


async def ask(shop: Shop, *arguments: str, sender: str = ALICE) -> Result:
    """Run the command beside the server."""
    server = shop.engine.channels.addresses["sip"]
    command = [
        "sip",
        "ask",
        "--from",
        sender,
        "--to",
        shop.proxies[ALICE],
        "--server",
        server,
        *arguments,
    ]
    return await asyncio.to_thread(CliRunner().invoke, main, command)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_in_session_shows_where_it_goes(tmp_path: Path, transport: str) -> None:
    """Status, time and the headers that a switch reads."""
    async with opened(settings(tmp_path, sip_listen=HERE, sip_peers=(PEER,))) as shop:
        result = await ask(shop, "--transport", transport)

    first, *lines = result.output.splitlines()
    assert (result.exit_code, first.startswith("302 Moved Temporarily after ")) == (
        0,
        True,
    )
    assert f"  Contact: <sip:{BOB}@127.0.0.1;user=phone>" in lines
    assert f"  X-Maskline-Caller-Id: {shop.proxies[BOB]}" in lines


async def test_it_asks_over_tls(tmp_path: Path) -> None:
    """With a certificate that only the test trusts."""
    pems = made(tmp_path / "pems")
    chosen = settings(
        tmp_path / "data",
        sip_tls_listen=HERE,
        sip_tls_certificate=str(pems.chain),
        sip_tls_key=str(pems.key),
        sip_peers=(PEER,),
    )
    async with opened(chosen) as shop:
        trusted = await ask(shop, "--transport", "tls", "--insecure", "--json")
        mistrusted = await ask(shop, "--transport", "tls")

    assert (trusted.exit_code, json.loads(trusted.output)["callee"]) == (0, BOB)
    assert (mistrusted.exit_code, "cannot ask" in mistrusted.stderr) == (2, True)


async def test_an_asserted_identity_can_be_tried(tmp_path: Path) -> None:
    """As the carrier's switch sends it."""
    async with opened(settings(tmp_path, sip_listen=HERE, sip_peers=(PEER,))) as shop:
        result = await ask(shop, "--asserted", ALICE, "--json", sender="anonymous")
        again = await ask(
            shop,
            "--asserted",
            ALICE,
            "--json",
            "--call-id",
            "one-call",
            sender="anonymous",
        )
        once_more = await ask(
            shop,
            "--asserted",
            ALICE,
            "--json",
            "--call-id",
            "one-call",
            sender="anonymous",
        )

    assert json.loads(result.output)["status"] == 302
    assert json.loads(again.output)["interaction"] == json.loads(once_more.output)["interaction"]


async def test_a_refusal_has_an_exit_code(tmp_path: Path) -> None:
    """And is no error of the command."""
    async with opened(settings(tmp_path, sip_listen=HERE, sip_peers=(PEER,))) as shop:
        result = await ask(shop, sender=STRANGER)

    assert (result.exit_code, result.output.startswith("603 Decline after ")) == (
        1,
        True,
    )


async def test_no_answer_says_what_may_be_wrong(tmp_path: Path) -> None:
    """A stranger hears nothing over UDP, and the end of the connection over TCP."""
    async with opened(settings(tmp_path, sip_listen=HERE, sip_peers=(PEER,))) as shop:
        over_udp = await ask(shop, "--source", "127.0.0.2", "--timeout", "0.3")
        over_tcp = await ask(shop, "--source", "127.0.0.2", "--transport", "tcp")

    assert (over_udp.exit_code, over_tcp.exit_code) == (2, 2)
    assert "[sip_peers]" in over_udp.stderr


async def test_a_port_that_speaks_no_tls_is_waited_for_no_longer_than_asked() -> None:
    """Whoever listens there waits for a message, as we wait for the end of the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        arguments = ["--server", f"127.0.0.1:{mute.getsockname()[1]}", "--transport", "tls", "--timeout", "0.2"]
        command = ["sip", "ask", "--from", ALICE, "--to", BOB, *arguments]
        result = await asyncio.to_thread(CliRunner().invoke, main, command)

    assert (result.exit_code, "timed out" in result.stderr) == (2, True)


async def test_the_peers_of_a_server_are_listed(tmp_path: Path) -> None:
    """When and where each was heard, what it was answered; strangers, who were not, behind them."""
    idle = SipPeerSettings(name="idle", networks=("192.0.2.1",))
    async with opened(settings(tmp_path / "data", sip_listen=HERE, sip_peers=(PEER, idle))) as shop:
        await ask(shop)
        await ask(shop, sender=STRANGER)
        await ask(shop, "--source", "127.0.0.2", "--timeout", "0.2")
        arguments = ["sip", "peers", "--data-dir", str(tmp_path / "data"), "--json"]
        told = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        table = await asyncio.to_thread(CliRunner().invoke, main, arguments[:-1])

    heard, silent, strangers = json.loads(told.output)["peers"]
    assert (heard["address"], heard["answers"], heard["refused"]) == ("127.0.0.1", {"302": 1, "603": 1}, 1)
    assert heard["heard_at"]
    assert (silent["name"], silent["heard_at"], silent["problem"]) == ("idle", None, "it has asked nothing yet")
    assert (strangers["name"], strangers["address"], strangers["refused"] > 0) == ("", "127.0.0.2", True)
    assert [word in table.output for word in ("(strangers)", "302: 1, 603: 1", "never")] == [True] * 3


def test_it_asks_for_a_server_that_nobody_has_named() -> None:
    """There is none in the settings."""
    result = CliRunner().invoke(main, ["sip", "ask", "--from", ALICE, "--to", BOB], env={"MASKLINE_CONFIG": ""})

    assert (result.exit_code, "--server" in result.stderr) == (2, True)
