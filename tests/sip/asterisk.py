"""deploy/asterisk with a real Asterisk between two SIPp ends and a running engine: who hears of whom.

Skipped where the programs are not there: not every Debian has Asterisk.
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

ASTERISK = shutil.which("asterisk", path=PROGRAMS)
MODULES = [*Path("/usr/lib").glob("*/asterisk/modules"), Path("/usr/lib/asterisk/modules")]
DATA = Path("/usr/share/asterisk")
if ASTERISK is None or SIPP is None:
    pytest.skip("needs Asterisk and SIPp", allow_module_level=True)

RING_SECONDS = 2
ASTERISK_PEER = SipPeerSettings(name="asterisk", networks=("127.0.0.1",))
PARTS = """
    pbx_config app_dial app_exec chan_pjsip bridge_simple codec_ulaw res_curl res_timing_timerfd
    res_rtp_asterisk res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb
    res_pjsip res_pjsip_pubsub res_pjsip_session res_pjsip_sdp_rtp res_pjsip_endpoint_identifier_ip res_pjsip_caller_id
    res_pjsip_diversion res_pjsip_dlg_options res_pjsip_nat res_pjsip_rfc3326
    func_curl func_cut func_logic func_uri func_callerid func_channel func_global
"""
"""What the sample uses, so that nothing else listens or writes anywhere."""


def configuration(directory: Path, ports: Ports, shop: Shop) -> Path:
    """Write the files of deploy/asterisk with the addresses of a test, and what a package brings besides."""
    changes = {
        "pjsip.conf": {
            r"bind=.*": f"bind={SWITCH_AT}:{ports.switch}",
            r"contact=.*": f"contact=sip:{CALLEE_AT}:{ports.callee}",
            r"match=.*": "match=127.0.0.0/28",
        },
        "extensions.conf": {
            r"ENGINE=.*": f"ENGINE=http://127.0.0.1:{free_port()}",  # dead: the other one is asked
            r"ENGINE_TOO=.*": f"ENGINE_TOO={shop.engine.address}",
            r"TRUNK=.*": f"TRUNK={CALLEE_AT}:{ports.callee}",
            r"RING_SECONDS=.*": f"RING_SECONDS={RING_SECONDS}",
        },
    }
    for name, lines in changes.items():
        text = (DEPLOY / "asterisk" / name).read_text()
        for line, other in lines.items():
            text, count = re.subn(f"(?m)^{line}$", other, text)
            assert count == 1, line
        (directory / name).write_text(text)
    modules = next(one for one in MODULES if one.is_dir())
    own = ("etc", "log", "run", "db", "spool", "varlib", "key", "agi")
    places = [f"astdatadir => {DATA}", *(f"ast{name}dir => {directory}" for name in own)]
    (directory / "asterisk.conf").write_text(
        "\n".join(["[directories]", f"astmoddir => {modules}", *places, "[options]", "documentation_language = en_US"])
    )
    (directory / "modules.conf").write_text(
        "\n".join(["[modules]", "autoload=no", *(f"load={one}.so" for one in PARTS.split())])
    )
    (directory / "logger.conf").write_text("[logfiles]\nconsole => warning,error,notice,verbose\n")
    (directory / "rtp.conf").write_text("[general]\nrtpstart=21700\nrtpend=21799\nicesupport=no\n")
    return directory / "asterisk.conf"


def world(tmp_path: Path) -> AbstractAsyncContextManager[World]:
    """Run Asterisk."""

    def command(directory: Path, ports: Ports, shop: Shop) -> tuple[str, ...]:
        return (str(ASTERISK), "-f", "-vvv", "-C", str(configuration(directory, ports, shop)))

    return switching(tmp_path, ASTERISK_PEER, command)


async def test_an_answered_call_names_nobody_to_the_other_side(tmp_path: Path) -> None:
    """INVITE, 180, 200, ACK, re-INVITE and BYE; the second engine is asked where the first one is dead."""
    async with world(tmp_path) as one:
        await check_answered(one, scenarios.callee(BOB, is_asked_again=False))


@pytest.mark.parametrize(
    ("how", "heard", "status"),
    [
        ("busy", "486", "busy"),
        ("declined", "403", "failed"),
        ("forwarded", "480", "busy"),
        ("cancelled", "cancelled", "canceled"),
        ("silent", "480", "no-answer"),
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


async def test_a_withheld_number_is_known_by_what_the_carrier_asserts(tmp_path: Path) -> None:
    """From is anonymous, and privacy is asked for: the callee sees the proxy number all the same."""
    async with world(tmp_path) as one:
        await check_connected(one, scenarios.withheld_caller(ALICE), scenarios.callee(BOB, is_asked_again=False))
