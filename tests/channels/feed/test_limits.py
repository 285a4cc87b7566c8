"""The feed under pressure: windows, slow readers, hellos that do not come, keys that are revoked, the end."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.channels.feed.settings import FeedSettings
from engine.core.ports.observing import FeedProblem
from tests.channels.feed.feed_rig import (
    HELLO,
    HOOKED,
    KEY,
    PATIENCE,
    SENDER,
    STRANGER,
    TOLD,
    Client,
    Running,
    call,
    connected,
    encode,
    feeding,
    frame,
    greeted,
    resolve,
    until,
)

pytestmark = pytest.mark.anyio

SMALL = FeedSettings(feed_window_frames=4)


def numbered(number: int, sender: str = SENDER) -> list[object]:
    return call(sender, f"CA{number}")


async def taken(running: Running) -> int:
    """Return how many events the plane has, once no more come."""
    count = -1
    while count != len(running.plane.events):
        count = len(running.plane.events)
        for _ in range(50):
            await asyncio.sleep(0)
    return count


async def fill(running: Running, client: Client, *messages: object) -> None:
    """Send messages of one event each, and see that each is taken before the next is sent."""
    for message in messages:
        count = len(running.plane.events)
        client.write(message)
        await until(lambda count=count: len(running.plane.events) > count)  # type: ignore[misc]


# -- the window ------------------------------------------------------------------------------------------------------


async def test_past_a_window_of_frames_no_more_are_read_until_there_is_room() -> None:
    """And then all are answered, in order."""
    async with feeding(SMALL) as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        await fill(running, client, *([numbered(number)] for number in range(4)))
        client.write(*([numbered(number)] for number in range(4, 20)))
        assert await taken(running) == 4
        running.plane.is_holding_commits = False
        running.plane.commit()
        frames = [await client.read() for _ in range(20)]

    assert [number for _, number, _, _ in frames] == list(range(1, 21))
    assert [event.resource_sid for event in running.plane.events] == [f"CA{number}" for number in range(20)]


async def test_past_a_window_of_bytes_no_more_are_read_either() -> None:
    """Few frames, but large ones."""
    size = len(encode([["message", SENDER, "+1", "SM1", "x" * 1_000]]))
    async with feeding(FeedSettings(feed_window_bytes=3 * size)) as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        messages = [[["message", SENDER, "+1", f"SM{number}", "x" * 1_000]] for number in range(8)]
        await fill(running, client, *messages[:3])
        client.write(*messages[3:])
        assert await taken(running) == 3
        running.plane.is_holding_commits = False
        running.plane.commit()

        assert [(await client.read())[1] for _ in range(8)] == list(range(1, 9))


async def test_what_waits_for_hooks_fills_no_window() -> None:
    """Its frames are answered: one slow application does not stop the carrier."""
    async with feeding(SMALL) as running, greeted(running) as client:
        for number in range(20):
            assert (await client.ask([numbered(number, HOOKED)]))[3] == [None]
        running.plane.answer_hooks()
        later = await client.read()

    assert [number for number, _, _ in later[2]] == list(range(1, 21))


async def test_too_many_that_wait_for_hooks_hold_the_reading_up() -> None:
    """Until they are answered: a bound on what a connection may keep in memory."""
    async with feeding(FeedSettings(most_deferred_events=3)) as running, greeted(running) as client:
        await client.ask([numbered(number, HOOKED) for number in range(3)])
        client.write([call(STRANGER)])
        assert await taken(running) == 3
        running.plane.answer_hooks()

        assert [(await client.read())[0] for _ in range(2)] == ["later", "answers"]


async def test_a_client_that_reads_no_answers_is_read_no_more() -> None:
    """What it is owed stays bounded; when it reads again it gets every answer."""
    count, each = 4_000, 100
    questions = frame([resolve()] * each)
    async with feeding() as running, connected(running, limit=4_096) as client:
        client.writer.write(frame(HELLO) + questions * count)
        await until(lambda: [one._is_paused for one in running.server._connections] == [True])
        assert client.writer.transport.get_write_buffer_size() > 0
        assert sum(running.meter.resolutions) < count * each
        await client.read()
        for number in range(1, count + 1):
            kind, place, _, said = await client.read()
            assert (kind, place, len(said)) == ("answers", number, each)


@asynccontextmanager
async def raw_connection(running: Running) -> AsyncIterator[socket.socket]:
    """Open a connection whose close is a reset."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.setblocking(False)  # noqa: FBT003 - the library's form
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", running.port))
        yield raw


# -- who may stay ----------------------------------------------------------------------------------------------------


