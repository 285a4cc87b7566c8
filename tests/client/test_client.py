"""The client of the feed: order, batches, what is sent again and for how long, and where events go in a cluster."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from engine.channels.feed.events import Call, Event, Message, Resolve, Side, Status, Subject
from engine.channels.feed.frames import Refusal, Said
from engine.channels.feed.settings import FeedSettings
from engine.client.feed import FeedClient
from engine.client.link import ClientSettings, FeedRefused
from engine.core.model.hosts import HostAddress, HostDirectory
from engine.core.model.placement import SHARDS, Placement, host_name, owner_of
from engine.core.model.records import LegStatus
from engine.core.ports.observing import FeedProblem
from engine.core.routing.decide import BUSY, STORE_DOWN
from engine.core.routing.traffic import ReportOutcome
from tests.channels.feed.feed_rig import (
    HOOKED,
    KEY,
    PATIENCE,
    PROXY,
    REFUSED,
    ROUTED,
    SECRET,
    SENDER,
    STRANGER,
    Running,
    feeding,
    until,
)

pytestmark = pytest.mark.anyio

QUICK = ClientSettings(first_wait_seconds=0.001, longest_wait_seconds=0.01, patience_seconds=PATIENCE)
TO = ("routed", ROUTED.to)
NOBODY = ("refused", "")


def call(number: int = 1, sender: str = SENDER, proxy: str = PROXY) -> Call:
    return Call(sender, proxy, f"CA{number}")


def status(number: int = 1) -> Status:
    return Status(Subject.CALL, Side.INBOUND, f"CA{number}", LegStatus.COMPLETED, PROXY)


@asynccontextmanager
async def client_of(
    *running: Running, settings: ClientSettings = QUICK, key: str = KEY, secret: str = SECRET
) -> AsyncIterator[FeedClient]:
    """Return a client that wants outcome and number."""
    addresses = [("127.0.0.1", one.port) for one in running]
    async with FeedClient(*addresses, key=key, secret=secret, wants=("outcome", "to"), settings=settings) as client:
        yield client


def tuples(said: list[Said]) -> list[object]:
    return [tuple(one) if isinstance(one, list | tuple) else one for one in said]


# -- answers ---------------------------------------------------------------------------------------------------------


async def test_events_are_answered_in_their_order() -> None:
    """Whatever their kind, in several frames."""
    events: list[Event] = [
        call(),
        call(2, STRANGER),
        Message(SENDER, PROXY, "SM1", "hi"),
        Resolve(Subject.CALL, SENDER, PROXY),
        status(),
        Call(SENDER, "", "CA3"),
    ]
    async with (
        feeding() as running,
        client_of(running, settings=msgspec.structs.replace(QUICK, batch_events=2)) as client,
    ):
        said = await client.ask(events)

    assert tuples(said[:5]) == [TO, NOBODY, TO, TO, "recorded"]
    assert isinstance(said[5], Refusal)
    assert (said[5].error, said[5].field) == (FeedProblem.BAD_FIELD, "proxy")
    assert running.plane.events[0].resource_sid == "CA1"


async def test_an_answer_that_comes_later_finds_its_event() -> None:
    """Beside others that do not wait."""
    async with feeding() as running, client_of(running) as client:
        asking = asyncio.create_task(client.ask([call(), call(2, HOOKED), call(3, STRANGER)]))
        await until(lambda: client.waiting == 1)
        running.plane.answer_hooks()

        assert tuples(await asking) == [TO, TO, NOBODY]


async def test_thousands_are_sent_without_waiting_for_each_other() -> None:
    """More than the window of the server holds."""
    settings = msgspec.structs.replace(QUICK, batch_events=16)
    async with feeding(FeedSettings(feed_window_frames=3)) as running, client_of(running, settings=settings) as client:
        said = await client.ask(call(number) for number in range(3_000))

    assert tuples(said) == [TO] * 3_000
    assert [event.resource_sid for event in running.plane.events] == [f"CA{number}" for number in range(3_000)]


async def test_no_more_than_so_many_wait_for_answers() -> None:
    """A client that is ahead of its server is held up, and its memory bounded."""
    async with (
        feeding() as running,
        client_of(running, settings=msgspec.structs.replace(QUICK, most_waiting=10)) as client,
    ):
        running.plane.is_holding_commits = True
        asking = asyncio.create_task(client.ask(call(number) for number in range(100)))
        await until(lambda: len(running.plane.events) == 10)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (client.waiting, len(running.plane.events)) == (10, 10)
        running.plane.is_holding_commits = False
        running.plane.commit()

        assert tuples(await asking) == [TO] * 100


async def test_a_frame_that_would_be_too_long_is_sent_in_parts() -> None:
    """An event that is too long by itself is not sent at all."""
    texts = [Message(SENDER, PROXY, f"SM{number}", "x" * 300) for number in range(8)]
    async with feeding(FeedSettings(max_feed_frame_bytes=1_000)) as running, client_of(running) as client:
        said = await client.ask([*texts, Message(SENDER, PROXY, "SM8", "x" * 1_000), call()])

    assert tuples(said[:8]) == [TO] * 8
    assert isinstance(said[8], Refusal)
    assert said[8].error is FeedProblem.FRAME_TOO_LONG
    assert tuples(said[9:]) == [TO]
    assert running.observer.problems == []


# -- again -----------------------------------------------------------------------------------------------------------


async def test_what_is_not_ready_is_sent_again_with_the_same_sid() -> None:
    """Until it is; others are not held up."""
    answers = iter([STORE_DOWN, REFUSED, BUSY, ROUTED])
    async with feeding() as running, client_of(running) as client:
        running.plane.decide = lambda _: next(answers)
        said = await client.ask([call(1), call(2)])

    assert tuples(said) == [TO, NOBODY]
    assert [event.resource_sid for event in running.plane.events] == ["CA1", "CA2", "CA1", "CA1"]


async def test_a_status_that_could_not_be_kept_is_sent_again() -> None:
    """As it was."""
    async with feeding() as running, client_of(running) as client:
        running.plane.report_outcome = None
        asking = asyncio.create_task(client.ask([status()]))
        await until(lambda: len(running.plane.reports) > 2)
        running.plane.report_outcome = ReportOutcome.RECORDED

        assert await asking == ["recorded"]


async def test_patience_ends() -> None:
    """Then the last answer is the answer; and None, where there was none."""
    impatient = msgspec.structs.replace(QUICK, patience_seconds=0.1)
    async with feeding() as running, client_of(running, settings=impatient) as client:
        running.plane.decide = lambda _: BUSY
        (busy,) = await client.ask([call()])
        await running.server.stop(0.01)
        (nothing,) = await client.ask([call()])

    assert isinstance(busy, list | tuple)
    assert busy[0] == "not-ready"
    assert nothing is None


async def test_a_lost_connection_is_made_again_and_its_events_are_sent_again() -> None:
    """Those that were in flight and those that waited for a hook, first in order."""
    async with feeding() as running, client_of(running) as client:
        running.plane.is_holding_commits = True
        asking = asyncio.create_task(client.ask([call(1), call(2, HOOKED), call(3, STRANGER)]))
        await until(lambda: len(running.plane.events) == 3)
        for connection in list(running.server._connections):
            connection.abort()
        running.plane.hooks.clear()
        running.plane.commit()
        running.plane.is_holding_commits = False
        await until(lambda: len(running.plane.events) == 6 and len(running.plane.hooks) == 1)
        running.plane.answer_hooks()

        assert tuples(await asking) == [TO, TO, NOBODY]
    assert [event.resource_sid for event in running.plane.events] == ["CA1", "CA2", "CA3"] * 2


async def test_what_is_sent_while_the_connection_goes_waits_for_the_next_one() -> None:
    """It has ended, and nobody has noticed yet."""
    async with feeding() as running, client_of(running) as client:
        connection = client._seed._connection
        assert connection is not None
        connection.abort()

        async with asyncio.timeout(PATIENCE):
            said = await client.ask([call()])

    assert tuples(said) == [TO]


async def test_a_server_that_says_nothing_is_left() -> None:
    """One that owes answers; the events go over a new connection."""
    settings = msgspec.structs.replace(QUICK, silence_seconds=0.1)
    async with feeding() as running, client_of(running, settings=settings) as client:
        running.plane.is_holding_commits = True
        asking = asyncio.create_task(client.ask([call()]))
        await until(lambda: len(running.plane.events) == 2)
        running.plane.is_holding_commits = False
        running.plane.commit()

        assert tuples(await asking) == [TO]


async def test_wrong_credentials_are_told_and_not_tried_again() -> None:
    """At the start, and when a key is revoked."""
    async with feeding() as running:
        with pytest.raises(FeedRefused, match="bad-credentials"):
            async with client_of(running, secret="wrong"):
                pass
        assert running.observer.problems == [FeedProblem.BAD_CREDENTIALS]
    async with feeding(FeedSettings(check_seconds=0.01)) as running, client_of(running) as client:
        running.keys.clear()
        await until(lambda: running.observer.problems == [FeedProblem.BAD_CREDENTIALS] * 2)
        with pytest.raises(FeedRefused, match="bad-credentials"):
            await client.ask([call()])


async def test_a_server_that_is_full_is_tried_again_by_whoever_was_in() -> None:
    """Its events wait, and are answered; whoever begins is told at once."""
    async with feeding(FeedSettings(max_feed_connections=1)) as running, client_of(running) as client:
        with pytest.raises(FeedRefused, match="too-many-connections"):
            async with client_of(running):
                pass
        (own,) = running.server._connections
        own.abort()
        while running.server.connections:  # noqa: ASYNC110 - the client must not be faster
            await asyncio.sleep(0)
        with socket.create_connection(("127.0.0.1", running.port)):
            await until(lambda: len(running.observer.problems) > 1)
            asking = asyncio.create_task(client.ask([call()]))
        async with asyncio.timeout(PATIENCE):
            said = await asking

    assert tuples(said) == [TO]


async def test_closing_leaves_no_event_without_an_answer() -> None:
    """None is one."""
    said: list[Said] = []
    async with feeding() as running:
        async with client_of(running) as client:
            running.plane.decide = lambda event: BUSY if event.sender == STRANGER else ROUTED
            await client.send(call(1, HOOKED), said.append)
            await client.send(call(2, STRANGER), said.append)
            await until(lambda: len(running.plane.events) >= 3)
        assert (said, client.waiting) == ([None, None], 0)


# -- several hosts ---------------------------------------------------------------------------------------------------

NUMBERS = [f"+1415555{line:04}" for line in range(40)]


class Cluster(msgspec.Struct):
    """Hosts that know of each other."""

    hosts: list[Running]
    shards: int = 0

    def announce(self, *, epoch: int, without: tuple[int, ...] = ()) -> None:
        """Tell every host where all of them are."""
        addresses = tuple(
            HostAddress(host_name(place), "" if place in without else f"127.0.0.1:{host.port}")
            for place, host in enumerate(self.hosts)
        )
        for place, host in enumerate(self.hosts):
            host.directory = HostDirectory(epoch, place, addresses, self.shards)

    def reached(self) -> list[set[str]]:
        """Return the numbers whose events each host got, and forget them."""
        found = [{event.proxy for event in host.plane.events} for host in self.hosts]
        for host in self.hosts:
            host.plane.events.clear()
        return found


@asynccontextmanager
async def cluster(count: int, *, shards: int = 0) -> AsyncIterator[Cluster]:
    """Run so many hosts."""
    async with AsyncExitStack() as stack:
        together = Cluster([await stack.enter_async_context(feeding()) for _ in range(count)], shards)
        together.announce(epoch=1)
        yield together


def owned(hosts: int) -> list[set[str]]:
    return [{number for number in NUMBERS if owner_of(number, hosts) == place} for place in range(hosts)]


async def all_open(client: FeedClient, count: int) -> None:
    """Wait until a client is connected to n hosts; until then events go to those that are there."""
    await until(lambda: sum(link is not None and link.is_open for link in client._owners) == count)


async def ask_all(client: FeedClient) -> None:
    events = [call(index, proxy=number) for index, number in enumerate(NUMBERS)]
    assert tuples(await client.ask(events)) == [TO] * len(NUMBERS)


async def test_each_event_goes_to_the_host_that_owns_its_number() -> None:
    """Whichever host the client was told of; in a number's canonical form."""
    async with cluster(3) as together, client_of(together.hosts[1]) as client:
        await all_open(client, 3)
        await ask_all(client)
        assert together.reached() == owned(3)
        await client.ask([call(1, proxy="+5215512345678")])

        assert together.reached()[owner_of("+525512345678", 3)] == {"+5215512345678"}


