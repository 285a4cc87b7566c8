"""A switch between two SIPp ends and an engine that it asks: calls, what reaches each end, and what must not.

Every message that reaches one end is searched for what names the other one: its number, name, address and the number
that was dialled, Record-Route and Via decoded.
"""

import asyncio
import base64
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from engine.channels.sip.tables import SipPeerSettings
from engine.channels.sockets import ListenAddress
from tests.certificates import Pems
from tests.channels.sip.test_channel import kept
from tests.e2e.live import free_port
from tests.sip import scenarios
from tests.test_outgoing import ALICE, BOB, STRANGER, Shop, opened, settings, until

PROGRAMS = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
SIPP = shutil.which("sipp", path=PROGRAMS)

PATIENCE = 45.0
CALLER_AT, CALLEE_AT, SWITCH_AT = "127.0.0.11", "127.0.0.12", "127.0.0.13"
"""Each its own address of the loopback, so that an address names its end."""


class Ports(msgspec.Struct, frozen=True):
    """Where everybody is."""

    switch: int
    callee: int


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
            await until(lambda: self.listens(CALLEE_AT, self.ports.callee))
        to = f"{SWITCH_AT}:{self.ports.switch}"
        ends.append(await self.sipp("caller", calling, to, "-inf", "numbers.csv", at=CALLER_AT))
        try:
            async with asyncio.timeout(PATIENCE):
                return [await end.wait() for end in ends]
        finally:
            for end in ends:
                with suppress(ProcessLookupError):
                    end.kill()

    @staticmethod
    async def listens(address: str, port: int) -> bool:
        """Tell whether somebody has a UDP socket there."""
        taken = f"{int.from_bytes(bytes(map(int, address.split('.')))[::-1]):08X}:{port:04X}"
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


Command = Callable[[Path, Ports, Shop], Sequence[str]]
"""Writes the files of a switch into a directory; returns the command that runs it there."""


@asynccontextmanager
async def switching(
    tmp_path: Path,
    peer: SipPeerSettings,
    command: Command,
    *,
    is_ready: Callable[[World], Awaitable[bool]] | None = None,
    pems: Pems | None = None,
    **urls: str,
) -> AsyncIterator[World]:
    """Run an engine and the switch that is its peer, ready once it listens; what it writes is shown if a test fails.

    With `pems` the engine listens over TLS, and over nothing else.
    """
    at = ListenAddress("127.0.0.1", 0)
    listens: dict[str, object] = {"sip_listen": at}
    if pems is not None:
        listens = {"sip_tls_listen": at, "sip_tls_certificate": str(pems.chain), "sip_tls_key": str(pems.key)}
    chosen = settings(tmp_path / "data", sip_peers=(peer,), **listens)
    async with opened(chosen, **urls) as shop:
        with tempfile.TemporaryDirectory() as place:
            one = World(shop, Path(place), Ports(free_port(), free_port()))
            words = command(one.directory, one.ports, shop)
            file = one.directory / f"{peer.name}.log"
            with file.open("wb") as log:
                process = await asyncio.create_subprocess_exec(*words, stdout=log, stderr=log, cwd=place)
            try:
                await until(lambda: is_ready(one) if is_ready else one.listens(SWITCH_AT, one.ports.switch))
                yield one
            except BaseException:
                print(file.read_text("latin-1")[-6000:])  # noqa: T201 - of a test that fails
                raise
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()


def _decoded(text: str) -> Iterator[str]:
    for word in re.findall(r"[A-Za-z0-9+/._=-]{16,}", text):
        for one in (word, word.replace("-", "+").replace("_", "/").replace(".", "=")):
            with suppress(ValueError):
                yield base64.b64decode(one + "=" * (-len(one) % 4)).decode("latin-1")


def check_apart(one: World, proxy_of_caller: str, proxy_of_callee: str) -> None:
    """Nothing that reached the callee names the caller, nor the other way round; Call-ID is told in the docs."""
    to_callee, to_caller = one.heard("callee"), one.heard("caller")
    of_caller = (ALICE[1:], "Alice", scenarios.DOMAIN_A, proxy_of_caller[1:], CALLER_AT, "Maskline")
    of_callee = (BOB[1:], "Bob", scenarios.DOMAIN_B, proxy_of_callee[1:], CALLEE_AT, "Maskline")
    for heard, names in ((to_callee, of_caller), (to_caller, of_callee)):
        text = re.sub(r"(?m)^(Call-ID: |[oc]=).*$", "", heard)
        assert [name for name in names if name in text] == [], text
    assert to_callee.count(proxy_of_callee) >= 2


async def check_connected(one: World, calling: str, callee: str) -> None:
    """Make a call that is answered; neither side learns of the other."""
    proxies = one.shop.proxies

    fared = await one.call(proxies[ALICE], calling, callee)

    assert fared == [0, 0]
    check_apart(one, proxies[ALICE], proxies[BOB])


async def check_answered(one: World, callee: str) -> None:
    """Make a call that is answered; neither side learns of the other, and the interaction has its states and length."""
    await check_connected(one, scenarios.caller(ALICE), callee)
    call = await one.ended("completed")

    assert call["outbound_resource_status"] == "completed"
    assert int(msgspec.json.decode(call["data"])["duration"]) in {1, 2, 3}


async def check_unanswered(one: World, *, how: str, heard: str, status: str) -> None:
    """Make a call that ends in another way: the caller hears a status, the interaction reads one, nobody is named."""
    proxies = one.shop.proxies

    fared = await one.call(proxies[ALICE], scenarios.caller(ALICE, end=heard), scenarios.callee(BOB, end=how))
    call = await one.ended(status)

    assert fared[-1] == 0
    check_apart(one, proxies[ALICE], proxies[BOB])
    assert call["outbound_resource_status"] == status


async def check_stranger(one: World) -> None:
    """Call as somebody in no session: refused, and told nothing."""
    calling = scenarios.caller(STRANGER, end="404")

    fared = await one.call(one.shop.proxies[ALICE], calling, sender=STRANGER)

    assert fared == [0]
    heard = one.heard("caller")
    assert "Maskline" not in heard
    assert BOB not in heard
