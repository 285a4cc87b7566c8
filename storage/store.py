"""What every store does alike: it commits through the group writer, and reads lists and searches beside it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property, partial
from math import inf
from typing import TypeVar, TypeVarTuple

from engine.core.model.changes import Change
from engine.core.model.errors import StoreLate, StoreUnavailable
from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import Address, DebuggerEvent, Interaction, Participant, Session
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxDepth, OutboxFilter, OutboxKinds, Page, PageCursor
from engine.core.ports.notes import Note
from engine.core.ports.store import HeldRegistry, Passed, PassedElsewhere, RegistryNews
from engine.core.sessions.batch import KeyUse
from engine.core.sessions.search import FoundInteractions, FoundSessions, InteractionSought, SessionSought
from storage.reader import Reader
from storage.search import SEARCH_SECONDS, Search, find_interactions, find_sessions, numbers_had, outbox_kinds
from storage.writer import GroupWriter

Args = TypeVarTuple("Args")
Result = TypeVar("Result")


class GroupStore(ABC):
    """The half of `engine.core.ports.store.Store` that no database changes; used on one event loop.

    Lists are read on one thread and what may take long on another, each through a connection of its own.
    """

    def __init__(self, writer: GroupWriter, *, points: Reader, open_reader: Callable[[], Reader]) -> None:
        """Commit through a writer that nobody has started; `points` reads single records."""
        self._writer = writer
        self._points = points
        self._walks = points
        """Reads on the event loop, what a start needs."""
        self._open_reader = open_reader
        self._page_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-pages")
        self._search_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-search")
        self.search_seconds = SEARCH_SECONDS
        self._is_closed = False

    @cached_property
    def _pages(self) -> Reader:
        """Reads lists, on its thread; opened when the first is asked for, as descriptors may be few."""
        return self._open_reader()

    @cached_property
    def _seeking(self) -> Reader:
        """Reads what takes a look through everything, on its thread; opened as the other."""
        return self._open_reader()

    def _close_lists(self) -> None:
        """Close the readers of lists, once their threads have ended."""
        for name in ("_pages", "_seeking"):
            if name in self.__dict__:  # it was asked for
                getattr(self, name).close()

    @abstractmethod
    def _searching(self) -> AbstractContextManager[Search]:
        """Search on a connection of its own, for `search_seconds` at the most; raises StoreUnavailable."""

    @abstractmethod
    async def _point(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        """Read a single record, or the few that belong to one, by a method of `_points`."""

    async def start(self) -> None:
        """Bind to the running loop; the first commit does so too."""
        self._writer.start()

    @property
    def backlog(self) -> int:
        """Count the changesets that wait for a group commit to begin."""
        return self._writer.backlog

    @property
    def lease_until(self) -> float:
        """Until when nobody else can have these records; for ever, unless the store says otherwise."""
        return inf

    @property
    def not_before(self) -> float:
        """From when on nobody else answers of these records; at once, unless the store says otherwise."""
        return 0.0

    @property
    def is_writable(self) -> bool:
        """Whether the last commit (or probe) succeeded, and none is late."""
        return self._writer.is_writable and not self._writer.is_late

    @property
    def is_late(self) -> bool:
        """Whether the outcome of a commit has been awaited for longer than the patience."""
        return self._writer.is_late

    def commit(
        self,
        changes: Sequence[Change],
        done: Callable[[StoreUnavailable | None], None],
        late: Callable[[], None] | None = None,
    ) -> None:
        """Commit the changes with the next group; see `Store.commit`."""
        self._writer.put(changes, done, late)

    async def write(self, changes: Sequence[Change]) -> None:
        """Commit and wait; see `Store.write`."""
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: StoreUnavailable | None) -> None:
            if outcome.done():
                return  # the caller was cancelled; the commit stands
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(error)

        def give_up() -> None:
            settle(StoreLate("The commits before it take too long"))

        self.commit(changes, settle, None if changes else give_up)
        await outcome

    async def held_registry(self) -> HeldRegistry:
        """Read accounts, keys, services and numbers, and which version that is."""
        return self._walks.held_registry()

    async def registry_news(self, after: int) -> RegistryNews | None:  # noqa: ARG002 - it is the same of any
        """Keep no changes: nobody else writes them."""
        return None

    def passed_since(self, at: float) -> Iterator[Sequence[Passed]]:
        """Walk the calls and messages that came at or after a time, oldest first, some hundreds at a time."""
        return self._walks.passed_since(at)

    def passed_elsewhere_since(self, at: float) -> Iterator[Sequence[PassedElsewhere]]:
        """Walk those of them in sessions whose records are on other hosts."""
        return self._walks.passed_elsewhere_since(at)

    def open_calls(self) -> Iterator[Interaction]:
        """Walk the calls whose inbound leg has not ended."""
        return self._walks.open_calls()

    async def session(self, session_sid: str) -> Session | None:
        """Read one session."""
        return await self._point(self._points.session, session_sid)

    async def session_sid_by_name(self, service_sid: str, unique_name: str) -> str | None:
        """Find the session that owns a name."""
        return await self._point(self._points.session_sid_by_name, service_sid, unique_name)

    async def batch_key(self, service_sid: str, digest: bytes) -> KeyUse | None:
        """Find what an idempotency key was used for."""
        return await self._point(self._points.batch_key, service_sid, digest)

    async def note(self, channel: str, key: bytes) -> Note | None:
        """Read what a channel keeps under a key, expired or not."""
        return await self._point(self._points.note, channel, key)

    async def latest_notes(self, channel: str, prefix: bytes, limit: int) -> list[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not."""
        return await self._point(self._points.latest_notes, channel, prefix, limit)

    async def planned_erasures(self) -> tuple[str, ...]:
        """Name the erased sessions of which other hosts may have something."""
        return await self._point(self._points.planned_erasures)

    async def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, the removed ones too, oldest first."""
        return await self._point(self._points.participants, session_sid)

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read one interaction."""
        return await self._point(self._points.interaction, interaction_sid)

    async def last_session_of(self, service_sid: str, identifier: Address, proxy: Address) -> Session | None:
        """Find the newest session, active or not, in which the identifier held the proxy number."""
        return await self._point(self._points.last_session_of, service_sid, identifier, proxy)

    async def proxies_held_before(
        self, service_sid: str, identifiers: Sequence[Address]
    ) -> dict[Address, dict[Address, float]]:
        """Tell which proxy numbers each of one or more identifiers has had, and when it was given last."""
        return await self._point(self._points.proxies_held_before, service_sid, identifiers)

    async def alert(self, event_sid: str) -> DebuggerEvent | None:
        """Read one debugger event."""
        return await self._point(self._points.alert, event_sid)

    async def notes_under(self, channel: str, prefix: bytes, limit: int) -> list[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not."""
        return await self._on_page_thread(self._pages.latest_notes, channel, prefix, limit)

    async def oldest_note(self) -> float | None:
        """Tell when the first note expires."""
        return await self._on_page_thread(self._pages.oldest_note)

    async def oldest_batch_key(self) -> float | None:
        """Tell when the oldest idempotency key was used."""
        return await self._on_page_thread(self._pages.oldest_batch_key)

    async def sessions_page(self, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """List sessions, newest first."""
        return await self._on_page_thread(self._pages.sessions_page, service_sid, cursor)

    async def participants_page(self, session_sid: str, cursor: PageCursor) -> Page[Participant]:
        """List participants (removed ones too), newest first."""
        return await self._on_page_thread(self._pages.participants_page, session_sid, cursor)

    async def interactions_page(
        self, session_sid: str, cursor: PageCursor, *, sent_to: str | None = None
    ) -> Page[Interaction]:
        """List interactions, oldest first; with `sent_to`, the message interactions of that participant only."""
        return await self._on_page_thread(self._pages.interactions_page, session_sid, cursor, sent_to)

    async def sessions_closed_before(self, at: float, *, limit: int) -> tuple[str, ...]:
        """Find sessions that ended before a time, the longest closed first."""
        return await self._on_page_thread(self._pages.sessions_closed_before, at, limit)

    async def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name the queues that have pending entries."""
        return await self._on_page_thread(self._pages.pending_queues)

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read pending (not dead) entries of a queue, oldest first, from after a SID."""
        return await self._on_page_thread(self._pages.pending_entries, queue, after, limit)

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List entries, oldest first; those of one account are sought among all, so nothing else waits for it."""
        return await self._on_search_thread(self._seeking.outbox_page, wanted, cursor)

    async def entries_held(self, entry_sids: Sequence[str]) -> frozenset[str]:
        """Tell which of these entries are in the outbox, pending or dead."""
        return await self._on_page_thread(self._pages.entries_held, entry_sids)

    async def outbox_depth(self) -> OutboxDepth:
        """Count the outbox."""
        return await self._on_page_thread(self._pages.outbox_depth)

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""
        if wanted.mentions is None:
            return await self._on_page_thread(self._pages.alerts_page, account_sid, wanted, cursor)
        return await self._on_search_thread(self._seeking.alerts_page, account_sid, wanted, cursor)

    async def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, *, most: int) -> AlertKinds:
        """Count by kind the latest debugger events of an account (None = of all), so many of each host."""
        return await self._on_search_thread(self._seeking.alert_kinds, account_sid, wanted, most)

    async def outbox_kinds(self, wanted: OutboxFilter, *, most: int) -> OutboxKinds:
        """Count by kind the oldest entries of the outbox that are meant, at most so many; for a bounded time."""
        return await self._on_search_thread(self._searched, partial(outbox_kinds, most=most), wanted)

    async def numbers_had(self, sought: Mapping[str, Collection[Address]]) -> Mapping[str, frozenset[Address]]:
        """Tell which of these numbers, by service SID, a session on record has had; without what no time was for."""
        return await self._on_search_thread(self._searched, numbers_had, sought)

    async def find_sessions(self, service_sids: Sequence[str], sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of these services, newest first; one search at a time."""
        return await self._on_search_thread(self._searched, partial(find_sessions, most=most), service_sids, sought)

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search the interactions of an account (None = of all), newest first; one search at a time."""
        return await self._on_search_thread(self._searched, partial(find_interactions, most=most), account_sid, sought)

    async def _on_page_thread(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._page_thread, read, *args)

    async def _on_search_thread(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        """Read what may take a while."""
        return await asyncio.get_running_loop().run_in_executor(self._search_thread, read, *args)

    def _searched(self, find: Callable[[Search, *Args], Result], *args: *Args) -> Result:
        with self._searching() as search:
            return find(search, *args)