async def test_each_event_goes_to_the_host_that_owns_the_shard_of_its_number() -> None:
    """Where the hosts place numbers so."""
    place = Placement(3, by_shard=True)
    async with cluster(3, shards=SHARDS) as together, client_of(together.hosts[1]) as client:
        await all_open(client, 3)
        await ask_all(client)

        assert together.reached() == [{number for number in NUMBERS if place(number) == host} for host in range(3)]


async def test_a_host_without_an_address_is_reached_through_another() -> None:
    """Which passes its events on."""
    async with cluster(3) as together:
        together.announce(epoch=2, without=(2,))
        async with client_of(together.hosts[0]) as client:
            await all_open(client, 2)
            await ask_all(client)

    first, second, third = together.reached()
    assert (first | second, third) == (set(NUMBERS), set())
    assert second == owned(3)[1]


async def test_a_newer_epoch_brings_the_new_directory() -> None:
    """Any answer tells of it; a host that has moved is found at its new place, none is asked at the old one."""
    async with cluster(3) as together, client_of(together.hosts[0]) as client, feeding() as moved:
        await all_open(client, 3)
        old, together.hosts[2] = together.hosts[2], moved
        together.announce(epoch=7)
        await client.ask([call(proxy=min(owned(3)[0]))])
        await until(lambda: moved.server.connections == 1 and old.server.connections == 0)
        await all_open(client, 3)
        together.reached()
        await ask_all(client)

        assert together.reached() == owned(3)
        assert old.plane.events == []


