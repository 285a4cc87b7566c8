"""deploy/kamailio with the real Kamailio between two SIPp ends and a running engine: who hears of whom.

Skipped where the programs are not there; `make sip-test` installs them.
"""

import asyncio
import re
import shutil
import sqlite3
from contextlib import AbstractAsyncContextManager
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from engine.channels.sip.tables import SipPeerSettings
from tests.certificates import Pems, made
from tests.channels.sip.test_channel import kept
from tests.e2e.live import free_port
from tests.ops.kit import DEPLOY
from tests.outbound.receiver import Receiver, Reply
from tests.sip import scenarios
from tests.sip.ends import (
    CALLEE_AT,
    PROGRAMS,
    SIPP,
    SWITCH_AT,
    Ports,
    World,
    check_answered,
    check_connected,
    check_stranger,
    check_unanswered,
    switching,
)
from tests.test_outgoing import ALICE, BOB, STRANGER, Shop, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

KAMAILIO = shutil.which("kamailio", path=PROGRAMS)
TABLES = Path("/usr/share/kamailio/db_sqlite")
if KAMAILIO is None or SIPP is None or not TABLES.is_dir():
    pytest.skip("needs Kamailio with its modules for SQLite and HTTP, and SIPp", allow_module_level=True)

RING_MILLISECONDS = 1_500
# what it sends over TCP and HTTP comes from the loopback's first address, whichever it listens on
KAMAILIO_PEER = SipPeerSettings(name="kamailio", networks=(SWITCH_AT, "127.0.0.1"), trust_pai=True)


class Tls(NamedTuple):
    """What each side shows and believes where Kamailio asks over TLS."""

    pems: Pems
    """The engine's, and Kamailio's own."""
    authorities: Path
    """Whom Kamailio believes."""


def configuration(
    directory: Path, ports: Ports, shop: Shop, *, transport: str, spare: bool, tls: Tls | None = None
) -> Path:
    """Write the files of deploy/kamailio with the addresses of a test, for TLS with its lines taken in; no more."""
    text = (DEPLOY / "kamailio" / "kamailio.cfg").read_text()
    chosen = {
        "LISTEN_UDP": f"udp:{SWITCH_AT}:{ports.switch}",
        "LISTEN_TCP": f"tcp:{SWITCH_AT}:{ports.switch}",
        "MY_DOMAIN": f'"{SWITCH_AT}"',
        "TRUNK": f'"sip:{CALLEE_AT}:{ports.callee}"',
        "TRUNK_HOST": f'"{CALLEE_AT}"',
        "TRUNK_NETWORKS": '"127.0.0.0/28"',
        "REPORT_TO": f'"{shop.engine.address}/carrier/status"',
        "REPORT_TO_TOO": f'"{shop.engine.address}/carrier/status"',
        "RING_MILLISECONDS": str(RING_MILLISECONDS),
        "TOPOS_DB": f'"sqlite:///{directory}/topos.sqlite"',
        "ENGINES": f'"{directory}/dispatcher.list"',
    }
    if tls is not None:
        chosen["LISTEN_TLS"] = f"tls:{SWITCH_AT}:{free_port()}"
        chosen["TLS_CERTIFICATE"], chosen["TLS_KEY"] = (f'"{file}"' for file in tls.pems)
        chosen["ENGINE_AUTHORITIES"] = f'"{tls.authorities}"'
        text = text.replace("##!define", "#!define")
    for name, value in chosen.items():
        text, count = re.subn(rf"(?m)^#!define {name} .*$", f"#!define {name} {value}", text)
        assert count == 1, name
    engine = shop.engine.channels.addresses["sip"]
    dead = f"1 sip:127.0.0.1:{free_port()} 0 20\n" if spare else ""
    (directory / "dispatcher.list").write_text(f"{dead}1 sip:{engine};transport={transport} 0 10\n")
    with sqlite3.connect(directory / "topos.sqlite") as tables:
        for script in ("standard-create.sql", "topos-create.sql"):
            tables.executescript((TABLES / script).read_text())
    file = directory / "kamailio.cfg"
    file.write_text(text)
    return file


