"""The sockets: peers are answered over UDP, TCP and TLS, strangers are not, and nobody is let down by another."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from time import monotonic

import pytest

from engine.channels.sip.answers import Answering
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.server import SipServer
from engine.channels.sip.styles import AnswerStyle
from engine.channels.sip.switches import Peer
from engine.channels.tls import Certificate
from engine.core.ports.observing import SipProblem
from tests.certificates import made
from tests.channels.sip.messages import invite, offering
from tests.channels.sip.test_redirector import FakePlane, FakeSipObserver
from tests.silent import SilentMeter

pytestmark = pytest.mark.anyio

PATIENCE = 20.0
STREAMED = invite(b"Content-Length: 0")


class Observed(FakeSipObserver):
    """Keeps what was dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def sip_dropped(self, problem: SipProblem) -> None:
        """Keep it."""
        self.problems.append(problem)
        self._more.set()

    async def saw(self, count: int) -> None:
        """Wait until so many were dropped."""
        async with asyncio.timeout(PATIENCE):
            while len(self.problems) < count:
                self._more.clear()
                await self._more.wait()


class Running:
    """A server on the loopback, with a peer."""

    def __init__(self, networks: tuple[str, ...], *, rate: int = 0, most_connections: int = 10) -> None:
        self.plane, self.observer = FakePlane(), Observed()
        self.peer = Peer(
            name="carrier", style=AnswerStyle(contact_host="192.0.2.1"), read_number=lambda text: text or None
        )
        redirector = Redirector(
            self.plane,
            answering=Answering(b"k" * 16),
            is_ready=lambda: True,
            observer=self.observer,
            meter=SilentMeter(),
            clock=lambda: 1_000_000.0,
            monotonic=monotonic,
            deadline_seconds=2.0,
            most_waiting=1_000,
        )
        self.server = SipServer(
            redirector,
            Peers([(self.peer, [ip_network(one) for one in networks])], rates=[rate]),
            observer=self.observer,
            clock=lambda: 1_000.0,
            monotonic=monotonic,
            most_connections=most_connections,
        )
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp, self.tls = (socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2))
        for bound in (self.udp, self.tcp, self.tls):
            bound.bind(("127.0.0.1", 0))


@asynccontextmanager
async def running(
    *networks: str, rate: int = 0, most_connections: int = 10, certificate: Certificate | None = None
) -> AsyncIterator[Running]:
    """Have a server."""
    one = Running(networks or ("127.0.0.0/8",), rate=rate, most_connections=most_connections)
    await one.server.open(
        datagrams=[one.udp],
        streams=[one.tcp],
        tls_streams=[one.tls] if certificate is not None else [],
        certificate=certificate,
    )
    try:
        yield one
    finally:
        await one.server.close()
        one.tls.close()


