"""The stores of a world's hosts: real ones, which refuse or keep back commits when the test says so."""

import asyncio
from collections.abc import Callable, Container, Sequence
from typing import Final

from actors.kernel.paging import merged
from engine.core.model.changes import AlertsErased, Change
from engine.core.model.errors import StoreUnavailable
from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import Address, DebuggerEvent, Interaction, Participant, Session
from engine.core.ports.lists import Page, PageCursor
from storage.sqlite import SqliteStore
from tests.at_once import at_once
from tests.storage.material import interactions_since

WAIT_SECONDS: Final = 20.0
"""How long anything may take before a test gives up."""

Done = Callable[[StoreUnavailable | None], None]


class Mood:
    """How the disks of a world are: well, full, or slow."""

    def __init__(self) -> None:
        self.is_failing = False
        self.cannot_read = False
        self.kept_back: list[tuple[MoodyStore, Sequence[Change], Done]] | None = None


class MoodyStore(SqliteStore):
    """The real store, which refuses or keeps back commits when the test says so."""

    mood = Mood()
    participants_read = 0
    """How often the participants of a session were read."""
    histories_read = 0
    """How often the numbers that somebody had before were read."""
    has_retained = False
    """The first pass of retention, which begins with a host, commits no more."""

    def commit(self, changes: Sequence[Change], done: Done) -> None:
        """Commit, fail, or wait to be let through."""
        self.has_retained = self.has_retained or any(isinstance(one, AlertsErased) for one in changes)
        if self.mood.kept_back is not None:
            self.mood.kept_back.append((self, changes, done))
        elif self.mood.is_failing:
            super().commit((), lambda _problem: done(StoreUnavailable("The disk is full")))
        else:
            super().commit(changes, done)

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read an interaction, or fail."""
        if self.mood.cannot_read:
            raise StoreUnavailable("Nothing was read: the disk fails")
        return await super().interaction(interaction_sid)

    async def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read the participants of a session, and count it."""
        self.participants_read += 1
        return await super().participants(session_sid)

    async def proxies_held_before(self, service_sid: str, identifier: Address) -> dict[Address, float]:
        """Read the numbers that somebody had before, and count it."""
        self.histories_read += 1
        return await super().proxies_held_before(service_sid, identifier)

    async def land(self) -> None:
        """Wait for every commit that the disk was given."""
        done = asyncio.get_running_loop().create_future()
        SqliteStore.commit(self, (), done.set_result)
        await asyncio.wait_for(done, WAIT_SECONDS)


class Stores:
    """The stores of all hosts of a world, as if they were one."""

    def __init__(self, mood: Mood, stores: Sequence[MoodyStore]) -> None:
        self.all = stores
        self._mood = mood

    @property
    def is_failing(self) -> bool:
        """Every commit fails, as with a full disk; order is kept."""
        return self._mood.is_failing

    @is_failing.setter
    def is_failing(self, is_failing: bool) -> None:
        self._mood.is_failing = is_failing

    def fail_to_read(self, *, is_failing: bool = True) -> None:
        """Read no interaction any more."""
        self._mood.cannot_read = is_failing

    def keep_back(self) -> None:
        """Keep every commit in flight from now on."""
        self._mood.kept_back = []

    @property
    def kept_back(self) -> int:
        """Count the commits in flight."""
        return len(self._mood.kept_back or ())

    def let_through(self, *, failing: Container[int] = ()) -> None:
        """Let the commits in flight reach the disk, those of these places find it full; later ones find it well."""
        kept, self._mood.kept_back = self._mood.kept_back or [], None
        for place, (store, changes, done) in enumerate(kept):
            self.is_failing = place in failing
            store.commit(changes, done)
        self.is_failing = False

    @property
    def have_retained(self) -> bool:
        """Tell whether the first pass of retention is over on all hosts."""
        return all(store.has_retained for store in self.all)

    @property
    def participants_read(self) -> int:
        """Tell how often the participants of a session were read."""
        return sum(store.participants_read for store in self.all)

    @property
    def histories_read(self) -> int:
        """Tell how often the numbers that somebody had before were read."""
        return sum(store.histories_read for store in self.all)

    def session(self, session_sid: str) -> Session | None:
        """Read one session."""
        return next((found for store in self.all if (found := at_once(store.session(session_sid)))), None)

    def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session."""
        return tuple(one for store in self.all for one in at_once(store.participants(session_sid)))

    def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read one interaction."""
        return next((found for store in self.all if (found := at_once(store.interaction(interaction_sid)))), None)

    def interactions_since(self, at: float) -> list[Interaction]:
        """Read the interactions since a time, oldest first."""
        found = [one for store in self.all for one in interactions_since(store, at)]
        return sorted(found, key=lambda interaction: interaction.sid)

    async def interactions_page(self, session_sid: str, cursor: PageCursor) -> Page[Interaction]:
        """List interactions, oldest first."""
        pages = [await store.interactions_page(session_sid, cursor) for store in self.all]
        return merged(pages, cursor, is_newest_first=False)

    async def sessions_closed_before(self, at: float, *, limit: int) -> tuple[str, ...]:
        """Find sessions that ended before a time."""
        return tuple([sid for store in self.all for sid in await store.sessions_closed_before(at, limit=limit)])

    async def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name the queues that have pending entries."""
        return tuple(sorted({one for store in self.all for one in await store.pending_queues()}))

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read pending entries of a queue, oldest first."""
        entry = [await store.pending_entries(queue, after=after, limit=limit) for store in self.all]
        return tuple(sorted((one for some in entry for one in some), key=lambda entry: entry.sid))[:limit]

    def alert(self, event_sid: str) -> DebuggerEvent | None:
        """Read one debugger event."""
        return next((found for store in self.all if (found := at_once(store.alert(event_sid)))), None)
