"""deploy/kamailio with the real Kamailio between two SIPp ends and a running engine: who hears of whom.

Every message that reaches one end is searched for what names the other one: its number, name, address and the number
that was dialled, Record-Route and Via decoded. Skipped where the programs are not there; `make sip-test` installs them.
"""

import asyncio
import base64
import re
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from engine.channels.sip.tables import SipPeerSettings
from engine.channels.sockets import ListenAddress
from tests.channels.sip.test_channel import kept
from tests.ops.kit import DEPLOY
from tests.ops.test_nginx import free_port
from tests.outbound.receiver import Receiver, Reply, receiving
from tests.sip import scenarios
from tests.test_outgoing import ALICE, BOB, STRANGER, Shop, opened, settings, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

KAMAILIO, SIPP = (shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin") for name in ("kamailio", "sipp"))
TABLES = Path("/usr/share/kamailio/db_sqlite")
if KAMAILIO is None or SIPP is None or not TABLES.is_dir():
    pytest.skip("needs Kamailio with its modules for SQLite and HTTP, and SIPp", allow_module_level=True)

PATIENCE = 45.0
RING_MILLISECONDS = 1_500
CALLER_AT, CALLEE_AT, SWITCH_AT = "127.0.0.11", "127.0.0.12", "127.0.0.13"
"""Each its own address of the loopback, so that an address names its end."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An application that answers 200 to everything."""
    with receiving() as receiver:
        yield receiver


class Ports(msgspec.Struct, frozen=True):
    """Where everybody is."""

    switch: int
    callee: int


def configuration(directory: Path, ports: Ports, shop: Shop, *, transport: str, spare: bool) -> Path:
    """Write the files of deploy/kamailio with the addresses of a test; nothing else is changed."""
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


class World:
    """A switch between two ends, and an engine that it asks."""

    def __init__(self, shop: Shop, directory: Path, ports: Ports) -> None:
        self.shop = shop
        self.directory = directory
        self.ports = ports

    async def sipp(self, name: str, scenario: str, *arguments: str, at: str) -> asyncio.subprocess.Process:
        """Start one end, which writes down what reaches it."""
        file = self.directory / f"{name}.xml"
        file.write_text(scenario)
        messages = ("-trace_msg", "-message_file", str(self.directory / f"{name}.log"), "-message_overwrite", "true")
        return await asyncio.create_subprocess_exec(
            *(str(SIPP), "-sf", str(file), "-i", at, "-m", "1", "-nostdin", "-timeout", "40s", *messages, *arguments),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.directory,
        )

    async def call(self, called: str, calling: str, callee: str | None = None, *, sender: str = ALICE) -> list[int]:
        """Let a call happen; return how both ends fared, 0 = as their scenarios say."""
        (self.directory / "numbers.csv").write_text(f"SEQUENTIAL\n{sender};{called}\n")
        ends = []
        if callee is not None:
            ends.append(await self.sipp("callee", callee, "-p", str(self.ports.callee), at=CALLEE_AT))
            await until(self._listens)
        to = f"{SWITCH_AT}:{self.ports.switch}"
        ends.append(await self.sipp("caller", calling, to, "-inf", "numbers.csv", at=CALLER_AT))
        try:
            async with asyncio.timeout(PATIENCE):
                return [await end.wait() for end in ends]
        finally:
            for end in ends:
                with suppress(ProcessLookupError):
                    end.kill()

    async def _listens(self) -> bool:
        taken = f"{int.from_bytes(bytes(map(int, CALLEE_AT.split('.')))[::-1]):08X}:{self.ports.callee:04X}"
        return taken in await asyncio.to_thread(Path("/proc/net/udp").read_text)

    def heard(self, name: str) -> str:
        """Return all that reached one end, and behind it what its parts in base64 say."""
        log = (self.directory / f"{name}.log").read_text("latin-1")
        came = re.findall(r"message received \[\d+\] bytes :\n\n(.*?)(?=\n-{20,}|\Z)", log, re.DOTALL)
        assert came, log
        text = "\n".join(came)
        return text + "\n" + "\n".join(_decoded(text))

    async def ended(self, status: str) -> dict[str, str]:
        """Wait until the call has ended so; return its interaction."""

        async def is_over() -> bool:
            return [one["inbound_resource_status"] for one in await kept(self.shop)] == [status]

        await until(is_over)
        (call,) = await kept(self.shop)
        return call


def _decoded(text: str) -> Iterator[str]:
    for word in re.findall(r"[A-Za-z0-9+/._=-]{16,}", text):
        for one in (word, word.replace("-", "+").replace("_", "/").replace(".", "=")):
            with suppress(ValueError):
                yield base64.b64decode(one + "=" * (-len(one) % 4)).decode("latin-1")


@asynccontextmanager
async def world(
    tmp_path: Path, *, transport: str = "udp", spare: bool = False, trust_pai: bool = True, **urls: str
) -> AsyncIterator[World]:
    # what it sends over TCP and HTTP comes from the loopback's first address, whichever it listens on
    peers = (SipPeerSettings(name="kamailio", networks=(SWITCH_AT, "127.0.0.1"), trust_pai=trust_pai),)
    chosen = settings(tmp_path / "data", sip_listen=ListenAddress("127.0.0.1", 0), sip_peers=peers)
    async with opened(chosen, **urls) as shop:
        with tempfile.TemporaryDirectory() as place:
            directory, ports = Path(place), Ports(free_port(), free_port())
            file = configuration(directory, ports, shop, transport=transport, spare=spare)
            log = (directory / "kamailio.log").open("wb")
            options = ("-DD", "-E", "-Y", place, "-P", f"{place}/pid", "-m", "64", "-M", "8")
            process = await asyncio.create_subprocess_exec(
                *(str(KAMAILIO), "-f", str(file), *options), stdout=log, stderr=log, cwd=place
            )
            one = World(shop, directory, ports)
            try:
                await until(lambda: _is_pinged(shop))
                yield one
            except BaseException:
                print((directory / "kamailio.log").read_text("latin-1")[-6000:])  # noqa: T201 - of a test that fails
                raise
            finally:
                process.terminate()
                await process.wait()
                log.close()


async def _is_pinged(shop: Shop) -> bool:
    page = (await shop.client.get("/metrics")).text
    found = re.search(r'maskline_sip_requests_total\{method="OPTIONS",peer="kamailio"\} ([0-9.]+)', page)
    return found is not None and float(found[1]) > 0


def check_apart(one: World, proxy_of_caller: str, proxy_of_callee: str) -> None:
    """Nothing that reached the callee names the caller, nor the other way round; Call-ID is told in the docs."""
    to_callee, to_caller = one.heard("callee"), one.heard("caller")
    of_caller = (ALICE[1:], "Alice", scenarios.DOMAIN_A, proxy_of_caller[1:], CALLER_AT, "Maskline")
    of_callee = (BOB[1:], "Bob", scenarios.DOMAIN_B, proxy_of_callee[1:], CALLEE_AT, "Maskline")
    for heard, names in ((to_callee, of_caller), (to_caller, of_callee)):
        text = re.sub(r"(?m)^(Call-ID: |[oc]=).*$", "", heard)
        assert [name for name in names if name in text] == [], text
    assert to_callee.count(proxy_of_callee) >= 2


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_answered_call_names_nobody_to_the_other_side(tmp_path: Path, transport: str) -> None:
    """INVITE, 180, 200, ACK, re-INVITE and BYE; the interaction has its legs, states and length."""
    async with world(tmp_path, transport=transport) as one:
        proxies = one.shop.proxies

        fared = await one.call(proxies[ALICE], scenarios.caller(ALICE), scenarios.callee(BOB))
        call = await one.ended("completed")

        assert fared == [0, 0]
        check_apart(one, proxies[ALICE], proxies[BOB])
        assert call["outbound_resource_status"] == "completed"
        assert int(msgspec.json.decode(call["data"])["duration"]) in {1, 2, 3}


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
        proxies = one.shop.proxies

        fared = await one.call(proxies[ALICE], scenarios.caller(ALICE, end=heard), scenarios.callee(BOB, end=how))
        call = await one.ended(status)

        assert fared[-1] == 0
        check_apart(one, proxies[ALICE], proxies[BOB])
        assert call["outbound_resource_status"] == status


async def test_a_stranger_is_refused_and_told_nothing(tmp_path: Path) -> None:
    """By the engine, through the switch."""
    async with world(tmp_path) as one:
        calling = scenarios.caller(STRANGER, end="404")

        fared = await one.call(one.shop.proxies[ALICE], calling, sender=STRANGER)

        assert fared == [0]
        heard = one.heard("caller")
        assert "Maskline" not in heard
        assert BOB not in heard


async def test_the_next_engine_is_asked_where_one_is_dead(tmp_path: Path) -> None:
    """After two seconds, before the switch has found out by itself."""
    async with world(tmp_path, spare=True) as one:
        proxies = one.shop.proxies

        fared = await one.call(proxies[ALICE], scenarios.caller(ALICE), scenarios.callee(BOB))

        assert fared == [0, 0]
        check_apart(one, proxies[ALICE], proxies[BOB])


async def test_a_withheld_number_is_known_by_what_the_carrier_asserts(tmp_path: Path) -> None:
    """From is anonymous, the asserted identity is believed of a peer that is trusted, and shown to nobody."""
    async with world(tmp_path) as one:
        proxies = one.shop.proxies
        calling = scenarios.caller(ALICE, privacy=True).replace(
            "[field0]@" + scenarios.DOMAIN_A + ">;tag", "anonymous@anonymous.invalid>;tag"
        )

        fared = await one.call(proxies[ALICE], calling, scenarios.callee(BOB))

        assert fared == [0, 0]
        check_apart(one, proxies[ALICE], proxies[BOB])


async def test_an_identity_of_a_peer_that_is_not_trusted_counts_for_nothing(tmp_path: Path) -> None:
    """The caller is who stands in From: a stranger who asserts to be somebody else is one."""
    async with world(tmp_path, trust_pai=False) as one:
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
