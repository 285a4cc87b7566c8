"""The one thread that writes: group commit, above whatever store commits.

Whatever is queued while a transaction runs forms the next one. Changesets are all or none each, and keep their order.
The event loop and the thread meet in a deque, a wake-up per idle spell and one call back to the loop per group.

A commit that hangs, or whose outcome is not known, goes on however long it takes. Whoever waits for it hears after a
while that it is late, and nothing new is taken until it is over. One timer looks after all: what was queued before the
look of a patience ago is late.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Final, Protocol

from engine.core.model.changes import Change, RegistryRevised
from engine.core.model.errors import ChangeRefused, Fenced, RegistryOutrun, StoreLate, StoreUnavailable
from engine.core.ports.observing import Observer
from engine.core.ports.store import LATE_LOOKS
from storage.errors import Interrupted, OutcomeUnknown, StoreLost

Done = Callable[[StoreUnavailable | None], None]
Late = Callable[[], None]
Changeset = tuple[Sequence[Change], Done, Late | None]

MAX_GROUP: Final = 4_096
"""Changesets in one transaction; bounds how long the first of a group waits."""

_MORE_ATTEMPTS = 3
"""How often a group is tried again that was interrupted: several hosts may stand in each other's way again."""

PROBE_SECONDS = 1.0
"""How often a store that writes nothing looks whether it can still be written and, if not, whether it can again."""

_log = logging.getLogger("maskline.storage")


class Transaction(Protocol):
    """What a store does for one group after another, on its connection; used by the writer's thread alone.

    Whatever fails raises; `outcome` then says what became of the transaction.
    """

    def begin(self) -> None:
        """Begin a transaction; raises StoreUnavailable where nothing may be written now."""

    def apply(self, group: Sequence[Sequence[Change]]) -> None:
        """Write the changesets of a group in order."""

    def apply_alone(self, changes: Sequence[Change]) -> None:
        """Write one changeset; what fails of it is undone, and nothing else."""

    def commit(self) -> float:
        """Commit, and return for how many seconds that waited until it was durable."""

    def outcome(self, failure: Exception) -> StoreUnavailable | None:
        """End what is left of the transaction and say what became of it: None = it was committed after all.

        ChangeRefused: what was written contradicts what is stored. Interrupted: it may be tried again at once. Anything
        else: nothing was committed, nor could be. Blocks until it is known.

        Raises:
            Fenced: another process is this host.
            OutcomeUnknown: the writer stops and it is still not known.
        """

    def look(self, *, is_failed: bool) -> StoreUnavailable | None:
        """While nothing is to be done, say what keeps the store from being written; `is_failed`: it could not be.

        Raises:
            Fenced, OutcomeUnknown: as `outcome`.
        """

    def rest(self) -> None:
        """Do what must follow a group, and need not keep those waiting who wait for it."""

    def stop(self) -> None:
        """Wait no longer for what can only be known later; called on the event loop."""

    def close(self) -> None:
        """Tidy up and close the connection, after the thread has ended; blocks."""