async def test_a_connection_that_says_no_hello_is_closed() -> None:
    """Whether it says nothing or half a hello; one that said it stays."""
    async with feeding(FeedSettings(feed_hello_timeout_seconds=2.0)) as running, greeted(running) as good:
        async with connected(running) as silent, connected(running) as slow:
            slow.writer.write(frame(HELLO)[:20])
            for client in (silent, slow):
                kind, _, problem = await client.read()
                assert (kind, problem["error"], await client.ended()) == ("error", "hello-expected", b"")

        assert await good.ask([call(STRANGER)]) == ["answers", 1, 1, [TOLD[STRANGER]]]


async def test_past_so_many_connections_one_more_is_told_so_and_closed() -> None:
    """Those that are there stay; when one of them goes there is room again, however many are being turned away."""
    async with feeding(FeedSettings(max_feed_connections=2)) as running, greeted(running) as good:
        async with connected(running) as second, connected(running) as third, connected(running) as fourth:
            for client in (third, fourth):
                client.write(HELLO)
                kind, number, problem = await client.read()
                assert (kind, number, problem["error"]) == ("error", 0, "too-many-connections")
                assert "2 connections" in problem["detail"]
            assert running.server.connections == 2
            assert (await second.ask(HELLO))[0] == "welcome"
            assert await third.ended() == b""
            second.writer.close()
            await until(lambda: running.server.connections == 1)
            async with greeted(running) as fifth:
                assert await fifth.ask([call(STRANGER)]) == ["answers", 1, 1, [TOLD[STRANGER]]]

        assert await good.ask([call(STRANGER)]) == ["answers", 1, 1, [TOLD[STRANGER]]]
    assert running.observer.problems == [FeedProblem.TOO_MANY_CONNECTIONS] * 2
    assert running.plane.accounts == []


async def test_a_revoked_key_ends_its_connections() -> None:
    """Within the time between two checks, and after what was taken is answered."""
    async with feeding(FeedSettings(check_seconds=0.01)) as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        client.write([call()])
        await until(lambda: len(running.plane.uncommitted) == 2)
        del running.keys[KEY]
        await until(lambda: FeedProblem.BAD_CREDENTIALS in running.observer.problems)
        running.plane.commit()
        answers, problem = await client.read(), await client.read()

        assert answers == ["answers", 1, 1, [TOLD[SENDER]]]
        assert (problem[2]["error"], await client.ended()) == ("bad-credentials", b"")
    assert running.observer.problems == [FeedProblem.BAD_CREDENTIALS]


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_a_client_that_has_said_all_still_gets_its_answers() -> None:
    """The late ones too; then the connection is closed."""
    async with feeding() as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        client.write([call(), call(HOOKED)])
        client.writer.write_eof()
        await until(lambda: len(running.plane.uncommitted) == 2)
        running.plane.commit()
        answers = await client.read()
        running.plane.answer_hooks()

        assert answers == ["answers", 1, 1, [TOLD[SENDER], None]]
        assert await client.read() == ["later", 1, [[1, 1, TOLD[HOOKED]]]]
        assert await client.ended() == b""


async def test_a_connection_that_is_lost_loses_only_its_answers() -> None:
    """What was taken is decided and committed; nothing breaks when its answers come."""
    async with feeding() as running:
        running.plane.is_holding_commits = True
        async with raw_connection(running) as raw:
            await asyncio.get_running_loop().sock_sendall(raw, frame(HELLO) + frame([call(), call(HOOKED)]))
            await until(lambda: len(running.plane.uncommitted) == 2)
        await until(lambda: running.server.connections == 0)
        running.plane.commit()
        running.plane.answer_hooks()

        async with greeted(running) as other:
            assert len(running.plane.events) == 2
            running.plane.is_holding_commits = False
            assert (await other.ask([call()]))[3] == [TOLD[SENDER]]


async def test_a_stop_answers_what_was_taken_and_takes_no_more() -> None:
    """Also what waits for a hook, within the grace; idle connections are closed at once."""
    async with feeding() as running, greeted(running) as idle, greeted(running) as busy:
        running.plane.is_holding_commits = True
        busy.write([call(), call(HOOKED)])
        await until(lambda: len(running.plane.uncommitted) == 2)
        closing = asyncio.create_task(running.server.stop(PATIENCE))
        assert await idle.ended() == b""
        busy.write([call(STRANGER)])
        running.plane.commit()
        answers = await busy.read()
        running.plane.answer_hooks()
        later = await busy.read()
        rest = await busy.ended()
        for client in (idle, busy):
            client.writer.close()
        await closing

        assert (answers[3], later[2], rest) == ([TOLD[SENDER], None], [[1, 1, TOLD[HOOKED]]], b"")
        assert len(running.plane.events) == 2
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", running.port)


async def test_a_stop_waits_no_longer_than_its_grace() -> None:
    """For a hook that does not answer."""
    async with feeding() as running, greeted(running) as client:
        await client.ask([call(HOOKED)])

        await running.server.stop(0.05)

        assert running.server.connections == 0 or await client.ended() == b""
