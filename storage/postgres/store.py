"""The store of many hosts: one PostgreSQL database, written by one thread of each host, read beside it."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Self, TypeVar, TypeVarTuple

import psycopg

from engine.core.model.changes import Change
from engine.core.model.errors import Fenced, StoreUnavailable
from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import Address, DebuggerEvent, Interaction, Participant, Session, SessionStatus
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxDepth, OutboxFilter, Page, PageCursor
from engine.core.ports.notes import Note
from engine.core.ports.observing import Observer
from engine.core.ports.store import Passed, PassedElsewhere, Registry
from engine.core.sessions.batch import KeyUse
from engine.core.sessions.bindings import ActiveSession
from engine.core.sessions.search import FoundInteractions, FoundSessions, InteractionSought, SessionSought
from storage.active import sessions_of
from storage.postgres.apply import apply_group
from storage.postgres.connections import conninfo_of, open_writer
from storage.postgres.errors import DatabaseUnreadable, reading
from storage.postgres.places import take_place
from storage.postgres.reader import PostgresReader
from storage.postgres.schema import migrate
from storage.postgres.search import PostgresSearch, searching
from storage.postgres.writer import PostgresTransaction
from storage.search import SEARCH_SECONDS, find_interactions, find_sessions
from storage.writer import GroupWriter

_log = logging.getLogger("maskline.storage")

Args = TypeVarTuple("Args")
Result = TypeVar("Result")


class PostgresStore:
    """`engine.core.ports.store.Store` on a PostgreSQL database; used on one event loop."""

    def __init__(
        self, conninfo: str, transaction: PostgresTransaction, observer: Observer, shards: Sequence[int] | None
    ) -> None:
        """Take over what commits; `open` is how to make one."""
        self._conninfo = conninfo
        self._transaction = transaction
        self._writer = GroupWriter(transaction, observer)
        self._walks = PostgresReader(conninfo, shards)
        self._points = PostgresReader(conninfo, shards)
        self._pages = PostgresReader(conninfo, shards)
        self._seeking = PostgresReader(conninfo, shards)
        self._point_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-points")
        self._page_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-pages")
        self._search_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-search")
        self.search_seconds = SEARCH_SECONDS
        self._is_closed = False

    @classmethod
    def open(
        cls,
        database_url: str,
        *,
        observer: Observer,
        fenced: Callable[[Fenced], None],
        place: int = 0,
        node: str = "",
        lease_seconds: float = 0.0,
        replicas: int = 0,
        shards: Sequence[int] | None = None,
    ) -> Self:
        """Bring the database up to date, take a place in it and open it; whoever had the place is fenced.

        `fenced` is called on the writer's thread when another process takes the place, and is to end this one. `shards`
        are those whose rows are this host's, of what it walks at its start and delivers (None = all).

        Raises:
            BadDatabaseUrl: it is no connection string.
            DatabaseTooNew: a newer version wrote it.
            PlaceTaken: another process serves there.
            StoreUnavailable: it does not answer, or refuses.
        """
        conninfo = conninfo_of(database_url)
        with reading():
            with psycopg.connect(conninfo) as connection:
                migrate(connection)
            with closing(open_writer(conninfo)) as connection:
                epoch = take_place(connection, place, node=node, lease_seconds=lease_seconds)
            transaction = PostgresTransaction(
                lambda: open_writer(conninfo), apply_group, place=place, epoch=epoch, fenced=fenced, replicas=replicas
            )
            transaction.attach()
        return cls(conninfo, transaction, observer, shards)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Raise DatabaseUnreadable for what cannot be understood of the rows that are read meanwhile."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as failure:
            _log.debug("what a start met in the database", exc_info=failure)
            raise DatabaseUnreadable(
                f"The database holds what cannot be read: {type(failure).__name__}, details at log level debug"
            ) from failure

    def deliveries_held(self) -> bool:
        """Tell whether deliveries are held, which is a matter of restored files: they are not."""
        return False

    @property
    def unknown_outcomes(self) -> int:
        """Count the commits whose outcome had to be asked for."""
        return self._transaction.unknown_outcomes

    @property
    def lacks(self) -> str:
        """Say what the database lacks to be replicated as it should be; nothing: empty."""
        return self._transaction.lacks

    async def start(self) -> None:
        """Bind to the running loop; the first commit does so too."""
        self._writer.start()

    async def close(self) -> None:
        """Commit what is queued and close the connections; closing twice does nothing twice."""
        if self._is_closed:
            return
        self._is_closed = True
        stopped = self._writer.stop()
        if stopped is not None:
            await asyncio.shield(stopped)
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        for thread in (self._point_thread, self._page_thread, self._search_thread):
            thread.shutdown(cancel_futures=True)
        for reader in (self._walks, self._points, self._pages, self._seeking):
            reader.close()
        self._writer.close()

    @property
    def backlog(self) -> int:
        """Count the changesets that wait for a group commit to begin."""
        return self._writer.backlog

    async def session_counts(self) -> dict[SessionStatus, int]:
        """Tell how many sessions are kept of each status, those of all hosts."""
        return await self._page(self._pages.session_counts)

    def commit(self, changes: Sequence[Change], done: Callable[[StoreUnavailable | None], None]) -> None:
        """Commit the changes with the next group; see `Store.commit`."""
        self._writer.put(changes, done)

    async def write(self, changes: Sequence[Change]) -> None:
        """Commit and wait; raises StoreUnavailable."""
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: StoreUnavailable | None) -> None:
            if outcome.done():
                return  # the caller was cancelled; the commit stands
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(error)

        self.commit(changes, settle)
        await outcome

    @property
    def is_writable(self) -> bool:
        """Whether the last commit (or probe) succeeded, and its outcome is known."""
        return self._writer.is_writable and self._transaction.unknown_since is None

    def registry(self) -> Registry:
        """Read accounts, keys, services and numbers."""
        return self._walks.registry()

    def registry_version(self) -> int:
        """Tell which version of the registry is held; 0 = none was ever counted."""
        return self._walks.registry_version()

    def active_sessions(self) -> Iterator[ActiveSession]:
        """Walk the active sessions in the order of activation, each with its live participants' endpoints."""
        return sessions_of(self._walks.active_sessions())

    def passed_since(self, at: float) -> Iterator[Sequence[Passed]]:
        """Walk the calls and messages that came at or after a time, oldest first, some hundreds at a time."""
        return self._walks.passed_since(at)

    def passed_elsewhere_since(self, at: float) -> Iterator[Sequence[PassedElsewhere]]:
        """Walk those of them in sessions whose records are on other hosts."""
        return self._walks.passed_elsewhere_since(at)

    def open_calls(self) -> Iterator[Interaction]:
        """Walk the calls whose inbound leg has not ended."""
        return self._walks.open_calls()

    def note(self, channel: str, key: bytes) -> Note | None:
        """Read what a channel keeps under a key, expired or not."""
        return self._walks.note(channel, key)

    def latest_notes(self, channel: str, prefix: bytes, limit: int) -> list[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not."""
        return self._walks.latest_notes(channel, prefix, limit)

    async def session(self, session_sid: str) -> Session | None:
        """Read one session."""
        return await self._point(self._points.session, session_sid)

    async def session_sid_by_name(self, service_sid: str, unique_name: str) -> str | None:
        """Find the session that owns a name."""
        return await self._point(self._points.session_sid_by_name, service_sid, unique_name)

    async def batch_key(self, service_sid: str, digest: bytes) -> KeyUse | None:
        """Find what an idempotency key was used for."""
        return await self._point(self._points.batch_key, service_sid, digest)

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
        """Read the same while the host serves."""
        return await self._page(self._pages.latest_notes, channel, prefix, limit)

    async def oldest_note(self) -> float | None:
        """Tell when the first note expires."""
        return await self._page(self._pages.oldest_note)

    async def oldest_batch_key(self) -> float | None:
        """Tell when the oldest idempotency key was used."""
        return await self._page(self._pages.oldest_batch_key)

    async def sessions_page(self, service_sid: str, cursor: PageCursor) -> Page[Session]:
        """List sessions, newest first."""
        return await self._page(self._pages.sessions_page, service_sid, cursor)

    async def participants_page(self, session_sid: str, cursor: PageCursor) -> Page[Participant]:
        """List participants (removed ones too), newest first."""
        return await self._page(self._pages.participants_page, session_sid, cursor)

    async def interactions_page(
        self, session_sid: str, cursor: PageCursor, *, sent_to: str | None = None
    ) -> Page[Interaction]:
        """List interactions, oldest first; with `sent_to`, the message interactions of that participant only."""
        return await self._page(self._pages.interactions_page, session_sid, cursor, sent_to)

    async def sessions_closed_before(self, at: float, *, limit: int) -> tuple[str, ...]:
        """Find sessions that ended before a time, the longest closed first."""
        return await self._page(self._pages.sessions_closed_before, at, limit)

    async def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name the queues that have pending entries."""
        return await self._page(self._pages.pending_queues)

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read pending (not dead) entries of a queue, oldest first, from after a SID."""
        return await self._page(self._pages.pending_entries, queue, after, limit)

    async def entries_held(self, entry_sids: Sequence[str]) -> frozenset[str]:
        """Tell which of these entries are in the outbox, pending or dead."""
        return await self._page(self._pages.entries_held, entry_sids)

    async def outbox_depth(self) -> OutboxDepth:
        """Count the outbox."""
        return await self._page(self._pages.outbox_depth)

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List entries, oldest first; those of one account are sought among all, so nothing else waits for it."""
        return await self._search(self._seeking.outbox_page, wanted, cursor)

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""
        if wanted.mentions is None:
            return await self._page(self._pages.alerts_page, account_sid, wanted, cursor)
        return await self._search(self._seeking.alerts_page, account_sid, wanted, cursor)

    async def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, *, most: int) -> AlertKinds:
        """Count by kind the latest debugger events of an account (None = of all), so many of each host."""
        return await self._search(self._seeking.alert_kinds, account_sid, wanted, most)

    async def find_sessions(self, service_sids: Sequence[str], sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of these services, newest first; one search at a time."""
        return await self._search(self._searched, partial(find_sessions, most=most), service_sids, sought)

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search the interactions of an account (None = of all), newest first; one search at a time."""
        return await self._search(self._searched, partial(find_interactions, most=most), account_sid, sought)

    def _searched(self, find: Callable[[PostgresSearch, *Args], Result], *args: *Args) -> Result:
        with searching(self._conninfo, seconds=self.search_seconds) as search:
            return find(search, *args)

    async def _point(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._point_thread, read, *args)

    async def _page(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._page_thread, read, *args)

    async def _search(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        """Read what may take a while."""
        return await asyncio.get_running_loop().run_in_executor(self._search_thread, read, *args)