def world(
    tmp_path: Path,
    *,
    transport: str = "udp",
    spare: bool = False,
    peer: SipPeerSettings = KAMAILIO_PEER,
    tls: Tls | None = None,
    **urls: str,
) -> AbstractAsyncContextManager[World]:
    """Run Kamailio, which asks over a transport; a `spare` engine is dead.

    It is ready once it asks for life; where it does not believe the engine, once it listens.
    """

    def command(directory: Path, ports: Ports, shop: Shop) -> tuple[str, ...]:
        file = configuration(directory, ports, shop, transport=transport, spare=spare, tls=tls)
        options = ("-DD", "-E", "-Y", str(directory), "-P", f"{directory}/pid", "-m", "64", "-M", "8")
        return (str(KAMAILIO), "-f", str(file), *options)

    pems = None if tls is None else tls.pems
    believes = tls is None or tls.authorities == tls.pems.chain
    is_ready = (lambda one: _is_pinged(one.shop)) if believes else None
    return switching(tmp_path, peer, command, is_ready=is_ready, pems=pems, **urls)


async def _is_pinged(shop: Shop) -> bool:
    page = (await shop.client.get("/metrics")).text
    found = re.search(r'maskline_sip_requests_total\{method="OPTIONS",peer="kamailio"\} ([0-9.]+)', page)
    return found is not None and float(found[1]) > 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_answered_call_names_nobody_to_the_other_side(tmp_path: Path, transport: str) -> None:
    """INVITE, 180, 200, ACK, re-INVITE and BYE; the interaction has its legs, states and length."""
    async with world(tmp_path, transport=transport) as one:
        await check_answered(one, scenarios.callee(BOB))


async def test_the_engine_can_be_asked_over_tls(tmp_path: Path) -> None:
    """By the lines that are comments at first; the engine is known by its certificate."""
    pems = made(tmp_path / "pems")
    async with world(tmp_path, transport="tls", tls=Tls(pems, pems.chain)) as one:
        await check_answered(one, scenarios.callee(BOB))


async def test_an_engine_that_nobody_known_vouches_for_is_not_asked(tmp_path: Path) -> None:
    """Its certificate is another's: the call is refused, and the engine hears nothing of it."""
    pems, others = made(tmp_path / "pems"), made(tmp_path / "others")
    async with world(tmp_path, transport="tls", tls=Tls(pems, others.chain)) as one:
        fared = await one.call(one.shop.proxies[ALICE], scenarios.caller(ALICE, end="408"))
        page = (await one.shop.client.get("/metrics")).text

    assert fared == [0]
    assert [
        line for line in page.splitlines() if line.startswith("maskline_sip_requests") and line[-4:] != " 0.0"
    ] == []


@pytest.mark.parametrize(
    ("how", "heard", "status"),
    [
        ("busy", "486", "busy"),
        ("declined", "603", "failed"),
        ("forwarded", "480", "failed"),
        ("cancelled", "cancelled", "canceled"),
        ("silent", "408", "no-answer"),
    ],
)
async def test_a_call_that_is_not_answered_names_nobody_either(
    tmp_path: Path, how: str, heard: str, status: str
) -> None:
    """Busy, declined, forwarded by the callee's network, given up by the caller, or rung out."""
    async with world(tmp_path) as one:
        await check_unanswered(one, how=how, heard=heard, status=status)


async def test_a_stranger_is_refused_and_told_nothing(tmp_path: Path) -> None:
    """By the engine, through the switch."""
    async with world(tmp_path) as one:
        await check_stranger(one)


@pytest.mark.parametrize(
    ("made_as", "changed"), [({"Mode": "message-only"}, {}), ({}, {"Ttl": "1"}), ({}, {"Status": "closed"})]
)
async def test_a_session_that_does_not_let_the_call_pass_is_as_none(
    tmp_path: Path, made_as: dict[str, str], changed: dict[str, str]
) -> None:
    """Of another mode, expired, or closed: 404, and nothing is told."""
    async with world(tmp_path) as one:
        await one.shop.renew(**made_as)
        await one.shop.post(f"/{one.shop.service}/Sessions/{one.shop.session}", **changed)
        if "Ttl" in changed:
            await until(lambda: _is_closed(one.shop))

        fared = await one.call(one.shop.proxies[ALICE], scenarios.caller(ALICE, end="404"))
        heard = one.heard("caller")
        calls = await kept(one.shop)

        assert (fared, calls) == ([0], [])
        assert [word for word in ("Maskline", BOB[1:], one.shop.proxies[BOB][1:]) if word in heard] == []


async def _is_closed(shop: Shop) -> bool:
    path = f"/v1/Services/{shop.service}/Sessions/{shop.session}"
    return bool((await shop.client.get(path)).json()["status"] == "closed")


