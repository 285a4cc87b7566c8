"""Masked texts between two real SMPP peers: Kannel binds to a live server, which is bound to an SMSC of npm's smpp."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.application import eventually
from tests.e2e.live import MASKLINE, clean_environment
from tests.e2e.smpp_peers import Kannel, SmppWorld, smpp_world
from tests.e2e.tenant import Pairing, Tenant, new_tenant, proxy_number

pytestmark = pytest.mark.timeout(120)

TEXTS = (
    "see you at eight",
    "@£$¥ {[~]} \\|^ € _ Çà",
    "Grüße, señor: ½ price",
    "привет, 你好 😀",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmppWorld]:
    """Return a server with a carrier."""
    with smpp_world(tmp_path_factory.mktemp("smpp")) as world:
        yield world


@pytest.fixture(scope="module")
def kannel(world: SmppWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kannel]:
    """Return Kannel, bound to the server."""
    with closing(Kannel(tmp_path_factory.mktemp("kannel"), world.smpp_port)) as kannel:
        yield kannel


@pytest.fixture
def tenant(world: SmppWorld) -> Iterator[Tenant]:
    """Return a new account."""
    with closing(new_tenant(world.server)) as tenant:
        yield tenant


def over_carrier(tenant: Tenant) -> Pairing:
    """Make a session whose texts leave by the carrier."""
    return tenant.service().pairing()


def over_hub(tenant: Tenant) -> Pairing:
    """Make a session whose texts leave by Kannel."""
    return tenant.service(pool=("+1646" + proxy_number()[5:],)).pairing()


def digits(number: str) -> str:
    return number.removeprefix("+")


def run(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        [str(MASKLINE), *arguments], capture_output=True, text=True, timeout=30, check=False, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(tenant: Tenant, pairing: Pairing) -> list[str]:
    found = tenant.everything(f"{pairing.path}/Interactions", "interactions")
    return [one["outbound_resource_status"] for one in found]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_from_kannel_reaches_the_carrier_masked(
    world: SmppWorld, kannel: Kannel, tenant: Tenant, text: str
) -> None:
    """In every alphabet; the carrier sees proxy number and partner only."""
    pairing = over_carrier(tenant)
    first, second = pairing.first, pairing.second

    kannel.send(first.identifier, first.proxy, text, coding=2 if text != TEXTS[0] else 0)
    came = world.smsc.next()

    assert (came["text"], came["receipt"]) == (text, 1)
    assert (came["from"], came["to"]) == (digits(second.proxy), digits(second.identifier))


def test_what_became_of_a_text_is_told_by_receipts(world: SmppWorld, kannel: Kannel, tenant: Tenant) -> None:
    """The leg goes from sent to delivered; the id is written in decimals by the receipt."""
    pairing = over_carrier(tenant)
    kannel.send(pairing.first.identifier, pairing.first.proxy, "hello")
    came = world.smsc.next()
    assert eventually(lambda: states(tenant, pairing) == ["sent"])

    world.smsc.tell(receipt=str(int(came["id"], 16)), state="DELIVRD", **{"from": came["to"], "to": came["from"]})

    assert world.smsc.next() == {"answered": 0}
    assert eventually(lambda: states(tenant, pairing) == ["delivered"])


@pytest.mark.parametrize("state", ["DELIVRD", "UNDELIV"])
def test_kannel_is_told_what_became_of_its_text(world: SmppWorld, kannel: Kannel, tenant: Tenant, state: str) -> None:
    """It asks for the final state and for the news before that, and knows its message by the id that we gave it."""
    pairing = over_carrier(tenant)
    kannel.send(pairing.first.identifier, pairing.first.proxy, "hello", asks=True)
    came = world.smsc.next()
    on_its_way = kannel.next()

    world.smsc.tell(receipt=came["id"], state=state, **{"from": came["to"], "to": came["from"]})

    assert world.smsc.next() == {"answered": 0}
    assert (on_its_way, kannel.next()) == ({"state": "4"}, {"state": "1" if state == "DELIVRD" else "2"})


@pytest.mark.parametrize("text", [*TEXTS, "x" * 150])
def test_an_answer_of_the_carrier_comes_back_masked(world: SmppWorld, tenant: Tenant, text: str) -> None:
    """To whom it is meant for, from their proxy number."""
    pairing = over_carrier(tenant)
    first, second = pairing.first, pairing.second

    world.smsc.tell(**{"from": digits(second.identifier), "to": digits(second.proxy), "text": text})
    told = [world.smsc.next(), world.smsc.next()]

    (came,) = (one for one in told if "text" in one)
    assert {"answered": 0} in told
    assert (came["text"], came["from"], came["to"]) == (text, digits(first.proxy), digits(first.identifier))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_the_carrier_reaches_kannel(world: SmppWorld, kannel: Kannel, tenant: Tenant, text: str) -> None:
    """As a deliver_sm, in the alphabet that it needs."""
    pairing = over_hub(tenant)
    first, second = pairing.first, pairing.second

    world.smsc.tell(**{"from": digits(first.identifier), "to": digits(first.proxy), "text": text})
    assert world.smsc.next() == {"answered": 0}
    came = kannel.next()

    charset = {"UTF-16BE": "utf-16-be", "UCS-2": "utf-16-be"}.get(came["charset"].upper(), "utf-8")
    assert came["text"].encode("latin-1").decode(charset) == text
    assert (digits(came["from"]), digits(came["to"])) == (digits(second.proxy), digits(second.identifier))


@pytest.mark.parametrize("text", ["0123456789" * 40, "ж" * 200, "€" * 160])
def test_a_long_text_of_kannel_is_one_message_and_leaves_in_parts(
    world: SmppWorld, kannel: Kannel, tenant: Tenant, text: str
) -> None:
    """One interaction; the parts together are the text."""
    pairing = over_carrier(tenant)

    kannel.send(pairing.first.identifier, pairing.first.proxy, text, coding=2)
    parts = [world.smsc.next()]
    while sum(len(part["text"]) for part in parts) < len(text):
        parts.append(world.smsc.next())

    assert "".join(part["text"] for part in parts) == text
    assert len({part["udh"][:8] for part in parts}) == 1
    assert eventually(lambda: states(tenant, pairing) == ["sent"])
    for part in reversed(parts):
        world.smsc.tell(receipt=part["id"].upper(), state="DELIVRD", **{"from": part["to"], "to": part["from"]})
        assert world.smsc.next() == {"answered": 0}
    assert eventually(lambda: states(tenant, pairing) == ["delivered"])


def test_a_long_text_of_the_carrier_reaches_kannel_as_one(world: SmppWorld, kannel: Kannel, tenant: Tenant) -> None:
    """It came whole, in message_payload, and Kannel puts the parts together."""
    pairing, text = over_hub(tenant), "abcdefghij" * 45

    number = {"from": digits(pairing.first.identifier), "to": digits(pairing.first.proxy)}
    world.smsc.tell(**number, text=text, payload=True)
    assert world.smsc.next() == {"answered": 0}

    assert kannel.next()["text"] == text


def test_a_throttled_text_is_sent_again(world: SmppWorld, kannel: Kannel, tenant: Tenant) -> None:
    """It is no failure."""
    pairing = over_carrier(tenant)
    world.smsc.tell(refuse=0x58)

    kannel.send(pairing.first.identifier, pairing.first.proxy, "once more")
    came = [world.smsc.next(), world.smsc.next()]

    assert [(one["text"], one["status"]) for one in came] == [("once more", 0x58), ("once more", 0)]
    assert eventually(lambda: states(tenant, pairing) == ["sent"])


def test_a_text_that_the_carrier_refuses_has_failed(world: SmppWorld, kannel: Kannel, tenant: Tenant) -> None:
    """For good, with the status for the debugger."""
    pairing = over_carrier(tenant)
    world.smsc.tell(refuse=0x0B)

    kannel.send(pairing.first.identifier, pairing.first.proxy, "nobody")
    world.smsc.next()

    assert eventually(lambda: states(tenant, pairing) == ["failed"])


def test_a_message_that_an_application_pushes_leaves_by_the_carrier(world: SmppWorld, tenant: Tenant) -> None:
    """From the participant's proxy number; media are refused."""
    pairing = over_carrier(tenant)
    second = pairing.second
    path = f"{pairing.path}/Participants/{second.sid}/MessageInteractions"

    tenant.create(path, Body="your car is here")
    came = world.smsc.next()
    tenant.create(path, Body="look", MediaUrl="https://media.example.com/1.jpg")

    assert (came["text"], came["from"], came["to"]) == (
        "your car is here",
        digits(second.proxy),
        digits(second.identifier),
    )
    assert eventually(lambda: sorted(states(tenant, pairing)) == ["failed", "sent"])


