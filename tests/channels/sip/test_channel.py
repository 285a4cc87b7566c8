"""SIP of a running engine: a switch asks, the real decision answers, and a stop is told."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from engine.channels.sip.tables import SipPeerSettings
from engine.channels.sockets import ListenAddress
from tests.channels.sip.messages import SDP
from tests.outbound.receiver import Receiver, Reply
from tests.test_outgoing import ALICE, BOB, STRANGER, Shop, opened, settings, until

pytestmark = pytest.mark.anyio

PATIENCE = 10.0
HERE = ListenAddress("127.0.0.1", 0)
SWITCH = SipPeerSettings(name="switch", networks=("127.0.0.1",))


class Switch(asyncio.DatagramProtocol):
    """A switch at one UDP port."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self._came: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # as asyncio's
        """Keep the transport."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Keep an answer."""
        self._came.put_nowait(data)

    def send(self, message: bytes) -> None:
        """Send a message."""
        self.transport.sendto(message)

    async def hear(self) -> bytes:
        """Hear one."""
        async with asyncio.timeout(PATIENCE):
            return await self._came.get()

    async def ask(self, message: bytes) -> bytes:
        """Send a message and hear one."""
        self.send(message)
        return await self.hear()

    @property
    def is_quiet(self) -> bool:
        """Whether all that came was heard."""
        return self._came.empty()


@asynccontextmanager
async def switch_of(shop: Shop, *, at: str = "127.0.0.1") -> AsyncIterator[Switch]:
    address = ListenAddress.parse(shop.engine.channels.addresses["sip"])
    transport, switch = await asyncio.get_running_loop().create_datagram_endpoint(
        Switch, local_addr=(at, 0), remote_addr=(address.host, address.port), family=socket.AF_INET
    )
    try:
        yield switch
    finally:
        transport.close()


def request(
    method: str, proxy: str, *, sender: str = ALICE, call_id: str = "call-1", branch: str = "1", cseq: int = 1
) -> bytes:
    body = SDP if method == "INVITE" else b""
    lines = (
        f"{method} sip:{proxy}@masks.example.com;user=phone SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{branch};rport",
        "Max-Forwards: 70",
        f'From: "Somebody" <sip:{sender}@carrier.example>;tag=1',
        f"To: <sip:{proxy}@masks.example.com>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def header(answer: bytes, name: str) -> str:
    found = re.search(rf"\r\n{name}: (.*)\r\n".encode(), answer)
    return "" if found is None else found[1].decode()


async def kept(shop: Shop) -> list[dict[str, str]]:
    """Return the interactions of the session."""
    path = f"/v1/Services/{shop.service}/Sessions/{shop.session}/Interactions"
    found: list[dict[str, str]] = (await shop.client.get(path)).json()["interactions"]
    return found


async def is_kept(shop: Shop) -> bool:
    return bool(await kept(shop))


async def test_a_call_in_session_is_redirected_once_it_is_recorded(tmp_path: Path) -> None:
    """To the partner at the host that asked, with the number to show; a stranger is refused, and nothing is kept."""
    async with (
        opened(settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,))) as shop,
        switch_of(shop) as switch,
    ):
        routed = await switch.ask(request("INVITE", shop.proxies[ALICE]))
        refused = await switch.ask(request("INVITE", shop.proxies[ALICE], sender=STRANGER, call_id="call-2"))
        unknown = await switch.ask(request("INVITE", "+14155550177", call_id="call-3"))
        recorded = await kept(shop)

    assert (status(routed), status(refused), status(unknown)) == (302, 404, 404)
    assert header(routed, "Contact") == f"<sip:{BOB}@127.0.0.1;user=phone>"
    assert header(routed, "X-Maskline-Caller-Id") == shop.proxies[BOB]
    assert [header(routed, "X-Maskline-Interaction")] == [one["sid"] for one in recorded]


async def test_a_call_is_one_however_often_it_is_asked_about(tmp_path: Path) -> None:
    """Repeated, with a new CSeq and branch, or after a restart: one interaction, and a repetition gets equal bytes."""
    chosen = settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,))
    async with opened(chosen) as shop, switch_of(shop) as switch:
        proxy = shop.proxies[ALICE]
        first, again = [await switch.ask(request("INVITE", proxy)) for _ in range(2)]
        anew = await switch.ask(request("INVITE", proxy, cseq=2, branch="2"))
        recorded = await kept(shop)
        repeated = (await shop.client.get("/metrics")).text

    assert first == again
    assert header(anew, "X-Maskline-Interaction") == header(first, "X-Maskline-Interaction")
    assert len(recorded) == 1
    assert 'maskline_sip_retransmissions_total{peer="switch"} 1.0' in repeated
    assert 'maskline_sip_answers_total{peer="switch",status="302"} 3.0' in repeated


