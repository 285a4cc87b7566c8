"""Masked texts by way of Jasmin, in both of its roles: its connector binds to a live server, which binds to its SMSC.

An application sends over HTTP to Jasmin, that to us, we to Jasmin's SMSC, and that to the network: npm's smpp. So each
text passes every role of Jasmin's and of ours, there and back.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from engine.channels.smpp.texts import NotText, Reading, decode
from tests.e2e.application import eventually
from tests.e2e.jasmin import START_SECONDS, Jasmin, NoJasmin
from tests.e2e.live import LiveServer, free_port
from tests.e2e.smpp_peers import PATIENCE, NodeSmsc
from tests.e2e.tenant import Pairing, Tenant, new_tenant, proxy_number

pytestmark = pytest.mark.timeout(4 * START_SECONDS)

TEXTS = {"see you at eight": False, "@£$¥ {[~]} \\|^ € _ Çà": False, "привет, 你好 😀": True}
"""Whether each is sent as UCS-2."""

_MASKLINE = """
smpp_listen = "127.0.0.1:{listen}"

[smpp_peers.carrier]
role = "esme"
host = "127.0.0.1"
port = {port}
system_id = "masks"
password = "secret"

[smpp_peers.gateway]
role = "smsc"
system_id = "gateway"
password = "secret"

[carrier_routes]
"+1646" = "gateway"
"*" = "carrier"
"""


class World:
    """The server between both sides of a Jasmin, and the network behind that."""

    def __init__(self, where: Path, jasmin: Jasmin, network: NodeSmsc, stack: ExitStack) -> None:
        """Start the server, and have all of them bound."""
        self.jasmin = jasmin
        self.network = network
        listen = free_port()
        configuration = where / "maskline.toml"
        configuration.write_text(_MASKLINE.format(listen=listen, port=jasmin.smpp_port))
        self._users()
        self.server = LiveServer(where / "data", "--config", str(configuration), "--rate-limit-per-second", "0")
        stack.callback(self.server.end)
        jasmin.connect("network", network.port)
        assert network.next()["bound"] == "network"
        jasmin.connect("gateway", listen)
        self._routes()
        assert eventually(lambda: "maskline_smpp_unbound_peers 0" in self.server.metrics(), seconds=PATIENCE)

    def _users(self) -> None:
        add = self.jasmin.console.add
        add("group", gid="all")
        for name in ("masks", "app"):
            add("user", username=name, password="secret", gid="all", uid=name)

    def _routes(self) -> None:
        """Of both sides: what we send goes to the network, what that sends to us; all else to the other one."""
        add = self.jasmin.console.add
        add("filter", type="UserFilter", fid="masks", uid="masks")
        add("filter", type="ConnectorFilter", fid="network", cid="network")
        add("httpccm", cid="app", url=self.jasmin.inbox.url, method="GET")
        add("mtrouter", type="DefaultRoute", connector="smppc(gateway)", rate="0.0")
        add("mtrouter", type="StaticMTRoute", order="9", filters="masks", connector="smppc(network)", rate="0.0")
        add("morouter", type="DefaultRoute", connector="http(app)")
        add("morouter", type="StaticMORoute", order="9", filters="network", connector="smpps(masks)")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a server and its peers."""
    with ExitStack() as stack:
        try:
            jasmin = stack.enter_context(closing(Jasmin(tmp_path_factory.mktemp("jasmin"))))
        except NoJasmin as reason:
            pytest.skip(str(reason))
        network = stack.enter_context(closing(NodeSmsc()))
        yield World(tmp_path_factory.mktemp("smpp"), jasmin, network, stack)


@pytest.fixture
def tenant(world: World) -> Iterator[Tenant]:
    """Return a new account."""
    with closing(new_tenant(world.server)) as tenant:
        yield tenant


def digits(number: str) -> str:
    return number.removeprefix("+")


def text_of(came: Mapping[str, str]) -> str | NotText:
    return decode(bytes.fromhex(came["binary"]), ord(came["coding"]), reading=Reading())


def states(tenant: Tenant, pairing: Pairing) -> list[str]:
    found = tenant.everything(f"{pairing.path}/Interactions", "interactions")
    return [one["outbound_resource_status"] for one in found]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_an_application_reaches_the_network_masked(world: World, tenant: Tenant, text: str) -> None:
    """In every alphabet; the network sees proxy number and partner only."""
    pairing = tenant.service().pairing()
    first, second = pairing.first, pairing.second

    world.jasmin.send(first.identifier, first.proxy, text, is_ucs2=TEXTS[text])
    came = world.network.next()

    assert came["text"] == text
    assert (digits(came["from"]), digits(came["to"])) == (digits(second.proxy), digits(second.identifier))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_the_network_reaches_the_application_masked(world: World, tenant: Tenant, text: str) -> None:
    """Over both sides of Jasmin."""
    pairing = tenant.service(pool=("+1646" + proxy_number()[5:],)).pairing()
    first, second = pairing.first, pairing.second

    world.network.tell(**{"from": digits(first.identifier), "to": digits(first.proxy), "text": text})
    assert world.network.next() == {"answered": 0}
    came = world.jasmin.next()

    assert text_of(came) == text
    assert (digits(came["from"]), digits(came["to"])) == (digits(second.proxy), digits(second.identifier))


def test_a_long_text_is_one_message_there(world: World, tenant: Tenant) -> None:
    """It comes in parts, is one interaction, and leaves in parts."""
    pairing, text = tenant.service().pairing(), "0123456789" * 40

    world.jasmin.send(pairing.first.identifier, pairing.first.proxy, text)
    parts = [world.network.next()]
    while sum(len(part["text"]) for part in parts) < len(text):
        parts.append(world.network.next())

    assert "".join(part["text"] for part in parts) == text
    assert len(parts) == 3
    assert eventually(lambda: states(tenant, pairing) == ["sent"])


def test_a_long_text_is_one_message_back(world: World, tenant: Tenant) -> None:
    """Each part over Jasmin; its application gets one text."""
    pairing, parts = tenant.service(pool=("+1646" + proxy_number()[5:],)).pairing(), ("a" * 150, "b" * 150, "c" * 50)

    number = {"from": digits(pairing.first.identifier), "to": digits(pairing.first.proxy)}
    for place, part in enumerate(parts):
        world.network.tell(**number, text=part, udh=f"0500032a03{place + 1:02x}")
        assert world.network.next() == {"answered": 0}
    came = world.jasmin.next()

    assert text_of(came) == "".join(parts)


@pytest.mark.parametrize("state", ["DELIVRD", "UNDELIV"])
def test_receipts_of_the_network_reach_the_application(world: World, tenant: Tenant, state: str) -> None:
    """Jasmin's SMSC tells us by the id that it gave, we tell its connector by the one that we gave."""
    pairing = tenant.service().pairing()
    world.jasmin.send(pairing.first.identifier, pairing.first.proxy, "hello", asks=True)
    came = world.network.next()
    assert came["receipt"] == 1
    assert eventually(lambda: states(tenant, pairing) == ["sent"])

    world.network.tell(receipt=came["id"], state=state, **{"from": came["to"], "to": came["from"]})

    assert world.network.next() == {"answered": 0}
    assert eventually(lambda: states(tenant, pairing) == ["delivered" if state == "DELIVRD" else "undelivered"])
    assert world.jasmin.next()["message_status"] == state