def test_strangers_are_not_connected_and_the_carrier_is_not_asked_to_try_again(
    world: SmppWorld, tenant: Tenant
) -> None:
    """Whoever is in no session is refused, and the carrier hears that it is settled."""
    pairing = over_carrier(tenant)

    world.smsc.tell(**{"from": "14155550999", "to": digits(pairing.first.proxy), "text": "hi"})

    assert world.smsc.next() == {"answered": 0}
    assert states(tenant, pairing) == []


def test_the_operator_sees_who_is_bound(world: SmppWorld, kannel: Kannel) -> None:
    """And why not."""
    del kannel
    listed = run("smpp", "peers", "--json", "--data-dir", str(world.data_dir))

    peers = {one["name"]: (one["role"], one["can_send"], one["problem"]) for one in json.loads(listed)["peers"]}
    assert peers == {"carrier": ("esme", True, ""), "hub": ("smsc", True, "")}


def test_the_operator_sends_one_message_and_reads_its_pdus(world: SmppWorld) -> None:
    """Over a connection of its own."""
    numbers = ("--from", "+12125550111", "--to", "+14155550100")

    said = run("smpp", "send", "carrier", *numbers, "it works", "--config", str(world.configuration))

    assert world.smsc.next() == {"bound": "masks", "as": "bind_transmitter"}
    came = world.smsc.next()
    assert (came["text"], came["from"], came["to"]) == ("it works", "12125550111", "14155550100")
    assert [line.split(",")[0] for line in said.splitlines()] == [
        "-> bind_transmitter #1",
        "<- bind_transmitter_resp #1",
        "-> submit_sm #2",
        "<- submit_sm_resp #2",
        f"   the peer calls it {came['id']!r}",
        "-> unbind #3",
        "<- unbind_resp #3",
    ]


def test_no_log_line_has_a_whole_number_or_a_password(world: SmppWorld, tenant: Tenant) -> None:
    """Whatever happened in the tests before."""
    pairing = over_carrier(tenant)

    assert digits(pairing.first.identifier)[:7] not in world.server.log
    assert "secret" not in world.server.log
