"""A client of the feed for a whole cluster: each event goes to the host that owns its number, and gets its answer.

Whatever is not answered is sent again with the same SID, so nothing is recorded twice; see `docs/feed.md`.
"""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self

from engine.channels.feed.events import Event
from engine.channels.feed.frames import FIELDS, NOT_READY, VERSION, Directory, Hello, Refusal, Said, Terms
from engine.client.link import Answer, ClientSettings, FeedRefused, Link, LinkParts, Pending
from engine.core.model.placement import SHARDS, Placement
from engine.core.numbers.e164 import canonical
from engine.core.ports.observing import FeedProblem
from engine.core.routing.traffic import Outcome

_SWEEP_SECONDS = 0.25


class FeedClient:
    """Sends events and hands back their answers; made for one event loop."""

    def __init__(
        self,
        *addresses: tuple[str, int],
        key: str,
        secret: str,
        wants: tuple[str, ...] = tuple(FIELDS),
        tls: ssl.SSLContext | None = None,
        settings: ClientSettings | None = None,
    ) -> None:
        """Speak to a host at one of the addresses, and from there to its cluster.

        The addresses are tried again while no host answers that the cluster has named: give one of each machine.
        `wants` are the fields of a decision, in order; "outcome" is added at the end where it is not among them.
        """
        self.fields = wants if "outcome" in wants else (*wants, "outcome")
        """What a decision is made of, in order."""
        self._settings = settings or ClientSettings()
        self._outcome = self.fields.index("outcome")
        hello = Hello(VERSION, key, secret, self.fields)
        self._parts = LinkParts(hello, tls, self._settings, self._answered, self._welcomed, self._heard, self._refuse)
        self._addresses = addresses
        self._links = {address: Link(address, self._parts) for address in addresses}
        self._seed = self._links[addresses[0]]
        self._tasks: dict[Link, asyncio.Task[None]] = {}
        self._owners: list[Link | None] = [self._seed]
        self._place = Placement(1)
        self._epoch = 0
        self._asked_epoch = 0
        self._waiting = 0
        self._resting: set[Pending] = set()
        self._room = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._failure: FeedRefused | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect; raises FeedRefused, or TimeoutError when nobody answers within the patience."""
        for link in self._links.values():
            self._run(link)
        self._sweeper = asyncio.create_task(self._sweep())
        try:
            async with asyncio.timeout(self._settings.patience_seconds):
                await self._is_ready.wait()
            self._check()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """Count the events without an answer."""
        return self._waiting

    async def send(self, event: Event, answer: Answer) -> None:
        """Send an event with others; waits while too many are unanswered.

        `answer` is called once with a decision's fields, what became of a leg status, a refusal, or None when nothing
        came in time. Raises FeedRefused when the server does not take the credentials any more.
        """
        while self._waiting >= self._settings.most_waiting:
            self._room.clear()
            await self._room.wait()
        self._check()
        self._waiting += 1
        deadline = asyncio.get_running_loop().time() + self._settings.patience_seconds
        self._put(Pending(event, answer, deadline))

    async def ask(self, events: Iterable[Event]) -> list[Said]:
        """Send events and return their answers in order, each as `send` tells it."""
        said: list[Said] = []
        left = 1
        all_said = asyncio.Event()

        def taker(place: int) -> Answer:
            def take(answer: Said) -> None:
                nonlocal left
                said[place] = answer
                left -= 1
                if not left:
                    all_said.set()

            return take

        for place, event in enumerate(events):
            said.append(None)
            left += 1
            await self.send(event, taker(place))
        left -= 1
        if left:
            await all_said.wait()
        self._check()
        return said

    async def drain(self) -> None:
        """Wait until every event has its answer."""
        while self._waiting:
            self._room.clear()
            await self._room.wait()

    async def close(self) -> None:
        """Hang up; what has no answer yet gets None."""
        tasks = [*self._tasks.values(), *([self._sweeper] if self._sweeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._abandon(self._links.values())
        while self._resting:
            self._done(self._resting.pop(), None)

    # -- where events go -------------------------------------------------------------------------------------------

    def _put(self, pending: Pending) -> None:
        owner = self._seed
        if len(self._owners) > 1:
            owner = self._owners[self._place(canonical(pending.event.proxy))] or self._seed
        if not owner.is_open:  # any other host passes it on
            owner = next((link for link in self._links.values() if link.is_open), owner)
        owner.put(pending)

    def _welcomed(self, link: Link, terms: Terms) -> None:
        if terms.directory.epoch > self._epoch:
            self._adopt(link, terms.directory)
        self._is_ready.set()

    def _heard(self, link: Link, epoch: int) -> None:
        if epoch > max(self._epoch, self._asked_epoch):
            self._asked_epoch = epoch
            link.ask_directory()

    def _adopt(self, link: Link, directory: Directory) -> None:
        """Keep a link to every host that has an address, the one that spoke staying as it is."""
        self._epoch = directory.epoch
        owners: list[Link | None] = []
        for place, host in enumerate(directory.hosts):
            address = _address(host.address)
            if place == directory.me:
                owners.append(link)
            elif address is None:
                owners.append(None)
            else:
                owners.append(self._links.get(address) or self._open(address))
        self._owners = owners
        by_shard = directory.shards == SHARDS  # of another number nothing is known: events are passed on
        if (self._place.hosts, self._place.by_shard) != (len(owners), by_shard):
            self._place = Placement(len(owners), by_shard=by_shard)
        for address, other in list(self._links.items()):
            if other not in owners:
                self._leave(address, other)
        if self._seed not in owners:
            self._seed = link

    def _open(self, address: tuple[str, int]) -> Link:
        link = self._links[address] = Link(address, self._parts)
        self._run(link)
        return link

    def _run(self, link: Link) -> None:
        self._tasks[link] = asyncio.create_task(link.run())

    def _leave(self, address: tuple[str, int], link: Link) -> None:
        """Send what was for a host that has moved elsewhere, once its connection is gone."""
        del self._links[address]
        task = self._tasks.pop(link)
        task.cancel()
        task.add_done_callback(lambda _: self._move(link))

    def _move(self, link: Link) -> None:
        for pending in link.take_all():
            self._put(pending)

    # -- answers ---------------------------------------------------------------------------------------------------

    def _answered(self, pending: Pending, said: Said) -> None:
        if self._is_not_ready(said):
            pending.tries += 1
            loop = asyncio.get_running_loop()
            wait = self._settings.wait_seconds(pending.tries)
            if loop.time() + wait < pending.deadline:
                self._resting.add(pending)
                loop.call_later(wait, self._again, pending)
                return
        self._done(pending, said)

    def _again(self, pending: Pending) -> None:
        if pending in self._resting:
            self._resting.remove(pending)
            self._put(pending)

    def _is_not_ready(self, said: Said) -> bool:
        if isinstance(said, str):
            return said == NOT_READY
        return isinstance(said, Sequence) and said[self._outcome] == Outcome.NOT_READY

    def _done(self, pending: Pending, said: Said) -> None:
        self._waiting -= 1
        self._room.set()
        pending.answer(said)

    def _refuse(self, refusal: Refusal) -> bool:
        if refusal.error is FeedProblem.TOO_MANY_CONNECTIONS and self._is_ready.is_set():
            return False  # there may be room again
        self._failure = FeedRefused(f"the feed refused us: {refusal.error} ({refusal.detail})")
        self._is_ready.set()
        self._abandon(self._links.values())
        return True

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _abandon(self, links: Iterable[Link]) -> None:
        for link in links:
            for pending in link.take_all():
                self._done(pending, None)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for link in list(self._links.values()):
                for pending in link.take_overdue(loop.time()):
                    self._done(pending, None)
            if not any(link.is_open for link in self._links.values()):
                for address in self._addresses:
                    if address not in self._links:
                        self._open(address)


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    with suppress(ValueError):
        return (host.removeprefix("[").removesuffix("]"), int(port)) if host else None
    return None
