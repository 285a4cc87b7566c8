"""Messages that carriers of our own send, through a live server: what the carrier answers, what becomes of the leg."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.application import Application, alerts, codes, eventually, settled
from tests.e2e.carrier import DROPPED, Carrier, resource_sid
from tests.e2e.live import LiveServer, on_both_runtimes
from tests.e2e.tenant import Pairing, Tenant, new_tenant
from tests.outbound.receiver import Received, Receiver, Reply, receiving

CARRIER_SID, CARRIER_TOKEN = "AC" + "c" * 32, "carrier's own secret"
SENT_PATH = f"/2010-04-01/Accounts/{CARRIER_SID}/Messages.json"
BASIC = "Basic " + b64encode(f"{CARRIER_SID}:{CARRIER_TOKEN}".encode()).decode()


class Platform:
    """A fake of the Messages API on a real socket."""

    def __init__(self, receiver: Receiver) -> None:
        """Take every message, until told otherwise."""
        self.receiver = receiver
        self.replies: list[Reply] = []
        self.made: list[str] = []
        receiver.behaviour = self._answer

    @property
    def forms(self) -> list[dict[str, list[str]]]:
        """The messages asked for, in order."""
        return [request.lists for request in self.receiver.received]

    def hung_up(self, count: int) -> None:
        """Wait until it has hung up after so many answers of this test; other tests' connections may end meanwhile."""
        receiver = self.receiver
        assert receiver.waits_for(lambda: sum(one in receiver.received for one in receiver.hung_up_after) >= count)

    def got(self, count: int) -> list[dict[str, list[str]]]:
        """Wait for so many requests, and return their forms."""
        assert self.receiver.waits_for(lambda: len(self.receiver.received) >= count), self.forms
        return self.forms

    def _answer(self, request: Received) -> Reply:
        assert request.path.startswith(f"/2010-04-01/Accounts/{CARRIER_SID}/")
        if self.replies:
            return self.replies.pop(0)
        self.made.append(resource_sid("SM"))
        body = {"sid": self.made[-1], "status": "queued", "error_code": None, "account_sid": CARRIER_SID}
        return Reply(status=201, headers=("Content-Type: application/json",), body=json.dumps(body).encode())


def refusing(status: int, code: int, message: str) -> Reply:
    """Answer with the platform's error body."""
    body = {"code": code, "message": message, "more_info": f"https://e/{code}", "status": status}
    return Reply(status=status, headers=("Content-Type: application/json",), body=json.dumps(body).encode())


@pytest.fixture(scope="module")
def platform_port() -> Iterator[Receiver]:
    """Run the platform of all tests here."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def platform(platform_port: Receiver) -> Platform:
    """Return the platform, having got nothing yet."""
    platform_port.received.clear()
    return Platform(platform_port)


@pytest.fixture(scope="module")
def server(platform_port: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Return a server that sends everything through that platform, and gives a request three seconds."""
    directory = tmp_path_factory.mktemp("carriers")
    config = directory / "maskline.toml"
    config.write_text(
        f"""
        rate_limit_per_second = 0
        outgoing_allow = ["127.0.0.0/8"]
        webhook_timeout_seconds = 3.0
        longest_retry_wait_seconds = 0.05
        carrier_tries = 4
        [carriers.main]
        kind = "messages-api"
        url = "{platform_port.url}"
        account_sid = "{CARRIER_SID}"
        auth_token = "{CARRIER_TOKEN}"
        [carriers.paper]
        kind = "file"
        path = "{directory / "sent.ndjson"}"
        [carrier_routes]
        "+1212" = "main"
        "+1646" = "paper"
        """
    )
    server = LiveServer(directory / "data", "--config", str(config))
    yield server
    assert (server.stop(), "Traceback" in server.log) == (0, False), server.log[-4000:]


@pytest.fixture
def client(server: LiveServer) -> Iterator[Tenant]:
    """Return an account there."""
    tenant = new_tenant(server)
    yield tenant
    tenant.close()


def leg(tenant: Tenant, pairing: Pairing) -> tuple[str | None, str | None]:
    """Return state and SID of the outbound leg of a pairing's only interaction."""
    (interaction,) = tenant.get(f"{pairing.path}/Interactions")["interactions"]
    return interaction["outbound_resource_status"], interaction["outbound_resource_sid"]


