"""What every store does alike: it commits through the group writer, and reads lists and searches beside it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property, partial, wraps
from math import inf
from typing import Any, Final, TypeVar, TypeVarTuple

from engine.core.model.changes import Change
from engine.core.model.errors import StoreLate, StoreUnavailable
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import Address, DebuggerEvent
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxFilter, OutboxKinds, Page, PageCursor
from engine.core.ports.notes import Note
from engine.core.ports.store import HeldRegistry, RegistryNews, Store
from engine.core.sessions.search import FoundInteractions, FoundSessions, InteractionSought, SessionSought
from storage.reader import Reader
from storage.search import SEARCH_SECONDS, Search, find_interactions, find_sessions, numbers_had, outbox_kinds
from storage.writer import GroupWriter

Args = TypeVarTuple("Args")
Result = TypeVar("Result")


class GroupStore(Store, ABC):
    """The half of the port `Store` that no database changes; used on one event loop.

    Lists are read on one thread and what may take long on another, each through a connection of its own. What a method
    of a reader answers as it is, is not written here, but in `_READ`.
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
    async def _point(self, read: Callable[[], Result]) -> Result:
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

    async def notes_under(self, channel: str, prefix: bytes, limit: int) -> list[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not."""
        return await self._on_page_thread(self._pages.latest_notes, channel, prefix, limit)

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List entries, oldest first; those of one account are sought among all, so nothing else waits for it."""
        return await self._on_search_thread(self._seeking.outbox_page, wanted, cursor)

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


def _point(name: str) -> Callable[..., Any]:
    async def read(self: GroupStore, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the port
        return await self._point(partial(getattr(self._points, name), *args, **kwargs))

    return read


def _list(name: str) -> Callable[..., Any]:
    async def read(self: GroupStore, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - likewise
        return await self._on_page_thread(partial(getattr(self._pages, name), *args, **kwargs))

    return read


def _walk(name: str) -> Callable[..., Any]:
    return lambda self, *args: getattr(self._walks, name)(*args)


_READ: Final[Mapping[Callable[[str], Callable[..., Any]], str]] = {
    _point: (
        "alert batch_key interaction last_session_of latest_notes note participants planned_erasures"
        " proxies_held_before session session_sid_by_name"
    ),
    _list: (
        "entries_held interactions_page oldest_batch_key oldest_note outbox_depth participants_page pending_entries"
        " pending_queues sessions_closed_before sessions_page"
    ),
    _walk: "open_calls passed_elsewhere_since passed_since",
}
"""The methods of the port that are those of a reader, by how they are read."""

for make, names in _READ.items():
    for name in names.split():
        setattr(GroupStore, name, wraps(getattr(Store, name))(make(name)))
