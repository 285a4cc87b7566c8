"""A driver that speaks to hosts through `RayPeers`; prints as JSON what came of it. Run with the data directory."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from actors.cluster.fleet import Order
from actors.cluster.hosted import HostPlacement
from actors.cluster.watch import Beat, HostReport
from engine.cluster.head import read_link
from engine.cluster.link import joined
from engine.core.model.errors import PeerUnavailable
from engine.core.model.hosts import HostState
from engine.settings import Settings

if TYPE_CHECKING:
    from actors.ray.cluster import RayPeers

TIMEOUT_SECONDS = 2.0
HOSTS = 40
"""More than the cluster has, so that the names from 10 on are this script's own."""


class Echo:
    """A host that answers, refuses, hangs or breaks as the message says."""

    def __init__(self, plan: bytes, placement: object, peers: object) -> None:
        """Say who it is in every answer."""
        self.name = plan

    def start(self) -> None:
        """Be there."""

    def report(self, beat: Beat) -> HostReport:
        """Be ready."""
        return HostReport(place=10, state=HostState.READY, pid=1, node="", node_address="")

    async def ask(self, source: int, message: bytes) -> bytes | None:
        """Do as the message says."""
        match message:
            case b"refuse":
                return None
            case b"hang":
                await asyncio.sleep(60)
            case b"inlined":
                return os.environ.get("RAY_max_direct_call_object_size", "").encode()  # noqa: SIM112 - Ray names it
            case b"break":
                raise ZeroDivisionError
        return self.name + b" to %d: " % source + message

    async def order(self, order: Order) -> None:
        """Do nothing."""


async def came_of(asked: Awaitable[bytes]) -> str:
    """Say what an ask came to."""
    try:
        return (await asked)[:60].decode()
    except PeerUnavailable as problem:
        return f"PeerUnavailable: {problem}"


async def all_cases() -> dict[str, object]:
    """Ask in every way."""
    import ray  # noqa: PLC0415 - after the environment is set

    from actors.ray.cluster import NAMESPACE, HostActor, RayPeers  # noqa: PLC0415 - as above

    placement = msgspec.msgpack.encode(HostPlacement(10, "", "", ""))

    def made(name: bytes) -> Any:  # noqa: ANN401 - Ray's handle
        actor = ray.remote(HostActor).options(name="host-10", namespace=NAMESPACE, num_cpus=0, max_concurrency=100)
        made: Any = actor.remote(Echo, name, placement, count=HOSTS, timeout=TIMEOUT_SECONDS)
        ray.get(made.ask.remote(3, b"are you there"), timeout=60)
        return made

    peers = RayPeers(me=3, count=HOSTS, timeout_seconds=TIMEOUT_SECONDS)
    came: dict[str, object] = {"nobody": await came_of(peers.ask(11, b"hello"))}
    first = made(b"first")
    for word in ("hello", "refuse", "break", "inlined"):
        came[word] = await came_of(peers.ask(10, word.encode()))
    came["hang"] = await came_of(peers.ask(10, b"hang"))
    came["large"] = len(await peers.ask(10, bytes(300_000)))
    many = await asyncio.gather(*(peers.ask(10, b"%d" % number) for number in range(500)))
    came["many"] = many == [b"first to 3: %d" % number for number in range(500)]
    peers.expect_down((3, 10), seconds=0.5)
    came["known_down"] = await came_of(peers.ask(10, b"hello"))
    peers.heard(10)
    came["heard"] = await came_of(peers.ask(10, b"hello"))
    peers = RayPeers(me=3, count=HOSTS, timeout_seconds=TIMEOUT_SECONDS)
    peers.expect_down((10,), seconds=0.5)
    await asyncio.sleep(0.6)
    came["no_longer_down"] = await came_of(peers.ask(10, b"hello"))
    ray.kill(first)
    came["killed"] = await came_until(peers, is_answered=False)
    second = made(b"second")
    came["replaced"] = await came_until(peers, is_answered=True)
    del second
    return came


async def came_until(peers: "RayPeers", *, is_answered: bool) -> str:
    """Ask until an answer comes, or none does: Ray ends an actor, and frees its name, in its own time."""
    came = ""
    for _ in range(50):
        came = await came_of(peers.ask(10, b"hello"))
        if came.startswith("PeerUnavailable") != is_answered:
            break
        await asyncio.sleep(0.1)
    return came


def main() -> None:
    """Join the Ray of a data directory and print what came of it."""
    settings = Settings(data_dir=Path(sys.argv[1]))
    link = read_link(settings.data_dir)
    assert link is not None
    with joined(settings, link):
        print(json.dumps(asyncio.run(all_cases())))  # noqa: T201 - for the test


if __name__ == "__main__":
    from tests.cluster import peers_script  # by its name, so that Ray's workers find the class

    peers_script.main()