def reads(tenant: Tenant, pairing: Pairing, status: str) -> bool:
    """Wait until the outbound leg is in a state."""
    return eventually(lambda: leg(tenant, pairing)[0] == status)


def test_a_message_leaves_by_the_carrier_and_not_by_the_answer(
    client: Tenant, platform: Platform, application: Application
) -> None:
    """From the partner's proxy number to the partner; text, pictures, credentials, our status URL."""
    pairing = client.service(numbers=2, **application.hooks).pairing()
    alice, bob = pairing.first, pairing.second
    media = ("https://m.example/1?a=b&c", "https://m.example/2")

    answer = client.carrier.message(alice.identifier, alice.proxy, "¿sí? 🎉 & +", media, sid=resource_sid("MM"))

    (form,) = platform.got(1)
    (request,) = platform.receiver.received
    (interaction,) = client.get(f"{pairing.path}/Interactions")["interactions"]
    assert answer.verbs == DROPPED
    assert (request.path, request.headers["authorization"]) == (SENT_PATH, BASIC)
    assert form == {
        "From": [bob.proxy],
        "To": [bob.identifier],
        "Body": ["¿sí? 🎉 & +"],
        "MediaUrl": list(media),
        "StatusCallback": [f"{client.server.public_url}/inbound/status?interaction={interaction['sid']}&leg=outbound"],
    }
    assert eventually(lambda: leg(client, pairing) == ("queued", platform.made[0]))
    assert [form["outboundResourceSid"] for form in application.told(2)] == ["", platform.made[0]]


def test_a_call_is_still_dialled_by_the_answer(client: Tenant, platform: Platform) -> None:
    """Carriers send messages; calls are the platform's to bridge."""
    pairing = client.service(numbers=2).pairing()

    answer = client.carrier.call(pairing.first.identifier, pairing.first.proxy)

    assert answer.reached == (pairing.second.identifier, pairing.second.proxy)
    assert platform.forms == []


def test_the_carriers_status_callbacks_move_the_leg(
    client: Tenant, platform: Platform, application: Application
) -> None:
    """Signed with the carrier's own token and account; each new state is told to the application."""
    pairing = client.service(numbers=2, **application.hooks).pairing()
    client.carrier.message(pairing.first.identifier, pairing.first.proxy)
    url = platform.got(1)[0]["StatusCallback"][0]
    application.told(2)
    carrier = Carrier(client.server, CARRIER_SID, CARRIER_TOKEN)

    taken = [carrier.report(url, MessageSid=platform.made[0], MessageStatus=status) for status in ("sent", "delivered")]
    forged = client.carrier.post(
        url, {"AccountSid": CARRIER_SID, "MessageSid": platform.made[0], "MessageStatus": "failed"}
    )
    carrier.close()

    assert taken == [204, 204]
    assert forged.status_code == 403
    assert leg(client, pairing) == ("delivered", platform.made[0])
    told = [form["outboundResourceStatus"] for form in application.told(4)]
    assert told == ["queued", "queued", "sent", "delivered"]


def test_a_carrier_that_refuses_fails_the_leg(client: Tenant, platform: Platform, application: Application) -> None:
    """400: 80613 with the carrier's code and no whole number, the application is told, nothing is tried again (9)."""
    pairing = client.service(numbers=2, **application.hooks).pairing()
    number = pairing.second.identifier
    platform.replies = [refusing(400, 21610, f"The message From/To pair violates a blacklist rule: {number}")]

    client.carrier.message(pairing.first.identifier, pairing.first.proxy)

    assert reads(client, pairing, "failed")
    assert settled(client)
    assert codes(client, 1) == [80613]
    assert [form["outboundResourceStatus"] for form in application.told(2)] == ["queued", "failed"]
    assert len(platform.forms) == 1
    (dead,) = client.server.admin("GET", f"/outbox?account_sid={client.sid}")["effects"]
    assert "400 with 21610" in dead["last_error"]
    assert number not in dead["last_error"] + json.dumps(alerts(client))


