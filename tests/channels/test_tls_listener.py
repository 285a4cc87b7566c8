"""Handshakes that peers draw out: they count as connections, on every listener that speaks TLS, and keep nobody out."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Final

import pytest

from engine.channels import tls_listener
from engine.channels.feed.settings import FeedSettings
from engine.channels.smpp.pdu import Status
from engine.channels.smpp.settings import SmppSettings
from engine.channels.sockets import ListenAddress, bind_tcp
from engine.channels.tls import Certificate
from engine.channels.tls_listener import LEAST_HANDSHAKES, TlsListener
from engine.core.ports.observing import FeedProblem, SipProblem, SmppCount
from tests.certificates import Pems, made
from tests.channels.feed import feed_rig
from tests.channels.sip import test_server as sip_rig
from tests.channels.smpp import rig as smpp_rig
from tests.http.rig import PATIENCE, until

pytestmark = pytest.mark.anyio

FLOOD: Final = 100
TOO_MANY: Final = FLOOD - LEAST_HANDSHAKES


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    """Return a certificate."""
    return made(tmp_path_factory.mktemp("tls") / "pems")


class Listening:
    """A listener for two connections, how often it said that there were too many, and a peer that it serves."""

    def __init__(self, port: int, crowded: Callable[[], int], is_served: Callable[[], Awaitable[bool]]) -> None:
        self.port = port
        self.crowded = crowded
        self.is_served = is_served


@asynccontextmanager
async def feed(pems: Pems) -> AsyncIterator[Listening]:
    settings = FeedSettings(max_feed_connections=2)
    async with feed_rig.feeding(settings, certificate=Certificate(*pems)) as running:

        async def is_served() -> bool:
            async with feed_rig.connected(running, tls=pems.trusting) as client:
                return bool((await client.ask(feed_rig.HELLO))[0] == "welcome")

        yield Listening(
            running.port, lambda: running.observer.problems.count(FeedProblem.TOO_MANY_CONNECTIONS), is_served
        )


@asynccontextmanager
async def sip(pems: Pems) -> AsyncIterator[Listening]:
    async with sip_rig.running(certificate=Certificate(*pems), most_connections=2) as running:
        port = running.tls.getsockname()[1]

        async def is_served() -> bool:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=pems.trusting, server_hostname="localhost"
            )
            writer.write(sip_rig.STREAMED)
            answer = await sip_rig.read_answer(reader)
            writer.close()
            return answer.startswith(b"SIP/2.0 302 ")

        yield Listening(port, lambda: running.observer.problems.count(SipProblem.TOO_MANY_CONNECTIONS), is_served)


@asynccontextmanager
async def smpp(pems: Pems) -> AsyncIterator[Listening]:
    listening = SmppSettings(
        smpp_tls_listen=ListenAddress("127.0.0.1", 0),
        smpp_tls_certificate=str(pems.chain),
        smpp_tls_key=str(pems.key),
        max_smpp_connections=2,
    )
    async with smpp_rig.serving(smpp_rig.smsc(tls=True), listening=listening) as served:
        port = ListenAddress.parse(served.channels.addresses["smpp"]).port

        async def is_served() -> bool:
            wire = smpp_rig.Wire(
                *await asyncio.open_connection("127.0.0.1", port, ssl=pems.trusting, server_hostname="localhost")
            )
            served.made.append(wire)
            return (await wire.bind()).status == Status.OK

        yield Listening(port, lambda: served.counted(SmppCount.TOO_MANY_CONNECTIONS), is_served)


Listens = Callable[[Pems], AbstractAsyncContextManager[Listening]]


@asynccontextmanager
async def flood(port: int, count: int = FLOOD) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connect so often and say nothing."""
    with ExitStack() as stack:
        readers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            readers.append(reader)
        yield readers


@pytest.mark.parametrize("listens", [feed, sip, smpp])
async def test_who_says_nothing_counts_and_gives_way_to_who_comes_later(pems: Pems, listens: Listens) -> None:
    """Of a hundred, as many are held as may be while there is no room; those that came first are closed."""
    async with listens(pems) as listening, flood(listening.port) as silent:
        await until(lambda: listening.crowded() == TOO_MANY)
        await until(lambda: all(one.at_eof() for one in silent[:TOO_MANY]))

        is_served = await listening.is_served()

        held = silent[TOO_MANY:]
        assert is_served
        assert [one.at_eof() for one in held].count(False) >= LEAST_HANDSHAKES - 1


class Alone:
    """A listener by itself."""

    def __init__(self, bound: socket.socket, pems: Pems, *, room: int, handshake_seconds: float) -> None:
        self.made = 0
        self.crowded = 0
        self.port = bound.getsockname()[1]
        self.listener = TlsListener(
            bound,
            Certificate(*pems),
            make=self._make,
            room=lambda: room,
            crowded=self._count,
            handshake_seconds=handshake_seconds,
            backlog=512,
        )

    def _make(self) -> asyncio.Protocol:
        self.made += 1
        return asyncio.Protocol()

    def _count(self) -> None:
        self.crowded += 1


def alone(pems: Pems, *, room: int = 0, handshake_seconds: float = PATIENCE) -> Alone:
    bound = bind_tcp(ListenAddress("127.0.0.1", 0))
    return Alone(bound, pems, room=room, handshake_seconds=handshake_seconds)


async def test_as_many_shake_hands_as_there_is_room_for(pems: Pems) -> None:
    """Nobody is closed before that."""
    one = alone(pems, room=60)
    async with flood(one.port, 60) as silent:
        await until(lambda: one.made == 60)

        async with flood(one.port, 1):
            await until(lambda: one.crowded == 1)

        await until(silent[0].at_eof)
        assert not any(reader.at_eof() for reader in silent[1:])
    one.listener.close()


async def test_a_handshake_has_its_time(pems: Pems) -> None:
    """Then it counts no more."""
    one = alone(pems, handshake_seconds=0.05)
    async with flood(one.port, LEAST_HANDSHAKES) as silent:
        await until(lambda: all(reader.at_eof() for reader in silent))

        async with flood(one.port, 1):
            await until(lambda: one.made == LEAST_HANDSHAKES + 1)

    assert one.crowded == 0
    one.listener.close()


async def test_the_end_of_a_listener_ends_its_handshakes(pems: Pems) -> None:
    """Nobody waits for them."""
    one = alone(pems)
    async with flood(one.port, 3) as silent:
        await until(lambda: one.made == 3)

        one.listener.close()

        await until(lambda: all(reader.at_eof() for reader in silent))


class Exhausted(socket.socket):
    """A socket that once finds no descriptor left."""

    is_exhausted = True

    def accept(self) -> tuple[socket.socket, object]:
        """Fail the first time."""
        if self.is_exhausted:
            self.is_exhausted = False
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


async def test_who_comes_while_no_descriptor_is_left_is_taken_later(
    pems: Pems, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener does not end, nor does it spin."""
    monkeypatch.setattr(tls_listener, "_PAUSE_SECONDS", 0.01)
    bound = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    one = Alone(bound, pems, room=0, handshake_seconds=PATIENCE)
    async with flood(one.port, 1):
        await until(lambda: one.made == 1)
    one.listener.close()