class GroupWriter:
    """Commits changesets in groups on a thread of its own; its methods are for the event loop's thread."""

    def __init__(
        self,
        transaction: Transaction,
        observer: Observer,
        *,
        patience_seconds: float = inf,
        look_seconds: float = inf,
    ) -> None:
        """Take over what commits, and look at it as often while nothing is written; nothing runs before `start`."""
        self._transaction = transaction
        self._observer = observer
        self.is_writable = True
        self._lost: StoreLost | None = None
        self._patience = patience_seconds
        self._most_look_seconds = look_seconds
        self._queue: deque[Changeset] = deque()
        self._group: list[Changeset] = []
        """What is being committed."""
        self._put = self._told = self._late = 0
        """How many changesets were ever queued, how many of these are over, and up to which one they were late."""
        self._looks: deque[tuple[float, int]] = deque()
        """When it was looked, and how many were queued by then."""
        self._timer: asyncio.TimerHandle | None = None
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._sync_seconds = 0.0
        self._look_at = 0.0
        """When it is to be looked, unless something is written before; monotonic."""
        self._is_idle = False
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Future[None] | None = None

    @property
    def backlog(self) -> int:
        """Count the changesets that wait for a transaction to begin."""
        return len(self._queue)

    @property
    def is_late(self) -> bool:
        """Whether some changeset has waited for longer than the patience, and still does."""
        return self._late > self._told

    def start(self) -> asyncio.AbstractEventLoop:
        """Bind to the running loop, once, and start the thread."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._stopped = self._loop.create_future()
            threading.Thread(target=self._run, args=(self._loop,), name="maskline-store", daemon=True).start()
            if self._patience < inf:
                self._timer = self._loop.call_later(self._patience / LATE_LOOKS, self._look_who_waits)
        return self._loop

    def put(self, changes: Sequence[Change], done: Done, late: Late | None = None) -> None:
        """Queue a changeset; the thread is woken at the end of the loop's turn, for all that the turn queues.

        `late` is called when it has waited for longer than the patience, perhaps several times; `done` all the same.
        """
        loop = self._loop or self.start()
        if self._is_stopping:
            loop.call_soon(done, StoreUnavailable("Nothing was saved: the engine is shutting down"))
            return
        if self._late > self._told:
            loop.call_soon(done, StoreLate("Nothing was saved: the commits before it take too long"))
            return
        self._put += 1
        self._queue.append((changes, done, late))
        if self._is_idle:
            self._is_idle = False
            loop.call_soon(self._wake.put, None)

    def stop(self) -> "asyncio.Future[None] | None":
        """Have what is queued committed and answered, then the thread end, and take nothing more.

        Returns what to wait for, None where the thread never ran.
        """
        self._is_stopping = True
        self._transaction.stop()
        if self._stopped is not None:
            self._wake.put(None)
        return self._stopped

    def close(self) -> None:
        """Close what commits, once stopped; blocks."""
        self._transaction.close()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._commit_groups(loop)
        except (Fenced, OutcomeUnknown) as end:
            self.is_writable = False
            _log.critical("Nothing more is committed. %s", end)
        _call(loop, self._notify_stopped)

    def _commit_groups(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look_at = time.monotonic() + self._look_seconds
        while True:
            group = self._next_group()
            if group:
                self._commit_and_tell(group, loop)
            elif self._is_stopping and not self._queue:
                break
            else:
                self._rest()
            if time.monotonic() >= self._look_at:  # groups that write nothing may keep it from ever being idle
                self._look()

    def _next_group(self) -> list[Changeset]:
        group: list[Changeset] = []
        self._group = group
        waiting = self._queue
        with contextlib.suppress(IndexError):
            while len(group) < MAX_GROUP:
                changeset = waiting.popleft()
                if _is_alone(changeset[0]):
                    if group:
                        waiting.appendleft(changeset)
                    else:
                        group.append(changeset)
                    break
                group.append(changeset)
        return group

    def _rest(self) -> None:
        self._is_idle = True
        if not self._queue:
            # Whatever is queued from here on finds the mark above and wakes the thread.
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=max(0.0, self._look_at - time.monotonic()))
        self._is_idle = False

    def _commit_and_tell(self, group: list[Changeset], loop: asyncio.AbstractEventLoop) -> None:
        changes = 0
        for changeset, _, _ in group:
            changes += len(changeset)
        began, self._sync_seconds = time.monotonic(), 0.0
        errors = self._commit(group) if changes else [None] * len(group)
        spent = (time.monotonic() - began, self._sync_seconds)
        _call(loop, self._notify, group, errors, changes, spent)
        if changes:
            self._look_at = began + self._look_seconds
        self._transaction.rest()

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
            is_ok = not any(map(_is_of_the_store, errors))
            self._observer.committed(changes=changes, seconds=seconds, sync_seconds=sync_seconds, is_ok=is_ok)
        was_late = self.is_late
        self._told += len(group)
        for (_, done, _), error in zip(group, errors, strict=True):
            try:
                done(error)
            except Exception as failure:  # noqa: BLE001 - one caller's fault must not keep the others waiting
                _report(failure)
        if was_late and not self.is_late:
            _log.warning("The store answers again")

    def _look_who_waits(self) -> None:
        """Tell whoever waits for longer than the patience."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._patience / LATE_LOOKS, self._look_who_waits)
        now, was_late = time.monotonic(), self.is_late
        self._looks.append((now, self._put))
        while now - self._looks[0][0] >= self._patience:
            self._late = self._looks.popleft()[1]
        if not self.is_late:
            return
        if not was_late:
            _log.error("The store has not answered for %g seconds; nothing new is taken until it does", self._patience)
        waiting = [*self._group, *self._queue]  # their ends meet the ends of what was queued: the newest is the last
        for _, _, late in waiting[: max(0, len(waiting) - (self._put - self._late))]:
            try:
                if late is not None:
                    late()
            except Exception as failure:  # noqa: BLE001 - likewise
                _report(failure)

    def _notify_stopped(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    def _commit(self, group: list[Changeset]) -> list[StoreUnavailable | None]:
        """Commit a group as one transaction; only if something in it is refused, find out what."""
        if self._lost is not None:
            return [self._lost for _ in group]
        problem = self._commit_together(group)
        for _ in range(_MORE_ATTEMPTS):
            if isinstance(problem, Interrupted):
                problem = self._commit_together(group)
        if isinstance(problem, RegistryOutrun):
            self._take(None)
            return [problem for _ in group]
        if isinstance(problem, ChangeRefused):
            return self._commit_one_by_one(group)
        self._take(problem)
        return [problem for _ in group]

    def _commit_together(self, group: list[Changeset]) -> StoreUnavailable | None:
        try:
            self._transaction.begin()
            self._transaction.apply([changes for changes, _, _ in group])
            self._sync_seconds = self._transaction.commit()
        except Exception as failure:  # noqa: BLE001 - the writer's loop: whatever fails is told to those who wait
            return self._transaction.outcome(failure)
        return None

    def _commit_one_by_one(self, group: list[Changeset]) -> list[StoreUnavailable | None]:
        errors, problem = self._commit_each(group)
        for _ in range(_MORE_ATTEMPTS):
            if isinstance(problem, Interrupted):
                errors, problem = self._commit_each(group)
        self._take(problem)
        return errors if problem is None else [problem for _ in group]

    def _commit_each(self, group: list[Changeset]) -> tuple[list[StoreUnavailable | None], StoreUnavailable | None]:
        """Commit what is not refused; return what was, and what befell the rest."""
        errors: list[StoreUnavailable | None] = []
        problem: StoreUnavailable | None = None
        try:
            self._transaction.begin()
            errors = [self._apply_alone(changes) for changes, _, _ in group]
            self._sync_seconds = self._transaction.commit()
        except Exception as failure:  # noqa: BLE001 - as above
            problem = self._transaction.outcome(failure)
        return errors, problem

    def _apply_alone(self, changes: Sequence[Change]) -> StoreUnavailable | None:
        try:
            self._transaction.apply_alone(changes)
        except ChangeRefused as refusal:
            _log.error("A changeset was refused, which is a fault of the engine", exc_info=refusal.__cause__)
            return refusal
        return None

    @property
    def _look_seconds(self) -> float:
        return min(PROBE_SECONDS, self._most_look_seconds)

    def _look(self) -> None:
        self._look_at = time.monotonic() + self._look_seconds
        if self._lost is None:
            self._take(self._transaction.look(is_failed=not self.is_writable))

    def _take(self, problem: StoreUnavailable | None) -> None:
        """Know whether the store can be written; say so when that changes."""
        was_writable, self.is_writable = self.is_writable, problem is None
        if isinstance(problem, StoreLost):
            # What comes behind a commit that is lost must not be acknowledged.
            self._lost = problem
            _log.critical("The store cannot be written, and does not come back by itself. %s", problem)
        elif problem is None and not was_writable:
            _log.warning("The store can be written again")
        elif problem is not None and was_writable:
            _log.error("The store cannot be written. %s", problem)


def _is_alone(changes: Sequence[Change]) -> bool:
    """Tell whether a changeset is a group of its own: it may wait for other hosts, or be refused for what they did."""
    return bool(changes) and type(changes[0]) is RegistryRevised


def _is_of_the_store(error: StoreUnavailable | None) -> bool:
    return error is not None and not isinstance(error, ChangeRefused)


def _report(failure: Exception) -> None:
    problem = {"message": "a caller failed to take the outcome of its commit", "exception": failure}
    asyncio.get_running_loop().call_exception_handler(problem)


def _call(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(call, *args)
