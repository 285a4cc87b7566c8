"""The store of a host: one SQLite file, written by one thread, read beside it."""

import asyncio
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Self, TypeVar, TypeVarTuple

import msgspec

from engine.core.model.changes import Change
from engine.core.model.errors import StoreUnavailable
from engine.core.model.outbox import OutboxEntry, QueueKey
from engine.core.model.records import ACTIVE, Address, DebuggerEvent, Interaction, Participant, Session, SessionStatus
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxDepth, OutboxFilter, Page, PageCursor
from engine.core.ports.notes import Note
from engine.core.ports.observing import Observer
from engine.core.ports.store import Passed, PassedElsewhere, Registry
from engine.core.sessions.batch import KeyUse
from engine.core.sessions.bindings import ActiveSession
from engine.core.sessions.search import FoundInteractions, FoundSessions, InteractionSought, SessionSought
from storage.active import sessions_of
from storage.search import SEARCH_SECONDS, find_interactions, find_sessions
from storage.sqlite import read_in_subprocess
from storage.sqlite.active import chunks_in
from storage.sqlite.connections import OLDEST_SQLITE, Synchronous, damage, open_mover, open_writer
from storage.sqlite.datadir import DATABASE, LOG, PRIVATE_FILE, DataDirLock, unusable
from storage.sqlite.errors import (
    DatabaseDamaged,
    reading,
    unopened,
)
from storage.sqlite.holds import is_held
from storage.sqlite.layout import demand_database
from storage.sqlite.mover import LogMover
from storage.sqlite.placed import Placed
from storage.sqlite.reader import SqliteReader
from storage.sqlite.schema import migrate
from storage.sqlite.search import SqliteSearch, searching
from storage.sqlite.transaction import SqliteTransaction
from storage.sqlite.walindex import LogFound, LogIndex, cut_off, found_log
from storage.writer import GroupWriter

CHECKED_BYTES = 64 * 1024 * 1024
"""Databases up to this size are checked whole at every start: a quarter of a second at the most."""

_log = logging.getLogger("maskline.storage")

Args = TypeVarTuple("Args")
Result = TypeVar("Result")


class StoreSizes(msgspec.Struct, frozen=True, gc=False):
    """What the store takes on disk."""

    database_bytes: int
    """The database file."""
    wal_bytes: int
    """The write-ahead log beside it; bounded while no walk is under way."""
    free_bytes: int
    """What the disk has left for us."""
    cut_logs: int
    """Logs that were kept because part of them could not be taken at a start; the operator removes them."""


