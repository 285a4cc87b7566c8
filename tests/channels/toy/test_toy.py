"""A channel of its own folder, plugged in by a line of the table: the whole engine behind it, unchanged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from engine.channel_table import CHANNELS
from engine.channels.sockets import ListenAddress
from tests.channels.toy.channel import ToySettings, toy_row
from tests.test_outgoing import ALICE, BOB, STRANGER, Shop, opened, settings, until

pytestmark = pytest.mark.anyio

PROTOCOLS = (*CHANNELS, toy_row(ToySettings(ListenAddress("127.0.0.1", 0))))
PATIENCE = 10.0


class Peer:
    """A peer of the toy, of the account of a shop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, *words: str) -> None:
        """Say a line."""
        self._writer.write(msgspec.json.encode(words) + b"\n")

    async def hear(self) -> list[str]:
        """Hear a line."""
        async with asyncio.timeout(PATIENCE):
            return msgspec.json.decode(await self._reader.readuntil(b"\n"), type=list[str])

    async def ask(self, *words: str) -> list[str]:
        """Say a line and hear one."""
        self.say(*words)
        return await self.hear()


@asynccontextmanager
async def peer_of(shop: Shop) -> AsyncIterator[Peer]:
    address = ListenAddress.parse(shop.engine.channels.addresses["toy"])
    reader, writer = await asyncio.open_connection(*address)
    try:
        peer = Peer(reader, writer)
        assert await peer.ask("hello", shop.account.sid, shop.account.auth_token) == ["hello", "yes"]
        yield peer
    finally:
        writer.close()


async def kept(shop: Shop) -> list[dict[str, str]]:
    """Return the interactions of the session, oldest first."""
    path = f"/v1/Services/{shop.service}/Sessions/{shop.session}/Interactions"
    found: list[dict[str, str]] = (await shop.client.get(path)).json()["interactions"]
    return found


async def test_it_routes_a_call_and_a_message_in(tmp_path: Path) -> None:
    """And nobody else's; the same SID gets the same answer, and one interaction."""
    async with opened(settings(tmp_path), PROTOCOLS) as shop, peer_of(shop) as peer:
        alice, bob = shop.proxies[ALICE], shop.proxies[BOB]

        call, again = [await peer.ask("call", "CA1", ALICE, alice) for _ in range(2)]
        text = await peer.ask("text", "SM1", BOB, bob, "hi")
        stranger = await peer.ask("call", "CA2", STRANGER, alice)
        interactions = await kept(shop)

    assert call[:4] == ["CA1", "dial", BOB, bob]
    assert again == call
    assert (text[:4], text[5]) == (["SM1", "send", ALICE, alice], "hi")
    assert stranger == ["CA2", "drop"]
    assert {one["sid"] for one in interactions} == {call[4], text[4]}


async def test_it_reports_legs(tmp_path: Path) -> None:
    """By the interaction of the answer."""
    async with opened(settings(tmp_path), PROTOCOLS) as shop, peer_of(shop) as peer:
        interaction = (await peer.ask("call", "CA1", ALICE, shop.proxies[ALICE]))[4]

        told = await peer.ask("leg", "CA9", interaction, "completed")
        (found,) = await kept(shop)

    assert told == ["CA9", "recorded"]
    assert (found["outbound_resource_sid"], found["outbound_resource_status"]) == ("CA9", "completed")


async def test_it_sends_a_message_out(tmp_path: Path) -> None:
    """Routes name it as they name any carrier; the leg is as the peer has said."""
    chosen = settings(tmp_path, carrier_routes={"*": "toy"})
    async with opened(chosen, PROTOCOLS) as shop, peer_of(shop) as peer:
        alice, bob = shop.proxies[ALICE], shop.proxies[BOB]

        peer.say("text", "SM1", ALICE, alice, "hello")
        heard = [await peer.hear(), await peer.hear()]
        out = next(one for one in heard if one[0] == "out")
        peer.say("taken", out[1], "SM9")

        async def is_sent() -> bool:
            return (await kept(shop))[0]["outbound_resource_status"] == "sent"

        await until(is_sent)
        (found,) = await kept(shop)

    assert ["SM1", "drop"] in heard
    assert out[2:] == [found["sid"], bob, BOB, "hello"]
    assert found["outbound_resource_sid"] == "SM9"


async def test_metrics_show_it_beside_the_others(tmp_path: Path) -> None:
    """What passed, by its ingress, and its own gauge."""
    async with opened(settings(tmp_path), PROTOCOLS) as shop, peer_of(shop) as peer:
        await peer.ask("call", "CA1", ALICE, shop.proxies[ALICE])

        page = (await shop.client.get("/metrics")).text
        connections = await shop.metric("maskline_toy_connections")

    passed = [line for line in page.splitlines() if line.startswith("maskline_events_total") and '"toy"' in line]
    routed = [line for line in passed if 'reason="in-session"' in line and line.endswith(" 1.0")]
    assert connections == 1
    assert len(routed) == 1
