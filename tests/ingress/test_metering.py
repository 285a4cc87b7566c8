"""What the door tells the meter: each decision once, what is under way, and for how long."""

import pytest

from engine.core.records import Kind
from engine.core.traffic import Reason
from tests.ingress.rig import ROUTED, connected, held, numbered, post, serving, text, until

pytestmark = pytest.mark.anyio


async def test_each_decision_is_told_once_by_kind_and_reason() -> None:
    """A refused call and a routed message."""
    async with serving() as running, connected(running) as client:
        await client.ask(post(numbered(1)))
        running.plane.decision = ROUTED
        await client.ask(post(text(), "/inbound/message"))

    decisions = [told for told in running.meter.told if isinstance(told[0], Kind)]
    assert decisions == [(Kind.VOICE, Reason.NO_SESSION), (Kind.MESSAGE, Reason.IN_SESSION)]


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


async def test_an_event_that_breaks_the_plane_is_in_flight_no_more() -> None:
    """It has no decision, and its answer is timed like any other."""
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


async def test_what_is_refused_unread_is_timed_but_not_in_flight() -> None:
    """A GET on a webhook's path never becomes an event."""
    async with serving() as running, connected(running) as client:
        await client.ask(b"GET /inbound/voice HTTP/1.1\r\nHost: x\r\n\r\n")

    assert running.meter.told == [("answered", 0.0, 1)]
    assert running.meter.in_flight == 0
