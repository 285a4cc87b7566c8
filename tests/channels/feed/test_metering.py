"""What the feed tells the meter: decisions by kind, questions apart, what is under way, and for how long."""

import pytest

from engine.core.routing.traffic import Reason
from tests.channels.feed.feed_rig import HOOKED, STRANGER, call, feeding, greeted, resolve
from tests.channels.feed.test_connection import STATUS
from tests.http.rig import PROXY, SENDER, until

pytestmark = pytest.mark.anyio


async def test_events_are_counted_by_kind_and_questions_apart() -> None:
    """Those between events too; a leg status is no decision."""
    async with feeding() as running, greeted(running) as client:
        await client.ask([call(), call(STRANGER), ["message", SENDER, PROXY, "SM1", "hi"], STATUS, resolve()])
        await client.ask([resolve(), resolve(STRANGER)])

    meter = running.meter
    assert meter.calls[Reason.IN_SESSION.slot] == meter.calls[Reason.NO_SESSION.slot] == 1
    assert meter.messages[Reason.IN_SESSION.slot] == sum(meter.messages) == 1
    assert meter.resolutions[Reason.IN_SESSION.slot] == 2
    assert meter.resolutions[Reason.NO_SESSION.slot] == 1
    assert [told for told in meter.told if told[0] == "burst"] == [("burst", 5), ("burst", 2)]


async def test_an_event_is_in_flight_until_its_answer_is_written() -> None:
    """With its commit, or later by itself; each is timed from when its frame was read."""
    async with feeding() as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        client.write([call(), call(STRANGER), call(HOOKED)])
        await until(lambda: len(running.plane.uncommitted) == 2)
        before = running.meter.in_flight
        running.monotonic.now += 0.5
        running.plane.commit()
        await client.read()
        between = running.meter.in_flight
        running.monotonic.now += 4.0
        running.plane.answer_hooks()
        await client.read()

    assert (before, between, running.meter.in_flight) == (3, 1, 0)
    assert [told for told in running.meter.told if told[0] == "answered"] == [
        ("answered", 0.5, 2),
        ("answered", 4.5, 1),
    ]


async def test_questions_are_timed_with_their_decision_and_their_answer() -> None:
    """A frame of them at once, in one telling each."""
    async with feeding() as running, greeted(running) as client:
        await client.ask([resolve()] * 64)

    assert running.meter.told == [("resolved", 64, 0.0), ("burst", 64), ("answered", 0.0, 64)]


async def test_what_a_lost_connection_asked_is_in_flight_no_more() -> None:
    """Its events are decided all the same."""
    async with feeding() as running:
        async with greeted(running) as client:
            client.write([call(HOOKED), call(HOOKED, "CA2"), call(STRANGER)])
            await until(lambda: len(running.plane.hooks) == 2)
            in_flight = running.meter.in_flight
            client.writer.transport.abort()
        for connection in tuple(running.server._connections):
            connection.abort()
        await until(lambda: not running.server.connections)
        running.plane.answer_hooks()

    assert in_flight in {2, 3}
    assert running.meter.in_flight == 0
    assert running.meter.calls[Reason.IN_SESSION.slot] == 2


async def test_a_frame_that_is_refused_is_no_burst_of_events() -> None:
    """Nor is an empty one."""
    async with feeding() as running, greeted(running) as client:
        await client.ask([])
        client.writer.write(b"\x00\x00\x00\x01\xc1")
        await client.read()

    assert running.meter.in_flight == 0
    assert [told for told in running.meter.told if told[0] in {"burst", "answered"}] == []