async def test_a_host_that_is_gone_is_left_out_until_it_is_back() -> None:
    """Its events go to another meanwhile."""
    async with cluster(2) as together, client_of(together.hosts[0]) as client:
        await all_open(client, 2)
        await together.hosts[1].server.stop(0.01)
        await until(lambda: not client._owners[1].is_open)  # type: ignore[union-attr]
        await ask_all(client)

        assert together.reached()[0] == set(NUMBERS)


async def test_hosts_that_have_all_moved_are_found_by_the_addresses_that_were_given() -> None:
    """Those of their last machine are dead, and nobody is left who would tell of the new ones."""
    async with cluster(2) as together, feeding() as other, client_of(together.hosts[0], other) as client:
        elsewhere = Cluster([other])
        elsewhere.announce(epoch=1)
        together.announce(epoch=2)
        await client.ask([call()])
        await all_open(client, 2)
        await until(lambda: other.server.connections == 0)
        for host in together.hosts:
            await host.server.stop(0.01)
        elsewhere.announce(epoch=3)
        await ask_all(client)

        assert {event.proxy for event in other.plane.events} >= set(NUMBERS)


def test_a_client_always_hears_the_outcome() -> None:
    """It has to see what is not ready."""
    assert FeedClient(("x", 1), key="k", secret="s", wants=("to",)).fields == ("to", "outcome")
