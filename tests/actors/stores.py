"""The stores of a world's hosts: real ones, which refuse or keep back commits when the test says so."""

import asyncio
from collections.abc import Callable, Container, Coroutine, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors.kernel.paging import merged
from engine.core.model.changes import AlertsErased, Change
from engine.core.model.errors import StoreLate, StoreUnavailable, StoreUnreadable
from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import Address, DebuggerEvent, Interaction, Participant, Session
from engine.core.ports.lists import Page, PageCursor
from engine.core.ports.notes import Note
from engine.core.ports.store import Store
from engine.core.sessions.batch import KeyUse
from storage.postgres.reader import PostgresReader
from tests.at_once import at_once
from tests.storage.material import interactions_since, recorded_since
from tests.storage.stores import AnyStore

WAIT_SECONDS: Final = 20.0
"""How long anything may take before a test gives up."""

Done = Callable[[StoreUnavailable | None], None]
Late = Callable[[], None]
Read = TypeVar("Read")


def never() -> int:
    """Let no read suspend."""
    return 0


class Mood:
    """How the disks of a world are: well, full, or slow."""

    def __init__(self, turns: Callable[[], int]) -> None:
        self.is_failing = False
        self.cannot_read = False
        self.turns = turns
        """How many turns of the loop the next read is kept from the store, or its answer from who reads."""
        self.kept_back: list[tuple[MoodyStore, Sequence[Change], Done, Late | None]] | None = None
        self.is_late = False
        """Commits in flight take longer than anybody waits, and nothing new is taken."""


if TYPE_CHECKING:
    _Delegates = Store
else:

    class _Delegates:
        """What the store behind has, as it has it."""

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)


class MoodyStore(_Delegates):
    """A store before a real one: refuses or keeps back commits, and suspends at every point read, as the test says."""

    inner: AnyStore
    lease_until: float
    not_before: float

    def __init__(self, inner: AnyStore, mood: Mood) -> None:
        self.inner = inner
        self.mood = mood
        self.participants_read = 0
        """How often the participants of a session were read."""
        self.histories_read = 0
        """How often the numbers that somebody had before were read."""
        self.lease_until = inf
        """Until when nobody else can be its host."""
        self.not_before = 0.0
        """Until when somebody else may be."""
        self.has_retained = False
        """The first pass of retention, which begins with a host, commits no more."""

    @property
    def is_late(self) -> bool:
        """Whether commits in flight take too long."""
        return self.mood.is_late

    def commit(self, changes: Sequence[Change], done: Done, late: Late | None = None) -> None:
        """Commit, fail, or wait to be let through."""
        self.has_retained = self.has_retained or any(isinstance(one, AlertsErased) for one in changes)
        if self.mood.is_late:
            asyncio.get_running_loop().call_soon(done, StoreLate("The commits before it take too long"))
        elif self.mood.kept_back is not None:
            self.mood.kept_back.append((self, changes, done, late))
        elif self.mood.is_failing:
            self.inner.commit((), lambda _problem: done(StoreUnavailable("The disk is full")))
        else:
            self.inner.commit(changes, done)

    async def write(self, changes: Sequence[Change]) -> None:
        """Commit and wait, in that mood."""
        outcome: asyncio.Future[StoreUnavailable | None] = asyncio.get_running_loop().create_future()

        def settle(problem: StoreUnavailable | None) -> None:
            if not outcome.done():
                outcome.set_result(problem)

        def give_up() -> None:
            settle(StoreLate("The commits before it take too long"))

        self.commit(changes, settle, None if changes else give_up)
        problem = await outcome
        if problem is not None:
            raise problem

    async def _later(self, read: Coroutine[Any, Any, Read]) -> Read:
        """Read some turns of the loop later, and hand over what was read some turns after that."""
        await self._suspend()
        found = await read
        await self._suspend()
        return found

    async def _suspend(self) -> None:
        for _ in range(self.mood.turns()):
            await asyncio.sleep(0)

    async def session(self, session_sid: str) -> Session | None:
        """Read one session."""
        return await self._later(self.inner.session(session_sid))

    async def session_sid_by_name(self, service_sid: str, unique_name: str) -> str | None:
        """Find the session that owns a name."""
        return await self._later(self.inner.session_sid_by_name(service_sid, unique_name))

    async def batch_key(self, service_sid: str, digest: bytes) -> KeyUse | None:
        """Find what an idempotency key was used for."""
        return await self._later(self.inner.batch_key(service_sid, digest))

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read an interaction, or fail."""
        if self.mood.cannot_read:
            raise StoreUnreadable("Nothing was read: the disk fails")
        return await self._later(self.inner.interaction(interaction_sid))

    async def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read the participants of a session, and count it."""
        self.participants_read += 1
        return await self._later(self.inner.participants(session_sid))

    async def last_session_of(self, service_sid: str, identifier: Address, proxy: Address) -> Session | None:
        """Find the newest session in which the identifier held the proxy number."""
        return await self._later(self.inner.last_session_of(service_sid, identifier, proxy))

    async def proxies_held_before(
        self, service_sid: str, identifiers: Sequence[Address]
    ) -> dict[Address, dict[Address, float]]:
        """Read the numbers that some people had before, and count it."""
        self.histories_read += 1
        return await self._later(self.inner.proxies_held_before(service_sid, identifiers))

    async def note(self, channel: str, key: bytes) -> Note | None:
        """Read a note of a channel."""
        return await self._later(self.inner.note(channel, key))

    async def latest_notes(self, channel: str, prefix: bytes, limit: int) -> Sequence[tuple[bytes, Note]]:
        """Read the last notes of a channel under keys that begin so."""
        return await self._later(self.inner.latest_notes(channel, prefix, limit))

    async def planned_erasures(self) -> tuple[str, ...]:
        """Name the erased sessions of which other hosts may have something."""
        return await self._later(self.inner.planned_erasures())

    async def alert(self, event_sid: str) -> DebuggerEvent | None:
        """Read one debugger event."""
        return await self._later(self.inner.alert(event_sid))

    async def land(self) -> None:
        """Wait for every commit that the disk was given."""
        done = asyncio.get_running_loop().create_future()
        self.inner.commit((), done.set_result)
        await asyncio.wait_for(done, WAIT_SECONDS)

    async def close(self) -> None:
        """Close the store behind."""
        await self.inner.close()