class Client(asyncio.DatagramProtocol):
    """A peer's socket."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        """Keep an answer."""
        self.answers.put_nowait(data)


@asynccontextmanager
async def asking(one: Running) -> AsyncIterator[tuple[asyncio.DatagramTransport, Client]]:
    """Have a socket that sends to the server."""
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
        Client, remote_addr=one.udp.getsockname()
    )
    try:
        yield transport, client
    finally:
        transport.close()


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await reader.readuntil(b"\r\n\r\n")


async def test_datagrams_are_answered() -> None:
    """Each once, to where it came from, however many come at once."""
    async with running() as one, asking(one) as (transport, client):
        for number in range(80):
            transport.sendto(invite(b"Call-ID: call-%d" % number))
        async with asyncio.timeout(PATIENCE):
            answers = [await client.answers.get() for _ in range(80)]

    assert {answer.split(b"\r\n", 1)[0] for answer in answers} == {b"SIP/2.0 302 Moved Temporarily"}
    assert len({answer.split(b"Call-ID: ")[1].split(b"\r\n")[0] for answer in answers}) == 80
    assert len(one.plane.events) == 80


async def test_a_stranger_over_udp_gets_nothing() -> None:
    """Not to OPTIONS either; it is counted."""
    async with running("192.0.2.0/24") as one, asking(one) as (transport, client):
        transport.sendto(invite())
        transport.sendto(b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n\r\n")
        await one.observer.saw(2)

        assert one.observer.problems == [SipProblem.STRANGER] * 2
        assert client.answers.empty()
        assert one.plane.events == []


async def test_a_stranger_over_tcp_is_shut_out() -> None:
    """Before a word."""
    async with running("192.0.2.0/24") as one:
        reader, writer = await asyncio.open_connection(*one.tcp.getsockname())
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await read_answer(reader)
        writer.close()

    assert one.observer.problems == [SipProblem.STRANGER]


async def test_a_stream_carries_many_messages() -> None:
    """Pipelined, with keep-alives between them."""
    async with running() as one:
        reader, writer = await asyncio.open_connection(*one.tcp.getsockname())
        writer.write(STREAMED + b"\r\n\r\n" + invite(b"Call-ID: other"))

        first, pong = await read_answer(reader), await reader.readexactly(2)
        second = await read_answer(reader)
        writer.close()

    assert first.startswith(b"SIP/2.0 302 ")
    assert pong == b"\r\n"
    assert b"Call-ID: other" in second


async def test_a_stream_that_cannot_be_framed_is_answered_and_closed() -> None:
    """As far as what came can be answered."""
    async with running() as one:
        reader, writer = await asyncio.open_connection(*one.tcp.getsockname())
        writer.write(invite(b"Content-Length: -999") + STREAMED)

        answer = await read_answer(reader)
        rest = await reader.read()
        writer.close()

    assert answer.startswith(b"SIP/2.0 400 Bad Content-Length\r\n")
    assert rest == b""
    assert one.observer.problems == [SipProblem.UNFRAMED]
    assert one.plane.events == []


@pytest.mark.parametrize(("method", "answer"), [(b"INVITE", b"SIP/2.0 400 Bad Content-Length\r\n"), (b"ACK", b"")])
async def test_a_stream_on_which_no_length_is_told_is_closed(method: bytes, answer: bytes) -> None:
    """With a word why, except to an ACK, which gets none ever."""
    async with running() as one:
        reader, writer = await asyncio.open_connection(*one.tcp.getsockname())
        writer.write(invite(b"-Content-Length", b"CSeq: 1 " + method, start=method + b" sip:1@h SIP/2.0"))
        async with asyncio.timeout(PATIENCE):
            told = await reader.read()
        writer.close()

    assert told.startswith(answer)
    assert bool(told) is bool(answer)


async def test_a_peer_may_come_over_tls(tmp_path: Path) -> None:
    """Whom the certificate names is the peer's to check."""
    pems = made(tmp_path / "pems")
    async with running(certificate=Certificate(*pems)) as one:
        reader, writer = await asyncio.open_connection(
            *one.tls.getsockname(), ssl=pems.trusting, server_hostname="localhost"
        )
        writer.write(STREAMED)
        answer = await read_answer(reader)
        writer.close()

    assert answer.startswith(b"SIP/2.0 302 ")


async def test_one_connection_too_many_is_closed() -> None:
    """The others stay."""
    async with running(most_connections=1) as one:
        reader, writer = await asyncio.open_connection(*one.tcp.getsockname())
        writer.write(STREAMED)
        await read_answer(reader)
        other, second = await asyncio.open_connection(*one.tcp.getsockname())
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await read_answer(other)
        writer.write(STREAMED)
        assert (await read_answer(reader)).startswith(b"SIP/2.0 302 ")
        writer.close()
        second.close()

    assert one.observer.problems == [SipProblem.TOO_MANY_CONNECTIONS]


async def test_a_peer_that_asks_too_much_is_sent_elsewhere() -> None:
    """Beyond its rate; nothing of that is decided."""
    async with running(rate=2) as one:
        reader, writer = await asyncio.open_connection(*one.tcp.getsockname())
        writer.write(STREAMED * 3)
        answers = [await read_answer(reader) for _ in range(3)]
        writer.close()

    assert [answer[:11] for answer in answers] == [b"SIP/2.0 302", b"SIP/2.0 302", b"SIP/2.0 503"]
    assert len(one.plane.events) == 2


async def test_a_call_that_waits_is_tried_in_time() -> None:
    """The server keeps the redirector's time."""
    async with running() as one, asking(one) as (transport, client):
        one.plane.held = []
        transport.sendto(offering())
        async with asyncio.timeout(PATIENCE):
            trying = await client.answers.get()
            one.plane.held[0]()
            one.server.keep_time()
            answers = [await client.answers.get() for _ in range(2)]

    assert trying.startswith(b"SIP/2.0 100 Trying\r\n")
    assert [answer[:11] for answer in answers] == [b"SIP/2.0 302", b"SIP/2.0 302"]