@pytest.mark.timeout(300)
async def test_numbers_are_read_in_every_form_that_the_peer_writes(tmp_path: Path) -> None:
    """Twenty of them, of who calls and of whom: each reaches the same callee, and shows the same number."""
    american = msgspec.structs.replace(
        KAMAILIO_PEER, trust_pai=False, national="US", plus_missing=True, strip_prefixes=("9931#",)
    )
    async with world(tmp_path, peer=american) as one:
        proxies = one.shop.proxies
        fared = []
        for called, sender in zip(reached(proxies[ALICE]), cycle(callers(ALICE)), strict=False):
            calling = scenarios.caller(ALICE, end="486")
            calling = calling.replace(" sip:[field1]@[remote_ip]:[remote_port];user=phone SIP", f" {called} SIP")
            calling = calling.replace("<sip:[field0]@" + scenarios.DOMAIN_A + ">;tag", f"<{sender}>;tag")
            ends = await one.call(proxies[ALICE], calling, scenarios.callee(BOB, end="busy"))
            fared.append((called, sender, ends, proxies[BOB] in one.heard("callee")))
        calls = await kept(one.shop)

    assert [one for one in fared if one[2:] != ([0, 0], True)] == []
    assert len(calls) == len(fared) == 20


def reached(number: str) -> list[str]:
    """Return Request-URIs that name a number of the United States."""
    digits, national, at = number[1:], number[2:], "@" + SWITCH_AT
    area, exchange, line = national[:3], national[3:6], national[6:]
    users = (
        *(number, f"%2B{digits}", digits, national, f"011{digits}", f"00{digits}", f"9931%23{digits}"),
        *(f"+1-{area}-{exchange}-{line}", f"+1({area}){exchange}.{line}", f"{area}-{exchange}-{line}"),
        *(f"{number};npdi;rn=+14155550999", f"{number};isup-oli=00;cic=+10288", f"{number}:secret", f"%2b{digits}"),
    )
    uris = [f"sip:{user}{at}{end}" for user, end in zip(users, cycle((";user=phone", "")), strict=False)]
    return [*uris, f"tel:{number}", f"tel:+1-{area}-{exchange}-{line}", f"tel:{national};phone-context=+1", *uris[:3]]


def callers(number: str) -> list[str]:
    """Return URIs that name a caller of the United States."""
    digits, national = number[1:], number[2:]
    users = (number, f"%2B{digits}", digits, national, f"{number};cpc=ordinary", f"+1-{national}")
    return [*(f"sip:{user}@{scenarios.DOMAIN_A}" for user in users), f"tel:{number}"]


async def test_the_next_engine_is_asked_where_one_is_dead(tmp_path: Path) -> None:
    """After two seconds, before the switch has found out by itself."""
    async with world(tmp_path, spare=True) as one:
        await check_connected(one, scenarios.caller(ALICE), scenarios.callee(BOB))


async def test_a_withheld_number_is_known_by_what_the_carrier_asserts(tmp_path: Path) -> None:
    """From is anonymous, the asserted identity is believed of a peer that is trusted, and shown to nobody."""
    async with world(tmp_path) as one:
        await check_connected(one, scenarios.withheld_caller(ALICE), scenarios.callee(BOB))


async def test_an_identity_of_a_peer_that_is_not_trusted_counts_for_nothing(tmp_path: Path) -> None:
    """The caller is who stands in From: a stranger who asserts to be somebody else is one."""
    async with world(tmp_path, peer=msgspec.structs.replace(KAMAILIO_PEER, trust_pai=False)) as one:
        calling = scenarios.caller(ALICE, end="404")

        fared = await one.call(one.shop.proxies[ALICE], calling, sender=STRANGER)

        assert fared == [0]


async def test_a_hook_is_waited_for(receiver: Receiver, tmp_path: Path) -> None:
    """The switch hears 100 meanwhile, and the call goes on when the application has answered."""
    receiver.behaviour = lambda _: Reply(hangs=True)
    async with world(tmp_path, InterceptCallbackUrl=receiver.url) as one:
        proxies = one.shop.proxies
        asyncio.get_running_loop().call_later(1.5, receiver.release)

        fared = await one.call(proxies[ALICE], scenarios.caller(ALICE), scenarios.callee(BOB))

        assert fared == [0, 0]
        assert len(receiver.received) == 1
