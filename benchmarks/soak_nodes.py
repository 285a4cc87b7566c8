"""Nodes of a cluster on PostgreSQL for the soak: machines in network namespaces, lost in turn."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from benchmarks.soak_cluster import Json, resident
from engine.channels.sockets import ListenAddress
from tests.cluster.live_cluster import eventually
from tests.cluster.site import Node, Site, patiently, site

NODES = ("node-a", "node-b")


class NodeCluster:
    """Two nodes of a site."""

    def __init__(self, site: Site) -> None:
        """Know one that serves."""
        self._site = site
        self._answering = site.nodes[0]

    @classmethod
    @contextmanager
    def running(cls, place: Path, *, hosts: int, redelivery_seconds: int) -> Iterator[Self]:
        """Run nodes and their database while the context lasts."""
        with site(place) as found:
            for name in NODES:
                node = found.add_clustered(name, "--redelivery-window-seconds", str(redelivery_seconds), hosts=hosts)
                node.serve()
            found.spread()
            yield cls(found)

    @property
    def address(self) -> str:
        """A node that has a host, without which it does not listen."""
        return self._answering.address

    @property
    def feeds(self) -> list[tuple[str, int]]:
        """Where the feed of the first host listens, on whichever machine it is."""
        addresses = [ListenAddress.parse(node.feed) for node in self._site.nodes]
        return [(address.host, address.port) for address in addresses]

    async def strike(self, turn: int) -> None:
        """Lose the node of a host, each in turn; it is back when its hosts are served elsewhere."""
        places = await asyncio.to_thread(self._site.places)
        lost = self._site.node(places[turn % len(places)].node)
        self._answering = next(node for node in self._site.nodes if node is not lost)
        await asyncio.to_thread(lost.kill)
        await asyncio.to_thread(self._site.await_whole, other_than=lost.name)
        lost.serve()
        await asyncio.to_thread(self._site.await_joined, lost)

    def weigh(self) -> dict[str, int]:
        """Return resident bytes of all processes of all nodes: what one weighs depends on how many hosts it carries."""
        return {"nodes": sum(resident(pid) for node in self._site.nodes for pid in node.machine.processes())}

    async def stop(self) -> int:
        """End with the context."""
        return 0

    async def operator(self, method: str, path: str, body: Json) -> Json:
        """Ask a host of the first node that has one."""
        node = self._site.node(self._site.places()[0].node)
        return await asyncio.to_thread(node.admin, method, path, body)

    async def knows_everywhere(self, account_sid: str) -> None:
        """Wait until a host of each node has heard of an account."""
        for name in {place.node for place in self._site.places()}:
            node = self._site.node(name)

            def knows(node: Node = node) -> bool:
                listed: Json = patiently(lambda: node.admin("GET", "/accounts"))
                return account_sid in str(listed)

            await asyncio.to_thread(eventually, knows, f"{name} knows it")
