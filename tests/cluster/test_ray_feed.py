"""The feed of a real cluster: events go to the host that owns their number, whatever happens to the hosts."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.channels.feed.events import Call, Resolve, Subject
from engine.channels.feed.frames import Said
from engine.channels.sockets import ListenAddress
from engine.client.feed import FeedClient
from engine.client.link import ClientSettings
from tests.cluster.live_cluster import WAIT_SECONDS, LiveCluster, eventually, session_of
from tests.e2e.feed import Feed
from tests.e2e.tenant import Pairing, Tenant, new_tenant, numbers_of

pytestmark = pytest.mark.timeout(180)

PATIENT = ClientSettings(patience_seconds=WAIT_SECONDS, silence_seconds=5.0)

_sids = itertools.count()


def pairings_of(tenant: Tenant) -> list[Pairing]:
    """Return sessions on numbers of both hosts."""
    services = [tenant.service(pool=numbers_of(place, 4)) for place in (0, 1)]
    return [service.pairing() for _ in range(4) for service in services]


@pytest.fixture
def pairings(tenant: Tenant) -> list[Pairing]:
    """Return those of an account of the shared cluster."""
    return pairings_of(tenant)


@pytest.fixture
def shaken(tmp_path: Path) -> Iterator[LiveCluster]:
    """Return a cluster of the test's own, which it may leave in disorder."""
    cluster = LiveCluster(tmp_path / "data")
    cluster.serve()
    head = cluster.head
    yield cluster
    cluster.stop()
    eventually(lambda: session_of(head) == [], "all processes of Ray ended")


def client_of(cluster: LiveCluster, tenant: Tenant) -> FeedClient:
    address = ListenAddress.parse(cluster.status()[0]["feed"])
    wants = ("outcome", "to", "interaction")
    return FeedClient((address.host, address.port), key=tenant.sid, secret=tenant.token, wants=wants, settings=PATIENT)


def calls(pairings: list[Pairing], count: int) -> list[Call]:
    return [
        Call(pairing.first.identifier, pairing.first.proxy, f"CA-{next(_sids)}")
        for _ in range(count)
        for pairing in pairings
    ]


def reached(said: list[Said]) -> list[object]:
    return [(one[0], one[1]) if isinstance(one, list | tuple) else one for one in said]


def expected(pairings: list[Pairing], count: int) -> list[object]:
    return [("routed", pairing.second.identifier) for _ in range(count) for pairing in pairings]


def recorded(tenant: Tenant, pairings: list[Pairing]) -> list[str]:
    """Return the SIDs of all calls that were recorded."""
    return sorted(
        one["inbound_resource_sid"]
        for pairing in pairings
        for one in tenant.everything(f"{pairing.path}/Interactions", "interactions")
    )


def test_any_host_answers_for_all(cluster: LiveCluster, tenant: Tenant, pairings: list[Pairing]) -> None:
    """What is not its own it passes on: the answers may come later, and are the same."""
    for host in cluster.status():
        with Feed(host["feed"], tenant.sid, tenant.token, wants=["outcome", "to"]) as feed:
            frame: list[list[object]] = [
                ["call", pairing.first.identifier, pairing.first.proxy, f"CA-{next(_sids)}"] for pairing in pairings
            ]
            _, _, _, said = feed.ask(frame)
            while None in said:
                for _, index, answer in feed.read()[2]:
                    said[index] = answer

        assert [tuple(one) for one in said] == expected(pairings, 1)


def test_a_client_sends_each_event_to_its_owner(cluster: LiveCluster, tenant: Tenant, pairings: list[Pairing]) -> None:
    """It learns from the welcome where the hosts are; what is asked and what is sent go the same way."""

    async def ask() -> tuple[list[Said], list[Said], int]:
        async with client_of(cluster, tenant) as client:
            said = await client.ask(calls(pairings, 50))
            questions = [Resolve(Subject.CALL, one.first.identifier, one.first.proxy) for one in pairings]
            return said, await client.ask(questions), len({link for link in client._owners if link is not None})

    said, asked, links = asyncio.run(ask())

    assert reached(said) == expected(pairings, 50)
    assert reached(asked) == expected(pairings, 1)
    assert links == 2
    assert len(recorded(tenant, pairings)) == 50 * len(pairings)


def test_a_host_that_is_killed_costs_time_and_nothing_else(shaken: LiveCluster) -> None:
    """Every call is answered, although the host was killed under them, and recorded once."""
    tenant = new_tenant(shaken)
    pairings = pairings_of(tenant)
    sent = calls(pairings, 500)

    async def storm() -> list[Said]:
        async with client_of(shaken, tenant) as client, asyncio.timeout(WAIT_SECONDS):
            asking = asyncio.create_task(client.ask(sent))
            while not 0 < client.waiting < len(sent) - 100:  # noqa: ASYNC110 - answers have no event of their own
                await asyncio.sleep(0)
            shaken.kill_host(1)
            assert client.waiting > 0
            return await asking

    old = {1: shaken.pid(1)}
    said = asyncio.run(storm())
    shaken.await_ready(other_than=old)

    assert reached(said) == expected(pairings, 500)
    eventually(lambda: is_recorded(tenant, pairings, sent), "both hosts answer, and know of every call")
    tenant.close()


def is_recorded(tenant: Tenant, pairings: list[Pairing], sent: list[Call]) -> bool:
    """Tell whether each call is recorded once; a host that is not heard yet makes the other answer 5xx."""
    try:
        return recorded(tenant, pairings) == sorted(call.sid for call in sent)
    except AssertionError:
        return False
