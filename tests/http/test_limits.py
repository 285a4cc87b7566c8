"""What one connection may cost, and how it ends: bytes that wait, slow clients, half-closed ones, too many of them."""

import asyncio
import random

import pytest

from engine.core.ports.observing import Rejection
from engine.http.connections import MOST_LINGERING_BYTES
from engine.http.port import PortSettings
from tests.http.rig import (
    ROUTED,
    UNSIGNED,
    Client,
    Running,
    call,
    connected,
    held,
    numbered,
    post,
    serving,
    until,
)

pytestmark = pytest.mark.anyio

GET = b"GET /v1/Services HTTP/1.1\r\nHost: a\r\n\r\n"
HASTY = PortSettings(head_seconds=0.2, body_seconds=0.2, tick_seconds=0.05)
MOST_WAITING_BYTES = 1_000_000
"""Two reads of the event loop; far more than a request."""


def rest(body: bytes, *, path: str = "/v1/Services", length: int | None = None, extra: str = "") -> bytes:
    """Write a POST to the application."""
    length = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{extra}\r\n".encode() + body


# -- in any order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_webhooks_and_requests_follow_each_other_in_any_order(seed: int) -> None:
    """Pipelined and cut anywhere, some webhooks waiting for their commit: each is answered in its place."""
    rnd = random.Random(seed)  # noqa: S311 - the same order each time
    kinds = [rnd.choice("wwgp") for _ in range(30)]
    data = b"".join(
        {"w": post(numbered(number)), "g": GET, "p": rest(b"number %d" % number)}[kind]
        for number, kind in enumerate(kinds)
    )
    places = sorted(rnd.sample(range(1, len(data)), 7))
    async with serving(settings=UNSIGNED) as running, connected(running) as client:
        running.plane.is_holding, running.plane.decision = True, ROUTED
        committing = asyncio.create_task(commit(running, kinds.count("w")))
        await client.send(*(data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)))
        bodies = [(await client.answer()).body for _ in kinds]
        await committing

        for number, (kind, body) in enumerate(zip(kinds, bodies, strict=True)):
            starts = {"w": b"<?xml", "g": b"GET /v1/Services ", "p": b"POST /v1/Services number %d" % number}
            assert body.startswith(starts[kind])


async def commit(running: Running, count: int) -> None:
    """Let webhooks be answered, those that wait in reverse order."""
    done = 0
    while done < count:
        await held(running, done + 1)
        await asyncio.sleep(0)
        now = running.plane.held[done:]
        for answer in reversed(now):
            answer()
        done += len(now)


# -- what waits ----------------------------------------------------------------------------------------------------


async def test_requests_behind_one_under_way_wait_as_bytes() -> None:
    """They become nothing else, and no more than a few reads of them are taken."""
    async with serving() as running, connected(running) as client:
        running.asgi_gate.clear()
        sending = asyncio.create_task(client.send(*[GET * 1000] * 200))
        await until(lambda: any(protocol.flow.read_paused for protocol in running.protocols))
        for _ in range(50):
            await asyncio.sleep(0)
        asked, unread = len(running.scopes), running.protocols[0]._framer.unread

        running.asgi_gate.set()
        for _ in range(2000):
            assert (await client.answer()).body == b"GET /v1/Services "
        sending.cancel()

        assert asked == 1
        assert 0 < unread < MOST_WAITING_BYTES


async def test_a_body_that_the_application_does_not_take_is_not_read_on() -> None:
    """Until it does."""
    async with serving() as running, connected(running) as client:
        running.reading_gate.clear()
        sending = asyncio.create_task(client.send(rest(b"x" * 30_000_000)))
        await until(lambda: any(protocol.flow.read_paused for protocol in running.protocols))
        for _ in range(50):
            await asyncio.sleep(0)
        is_sent = sending.done()

        running.reading_gate.set()

        assert len((await client.answer()).body) == 30_000_000 + len("POST /v1/Services ")
        await sending
        assert not is_sent


async def test_a_body_that_nobody_reads_is_skipped_where_it_is_small() -> None:
    """And the connection goes on behind it."""
    async with serving() as running, connected(running) as client:
        first = await client.ask(rest(b"", path="/early", length=5))
        second = await client.ask(b"abcde" + GET)

        assert (first.headers["connection"], second.body) == (None, b"GET /v1/Services ")


@pytest.mark.parametrize(("length", "extra"), [(10**9, ""), (5, "Expect: 100-continue\r\n")])
async def test_a_connection_ends_behind_an_answer_that_leaves_a_body_unread(length: int, extra: str) -> None:
    """A large one, or one of which nobody knows whether it comes; the answer says so."""
    async with serving() as running, connected(running) as client:
        answer = await client.ask(rest(b"", path="/early", length=length, extra=extra))

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.ended() == b""


@pytest.mark.parametrize("path", ["/inbound/voice", "/early"])
async def test_a_refused_gigabyte_is_not_read(path: str) -> None:
    """Its sender gets the answer and a while to read it."""
    async with serving() as running, connected(running) as client:
        answer = await client.ask(rest(b"", path=path, length=10**9))
        sent = 0
        try:
            while sent < 20 * MOST_LINGERING_BYTES:
                client.writer.write(b"x" * 1_000_000)
                await client.writer.drain()
                sent += 1_000_000
        except ConnectionError:
            pass

        assert answer.headers["connection"] == "close"
        assert sent < 4 * MOST_LINGERING_BYTES
        await until(lambda: not running.protocols)