class SqliteStore:
    """`engine.core.ports.store.Store` on one SQLite file; used on one event loop.

    Point reads never suspend: the file is at hand, and a turn of the loop that a read divides is two.
    """

    def __init__(self, lock: DataDirLock, connection: sqlite3.Connection, index: LogIndex, observer: Observer) -> None:
        """Take over a locked directory, a connection that writes and its log's index; `open` is how to make one."""
        self._lock = lock
        data_dir = lock.database.parent
        mover = LogMover(open_mover(lock.database), index)
        self._writer = GroupWriter(SqliteTransaction(connection, mover, placed=Placed(data_dir)), observer)
        self._points = SqliteReader(lock.database)
        self._page_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-pages")
        self._search_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-search")
        self.search_seconds = SEARCH_SECONDS
        self._is_closed = False

    @classmethod
    def open(cls, data_dir: Path, *, synchronous: Synchronous = "FULL", observer: Observer) -> Self:
        """Lock the data directory, bring its database up to date and open it; make one where there never was one.

        Raises:
            DataDirBusy: another process has it open.
            DatabaseTooNew: a newer version wrote it.
            DatabaseMissing: there was one, and it is away.
            DatabaseDamaged: it cannot be read.
            StoreUnavailable: the disk does not let us write.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old; Python must be linked with 3.33 or newer"
            )
        demand_database(data_dir)
        lock = DataDirLock(data_dir)
        with ExitStack() as undo:
            undo.callback(lock.release)
            behind = undo.enter_context(ExitStack())  # what is closed once SQLite has closed its files
            try:
                left = found_log(data_dir)
                connection = open_writer(lock.database, synchronous)
                undo.callback(connection.close)
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # takes the log
                index = LogIndex(data_dir)
                behind.callback(index.close)
                _tell_cut_off(data_dir, left, taken=index.frames)
                is_small = lock.database.stat().st_size <= CHECKED_BYTES
                if is_small and (finding := damage(connection, is_whole=False)) is not None:
                    raise DatabaseDamaged(lock.database, finding)
                migrate(connection, lock.database)
                store = cls(lock, connection, index, observer)
            except OSError as failure:
                raise unusable(data_dir, failure) from failure
            except sqlite3.Error as failure:
                raise unopened(lock.database, failure) from failure
            undo.pop_all()
        return store

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Raise DatabaseDamaged for what cannot be understood of the rows that are read meanwhile."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, sqlite3.Error) as failure:
            _log.debug("what a start met in the database", exc_info=failure)
            finding = f"it holds what cannot be read: {type(failure).__name__}, details at log level debug"
            raise DatabaseDamaged(self._lock.database, finding) from failure

    async def start(self) -> None:
        """Bind to the running loop; the first commit does so too."""
        self._writer.start()

    @cached_property
    def _pages(self) -> SqliteReader:
        """Reads lists, on its thread; opened when the first is asked for, as descriptors may be few."""
        with reading():
            return SqliteReader(self._lock.database)

    @cached_property
    def _seeking(self) -> SqliteReader:
        """Reads what takes a look through everything, on its thread; opened as the other."""
        with reading():
            return SqliteReader(self._lock.database)

    async def close(self) -> None:
        """Commit what is queued, tidy the file up and let the directory go; closing twice does nothing twice."""
        if self._is_closed:
            return
        self._is_closed = True
        stopped = self._writer.stop()
        if stopped is not None:
            await asyncio.shield(stopped)
        await asyncio.to_thread(self._page_thread.shutdown)
        await asyncio.to_thread(self._search_thread.shutdown, cancel_futures=True)
        self._points.close()
        for name in ("_pages", "_seeking"):
            if name in self.__dict__:  # it was asked for
                getattr(self, name).close()
        # Last, since only a connection that may write tidies the log away.
        await asyncio.to_thread(self._writer.close)
        self._lock.release()

    def sizes(self) -> StoreSizes:
        """Measure the files."""
        database = self._lock.database
        wal = database.with_name(f"{database.name}-wal")
        disk = os.statvfs(database.parent)
        return StoreSizes(
            database_bytes=database.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            free_bytes=disk.f_bavail * disk.f_frsize,
            cut_logs=len(kept_logs(database.parent)),
        )

    def deliveries_held(self) -> bool:
        """Tell whether deliveries are held: the file is a copy that the operator has not released."""
        return is_held(self._lock.database)

    @property
    def unknown_outcomes(self) -> int:
        """Count the commits whose outcome had to be asked for: of a file it is always known."""
        return 0

    @property
    def lacks(self) -> str:
        """Say what it lacks to be on several machines: nothing is asked of a file."""
        return ""

    @property
    def backlog(self) -> int:
        """Count the changesets that wait for a group commit to begin."""
        return self._writer.backlog

    def session_counts(self) -> dict[SessionStatus, int]:
        """Tell how many sessions are kept of each status."""
        return self._points.session_counts()

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
        """Whether the last commit (or probe) succeeded."""
        return self._writer.is_writable

    def registry(self) -> Registry:
        """Read accounts, keys, services and numbers."""
        return self._points.registry()

    def registry_version(self) -> int:
        """Tell which version of the registry is held; 0 = none was ever counted."""
        return self._points.registry_version()

    def active_sessions(self) -> Iterator[ActiveSession]:
        """Walk the active sessions in the order of activation, each with its live participants' endpoints."""
        database, counts = self._lock.database, self.session_counts()
        if read_in_subprocess.is_worth_it(sum(counts.get(status, 0) for status in ACTIVE)):
            return read_in_subprocess.active_sessions(database)
        return sessions_of(chunks_in(database))

    def passed_since(self, at: float) -> Iterator[Sequence[Passed]]:
        """Walk the calls and messages that came at or after a time, oldest first, some hundreds at a time."""
        return self._points.passed_since(at)

    def passed_elsewhere_since(self, at: float) -> Iterator[Sequence[PassedElsewhere]]:
        """Walk those of them in sessions whose records are on other hosts."""
        return self._points.passed_elsewhere_since(at)

    def open_calls(self) -> Iterator[Interaction]:
        """Walk the calls whose inbound leg has not ended."""
        return self._points.open_calls()

    async def session(self, session_sid: str) -> Session | None:
        """Read one session."""
        return self._points.session(session_sid)

    async def session_sid_by_name(self, service_sid: str, unique_name: str) -> str | None:
        """Find the session that owns a name."""
        return self._points.session_sid_by_name(service_sid, unique_name)

    async def batch_key(self, service_sid: str, digest: bytes) -> KeyUse | None:
        """Find what an idempotency key was used for."""
        return self._points.batch_key(service_sid, digest)

    async def planned_erasures(self) -> tuple[str, ...]:
        """Name the erased sessions of which other hosts may have something."""
        return self._points.planned_erasures()

    def note(self, channel: str, key: bytes) -> Note | None:
        """Read what a channel keeps under a key, expired or not."""
        return self._points.note(channel, key)

    def latest_notes(self, channel: str, prefix: bytes, limit: int) -> list[tuple[bytes, Note]]:
        """Read what a channel keeps under keys that begin so, the last by key first, expired or not."""
        return self._points.latest_notes(channel, prefix, limit)

    async def notes_under(self, channel: str, prefix: bytes, limit: int) -> list[tuple[bytes, Note]]:
        """Read the same while the host serves."""
        return await self._on_page_thread(self._pages.latest_notes, channel, prefix, limit)

    async def oldest_note(self) -> float | None:
        """Tell when the first note expires."""
        return await self._on_page_thread(self._pages.oldest_note)

    async def oldest_batch_key(self) -> float | None:
        """Tell when the oldest idempotency key was used."""
        return await self._on_page_thread(self._pages.oldest_batch_key)

    async def participants(self, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, the removed ones too, oldest first."""
        return self._points.participants(session_sid)

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Read one interaction."""
        return self._points.interaction(interaction_sid)

    async def last_session_of(self, service_sid: str, identifier: Address, proxy: Address) -> Session | None:
        """Find the newest session, active or not, in which the identifier held the proxy number."""
        return self._points.last_session_of(service_sid, identifier, proxy)

    async def proxies_held_before(
        self, service_sid: str, identifiers: Sequence[Address]
    ) -> dict[Address, dict[Address, float]]:
        """Tell which proxy numbers each of one or more identifiers has had, and when it was given last."""
        return self._points.proxies_held_before(service_sid, identifiers)

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

    async def alert(self, event_sid: str) -> DebuggerEvent | None:
        """Read one debugger event."""
        return self._points.alert(event_sid)

    async def find_sessions(self, service_sids: Sequence[str], sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of these services, newest first; one search at a time."""
        return await self._on_search_thread(self._searched, partial(find_sessions, most=most), service_sids, sought)

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search the interactions of an account (None = of all), newest first; one search at a time."""
        return await self._on_search_thread(self._searched, partial(find_interactions, most=most), account_sid, sought)

    def _searched(self, find: Callable[[SqliteSearch, *Args], Result], *args: *Args) -> Result:
        with searching(self._lock.database, seconds=self.search_seconds) as search:
            return find(search, *args)

    async def _on_page_thread(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._page_thread, read, *args)

    async def _on_search_thread(self, read: Callable[[*Args], Result], *args: *Args) -> Result:
        """Read what may take a while."""
        return await asyncio.get_running_loop().run_in_executor(self._search_thread, read, *args)


def kept_logs(data_dir: Path) -> tuple[Path, ...]:
    """Find the logs that were kept because part of them was cut off."""
    return tuple(sorted(data_dir.glob(f"{LOG}.cut-*")))


def _tell_cut_off(data_dir: Path, left: LogFound, *, taken: int) -> None:
    """Say how much of the log SQLite has left behind, and keep the log for whoever looks into it."""
    cut = cut_off(left, taken=taken)
    if cut is None:
        return
    kept = next(path for number in count(1) if not (path := data_dir / f"{LOG}.cut-{number}").exists())
    kept.touch(PRIVATE_FILE)
    with suppress(FileNotFoundError):
        shutil.copyfile(data_dir / LOG, kept)
    what = "an unknown number of transactions" if cut.transactions is None else f"{cut.transactions} transactions"
    _log.critical(
        "The log of %s is damaged or incomplete: %s (%d pages) behind page %d were CUT OFF, and what was acknowledged "
        "in them is lost. After a power cut, the last of them may never have been acknowledged. The log as it was is "
        "kept in %s; remove it when you have seen to it",
        data_dir / DATABASE,
        what,
        cut.frames,
        taken,
        kept,
    )
