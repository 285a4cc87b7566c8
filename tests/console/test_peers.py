"""The page of peers: switches over SIP and who is bound over SMPP, on each host, and who may see it."""

import re

import pytest

from engine.core.model.overview import HostFigures, HostStatus, PeerState
from engine.core.model.records import Account
from tests.api.fake_control import NOW
from tests.console.fakes import Console, add_account

pytestmark = pytest.mark.anyio

WEST = PeerState(
    protocol="sip",
    name="west",
    role="switch",
    address="198.51.100.5",
    heard_at=NOW,
    answers={"302": 31, "404": 2},
    refused=2,
)
IDLE = PeerState(protocol="sip", name="east", role="switch", problem="it has asked nothing yet")
STRANGERS = PeerState(protocol="sip", name="", role="stranger", address="203.0.113.9", heard_at=NOW, refused=7)
SMSC = PeerState(protocol="smpp", name="hub", role="esme", bound_connections=2, can_send=True, is_slowed=True)


def host(name: str, *peers: PeerState) -> HostStatus:
    return HostStatus(name=name, is_ready=True, started_at=NOW, figures=HostFigures(peers=peers))


def rows(page: str) -> list[list[str]]:
    """Return the text of each row's cells."""
    found = re.findall(r'<tr role="row">(.*?)</tr>', page, re.DOTALL)
    cells = [re.findall(r'<td role="cell"[^>]*>(.*?)</td>', row, re.DOTALL) for row in found]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in cells if row]


async def test_each_peer_is_shown_as_each_host_sees_it(console: Console, account: Account) -> None:
    """Where and when a switch was last heard, what it was answered; strangers; who is bound over SMPP."""
    console.plane.statuses = (host("host-0", WEST, STRANGERS, SMSC), host("host-1", IDLE))

    page = (await (await console.screen_of(account)).get("/peers")).text

    west, strangers, east, hub = rows(page)
    assert (west[0], west[1], west[2], west[4], west[5]) == ("west", "host-0", "198.51.100.5", "302: 31, 404: 2", "2")
    assert (strangers[0], strangers[2], strangers[5]) == ("strangers", "203.0.113.9", "7")
    assert (east[0], east[1], east[3], east[6]) == ("east", "host-1", "never", "it has asked nothing yet")
    assert hub == ["hub", "host-0", "esme", "2", "yes slowed", "0", ""]


async def test_a_server_without_peers_says_so(console: Console, account: Account) -> None:
    """And whose host does not answer is named."""
    console.plane.statuses = (host("host-0"), HostStatus(name="host-1", is_answering=False))

    page = (await (await console.screen_of(account)).get("/peers")).text

    assert "Nobody asks over SIP." in page
    assert "Nobody is spoken to over SMPP." in page
    assert "host-1 does not answer" in page


async def test_one_of_several_accounts_does_not_see_the_operators_peers(console: Console, account: Account) -> None:
    """Neither the page nor the way to it; the operator does."""
    console.plane.statuses = (host("host-0", WEST),)
    add_account(console, "b")
    screen, operator = await console.screen_of(account), await console.operators_screen()

    assert (await screen.get("/peers")).status_code == 404
    assert "console/peers" not in (await screen.get()).text
    assert "198.51.100.5" in (await operator.get("/peers")).text
    assert "console/peers" in (await operator.get()).text
