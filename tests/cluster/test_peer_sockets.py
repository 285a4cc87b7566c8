"""Hosts that ask each other over sockets: `SocketPeers` and `PeerServer` on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from engine.channels.sockets import ListenAddress, bind_tcp
from engine.cluster.peer_identity import PeerIdentity
from engine.cluster.peer_server import PeerServer, Rejection
from engine.cluster.peer_sockets import SocketPeers
from engine.core.model.errors import PeerUnavailable
from engine.core.model.hosts import HostAddress, HostDirectory

SECRET = bytes(range(32))
PATIENT_SECONDS = 30.0
"""More than any answer takes on a busy machine."""


async def echo(source: int, message: bytes) -> bytes | None:
    """Answer, refuse, hang or break as the message says."""
    match message:
        case b"refuse":
            return None
        case b"hang":
            await asyncio.sleep(60)
        case b"break":
            raise ZeroDivisionError
    return b"to %d: " % source + message


class Running:
    """Host 1 of two, as host 0 finds it."""

    def __init__(self, server: PeerServer) -> None:
        self.server = server
        self.directory = HostDirectory(1, 0, (HostAddress("host-0", ""), self.address()))

    def address(self, *, certificate: str | None = None) -> HostAddress:
        """Say where it is."""
        shown = self.server.identity.certificate if certificate is None else certificate
        return HostAddress("host-1", "", peers=str(self.server.bound), certificate=shown)

    def peers(self, *, secret: bytes = SECRET, timeout_seconds: float = PATIENT_SECONDS) -> SocketPeers:
        """Speak to it as host 0."""
        return SocketPeers(0, secret=secret, directory=lambda: self.directory, timeout_seconds=timeout_seconds)

    def now_at(self, address: HostAddress) -> None:
        """Change the directory."""
        self.directory = HostDirectory(self.directory.epoch + 1, 0, (self.directory.hosts[0], address))


@asynccontextmanager
async def host(answer: Callable[[int, bytes], Awaitable[bytes | None]] = echo) -> AsyncIterator[Running]:
    """Run host 1."""
    server = PeerServer(1, answer, secret=SECRET, identity=PeerIdentity.made(), timeout_seconds=PATIENT_SECONDS)
    await server.open(bind_tcp(ListenAddress("127.0.0.1", 0)))
    try:
        yield Running(server)
    finally:
        await server.close()


async def came_of(asked: Awaitable[bytes]) -> str:
    """Say what an ask came to."""
    try:
        return (await asked)[:60].decode()
    except PeerUnavailable as problem:
        return str(problem)


def test_a_message_reaches_the_host_with_its_sender() -> None:
    """And the answer comes back; one connection carries all."""

    async def run() -> None:
        async with host() as running:
            peers = running.peers()

            assert await peers.ask(1, b"hello") == b"to 0: hello"
            assert await peers.ask(1, b"again") == b"to 0: again"

            assert running.server.connections == 1
            peers.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"refuse", "host-1 does not run"),
        (b"break", "host-1 is not reached (its answer failed; its log says why)"),
    ],
)
def test_whatever_goes_wrong_there_is_told_as_one_error(message: bytes, problem: str) -> None:
    """It names the host and says what happened; the connection stays."""

    async def run() -> None:
        async with host() as running:
            peers = running.peers()

            assert await came_of(peers.ask(1, message)) == problem

            assert await peers.ask(1, b"hello") == b"to 0: hello"
            peers.close()

    asyncio.run(run())


def test_a_host_without_the_secret_is_refused_and_counted() -> None:
    """It is told why; nothing that it asks is read."""

    async def run() -> None:
        async with host() as running:
            peers = running.peers(secret=bytes(32))

            assert "the cluster's secret" in await came_of(peers.ask(1, b"hello"))

            assert running.server.rejected == {Rejection.NO_SECRET: 1}
            peers.close()

    asyncio.run(run())


def test_a_host_that_shows_another_certificate_is_asked_nothing() -> None:
    """The directory says which one it has to be."""

    async def run() -> None:
        async with host() as running:
            running.now_at(running.address(certificate=PeerIdentity.made().certificate))
            peers = running.peers()

            came = await came_of(peers.ask(1, b"hello"))

            assert came == "host-1 is not reached (it shows another certificate than the directory tells)"
            peers.close()

    asyncio.run(run())
