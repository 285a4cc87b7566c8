"""Questions that the feed answers from cached routes: nobody is asked, nothing else changes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.core.ports.observing import FeedProblem
from engine.core.routing.route_cache import RouteCache, put_route
from engine.core.sessions.expiry import NEVER
from tests.channels.feed.feed_rig import (
    CARRIER,
    CARRIER_TOKEN,
    FAR,
    HOOKED,
    STRANGER,
    TOLD,
    Client,
    Running,
    call,
    encode,
    feeding,
    greeted,
    resolve,
)
from tests.http.rig import ACCOUNT, PROXY, ROUTED, SENDER, until

pytestmark = pytest.mark.anyio

OLD = "+12125550155"
"""Has no cached route: what it is bound to is to be looked at in full."""

THERE, UNKNOWN = TOLD[SENDER], TOLD[STRANGER]


def known(*, account_sid: str = ACCOUNT) -> RouteCache:
    """Return cached routes: one sender's leads somewhere, the others' are to be found in full."""
    index = RouteCache().at(100.0)
    table = index.open(PROXY, account_sid)
    assert table is not None
    put_route(table, SENDER, ROUTED.to, "+14155550199", NEVER)
    for sender in (OLD, HOOKED, FAR):
        put_route(table, sender, ROUTED.to, "+14155550199", 0)
    return index


@asynccontextmanager
async def knowing(**hello: object) -> AsyncIterator[tuple[Running, Client]]:
    """Run a feed whose plane has cached routes, with a client."""
    async with feeding() as running, greeted(running, **hello) as client:
        running.plane.known = known()
        yield running, client


async def test_who_has_a_cached_route_and_who_is_a_stranger_is_answered_at_once() -> None:
    """The data plane is not asked; counted, timed and awaited like all others."""
    async with knowing() as (running, client):
        answers = await client.ask([resolve(), resolve(STRANGER), resolve()])

    assert answers == ["answers", 1, 1, [THERE, UNKNOWN, THERE]]
    assert (running.plane.asked, running.plane.accounts) == ([], [])
    assert running.meter.told == [("from_cache", 3, 1, 0.0), ("burst", 3), ("answered", 0.0, 3)]
    assert running.meter.in_flight == 0


async def test_frames_that_are_read_together_are_one_burst() -> None:
    """Told of once, however many they are; their decisions one by one."""
    async with knowing() as (running, client):
        client.write([resolve()], [], [resolve(), resolve(STRANGER)])
        answers = [await client.read() for _ in range(3)]

    assert [answer[3] for answer in answers] == [[THERE], [], [THERE, UNKNOWN]]
    assert running.meter.told == [
        ("from_cache", 1, 0, 0.0),
        ("from_cache", 2, 1, 0.0),
        ("burst", 3),
        ("answered", 0.0, 3),
    ]


async def test_only_those_without_are_asked_about() -> None:
    """All at once, to be kept from then on; each answer stands where its question did."""
    async with knowing() as (running, client):
        _, _, _, said = await client.ask([resolve(OLD), resolve(), resolve(OLD), resolve(STRANGER)])

    assert said == [UNKNOWN, THERE, UNKNOWN, UNKNOWN]
    assert (running.plane.asked, running.plane.accounts) == ([(2, True)], [ACCOUNT])
    assert running.meter.told[:2] == [("resolved", 2, 0.0), ("from_cache", 2, 1, 0.0)]
    assert running.meter.in_flight == 0


async def test_a_host_that_is_not_ready_is_asked_about_all() -> None:
    """It says so itself."""
    async with knowing() as (running, client):
        running.plane.known = None
        await client.ask([resolve(), resolve(STRANGER)])

    assert running.plane.asked == [(2, False)]


async def test_a_client_that_wants_what_no_cached_route_holds_has_all_looked_up() -> None:
    """Nothing is kept for it."""
    async with knowing(wants=["to", "session"]) as (running, client):
        _, _, _, said = await client.ask([resolve()])

    assert said == [[ROUTED.to, ROUTED.session_sid]]
    assert running.plane.asked == [(1, False)]


async def test_numbers_of_another_account_are_asked_about() -> None:
    """An account does not learn whose they are; a carrier of the operator's may use all."""
    async with knowing() as (running, client):
        running.plane.known = known(account_sid="AC" + "7" * 32)
        await client.ask([resolve(), resolve(STRANGER)])
        async with greeted(running, key=CARRIER, secret=CARRIER_TOKEN) as carrier:
            await carrier.ask([resolve(), resolve(STRANGER)])

    assert running.plane.asked == [(2, True)]


async def test_answers_wait_for_those_before_them() -> None:
    """A call in an earlier frame is not on disk yet."""
    async with knowing() as (running, client):
        running.plane.is_holding_commits = True
        client.write([call()], [resolve(), resolve(OLD)], [resolve(STRANGER)])
        await until(lambda: bool(running.plane.uncommitted))
        is_silent = await client.hears_nothing()
        running.plane.commit()
        answers = [await client.read() for _ in range(3)]

    assert is_silent
    assert [(number, said) for _, number, _, said in answers] == [(1, [THERE]), (2, [THERE, UNKNOWN]), (3, [UNKNOWN])]
    assert running.meter.in_flight == 0


async def test_a_frame_about_another_hosts_number_is_looked_up_whole() -> None:
    """Its answer comes later, the others' at once, as ever."""
    async with knowing() as (running, client):
        client.write([resolve(), resolve(FAR)])
        await until(lambda: bool(running.plane.hooks))
        first = await client.read()
        running.plane.answer_hooks()
        later = await client.read()

    assert first[3] == [THERE, None]
    assert later[2] == [[1, 1, UNKNOWN]]
    assert running.meter.in_flight == 0


async def test_what_is_wrong_is_told_as_ever() -> None:
    """A sender that is no text, beside good questions."""
    async with knowing() as (running, client):
        broken = b"\x94" + b"".join(map(encode, ("resolve", "call"))) + b"\xa2\xff\xfe" + encode(PROXY)
        payload = b"\x92" + encode(resolve()) + broken
        client.writer.write(len(payload).to_bytes(4) + payload)
        _, _, _, said = await client.read()

    assert said[0] == THERE
    assert said[1]["error"] == FeedProblem.BAD_FIELD
    assert running.observer.problems == [FeedProblem.BAD_FIELD]


async def test_questions_among_calls_are_looked_up() -> None:
    """A frame is one or the other."""
    async with knowing() as (running, client):
        _, _, _, said = await client.ask([resolve(), call()])

    assert said == [THERE, THERE]
    assert running.plane.accounts == [ACCOUNT]


async def test_what_is_said_is_what_looking_in_full_says() -> None:
    """To the last word."""
    frames = [[resolve(), resolve(STRANGER), resolve(OLD)], [], [resolve(STRANGER)] * 20]
    async with feeding() as running, greeted(running) as client:
        in_full = [await client.ask(frame) for frame in frames]
        running.plane.known = known()
        from_cached_routes = [await client.ask(frame) for frame in frames]

    assert [answer[3] for answer in from_cached_routes] == [answer[3] for answer in in_full]