@pytest.mark.parametrize("reply", [refusing(429, 20429, "Too Many Requests"), Reply(status=503)])
def test_a_carrier_that_has_not_taken_it_is_asked_again(client: Tenant, platform: Platform, reply: Reply) -> None:
    """429 and 503: the same message under the same key, until it is taken (item 4)."""
    pairing = client.service(numbers=2).pairing()
    platform.replies = [reply, reply]

    client.carrier.message(pairing.first.identifier, pairing.first.proxy, "once more")

    forms = platform.got(3)
    assert eventually(lambda: leg(client, pairing) == ("queued", platform.made[0]))
    assert forms[0] == forms[1] == forms[2]
    assert len({request.headers["i-twilio-idempotency-token"] for request in platform.receiver.received}) == 1
    assert alerts(client) == []


def test_a_carrier_that_never_takes_it_fails_the_leg(client: Tenant, platform: Platform) -> None:
    """After the last try: failed, 80613, a dead letter."""
    pairing = client.service(numbers=2).pairing()
    platform.replies = [Reply(status=429)] * 4

    client.carrier.message(pairing.first.identifier, pairing.first.proxy)

    assert reads(client, pairing, "failed")
    assert codes(client, 1) == [80613]
    assert len(platform.got(4)) == 4


@pytest.mark.parametrize(
    "reply",
    [Reply(status=500), Reply(status=502), Reply(hangs=True), Reply(resets=True), Reply(raw=b"?\r\n\r\n")],
    ids=["500", "502", "hangs", "reset", "no HTTP"],
)
def test_a_message_that_may_have_been_sent_is_not_sent_twice(client: Tenant, platform: Platform, reply: Reply) -> None:
    """The leg reads delivery-unknown until the carrier reports, 80502; a report that comes is believed (item 4)."""
    pairing = client.service(numbers=2).pairing()
    platform.replies = [reply]

    client.carrier.message(pairing.first.identifier, pairing.first.proxy)

    assert reads(client, pairing, "delivery-unknown")
    assert settled(client)
    assert codes(client, 1) == [80502]
    assert len(platform.forms) == 1
    sid, url = resource_sid("SM"), platform.forms[0]["StatusCallback"][0]
    assert client.carrier.report(url, MessageSid=sid, MessageStatus="delivered") == 204
    assert leg(client, pairing) == ("delivered", sid)


def test_a_pushed_message_leaves_by_the_carrier(client: Tenant, platform: Platform) -> None:
    """Text and pictures, from the recipient's own proxy number; its states are followed (3.7 and item 4)."""
    service = client.service(numbers=2)
    pairing = service.pairing()
    sdk = client.sdk().proxy.v1.services(service.sid).sessions(pairing.sid).participants(pairing.second.sid)

    text = sdk.message_interactions.create(body="from the shop")
    platform.got(1)
    picture = sdk.message_interactions.create(media_url=["https://m.example/1"])

    first, second = platform.got(2)
    assert (first["From"], first["To"]) == ([pairing.second.proxy], [pairing.second.identifier])
    assert (first["Body"], second["MediaUrl"]) == (["from the shop"], ["https://m.example/1"])
    assert "Body" not in second
    client.carrier.report(first["StatusCallback"][0], MessageSid=platform.made[0], MessageStatus="delivered")
    fetched = sdk.message_interactions(text.sid).fetch()
    assert (fetched.outbound_resource_status, fetched.outbound_resource_sid) == ("delivered", platform.made[0])
    assert eventually(lambda: sdk.message_interactions(picture.sid).fetch().outbound_resource_sid == platform.made[1])


def test_closing_ends_running_calls_where_the_service_wants_it(client: Tenant, platform: Platform) -> None:
    """Through the carrier's call update; a call that is over is left alone (item 6)."""
    service = client.service(numbers=2)
    client.server.admin("PATCH", f"/services/{service.sid}", {"options": {"hangs_up_on_close": True}})
    pairing = service.pairing()
    over, running = resource_sid("CA"), resource_sid("CA")
    for sid in (over, running):
        client.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid)
    client.carrier.report("/inbound/status", CallSid=over, CallStatus="completed", CallDuration="3")

    client.update(pairing.path, Status="closed")

    assert platform.got(1) == [{"Status": ["completed"]}]
    assert [request.path for request in platform.receiver.received] == [
        f"/2010-04-01/Accounts/{CARRIER_SID}/Calls/{running}.json"
    ]


