"""Messages that another host sends: once for each key, and what cannot be known is told."""

import asyncio

import pytest

from actors.cluster.rpc import HostRpc
from actors.cluster.sending import HostSenders, send_at
from engine.core.model.errors import PeerUnavailable
from engine.core.ports.outgoing import RemoteSend

pytestmark = pytest.mark.anyio


class Senders:
    """Senders that a test lets go on."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def send_here(self, sender: str, message: bytes) -> bytes:
        """Send."""
        self.sent.append((sender, message))
        self.has_begun.set()
        await self.may_end.wait()
        return b"sent " + message


class Line:
    """What carries the asking host's messages to the other one; loses answers and messages as told."""

    me, count = 0, 2

    def __init__(self, other: HostRpc) -> None:
        self.other: HostRpc | None = other
        self.answers_lost = 0
        self.asked = 0

    async def ask(self, host: int, message: bytes) -> bytes:
        """Carry a message."""
        del host
        self.asked += 1
        if self.other is None:
            raise PeerUnavailable("it is down")
        answer = await self.other.answer(message)
        if b"HostSenders.send" in message and self.answers_lost:
            self.answers_lost -= 1
            raise PeerUnavailable("no answer came")
        return answer


class Nobody:
    """Peers of a host that asks nothing."""

    me, count = 1, 2

    async def ask(self, host: int, message: bytes) -> bytes:
        """Reach nobody."""
        raise PeerUnavailable(f"{host} {len(message)}")


def serving(senders: Senders, incarnation: str) -> HostRpc:
    rpc = HostRpc(Nobody())
    rpc.serve(HostSenders(senders, incarnation))
    return rpc


async def asked(line: Line, key: str = "EF1") -> RemoteSend:
    async with asyncio.timeout(30):
        return await send_at(HostRpc(line), 1, sender="carrier", key=key, message=b"hello")


async def test_a_message_is_sent_by_the_other_host() -> None:
    """And its result comes back."""
    senders = Senders()

    told = await asked(Line(serving(senders, "a")))

    assert (told, senders.sent) == (RemoteSend(result=b"sent hello"), [("carrier", b"hello")])


async def test_an_answer_that_is_lost_sends_nothing_twice() -> None:
    """The key is known."""
    senders = Senders()
    line = Line(serving(senders, "a"))
    line.answers_lost = 1

    told = await asked(line)

    assert (told.result, len(senders.sent)) == (b"sent hello", 1)


async def test_a_message_that_takes_long_is_waited_for() -> None:
    """Its peer is not bound, for instance; it is asked about again and again."""
    senders = Senders()
    senders.may_end.clear()
    line = Line(serving(senders, "a"))
    asyncio.get_running_loop().call_later(1.2, senders.may_end.set)

    told = await asked(line)

    assert (told.result, len(senders.sent), line.asked > 2) == (b"sent hello", 1, True)


async def test_a_host_that_is_down_has_sent_nothing() -> None:
    """So the outbox may try again."""
    line = Line(serving(Senders(), "a"))
    line.other = None

    assert await asked(line) == RemoteSend(may_be_taken=False)


async def test_a_host_that_started_anew_may_have_sent_it() -> None:
    """Nobody knows any more what became of it."""
    first, second = Senders(), Senders()
    first.may_end.clear()
    line = Line(serving(first, "a"))
    asking = asyncio.create_task(asked(line))
    async with asyncio.timeout(10):
        await first.has_begun.wait()
    line.other = serving(second, "b")

    assert await asking == RemoteSend(may_be_taken=True)
    assert second.sent == []
    first.may_end.set()
