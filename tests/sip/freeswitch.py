"""deploy/freeswitch with a real FreeSWITCH between two SIPp ends and a running engine: who hears of whom.

Skipped where the programs are not there: Debian 12 has no FreeSWITCH.
"""

import asyncio
import re
import shutil
import socket
import uuid
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest

from engine.channels.sip.tables import SipPeerSettings
from tests.certificates import made
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

FREESWITCH = shutil.which("freeswitch", path=f"{PROGRAMS}:/usr/local/freeswitch/bin")
if FREESWITCH is None or SIPP is None:
    pytest.skip("needs FreeSWITCH and SIPp", allow_module_level=True)

RING_SECONDS = 2
FREESWITCH_PEER = SipPeerSettings(name="freeswitch", networks=("127.0.0.1",))
MODULES = "mod_console mod_commands mod_curl mod_dialplan_xml mod_dptools mod_sofia"
PLACES = "conf log run db temp storage recordings cache scripts htdocs grammar sounds"
"""What the sample uses, and what FreeSWITCH would keep elsewhere, so that nothing else listens or writes anywhere."""

FILES = """<document type="freeswitch/xml">
<section name="configuration">
<configuration name="switch.conf"><settings>
<param name="rtp-start-port" value="21700"/><param name="rtp-end-port" value="21799"/>
</settings></configuration>
<configuration name="modules.conf"><modules>{modules}</modules></configuration>
<configuration name="sofia.conf"><profiles>
<X-PRE-PROCESS cmd="include" data="carrier.xml"/>
</profiles></configuration>
</section>
<section name="dialplan">
<X-PRE-PROCESS cmd="include" data="dialplan.xml"/>
</section>
</document>
"""

OPTIONS = """OPTIONS sip:{to} SIP/2.0
Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{id}
Max-Forwards: 70
From: <sip:trunk@{host}>;tag={id}
To: <sip:{to}>
Call-ID: {id}
CSeq: 1 OPTIONS
Content-Length: 0

"""


def configuration(directory: Path, ports: Ports, shop: Shop) -> None:
    """Write the files of deploy/freeswitch with the addresses of a test, and what a package brings besides."""
    changes = {
        "carrier.xml": {
            r'"sip-ip" value="[^"]*"': f'"sip-ip" value="{SWITCH_AT}"',
            r'"rtp-ip" value="[^"]*"': f'"rtp-ip" value="{SWITCH_AT}"',
            r'"sip-port" value="5060"': f'"sip-port" value="{ports.switch}"',
            r"198\.51\.100\.16/28": "127.0.0.0/28",
        },
        "dialplan.xml": {
            r'"engine=[^"]*"': f'"engine=http://127.0.0.1:{free_port()}"',  # dead: the other one is asked
            r'"engine_too=[^"]*"': f'"engine_too={shop.engine.address}"',
            r'"trunk=[^"]*"': f'"trunk={CALLEE_AT}:{ports.callee}"',
            r'"ring_seconds=[^"]*"': f'"ring_seconds={RING_SECONDS}"',
        },
    }
    for name, lines in changes.items():
        text = (DEPLOY / "freeswitch" / name).read_text()
        for line, other in lines.items():
            text, count = re.subn(line, other, text)
            assert count == 1, line
        (directory / name).write_text(text)
    modules = "".join(f'<load module="{one}"/>' for one in MODULES.split())
    (directory / "freeswitch.xml").write_text(FILES.format(modules=modules))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what each FreeSWITCH would make anew before it listens: seconds for 4096 bits, twice."""
    pems = made(tmp_path_factory.mktemp("freeswitch") / "pems", key="rsa:4096")
    for name in ("dtls-srtp.pem", "wss.pem"):
        (pems.key.parent / name).write_text(pems.key.read_text() + pems.chain.read_text())
    return pems.key.parent


def world(tmp_path: Path, certificates: Path) -> AbstractAsyncContextManager[World]:
    """Run FreeSWITCH."""

    def command(directory: Path, ports: Ports, shop: Shop) -> tuple[str, ...]:
        configuration(directory, ports, shop)
        places = [word for name in PLACES.split() for word in (f"-{name}", str(directory))]
        return (str(FREESWITCH), "-nf", "-nc", "-nonat", "-nort", "-certs", str(certificates), *places)

    return switching(tmp_path, FREESWITCH_PEER, command, is_ready=_takes_calls)


async def _takes_calls(one: World) -> bool:
    """Tell whether OPTIONS is answered with 200: FreeSWITCH listens seconds before it takes calls."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0)
        asker.bind(("127.0.0.1", 0))
        asker.connect((SWITCH_AT, one.ports.switch))
        host, port = asker.getsockname()
        asking = OPTIONS.format(host=host, port=port, to=f"{SWITCH_AT}:{one.ports.switch}", id=uuid.uuid4().hex)
        with suppress(OSError, TimeoutError):
            asker.send(asking.replace("\n", "\r\n").encode())
            async with asyncio.timeout(1):
                answer = await asyncio.get_running_loop().sock_recv(asker, 4096)
            return answer.startswith(b"SIP/2.0 200 ")
    return False


async def test_an_answered_call_names_nobody_to_the_other_side(tmp_path: Path, certificates: Path) -> None:
    """INVITE, 180, 200, ACK, re-INVITE and BYE; the second engine is asked where the first one is dead."""
    async with world(tmp_path, certificates) as one:
        await check_answered(one, scenarios.callee(BOB, is_asked_again=False))


@pytest.mark.parametrize(
    ("how", "heard", "status"),
    [
        ("busy", "486", "busy"),
        ("declined", "603", "failed"),
        ("forwarded", "480", "failed"),
        ("cancelled", "cancelled", "canceled"),
        ("silent", "480", "no-answer"),
    ],
)
async def test_a_call_that_is_not_answered_names_nobody_either(
    tmp_path: Path, certificates: Path, *, how: str, heard: str, status: str
) -> None:
    """Busy, declined, forwarded by the callee's network, given up by the caller, or rung out."""
    async with world(tmp_path, certificates) as one:
        await check_unanswered(one, how=how, heard=heard, status=status)


async def test_a_stranger_is_refused_and_told_nothing(tmp_path: Path, certificates: Path) -> None:
    """By the engine, through the switch."""
    async with world(tmp_path, certificates) as one:
        await check_stranger(one)


async def test_a_withheld_number_is_known_by_what_the_carrier_asserts(tmp_path: Path, certificates: Path) -> None:
    """From is anonymous, and privacy is asked for: the callee sees the proxy number all the same."""
    async with world(tmp_path, certificates) as one:
        await check_connected(one, scenarios.withheld_caller(ALICE), scenarios.callee(BOB, is_asked_again=False))
