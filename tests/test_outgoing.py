"""The whole engine and a real receiver: what leaves is wired to what decides."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from twilio.request_validator import RequestValidator

from engine.app import RunningEngine, running_engine
from engine.channel_table import CHANNELS, Row
from engine.channels.served import Channels
from engine.channels.sip.tables import SipPeerSettings
from engine.channels.smpp.channel import SmppClientChannel
from engine.channels.sockets import ListenAddress
from engine.core.model.records import Account
from engine.core.model.requests import AccountUpdate
from engine.outbound.settings import CarrierKind, CarrierSettings
from engine.outgoing import deliveries_to
from engine.settings import Settings
from tests.channels.smpp.rig import esme
from tests.outbound.receiver import Received, Receiver, Reply

pytestmark = pytest.mark.anyio

ALICE, BOB, STRANGER = "+14155550101", "+14155550102", "+14155550103"
POOL = ("+14155550198", "+14155550199")
DOCUMENT = "<Response><Say>Sorry</Say></Response>"
BOUND_SECONDS = 10.0


class Shop:
    """An account with a service, its pool and one session between Alice and Bob."""

    def __init__(self, engine: RunningEngine, client: httpx.AsyncClient, account: Account) -> None:
        self.engine = engine
        self.client = client
        self.account = account
        self.service = ""
        self.session = ""
        self.proxies: dict[str, str] = {}

    async def post(self, path: str, **form: str) -> dict[str, str]:
        """Make or change something through REST."""
        response = await self.client.post(f"/v1/Services{path}", data=form)
        assert response.is_success, response.text
        made: dict[str, str] = response.json()
        return made

    async def renew(self, **form: str) -> None:
        """Close the session between Alice and Bob, if there is one, and make another."""
        sessions = f"/{self.service}/Sessions"
        if self.session:
            await self.post(f"{sessions}/{self.session}", Status="closed")
        self.session = (await self.post(sessions, **form))["sid"]
        for person in (ALICE, BOB):
            made = await self.post(f"{sessions}/{self.session}/Participants", Identifier=person)
            self.proxies[person] = made["proxy_identifier"]

    async def text(self, sender: str, proxy: str, body: str, sid: str) -> str:
        """Let the platform hand over a message; returns the document answered."""
        form = {"AccountSid": self.account.sid, "MessageSid": sid, "From": sender, "To": proxy, "Body": body}
        response = await self.client.post("/inbound/message", data=form)
        assert response.status_code == 200, response.text
        return response.text

    async def metric(self, name: str) -> float:
        """Read a gauge."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    async def events(self) -> list[str]:
        """Read the codes of the debugger's events."""
        alerts = (await self.client.get("/v1/Alerts")).json()["alerts"]
        return [alert["error_code"] for alert in alerts]


def settings(directory: Path, **chosen: Any) -> Settings:  # noqa: ANN401 - fields of Settings
    """Settings of a test: the receiver is on this machine."""
    given: dict[str, Any] = {
        "data_dir": directory,
        "listen": ListenAddress("127.0.0.1", 0),
        "verify_signatures": False,
        "outgoing_allow": ("127.0.0.0/8",),
        "shutdown_grace_seconds": 1,
        **chosen,
    }
    return Settings(**given)


@asynccontextmanager
async def opened(chosen: Settings, protocols: Sequence[Row] = CHANNELS, /, **urls: str) -> AsyncIterator[Shop]:
    """Run an engine with a shop in it."""
    async with running_engine(chosen, protocols=protocols) as engine:
        account = await engine.host.control.create_account(AccountUpdate())
        auth = (account.sid, account.auth_token)
        async with httpx.AsyncClient(base_url=engine.address, auth=auth) as client:
            shop = Shop(engine, client, account)
            shop.service = (await shop.post("", UniqueName="shop", **urls))["sid"]
            for number in POOL:
                await shop.post(f"/{shop.service}/PhoneNumbers", PhoneNumber=number)
            await shop.renew()
            yield shop


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that no event tells of, with a bound."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not await is_true():  # noqa: ASYNC110 - the engine is asked over HTTP
            await asyncio.sleep(0.02)


async def test_a_message_in_session_is_gated_and_told(receiver: Receiver, tmp_path: Path) -> None:
    """Intercept hook first, then the callback; both signed, both with an idempotency header."""
    urls = {"CallbackUrl": f"{receiver.url}/told", "InterceptCallbackUrl": f"{receiver.url}/gate"}
    async with opened(settings(tmp_path), **urls) as shop:
        answer = await shop.text(ALICE, shop.proxies[ALICE], "hello", "SM1")
        await receiver.has_got(2)

        assert "<Body>hello</Body>" in answer
        assert [request.path for request in receiver.received] == ["/gate", "/told"]
        assert all(receiver.is_signed(request, shop.account.auth_token) for request in receiver.received)
        assert all(request.headers["i-twilio-idempotency-token"] for request in receiver.received)
        assert receiver.received[0].form["interactionData"] == '{"body":"hello"}'
        assert receiver.received[1].form["outboundResourceStatus"] == "queued"