async def test_a_call_that_waits_for_a_hook_is_tried_then_answered(receiver: Receiver, tmp_path: Path) -> None:
    """100 after a fifth of a second, then the decision, repeated until it is acknowledged; asked of the hook once."""
    receiver.behaviour = lambda _: Reply(hangs=True)
    chosen = settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,))
    async with opened(chosen, InterceptCallbackUrl=receiver.url) as shop, switch_of(shop) as switch:
        proxy = shop.proxies[ALICE]

        tried = await switch.ask(request("INVITE", proxy))
        again = await switch.ask(request("INVITE", proxy))
        receiver.release()
        routed, repeated = await switch.hear(), await switch.hear()
        switch.send(request("ACK", proxy))
        alive = await switch.ask(request("OPTIONS", proxy, call_id="ping"))

    assert [status(one) for one in (tried, again, routed, alive)] == [100, 100, 302, 200]
    assert repeated == routed
    assert len(receiver.received) == 1


async def test_a_hook_that_takes_too_long_has_the_switch_ask_elsewhere(receiver: Receiver, tmp_path: Path) -> None:
    """And who asks again about the same call gets its decision."""
    receiver.behaviour = lambda _: Reply(hangs=True)
    chosen = settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,), sip_deadline_seconds=0.3)
    async with opened(chosen, InterceptCallbackUrl=receiver.url) as shop, switch_of(shop) as switch:
        proxy = shop.proxies[ALICE]

        tried = await switch.ask(request("INVITE", proxy))
        late = await switch.hear()
        switch.send(request("ACK", proxy))
        receiver.release()
        await until(lambda: is_kept(shop))
        routed = await switch.ask(request("INVITE", proxy, cseq=2, branch="2"))
        recorded = await kept(shop)

    assert (status(tried), status(late), status(routed)) == (100, 503, 302)
    assert (len(receiver.received), len(recorded)) == (1, 1)


async def test_a_caller_who_hangs_up_while_a_hook_decides_is_let_go(receiver: Receiver, tmp_path: Path) -> None:
    """The CANCEL is answered, then the INVITE."""
    receiver.behaviour = lambda _: Reply(hangs=True)
    chosen = settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,))
    async with opened(chosen, InterceptCallbackUrl=receiver.url) as shop, switch_of(shop) as switch:
        await switch.ask(request("INVITE", shop.proxies[ALICE]))

        answers = [await switch.ask(request("CANCEL", shop.proxies[ALICE])), await switch.hear()]
        switch.send(request("ACK", shop.proxies[ALICE]))

    assert [status(one) for one in answers] == [200, 487]


async def test_a_server_that_stops_says_so_to_who_looks(tmp_path: Path) -> None:
    """Until it has said so it stays, within its grace; then a dispatcher asks another one."""
    chosen = settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,), shutdown_grace_seconds=30)
    async with opened(chosen) as shop, switch_of(shop) as switch:
        alive = await switch.ask(request("OPTIONS", shop.proxies[ALICE]))
        stopping = asyncio.create_task(shop.engine.channels.stop(30))
        await asyncio.sleep(0)

        call = await switch.ask(request("INVITE", shop.proxies[ALICE]))
        assert not stopping.done()
        gone = await switch.ask(request("OPTIONS", shop.proxies[ALICE]))
        async with asyncio.timeout(PATIENCE):
            await stopping

    assert [status(one) for one in (alive, call, gone)] == [200, 503, 503]


