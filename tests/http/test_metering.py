"""What the door tells the meter: each decision once, what is under way, and for how long."""

import struct
from socket import SO_LINGER, SOL_SOCKET

import pytest

from engine.core.routing.traffic import Reason
from tests.http.rig import ROUTED, connected, held, numbered, post, serving, text, until

pytestmark = pytest.mark.anyio


async def test_each_decision_is_told_once_by_kind_and_reason() -> None:
    """A refused call and a routed message."""
    async with serving() as running, connected(running) as client:
        await client.ask(post(numbered(1)))
        running.plane.decision = ROUTED
        await client.ask(post(text(), "/inbound/message"))

    assert running.meter.calls[Reason.NO_SESSION.slot] == sum(running.meter.calls) == 1
    assert running.meter.messages[Reason.IN_SESSION.slot] == sum(running.meter.messages) == 1


async def test_a_webhook_is_in_flight_until_its_commit_is_answered() -> None:
    """And its answer took from the reading of its bytes to the writing of its answer."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        await client.send(post(numbered(1)))
        await held(running, 1)
        in_flight = running.meter.in_flight
        running.monotonic.now += 2.5
        running.plane.held.pop()()
        await client.answer()

    assert in_flight == 1
    assert running.meter.in_flight == 0
    assert ("answered", 2.5, 1) in running.meter.told


async def test_deciding_is_timed_without_the_wait_for_the_commit() -> None:
    """The time between two looks at the clock around the decision."""
    async with serving() as running, connected(running) as client:
        running.plane.is_holding = True
        running.plane.on_receive = lambda: setattr(running.monotonic, "now", running.monotonic.now + 0.25)
        await client.send(post(numbered(1)))
        await held(running, 1)
        running.monotonic.now += 9
        running.plane.held.pop()()
        await client.answer()

    assert ("deciding", 0.25, 1) in running.meter.told
    assert ("answered", 9.25, 1) in running.meter.told


async def test_an_event_that_breaks_the_plane_is_answered_like_any_other() -> None:
    """It has no decision, and is in flight no more."""
    async with serving() as running, connected(running) as client:
        running.plane.failure = RuntimeError("a fault of ours")
        answer = await client.ask(post(numbered(1)))

    assert answer.status == 500
    assert running.meter.in_flight == 0
    assert [told[0] for told in running.meter.told] == ["burst", "answered"]


async def test_webhooks_that_are_read_at_once_are_one_burst() -> None:
    """Three in one segment, then one alone."""
    async with serving() as running, connected(running) as client:
        await client.send(b"".join(post(numbered(number)) for number in range(3)))
        for _ in range(3):
            await client.answer()
        await client.ask(post(numbered(3)))
        await until(lambda: running.meter.told.count(("answered", 0.0, 1)) == 4)

    bursts = [told[1] for told in running.meter.told if told[0] == "burst"]
    assert isinstance(bursts[0], int)
    assert sum(number for number in bursts if isinstance(number, int)) == 4
    assert bursts[-1] == 1


async def test_what_is_refused_unread_is_timed_and_not_decided() -> None:
    """A GET on a webhook's path never becomes an event."""
    async with serving() as running, connected(running) as client:
        await client.ask(b"GET /inbound/voice HTTP/1.1\r\nHost: x\r\n\r\n")

    assert running.meter.told == [("burst", 1), ("answered", 0.0, 1)]
    assert running.meter.in_flight == 0


async def test_webhooks_of_a_platform_that_hung_up_are_in_flight_no_more() -> None:
    """The connection is reset while their commits are under way."""
    async with serving() as running:
        running.plane.is_holding = True
        async with connected(running) as client:
            await client.send(post(numbered(1)) + post(numbered(2)))
            await held(running, 2)
            in_flight = running.meter.in_flight
            client.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            client.writer.transport.abort()
            await until(lambda: running.meter.in_flight == 0)
        for answer in running.plane.held:
            answer()

    assert in_flight == 2
    assert running.meter.in_flight == 0