async def test_a_gate_that_blocks_leaves_nothing_to_send(receiver: Receiver, tmp_path: Path) -> None:
    """And the account's debugger says so."""
    receiver.behaviour = lambda request: Reply(status=403)
    async with opened(settings(tmp_path), InterceptCallbackUrl=receiver.url) as shop:
        answer = await shop.text(ALICE, shop.proxies[ALICE], "hello", "SM1")

        assert "<Message" not in answer
        await until(lambda: has_event(shop, "80909"))


async def has_event(shop: Shop, code: str) -> bool:
    return code in await shop.events()


async def test_an_application_answers_strangers(receiver: Receiver, tmp_path: Path) -> None:
    """With TwiML, or with a session that it wants made."""
    wanted = json.dumps({"participantIdentifier": BOB}).encode()

    def answer(request: Received) -> Reply:
        if request.form["Body"] == "who":
            return Reply(headers=("Content-Type: text/xml",), body=DOCUMENT.encode())
        return Reply(headers=("Content-Type: application/json; charset=utf-16",), body=wanted)

    receiver.behaviour = answer
    async with opened(settings(tmp_path), OutOfSessionCallbackUrl=receiver.url) as shop:
        proxy = shop.proxies[ALICE]
        answered = await shop.text(STRANGER, proxy, "who", "SM1")
        forwarded = await shop.text(STRANGER, proxy, "make it so", "SM2")

        assert answered.endswith(DOCUMENT)
        assert f'to="{BOB}"' in forwarded
        assert receiver.received[0].form["ServiceSid"] == shop.service


async def test_private_networks_are_not_called_unless_allowed(receiver: Receiver, tmp_path: Path) -> None:
    """The gate fails open, and the debugger tells why."""
    urls = {"CallbackUrl": receiver.url, "InterceptCallbackUrl": receiver.url}
    async with opened(settings(tmp_path, outgoing_allow=()), **urls) as shop:
        answer = await shop.text(ALICE, shop.proxies[ALICE], "hello", "SM1")
        await until(lambda: has_event(shop, "80908"))

        assert "<Body>hello</Body>" in answer
        assert receiver.received == []


async def test_the_outbox_survives_a_restart(receiver: Receiver, tmp_path: Path) -> None:
    """A receiver that hangs while the engine stops is told again by the next one, under the same header."""
    receiver.behaviour = lambda request: Reply(hangs=True)
    async with opened(settings(tmp_path), CallbackUrl=receiver.url) as shop:
        await shop.text(ALICE, shop.proxies[ALICE], "hello", "SM1")
        await receiver.has_got(1)
    receiver.behaviour = lambda request: Reply()

    async with running_engine(settings(tmp_path)):
        await receiver.has_got(2)

    first, again = receiver.received[:2]
    assert first.headers["i-twilio-idempotency-token"] == again.headers["i-twilio-idempotency-token"]
    assert first.body == again.body


async def test_stopping_does_not_wait_for_a_gate(receiver: Receiver, tmp_path: Path) -> None:
    """The platform sends the message again, and then it goes on."""
    receiver.behaviour = lambda request: Reply(hangs=True)
    loop = asyncio.get_running_loop()
    async with opened(settings(tmp_path), InterceptCallbackUrl=receiver.url) as shop:
        waiting = asyncio.create_task(shop.text(ALICE, shop.proxies[ALICE], "hello", "SM1"))
        await receiver.has_got(1)
        began = loop.time()

    assert loop.time() - began < 5.0
    with pytest.raises((httpx.TransportError, AssertionError)):
        await waiting