def test_the_file_carrier_writes_what_it_would_send(client: Tenant, platform: Platform) -> None:
    """A line each, for the numbers that its route names; the leg reads sent."""
    pairing = client.service(pool=("+16465550143",)).pairing()

    answer = client.carrier.message(pairing.first.identifier, pairing.first.proxy, "on paper")

    assert answer.verbs == DROPPED
    assert reads(client, pairing, "sent")
    lines = (client.server.data_dir.parent / "sent.ndjson").read_text("utf-8").splitlines()
    written = [one for one in map(json.loads, lines) if one["to"] == pairing.second.identifier]
    assert [(one["sender"], one["body"], one["carrier"]) for one in written] == [("+16465550143", "on paper", "paper")]
    assert platform.forms == []


def test_a_platform_that_hangs_up_after_each_answer_is_not_taken_for_one_that_fails(
    client: Tenant, platform: Platform
) -> None:
    """Without saying so: the next message gets a connection of its own, and none is in doubt."""
    pairings = [client.service(numbers=2).pairing() for _ in range(5)]
    answer = b'HTTP/1.1 201 Created\r\ncontent-length: 33\r\n\r\n{"sid":"SM1","status":"accepted"}'
    platform.replies = [Reply(raw=answer)] * 10

    for count, pairing in enumerate(pairings * 2, 1):
        client.carrier.message(pairing.first.identifier, pairing.first.proxy)
        platform.got(count)
        platform.hung_up(count)

    assert settled(client)
    assert len(platform.forms) == 10
    assert alerts(client) == []


@on_both_runtimes
@pytest.mark.parametrize("ending", ["kill -9", "SIGTERM"])
def test_a_message_on_its_way_when_the_server_ends_is_sent_again_under_the_same_key(
    start_server: Callable[..., LiveServer],
    keep: Callable[[Tenant], Tenant],
    platform: Platform,
    tmp_path: Path,
    *,
    ending: str,
) -> None:
    """At least once: the platform knows the repeat by its idempotency header."""
    config = tmp_path / "maskline.toml"
    config.write_text(
        f'rate_limit_per_second = 0\noutgoing_allow = ["127.0.0.0/8"]\n[carriers.main]\nkind = "messages-api"\n'
        f'url = "{platform.receiver.url}"\naccount_sid = "{CARRIER_SID}"\nauth_token = "x"\n'
        '[carrier_routes]\n"*" = "main"\n'
    )
    tenant = keep(new_tenant(start_server("--config", str(config), public_url="http://maskline.example")))
    pairing = tenant.service(numbers=2).pairing()
    platform.replies = [Reply(hangs=True)]
    tenant.carrier.message(pairing.first.identifier, pairing.first.proxy)
    platform.got(1)

    if ending == "SIGTERM":
        assert tenant.server.stop() == 0
    else:
        tenant.server.crash()
    tenant = keep(tenant.moved(start_server("--config", str(config), public_url="http://maskline.example")))

    first, again = platform.got(2)
    assert first == again
    assert len({request.headers["i-twilio-idempotency-token"] for request in platform.receiver.received}) == 1
    assert eventually(lambda: leg(tenant, pairing) == ("queued", platform.made[0]))


def test_numbers_without_a_route_are_the_answers(
    start_server: Callable[..., LiveServer], keep: Callable[[Tenant], Tenant], tmp_path: Path
) -> None:
    """The longest prefix decides; what it names by "twiml", and what none names, is sent by the answer."""
    sent = tmp_path / "sent.ndjson"
    config = tmp_path / "maskline.toml"
    config.write_text(
        f'rate_limit_per_second = 0\n[carriers.paper]\nkind = "file"\npath = "{sent}"\n'
        '[carrier_routes]\n"+1415" = "paper"\n"+1415777" = "twiml"\n'
    )
    tenant = keep(new_tenant(start_server("--config", str(config))))

    def verbs(number: str) -> tuple[str, ...]:
        pairing = tenant.service(pool=(number,)).pairing()
        return tenant.carrier.message(pairing.first.identifier, pairing.first.proxy).verbs

    answers = [verbs(number) for number in ("+14156660100", "+14157770100", "+12125550100")]

    assert answers == [(), ("Message",), ("Message",)]
    assert settled(tenant)
    assert len(sent.read_text("utf-8").splitlines()) == 1