class Stores:
    """The stores of all hosts of a world, as if they were one."""

    def __init__(self, mood: Mood, stores: Sequence[MoodyStore], shared: PostgresReader | None = None) -> None:
        self.all = stores
        self._mood = mood
        self._shared = shared
        """Reads the tables of all hosts, where there is a database."""

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
        self._mood.is_late = False
        for place, (store, changes, done, _) in enumerate(kept):
            self.is_failing = place in failing
            store.commit(changes, done)
        self.is_failing = False

    def be_late(self) -> None:
        """Have the commits in flight take longer than whoever waits for them should; nothing new is taken."""
        self._mood.is_late = True
        for _, _, _, late in tuple(self._mood.kept_back or ()):
            if late is not None:
                late()

    @property
    def have_retained(self) -> bool:
        """Tell whether the first pass of retention is over on all hosts; of shared tables, one does all."""
        told = [store.has_retained for store in self.all]
        return any(told) if self._shared is not None else all(told)

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
        if self._shared is not None:
            return self._shared.session(session_sid)
        return next((found for store in self.all if (found := at_once(store.inner.session(session_sid)))), None)

    def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session."""
        if self._shared is not None:
            return self._shared.participants(session_sid)
        return tuple(one for store in self.all for one in at_once(store.inner.participants(session_sid)))

    def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read one interaction."""
        if self._shared is not None:
            return self._shared.interaction(interaction_sid)
        return next((found for store in self.all if (found := at_once(store.inner.interaction(interaction_sid)))), None)

    def interactions_since(self, at: float) -> list[Interaction]:
        """Read the interactions since a time, oldest first."""
        if self._shared is not None:
            return recorded_since(self._shared, at)
        found = [one for store in self.all for one in interactions_since(store.inner, at)]
        return sorted(found, key=lambda interaction: interaction.sid)

    async def interactions_page(self, session_sid: str, cursor: PageCursor) -> Page[Interaction]:
        """List interactions, oldest first."""
        asked = self.all if self._shared is None else self.all[:1]
        pages = [await store.interactions_page(session_sid, cursor) for store in asked]
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
        if self._shared is not None:
            return self._shared.alert(event_sid)
        return next((found for store in self.all if (found := at_once(store.inner.alert(event_sid)))), None)
