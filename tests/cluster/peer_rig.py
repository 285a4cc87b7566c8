"""Hosts that ask each other on loopback, and strangers and impostors that play one end by hand."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from engine.channels.sockets import ListenAddress, bind_tcp
from engine.cluster.peer_identity import PeerIdentity, asking_context
from engine.cluster.peer_server import PROOF_SECONDS, PeerServer
from engine.cluster.peer_sockets import SocketPeers
from engine.cluster.peer_wire import (
    MOST_MESSAGE_BYTES,
    Frame,
    FrameReader,
    Kind,
    TlsPipe,
    head,
    proof_message,
    read_challenge,
)
from engine.core.model.errors import PeerUnavailable
from engine.core.model.hosts import HostAddress, HostDirectory

SECRET = bytes(range(32))
PATIENT_SECONDS = 30.0
"""More than any answer takes on a busy machine."""

Answer = Callable[[int, bytes], Awaitable[bytes | None]]


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


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - any test's condition
            await asyncio.sleep(0.01)


async def came_of(asked: Awaitable[bytes]) -> str:
    """Say what an ask came to."""
    try:
        return (await asked)[:60].decode()
    except PeerUnavailable as problem:
        return str(problem)


class Site:
    """Two hosts: who they are, what they have been asked, and what was started for a test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.hosts = [HostAddress("host-0", ""), HostAddress("host-1", "")]
        self.asked: list[bytes] = []
        self._stack = stack

    @property
    def directory(self) -> HostDirectory:
        """As every host has it."""
        return HostDirectory(1, 0, tuple(self.hosts))

    async def host(self, place: int = 1, answer: Answer = echo, *, proof_seconds: float = PROOF_SECONDS) -> PeerServer:
        """Start a host, and tell where it is."""

        async def noted(source: int, message: bytes) -> bytes | None:
            self.asked.append(message)
            return await answer(source, message)

        identity = PeerIdentity.made()
        server = PeerServer(
            place,
            noted,
            secret=SECRET,
            identity=identity,
            timeout_seconds=PATIENT_SECONDS,
            proof_seconds=proof_seconds,
        )
        await server.open(bind_tcp(ListenAddress("127.0.0.1", 0)))
        self._stack.push_async_callback(server.close)
        self.is_at(place, str(server.bound), identity.certificate)
        return server

    def is_at(self, place: int, peers: str, certificate: str) -> None:
        """Change the directory."""
        self.hosts[place] = HostAddress(f"host-{place}", "", peers=peers, certificate=certificate)

    def peers(self, me: int = 0, *, secret: bytes = SECRET, timeout_seconds: float = PATIENT_SECONDS) -> SocketPeers:
        """Ask as a host."""
        peers = SocketPeers(me, secret=secret, directory=lambda: self.directory, timeout_seconds=timeout_seconds)
        self._stack.callback(peers.close)
        return peers

    async def stranger(self, server: PeerServer) -> "End":
        """Connect to a host by hand."""
        assert server.bound is not None
        reader, writer = await asyncio.open_connection(*server.bound)
        return await self._by_hand(reader, writer, asking_context(), is_server=False)

    async def impostor(self, play: Callable[["End"], Awaitable[None]], *, place: int = 1) -> PeerIdentity:
        """Listen where a host is said to be, and play it by hand."""
        identity = PeerIdentity.made()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await play(await self._by_hand(reader, writer, identity.context, is_server=True))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._stack.callback(server.close)
        self.is_at(place, f"127.0.0.1:{server.sockets[0].getsockname()[1]}", identity.certificate)
        return identity

    async def _by_hand(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, *, is_server: bool
    ) -> "End":
        self._stack.callback(writer.close)
        return End(reader, writer, TlsPipe(context, is_server=is_server))


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """Run hosts, and end them."""
    async with AsyncExitStack() as stack:
        yield Site(stack)


class End:
    """One end of a connection, played by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pipe: TlsPipe) -> None:
        self.raw, self.pipe = writer, pipe
        self._reader = reader
        self._has_more = True
        self._frames = FrameReader(MOST_MESSAGE_BYTES)
        self._read: list[Frame] = []

    def put(self, kind: int, message: bytes, *, number: int = 0) -> None:
        """Send a frame."""
        self.say(head(number, kind, len(message)) + message)

    def say(self, data: bytes) -> None:
        """Send anything within TLS."""
        self.pipe.send(data)
        self._transmit()

    def say_no_more(self) -> None:
        """End this half of the connection."""
        self.raw.write_eof()
        self._has_more = False

    def _transmit(self) -> None:
        if self._has_more:
            self.raw.write(self.pipe.outgoing())

    async def frame(self) -> Frame:
        """Receive a frame; ConnectionResetError when the other end closes."""
        self._transmit()
        async with asyncio.timeout(PATIENT_SECONDS):
            while not self._read:
                data = await self._reader.read(65_536)
                if not data:
                    raise ConnectionResetError
                self._read += self._frames.read(self.pipe.receive(data))
                self._transmit()
        return self._read.pop(0)

    async def shake_hands(self) -> None:
        """Shake hands, as the server's end."""
        async with asyncio.timeout(PATIENT_SECONDS):
            while not self.pipe.is_secured:
                self.pipe.receive(await self._reader.read(65_536))
                self._transmit()

    async def is_closed(self) -> bool:
        """Wait until the other end closes."""
        try:
            while True:
                await self.frame()
        except (ConnectionError, ssl.SSLError):
            return True

    async def challenge(self) -> bytes:
        """Receive the challenge."""
        frame = await self.frame()
        assert frame.kind == Kind.CHALLENGE
        return read_challenge(frame.message)

    async def prove(self, *, source: int = 0, target: int = 1) -> Frame:
        """Prove that it is of the cluster; returns what the host says to that."""
        challenge = await self.challenge()
        shown = self.pipe.peer_certificate()
        self.put(Kind.PROOF, proof_message(SECRET, challenge, shown, source=source, target=target))
        return await self.frame()


async def _alone() -> None:
    """Be host 1 in a process of its own, until that is killed."""
    async with site() as hosts:
        server = await hosts.host()
        print(server.bound, server.identity.certificate, flush=True)  # noqa: T201 - for the test
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(_alone())
