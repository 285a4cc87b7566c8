"""How every host comes to hold the same registry: whoever writes it tells the others, who follow, version by version.

Where each host has files of its own, one registrar writes. It commits first, then has every host that it reaches commit
too, and only then is a change answered. Where all see the same tables, whoever changes something writes it there
(`actors.cluster.shared_registry`), and the others take it over in memory. A host that was not reached learns of it from
the next message of any other host, and asks for all it missed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from actors.cluster.registry_changes import check, difference, digests
from actors.cluster.rpc import HostRpc
from actors.kernel.gathering import reason_of
from actors.kernel.registry import Registry, RegistryMoved
from actors.kernel.yielding import STEPS_PER_TURN
from engine.core.model.changes import RegistryAdvanced, RegistryChange
from engine.core.model.errors import PeerUnavailable
from engine.core.model.placement import REGISTRAR
from engine.core.ports.operations import Clock
from engine.core.ports.store import HeldRegistry, RegistryNews, Store

UNREACHED_SECONDS = 1.0
"""How long a change waits for a host that was not reached lately; it may just be back."""

_log = logging.getLogger("maskline.registry")


class Teller:
    """Tells the other hosts of a change that is committed."""

    def __init__(self, rpc: HostRpc, *, reached: Callable[[int], bool]) -> None:
        """Tell by RPC; `reached` tells which hosts answered lately."""
        self._rpc = rpc
        self._reached = reached

    async def tell(self, version: int, changes: tuple[RegistryChange, ...]) -> None:
        """Have every other host that is reached hold the next version."""
        asked = (
            asyncio.wait_for(
                self._rpc.ask_quickly(host, Follower.advance, version, changes),
                None if self._reached(host) else UNREACHED_SECONDS,
            )
            for host in self._rpc.others
        )
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException):
                _log.warning(
                    "A host did not take version %s of the registry and will ask for it: %s",
                    version,
                    reason_of(outcome),
                )


class Registrar:
    """Writes the registry; served by the registrar's host."""

    def __init__(self, store: Store, registry: Registry, teller: Teller) -> None:
        """Write to a store."""
        self._store = store
        self._registry = registry
        self._teller = teller
        self._turn = asyncio.Lock()

    async def write(self, changes: tuple[RegistryChange, ...], seen: tuple[str, ...]) -> int:
        """Commit changes that were decided upon the records `seen`; returns the version they lead to.

        Raises:
            RegistryMoved: a record has changed since, or another is in the way.
            ApiError: NOT_FOUND, SERVICE_NAME_TAKEN.
            StoreUnavailable: nothing was committed.
        """
        async with self._turn:
            check(self._registry, changes, seen)
            version = self._registry.version + 1
            await self._store.write((*changes, RegistryAdvanced(version)))
            self._registry.version = version
            self._registry.apply(changes)
            await self._teller.tell(version, changes)
        return version

    async def held(self, version: int) -> HeldRegistry | None:
        """Return the whole registry, None where the asker's version is the latest."""
        # Takes no turn: whoever holds it may be waiting for the asker. A version that is on disk already and not yet
        # counted is told again, and changes nothing then.
        if version == self._registry.version:
            return None
        return HeldRegistry(self._registry.version, (await self._store.held_registry()).registry)


class RegistrySource(Protocol):
    """Who knows the newest version of the registry."""

    async def news(self, mine: Registry) -> RegistryNews | None:
        """Return what leads from a registry, which stays as it is meanwhile, to the newest; None: it is that.

        Raises:
            PeerUnavailable, StoreUnavailable: it cannot be asked.
        """


class FromRegistrar:
    """Asks the registrar."""

    def __init__(self, rpc: HostRpc, *, clock: Clock) -> None:
        """Ask by RPC."""
        self._rpc = rpc
        self._clock = clock

    async def news(self, mine: Registry) -> RegistryNews | None:
        """Ask for the whole, and compare."""
        if self._rpc.me == REGISTRAR:
            raise PeerUnavailable("Another host knows more of the registry than the registrar: was a backup put back?")
        held = await self._rpc.ask(REGISTRAR, Registrar.held, mine.version)
        if held is None:
            return None
        return RegistryNews(held.version, tuple(difference(mine, held.registry, at=self._clock())))


class Follower:
    """Holds the registry as others write it; served by every host."""

    def __init__(self, store: Store, registry: Registry, source: RegistrySource) -> None:
        """Keep a registry, in a store too unless it is shared, and ask a source for what was missed."""
        self._store = store
        self._registry = registry
        self._source = source
        self._turn = asyncio.Lock()
        self._begun: RegistryNews | None = None
        """What is being taken over, without what is."""

    async def advance(self, version: int, changes: tuple[RegistryChange, ...]) -> None:
        """Take the next version over; whoever missed one asks for what it missed."""
        async with self._alone():
            if version == self._registry.version + 1:
                await self._take_over(RegistryNews(version, changes))
            elif version > self._registry.version:
                await self._pull()

    async def know(self, version: int) -> None:
        """Wait until the registry is held in that version or a later one; raises as `synchronise`."""
        if version > self._registry.version:
            async with self._alone():
                if version > self._registry.version:
                    await self._pull()
        if version > self._registry.version and self._store.is_shared:
            raise PeerUnavailable("Another host knows more of the registry than the database: was a backup put back?")

    async def synchronise(self) -> None:
        """Hold the newest version; PeerUnavailable or StoreUnavailable while it cannot be asked for."""
        async with self._alone():
            await self._pull()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._turn:
            await self._go_on()
            yield

    async def _pull(self) -> None:
        news = await self._source.news(self._registry)
        if news is not None:
            await self._take_over(news)

    async def _take_over(self, news: RegistryNews) -> None:
        if self._store.is_shared:
            self._begun = news
            await self._go_on()
            return
        await self._store.write((*news.changes, RegistryAdvanced(news.version)))
        self._registry.version = news.version
        self._registry.apply(news.changes)

    async def _go_on(self) -> None:
        """Take over what was begun, very many changes in several turns of the loop.

        What is decided between them goes by the version before, so that its commit is refused.
        """
        while self._begun is not None:
            version, some = self._begun.version, self._begun.changes[:STEPS_PER_TURN]
            left = self._begun.changes[STEPS_PER_TURN:]
            self._begun = RegistryNews(version, left) if left else None
            if not left:
                self._registry.version = version
            self._registry.apply(some)
            if left:
                await asyncio.sleep(0)


class ReplicatedWriter:
    """Implements `RegistryWriter` in a cluster: hands changes to the registrar and waits to hold them too."""

    def __init__(self, registry: Registry, rpc: HostRpc, *, registrar: Registrar, follower: Follower) -> None:
        """Write by RPC, or directly where the registrar is here."""
        self._registry = registry
        self._rpc = rpc
        self._registrar = registrar
        self._follower = follower

    async def write(self, changes: Sequence[RegistryChange]) -> None:
        """Commit changes everywhere; StoreUnavailable, PeerUnavailable or ApiError when they are not."""
        some = tuple(changes)
        seen = digests(self._registry, some)
        if self._rpc.me == REGISTRAR:
            await self._registrar.write(some, seen)
            return
        try:
            version = await self._rpc.ask(REGISTRAR, Registrar.write, some, seen)
        except RegistryMoved:
            await self._follower.synchronise()
            raise
        await self._follower.know(version)
