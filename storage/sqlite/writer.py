"""The one thread that writes: group commit.

Whatever is queued while a transaction runs forms the next one. Changesets are all or none each, and keep their order.
The event loop and the thread meet in a deque, a wake-up per idle spell and one call back to the loop per group.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from engine.core.model.changes import Change
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.observing import Observer
from storage.sqlite.apply import Applier
from storage.sqlite.errors import ChangeRefused, StoreLost, away_now, is_disk_failure, moved_away, unavailable
from storage.sqlite.mover import LogMover
from storage.sqlite.placed import Placed

Done = Callable[[StoreUnavailable | None], None]
Changeset = tuple[Sequence[Change], Done]

MAX_GROUP: Final = 4_096
"""Changesets in one transaction; bounds how long the first of a group waits."""

PROBE_SECONDS = 1.0
"""How often an idle store looks whether its files are in place and, if it failed, whether the disk has recovered."""

_PROBE_BYTES = 65_536
_EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"

_log = logging.getLogger("maskline.storage")


class GroupWriter:
    """Commits changesets in groups on a thread of its own; its methods are for the event loop's thread."""

    def __init__(self, connection: sqlite3.Connection, mover: LogMover, observer: Observer, *, placed: Placed) -> None:
        """Take over a connection and who moves its log; nothing runs before `start`."""
        self._mover = mover
        self._placed = placed
        self.is_writable = True
        self._lost: StoreLost | None = None
        self._connection = connection
        self._observer = observer
        self._queue: deque[Changeset] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._sync_seconds = 0.0
        self._is_idle = False
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Future[None] | None = None

    @property
    def backlog(self) -> int:
        """Count the changesets that wait for a transaction to begin."""
        return len(self._queue)

    def start(self) -> asyncio.AbstractEventLoop:
        """Bind to the running loop, once, and start the thread."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._stopped = self._loop.create_future()
            threading.Thread(target=self._run, args=(self._loop,), name="maskline-store", daemon=True).start()
        return self._loop

    def put(self, changes: Sequence[Change], done: Done) -> None:
        """Queue a changeset; the thread is woken at the end of the loop's turn, for all that the turn queues."""
        loop = self._loop or self.start()
        if self._is_stopping:
            loop.call_soon(done, StoreUnavailable("Nothing was saved: the engine is shutting down"))
            return
        self._queue.append((changes, done))
        if self._is_idle:
            self._is_idle = False
            loop.call_soon(self._wake.put, None)

    def stop(self) -> "asyncio.Future[None] | None":
        """Have what is queued committed and answered, then the thread end, and take nothing more.

        Returns what to wait for, None where the thread never ran.
        """
        self._is_stopping = True
        if self._stopped is not None:
            self._wake.put(None)
        return self._stopped

    def close(self) -> None:
        """Move the log into the database file and close the connections, once stopped; blocks."""
        self._mover.close()
        with contextlib.suppress(sqlite3.Error):  # the log is replayed at the next start
            self._connection.execute(_EMPTY_LOG)
        self._connection.close()
        self._mover.drop_index()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            group = self._next_group()
            if group:
                self._commit_and_tell(group, loop)
            elif self._is_stopping and not self._queue:
                break
            else:
                self._rest()
        _call(loop, self._notify_stopped)

    def _next_group(self) -> list[Changeset]:
        group: list[Changeset] = []
        with contextlib.suppress(IndexError):
            while len(group) < MAX_GROUP:
                group.append(self._queue.popleft())
        return group

    def _rest(self) -> None:
        self._is_idle = True
        if not self._queue:
            # Whatever is queued from here on finds the mark above and wakes the thread.
            try:
                self._wake.get(timeout=PROBE_SECONDS)
            except queue.Empty:
                self._look()
        self._is_idle = False

    def _commit_and_tell(self, group: list[Changeset], loop: asyncio.AbstractEventLoop) -> None:
        changes = sum(len(changeset) for changeset, _ in group)
        began, self._sync_seconds = time.perf_counter(), 0.0
        errors = self._commit(group) if changes else [None] * len(group)
        spent = (time.perf_counter() - began, self._sync_seconds)
        _call(loop, self._notify, group, errors, changes, spent)
        self._mover.follow(self._connection)
        self._mover.look()

    def _notify(
        self,
        group: list[Changeset],
        errors: list[StoreUnavailable | None],
        changes: int,
        spent: tuple[float, float],
        /,
    ) -> None:
        if changes:
            seconds, sync_seconds = spent
            is_ok = not any(map(_is_of_the_disk, errors))
            self._observer.committed(changes=changes, seconds=seconds, sync_seconds=sync_seconds, is_ok=is_ok)
        for (_, done), error in zip(group, errors, strict=True):
            try:
                done(error)
            except Exception as failure:  # noqa: BLE001 - one caller's fault must not keep the others waiting
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a caller failed to take the outcome of its commit", "exception": failure}
                )

    def _notify_stopped(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    def _commit(self, group: list[Changeset]) -> list[StoreUnavailable | None]:
        """Commit a group as one transaction; only if something in it is refused, find out what."""
        if self._lost is not None:
            return [self._lost for _ in group]
        if (away := self._placed.moved()) is not None:
            return self._refused(group, away_now(away))
        try:
            self._begin()
            applier = Applier(self._connection)
            for changes, _ in group:
                applier.apply(changes)
            applier.flush()
            self._end()
        except Exception as failure:  # noqa: BLE001 - the writer's loop: whatever fails is told to those who wait
            self._roll_back()
            if isinstance(failure, sqlite3.Error) and is_disk_failure(failure):
                return self._failed(group, failure)
        else:
            return self._committed([None] * len(group))
        return self._commit_one_by_one(group)

    def _commit_one_by_one(self, group: list[Changeset]) -> list[StoreUnavailable | None]:
        try:
            self._begin()
            errors = [self._apply_alone(changes) for changes, _ in group]
            self._end()
        except sqlite3.Error as failure:
            self._roll_back()
            return self._failed(group, failure)
        return self._committed(errors)

    def _committed(self, errors: list[StoreUnavailable | None]) -> list[StoreUnavailable | None]:
        """Acknowledge what was committed, if it is where the next start will find it."""
        moved = self._placed.moved()
        if moved is not None:
            self._lose(moved_away(moved))
            return [self._lost for _ in errors]
        self._succeeded()
        return errors

    def _apply_alone(self, changes: Sequence[Change]) -> StoreUnavailable | None:
        self._connection.execute("SAVEPOINT alone")
        try:
            applier = Applier(self._connection)
            applier.apply(changes)
            applier.flush()
        except Exception as failure:  # the writer's loop: the fault is the changeset's own
            if is_disk_failure(failure):
                raise
            self._connection.execute("ROLLBACK TO alone")
            self._connection.execute("RELEASE alone")
            _log.exception("A changeset was refused, which is a fault of the engine")
            return _refusal(failure)
        self._connection.execute("RELEASE alone")
        return None

    def _failed(self, group: list[Changeset], failure: sqlite3.Error) -> list[StoreUnavailable | None]:
        problem = unavailable(failure)
        if isinstance(problem, StoreLost):
            self._lose(problem)
        return self._refused(group, problem)

    def _refused(self, group: list[Changeset], problem: StoreUnavailable) -> list[StoreUnavailable | None]:
        """Write nothing of a group; say so the first time."""
        if self.is_writable:
            self.is_writable = False
            _log.error("The store cannot be written. %s", problem)
        return [problem for _ in group]

    def _lose(self, problem: StoreLost) -> None:
        """Commit nothing any more: what comes behind a commit that is lost must not be acknowledged."""
        self.is_writable = False
        self._lost = problem
        _log.critical("The store cannot be written, and does not come back by itself. %s", problem)

    def _succeeded(self) -> None:
        if not self.is_writable:
            self.is_writable = True
            _log.warning("The store can be written again")

    def _end(self) -> None:
        """Commit: SQLite writes the log and, at FULL, waits until the disk has it."""
        began = time.perf_counter()
        self._connection.execute("COMMIT")
        self._sync_seconds = time.perf_counter() - began

    def _begin(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the next _begin tries again
                self._connection.execute("ROLLBACK")

    def _look(self) -> None:
        """While nothing is to be done, see whether all is well, or well again."""
        if self._lost is not None:
            return
        away = self._placed.moved()
        if away is not None:
            self._refused([], away_now(away))
        elif not self.is_writable:
            self._probe()

    def _probe(self) -> None:
        """Write as much as a small group would, and empty it again.

        First the disk gets back what the log takes: what is in the log may be most of what fills it.
        """
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(_EMPTY_LOG).fetchall()
        try:
            self._begin()
            self._connection.execute("REPLACE INTO probe VALUES (1, zeroblob(?))", (_PROBE_BYTES,))
            self._connection.execute("COMMIT")
            self._connection.execute("DELETE FROM probe")
        except sqlite3.Error as failure:
            self._roll_back()
            self._failed([], failure)
        else:
            self._succeeded()


def _is_of_the_disk(error: StoreUnavailable | None) -> bool:
    return error is not None and not isinstance(error, ChangeRefused)


def _call(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(call, *args)


def _refusal(failure: Exception) -> ChangeRefused:
    """Name the constraint or the kind of error; never the values, which may be phone numbers."""
    what = str(failure) if isinstance(failure, sqlite3.IntegrityError) else type(failure).__name__
    refusal = ChangeRefused(f"Nothing of this change was saved, it contradicts what is stored: {what}")
    refusal.__cause__ = failure
    return refusal