async def test_a_dead_receiver_shows_in_the_gauges_and_not_in_readiness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending rises; the engine stays ready."""
    monkeypatch.setattr("engine.outgoing.GAUGE_SECONDS", 0.05)
    chosen = settings(tmp_path, webhook_tries=50)
    async with opened(chosen, CallbackUrl="http://127.0.0.1:1/") as shop:
        await shop.text(ALICE, shop.proxies[ALICE], "hello", "SM1")
        await until(lambda: is_pending(shop))

        assert (await shop.client.get("/readyz")).status_code == 200
        assert await shop.metric("maskline_outbox_dead") == 0
        assert await shop.metric("maskline_outbox_held") == 1
        assert await shop.metric("maskline_waiting_events") == 0


async def is_pending(shop: Shop) -> bool:
    return await shop.metric("maskline_outbox_pending") == 1


async def test_a_carrier_sends_what_its_route_says(tmp_path: Path) -> None:
    """Also what the application pushes; the platform is asked for nothing."""
    file = tmp_path / "sent.ndjson"
    paper = CarrierSettings(name="paper", kind=CarrierKind.FILE, path=str(file))
    chosen = settings(tmp_path / "data", carriers=(paper,), carrier_routes={"*": "paper"})
    async with opened(chosen) as shop:
        answer = await shop.text(ALICE, shop.proxies[ALICE], "hello", "SM1")
        await until(lambda: has_lines(file, 1))

        sent = json.loads(file.read_text())
        assert "<Message" not in answer
        assert (sent["to"], sent["sender"], sent["body"]) == (BOB, shop.proxies[BOB], "hello")


async def has_lines(file: Path, count: int) -> bool:
    path = anyio.Path(file)
    return await path.exists() and (await path.read_text()).count("\n") >= count


async def test_a_carrier_reports_with_its_own_credentials(receiver: Receiver, tmp_path: Path) -> None:
    """To the URL that it was given; the leg follows, and a report signed by anybody else is refused."""
    receiver.behaviour = lambda request: Reply(status=201, body=b'{"sid": "SM77", "status": "queued"}')
    carrier = CarrierSettings(
        name="main", kind=CarrierKind.MESSAGES_API, url=receiver.url, account_sid="ACcarrier", auth_tokens=("hush",)
    )
    chosen = settings(tmp_path, carriers=(carrier,), carrier_routes={"*": "main"}, verify_signatures=True)
    async with opened(chosen) as shop:
        path = f"/{shop.service}/Sessions/{shop.session}"
        (bob, _) = (await shop.client.get(f"/v1/Services{path}/Participants")).json()["participants"]
        pushed = await shop.post(f"{path}/Participants/{bob['sid']}/MessageInteractions", Body="hello")
        await receiver.has_got(1)
        status_url = receiver.received[0].form["StatusCallback"]
        form = {"AccountSid": "ACcarrier", "MessageSid": "SM77", "MessageStatus": "delivered"}

        forged = await shop.client.post(status_url, data=form, headers=signed(status_url, form, "guess"))
        taken = await shop.client.post(status_url, data=form, headers=signed(status_url, form, "hush"))

        shown = (await shop.client.get(f"/v1/Services{path}/Interactions/{pushed['sid']}")).json()
        assert (forged.status_code, taken.status_code) == (403, 204)
        assert receiver.received[0].path == "/2010-04-01/Accounts/ACcarrier/Messages.json"
        assert (shown["outbound_resource_sid"], shown["outbound_resource_status"]) == ("SM77", "delivered")


async def test_a_carrier_hands_over_calls_with_its_own_credentials(tmp_path: Path) -> None:
    """Whoever owns the number reached."""
    carrier = CarrierSettings(
        name="main",
        kind=CarrierKind.MESSAGES_API,
        url="https://x.example",
        account_sid="ACcarrier",
        auth_tokens=("hush",),
    )
    async with opened(settings(tmp_path, carriers=(carrier,), verify_signatures=True)) as shop:
        url = f"{shop.engine.public_url}/inbound/voice"
        form = {"AccountSid": "ACcarrier", "CallSid": "CA1", "From": ALICE, "To": shop.proxies[ALICE]}

        forged = await shop.client.post(url, data=form, headers=signed(url, form, "guess"))
        taken = await shop.client.post(url, data=form, headers=signed(url, form, "hush"))

        assert (forged.status_code, taken.status_code) == (403, 200)
        assert BOB in taken.text


def signed(url: str, form: dict[str, str], token: str) -> dict[str, str]:
    return {"x-twilio-signature": RequestValidator(token).compute_signature(url, form)}


async def test_debugger_events_are_posted_to_the_account(receiver: Receiver, tmp_path: Path) -> None:
    """Signed, as everything that leaves."""
    async with opened(settings(tmp_path)) as shop:
        await shop.engine.host.control.update_account(shop.account.sid, AccountUpdate(debugger_url=receiver.url))
        await shop.text(STRANGER, shop.proxies[ALICE], "hello", "SM1")
        await receiver.has_got(1)

        (request,) = receiver.received
        assert receiver.is_signed(request, shop.account.auth_token, url=f"{receiver.url}/")
        assert json.loads(request.form["Payload"])["error_code"] == "80905"
        assert request.form["Level"] == "WARNING"


@pytest.mark.parametrize(("is_ours", "most"), [(True, 500), (False, 20)])
async def test_another_host_is_handed_no_more_than_is_under_way(is_ours: bool, most: int) -> None:  # noqa: FBT001 - a column
    """What it had sent is unknown when it ends; here, what is being committed holds back no others."""
    channels = Channels([("smpp", SmppClientChannel(esme(2775, connections=2, window=10), sends_from=lambda _: True))])
    with ExitStack() as stack:
        channels.bind(stack, is_ours=lambda _: is_ours)

        assert deliveries_to(channels, 500) == {"carrier:them": most}


async def test_the_operator_is_told_of_smpp_peers_where_switches_ask_over_sip_too(tmp_path: Path) -> None:
    """Through the admin socket, as `maskline smpp peers` does; a switch has no state of that kind."""
    peers = (SipPeerSettings(name="switch", networks=("127.0.0.1",)),)
    chosen = settings(tmp_path / "data", sip_listen=ListenAddress("127.0.0.1", 0), sip_peers=peers)
    async with opened(chosen):
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "data" / "maskline.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://maskline") as operator:
            answer = await operator.get("/smpp/peers")

    assert (answer.status_code, answer.json()) == (200, {"peers": []})