async def test_a_stranger_gets_nothing_and_is_counted(tmp_path: Path) -> None:
    """Not over UDP; over TCP the connection ends."""
    async with (
        opened(settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,))) as shop,
        switch_of(shop, at="127.0.0.2") as stranger,
        switch_of(shop) as switch,
    ):
        stranger.send(request("INVITE", shop.proxies[ALICE]))
        stranger.send(request("OPTIONS", shop.proxies[ALICE]))
        address = ListenAddress.parse(shop.engine.channels.addresses["sip"])
        reader, writer = await asyncio.open_connection(*address, local_addr=("127.0.0.2", 0))
        over_tcp = await read_all(reader)
        writer.close()
        await switch.ask(request("OPTIONS", shop.proxies[ALICE]))
        metrics = (await shop.client.get("/metrics")).text

    assert stranger.is_quiet
    assert over_tcp == b""
    assert 'maskline_sip_dropped_messages_total{problem="stranger"} 3.0' in metrics


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def test_a_peer_that_asks_too_much_is_sent_elsewhere(tmp_path: Path) -> None:
    """Above its own rate, and nobody else."""
    slow = SipPeerSettings(name="slow", networks=("127.0.0.3",), requests_per_second=2)
    async with (
        opened(settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH, slow))) as shop,
        switch_of(shop, at="127.0.0.3") as asker,
        switch_of(shop) as switch,
    ):
        asked = [status(await asker.ask(request("OPTIONS", "1", call_id=f"{n}"))) for n in range(4)]
        other = status(await switch.ask(request("OPTIONS", "1")))

    assert (asked[:2], 503 in asked[2:], other) == ([200, 200], True, 200)


async def test_an_account_reaches_its_own_numbers_alone(tmp_path: Path) -> None:
    """A peer of another one finds none of them."""
    theirs = SipPeerSettings(name="theirs", networks=("127.0.0.1",), account="AC" + "9" * 32)
    async with (
        opened(settings(tmp_path, sip_listen=HERE, sip_peers=(theirs,))) as shop,
        switch_of(shop) as switch,
    ):
        answer = await switch.ask(request("INVITE", shop.proxies[ALICE]))

    assert (status(answer), header(answer, "Contact")) == (404, "")


async def test_without_a_peer_nothing_listens(tmp_path: Path) -> None:
    """Whatever address the settings give."""
    async with opened(settings(tmp_path, sip_listen=HERE)) as shop:
        assert "sip" not in shop.engine.channels.addresses


async def report(shop: Shop, **fields: object) -> int:
    """Tell over HTTP what became of a call, as a peer by its address."""
    async with httpx.AsyncClient(base_url=shop.engine.address) as switch:
        return (await switch.post("/carrier/status", json=fields)).status_code


@pytest.mark.parametrize(
    ("told", "inbound", "outbound", "seconds"),
    [
        ([{"status": "in-progress"}, {"status": "completed", "duration": 61}], "completed", "completed", 61),
        ([{"status": "failed", "code": "486"}], "busy", "busy", None),
        ([{"status": "failed", "code": 487}], "canceled", "canceled", None),
        ([{"status": "NOANSWER", "duration": ""}], "no-answer", "no-answer", None),
        ([{"status": "failed", "cause": 34}], "failed", "failed", None),
    ],
)
async def test_the_end_of_a_call_is_told_over_http(  # noqa: PLR0917 - a row
    tmp_path: Path, told: list[dict[str, object]], inbound: str, outbound: str, seconds: int | None
) -> None:
    """Told again it changes nothing; the Call-ID may be another one by then."""
    chosen = settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,))
    async with opened(chosen) as shop, switch_of(shop) as switch:
        routed = await switch.ask(request("INVITE", shop.proxies[ALICE]))
        interaction = header(routed, "X-Maskline-Interaction")
        before = await shop.metric("maskline_open_calls")

        statuses = [await report(shop, sid="DLGCH_x", interaction=interaction, **one) for one in told * 2]
        nobodys = await report(shop, sid="x", interaction="KI" + "0" * 32, status="completed")

        (call,) = await kept(shop)
        after = await shop.metric("maskline_open_calls")

    assert (set(statuses), nobodys) == ({204}, 404)
    assert (call["inbound_resource_status"], call["outbound_resource_status"]) == (inbound, outbound)
    assert json.loads(call["data"] or "{}").get("duration") == (None if seconds is None else str(seconds))
    assert (before, after) == (1, 0)


async def test_a_question_over_http_is_the_same_call_as_the_invite(tmp_path: Path) -> None:
    """One interaction, whichever way it was asked."""
    chosen = settings(tmp_path, sip_listen=HERE, sip_peers=(SWITCH,))
    async with opened(chosen) as shop, switch_of(shop) as switch:
        routed = await switch.ask(request("INVITE", shop.proxies[ALICE]))
        async with httpx.AsyncClient(base_url=shop.engine.address) as asker:
            form = {"from": ALICE, "to": shop.proxies[ALICE], "sid": "call-1"}
            line = (await asker.post("/carrier/route", data=form)).text
        recorded = await kept(shop)

    assert line == f"routed|{BOB}|{shop.proxies[BOB]}|{header(routed, 'X-Maskline-Interaction')}"
    assert len(recorded) == 1