# -- slow clients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", [b"G", b"POST /inbound/voice HTTP/1.1\r\nHost:", post(call())[:-100], rest(b"ab", length=100)]
)
async def test_what_does_not_come_in_time_is_408(start: bytes) -> None:
    """A head or a body, also one that trickles; whoever it is for."""
    async with serving(settings=UNSIGNED, limits=HASTY) as running, connected(running) as client:
        await client.send(start)
        trickling = asyncio.create_task(trickle(client))

        answer = await client.answer()

        assert (answer.status, answer.headers["connection"]) == (408, "close")
        await trickling
        assert running.observer.problems == [Rejection.TOO_SLOW]
        assert running.plane.events == []


async def trickle(client: Client) -> None:
    """Send a byte now and then until the connection ends."""
    try:
        while not client.reader.at_eof():
            await client.send(b"x")
            await asyncio.sleep(0.05)
    except ConnectionError:
        pass


async def test_a_body_at_a_pace_is_waited_for() -> None:
    """Each part of it earns the next its time."""
    limits = PortSettings(body_seconds=0.2, body_rate=1000, tick_seconds=0.05)
    async with serving(limits=limits) as running, connected(running) as client:
        await client.send(rest(b"x" * 1000, length=10_000))
        for _ in range(9):
            await asyncio.sleep(0.05)
            await client.send(b"x" * 1000)

        assert (await client.answer()).status == 200


async def test_an_application_that_takes_long_is_waited_for() -> None:
    """It is not the client's fault."""
    async with serving(limits=HASTY, keep_alive_seconds=1) as running, connected(running) as client:
        running.asgi_gate.clear()
        async with connected(running) as idle:
            await client.send(GET + GET[:-1])
            await idle.ended()

        running.asgi_gate.set()

        assert (await client.answer()).status == 200
        assert (await client.ask(b"\n")).status == 200


# -- clients that leave --------------------------------------------------------------------------------------------


async def test_a_half_closed_client_gets_all_its_answers() -> None:
    """A webhook's that waits and the application's behind it; then the connection ends."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        running.asgi_gate.clear()
        await client.send(post(call()) + rest(b"abc") + GET)
        client.writer.write_eof()
        await held(running, 1)

        running.plane.held[0]()
        first = await client.answer()
        running.asgi_gate.set()

        assert first.status == 200
        assert [(await client.answer()).body for _ in range(2)] == [b"POST /v1/Services abc", b"GET /v1/Services "]
        assert await client.ended() == b""


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_client_that_leaves_in_a_webhook_is_counted(is_reset: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Half-closed or gone: the rest cannot come."""
    async with serving() as running, connected(running) as client:
        await client.send(post(call())[:-5])
        await until(lambda: any(protocol._is_in_body for protocol in running.protocols))

        if is_reset:
            client.writer.transport.abort()
        else:
            client.writer.write_eof()

        await until(lambda: not running.protocols)
        assert running.observer.problems == [Rejection.CLIENT_LEFT]
        assert running.plane.events == []


@pytest.mark.parametrize("is_reset", [False, True])
async def test_the_application_is_told_of_a_client_that_leaves(is_reset: bool) -> None:  # noqa: FBT001 - as above
    """In the middle of a body; the door counts nothing, because the application does."""
    async with serving() as running, connected(running) as client:
        await client.send(rest(b"abc", length=10))
        await until(lambda: bool(running.scopes))

        if is_reset:
            client.writer.transport.abort()
        else:
            client.writer.write_eof()

        await until(lambda: running.disconnects == 1)
        assert running.observer.problems == []


async def test_a_client_that_only_connected_is_not_counted() -> None:
    """As a balancer's probe does."""
    async with serving() as running:
        async with connected(running) as client:
            await until(lambda: len(running.protocols) == 1)
            client.writer.write_eof()
        await until(lambda: not running.protocols)

        assert running.observer.problems == []


# -- many of them --------------------------------------------------------------------------------------------------


async def test_connections_beyond_the_limit_are_told_so() -> None:
    """And counted; who was there first is served on, and who comes when there is room."""
    async with serving(limits=PortSettings(max_http_connections=2)) as running:
        async with connected(running) as one, connected(running) as two:
            assert [(await client.ask(GET)).status for client in (one, two)] == [200, 200]
            async with connected(running) as third:
                refused = await third.answer()
                assert await third.ended() == b""
                assert running.http.connections == 2
            assert (await one.ask(post(call()))).status == 200
        await until(lambda: running.http.connections == 0)
        async with connected(running) as later:
            taken = await later.ask(GET)

        assert (refused.status, refused.headers["retry-after"], refused.headers["connection"]) == (503, "1", "close")
        assert taken.status == 200
        assert running.observer.problems == [Rejection.TOO_MANY_CONNECTIONS]


async def test_a_flood_beyond_the_limit_is_closed_unheard() -> None:
    """Nobody can hold more descriptors by being told that there are none."""
    async with serving(limits=PortSettings(max_http_connections=1)) as running, connected(running) as first:
        await first.ask(GET)
        flood = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(150)]
        await until(lambda: len(running.observer.problems) == 150)

        assert len(running.http.rejected) <= 64
        for _, writer in flood:
            writer.close()
        assert (await first.ask(GET)).status == 200
