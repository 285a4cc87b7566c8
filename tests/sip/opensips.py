"""deploy/opensips with a real OpenSIPS between two SIPp ends and a running engine: who hears of whom.

Skipped where the programs are not there: Debian 12 has no OpenSIPS.
"""

import re
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from engine.channels.sip.tables import SipPeerSettings
from tests.e2e.live import free_port
from tests.ops.kit import DEPLOY
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
from tests.test_outgoing import ALICE, BOB, Shop

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

OPENSIPS = shutil.which("opensips", path=PROGRAMS)
if OPENSIPS is None or SIPP is None:
    pytest.skip("needs OpenSIPS and SIPp", allow_module_level=True)

MODULES = [*Path("/usr/lib").glob("*/opensips/modules"), *Path("/usr").glob("local/lib*/opensips/modules")]
RING_SECONDS = 2
OPENSIPS_PEER = SipPeerSettings(name="opensips", networks=(SWITCH_AT, "127.0.0.1"), trust_pai=True)


def configuration(directory: Path, ports: Ports, shop: Shop, *, spare: bool) -> Path:
    """Write the files of deploy/opensips with the addresses of a test; nothing else is changed."""
    text = (DEPLOY / "opensips" / "opensips.cfg").read_text()
    changes = {
        r"udp:198\.51\.100\.5:5060": f"udp:{SWITCH_AT}:{ports.switch}",
        r"@198\.51\.100\.5": f"@{SWITCH_AT}",
        r"@198\.51\.100\.20:5060": f"@{CALLEE_AT}:{ports.callee}",
        r"@198\.51\.100\.20": f"@{CALLEE_AT}",
        r"198\.51\.100\.16/28": "127.0.0.0/28",
        r'mpath="[^"]*"': f'mpath="{MODULES[0]}/"',
        r"text:///etc/opensips/dbtext": f"text://{directory}",
        r"http://192\.0\.2\.10:8080": f"http://127.0.0.1:{free_port()}",  # dead: the other one is told
        r"http://192\.0\.2\.11:8080": shop.engine.address,
        r'"fr_inv_timeout", 120': f'"fr_inv_timeout", {RING_SECONDS}',
    }
    for line, other in changes.items():
        text, count = re.subn(line, other, text)
        assert count, line
    at = shop.engine.channels.addresses["sip"].replace(":", r"\:")
    engines = (DEPLOY / "opensips" / "dbtext" / "dispatcher").read_text().replace(r"192.0.2.11\:5060", at)
    if spare:
        engines = engines.replace(r"192.0.2.10\:5060", rf"127.0.0.1\:{free_port()}")
    lines = [line for line in engines.splitlines() if "192.0.2.10" not in line]
    (directory / "dispatcher").write_text("\n".join([*lines, ""]))
    shutil.copy(DEPLOY / "opensips" / "dbtext" / "version", directory)
    file = directory / "opensips.cfg"
    file.write_text(text)
    return file


def world(tmp_path: Path, *, spare: bool = False) -> AbstractAsyncContextManager[World]:
    """Run OpenSIPS; a `spare` engine is dead."""

    def command(directory: Path, ports: Ports, shop: Shop) -> tuple[str, ...]:
        file = configuration(directory, ports, shop, spare=spare)
        return (str(OPENSIPS), "-F", "-f", str(file), "-m", "64", "-M", "8")

    return switching(tmp_path, OPENSIPS_PEER, command)


async def test_an_answered_call_names_nobody_to_the_other_side(tmp_path: Path) -> None:
    """INVITE, 180, 200, ACK, re-INVITE and BYE; the interaction has its legs, states and length."""
    async with world(tmp_path) as one:
        await check_answered(one, scenarios.callee(BOB))


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


async def test_the_next_engine_is_asked_where_one_is_dead(tmp_path: Path) -> None:
    """After two seconds, before the switch has found out by itself."""
    async with world(tmp_path, spare=True) as one:
        await check_connected(one, scenarios.caller(ALICE), scenarios.callee(BOB))


async def test_a_withheld_number_is_known_by_what_the_carrier_asserts(tmp_path: Path) -> None:
    """From is anonymous, the asserted identity is believed of a peer that is trusted, and shown to nobody."""
    async with world(tmp_path) as one:
        await check_connected(one, scenarios.withheld_caller(ALICE), scenarios.callee(BOB))
