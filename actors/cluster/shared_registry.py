"""The registry of hosts that see the same tables: whoever decides a change commits it there, upon the version it saw.

A commit is refused if another host's came before it. Then the newest is read, and the same change is tried upon that,
unless a record that it was decided upon is another one by now. No host is needed for it, and none has a say in it.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from actors.cluster.registry_changes import check, difference, digests
from actors.cluster.replication import Follower, Teller
from actors.control.services import name_taken
from actors.kernel.registry import Registry
from engine.core.model.changes import RegistryChange, RegistryRevised
from engine.core.model.errors import ApiError, ChangeRefused, Code, MasklineError, PeerUnavailable, RegistryOutrun
from engine.core.ports.operations import Clock
from engine.core.ports.store import RegistryNews, Store

MOST_TRIES: Final = 100
"""How often a change is committed upon yet another version; each time at least one other was committed, or may be."""

TOLD_SECONDS: Final = 0.1
"""How long the next change of a host waits until the others know the one before: so that theirs have their turn."""

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether another host changed something of which nobody told."""

_log = logging.getLogger("maskline.registry")


class FromTables:
    """Reads what was missed."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        """Read from a store."""
        self._store = store
        self._clock = clock

    async def news(self, mine: Registry) -> RegistryNews | None:
        """Read the changes since, or, if these are not kept any more, the whole."""
        news = await self._store.registry_news(mine.version)
        if news is None:
            held = await self._store.held_registry()
            if held.version < mine.version:
                raise PeerUnavailable("The database knows less of the registry than this host: was a backup put back?")
            changes = await asyncio.to_thread(lambda: tuple(difference(mine, held.registry, at=self._clock())))
            return RegistryNews(held.version, changes)
        return news if news.version > mine.version else None


class SharedRegistryWriter:
    """Implements `RegistryWriter` where hosts share tables."""

    def __init__(self, store: Store, registry: Registry, *, follower: Follower, teller: Teller) -> None:
        """Write to a store; the follower takes over what was written."""
        self._store = store
        self._registry = registry
        self._follower = follower
        self._teller = teller
        self._turn = asyncio.Lock()

    async def write(self, changes: Sequence[RegistryChange]) -> None:
        """Commit changes and have the hosts that are reached know them; raises as `RegistryWriter.write`."""
        some = tuple(changes)
        seen = digests(self._registry, some)
        async with self._turn:
            version = await self._committed(some, seen)
            telling = asyncio.ensure_future(self._teller.tell(version, some))
            await asyncio.wait((telling,), timeout=TOLD_SECONDS)
        await telling

    async def _committed(self, changes: tuple[RegistryChange, ...], seen: tuple[str, ...]) -> int:
        for _ in range(MOST_TRIES):
            check(self._registry, changes, seen)
            after = self._registry.version
            try:
                await self._store.write((RegistryRevised(after, changes),))
            except RegistryOutrun:
                await self._follower.synchronise()
            except ChangeRefused as refused:
                raise _said_of(refused) from refused
            else:
                await self._follower.advance(after + 1, changes)
                return after + 1
        problem = "Other hosts keep changing accounts, numbers and services; nothing was changed, try again"
        raise ApiError(Code.UNAVAILABLE, problem)


def _said_of(refused: ChangeRefused) -> MasklineError:
    """Return what is answered to what the tables refuse; theirs is the last word."""
    match refused.constraint:
        case "numbers_address":
            return ApiError(Code.NUMBER_NOT_AVAILABLE, "One of the numbers is owned already")
        case "services_unique_name":
            return name_taken()
        case _:
            return refused


async def keep_looking(follower: Follower) -> None:
    """Look for changes of which nobody told: whoever made them may have ended before it could."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await follower.synchronise()
        except MasklineError as problem:
            _log.debug("The registry could not be looked at: %s", problem)
