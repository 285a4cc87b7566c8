"""A plain writer: one thread, one transaction and one round trip a group, and no host that could be fenced off."""

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import psycopg

from engine.core.model.changes import Change
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.observing import Observer
from storage.errors import ChangeRefused
from storage.postgres.apply import apply_group
from storage.postgres.codec import prepare
from storage.postgres.errors import is_unavailable, refusal, unavailable

Done = Callable[[StoreUnavailable | None], None]
Changeset = tuple[Sequence[Change], Done]
Outcome = StoreUnavailable | None


@final
class DirectWriter:
    """Commits changesets in groups on a thread of its own; its methods are for the event loop's thread."""

    def __init__(self, conninfo: str, observer: Observer) -> None:
        self.is_writable = True
        self._conninfo = conninfo
        self._observer = observer
        self._opened: psycopg.Connection[Any] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-store")
        self._queue: list[Changeset] = []
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    @property
    def backlog(self) -> int:
        """Count the changesets that wait for a transaction to begin."""
        return len(self._queue)

    def put(self, changes: Sequence[Change], done: Done) -> None:
        """Queue a changeset."""
        loop = asyncio.get_running_loop()
        if self._is_stopping:
            loop.call_soon(done, StoreUnavailable("Nothing was saved: the engine is shutting down"))
            return
        self._queue.append((changes, done))
        if self._task is None:
            self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        """Have what is queued committed and answered, and take nothing more."""
        self._is_stopping = True
        if self._task is not None:
            await asyncio.shield(self._task)

    def close(self) -> None:
        """Close the connection, once stopped."""
        self._thread.shutdown()
        if self._opened is not None:
            self._opened.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            group, self._queue = self._queue, []
            count = sum(len(changes) for changes, _ in group)
            began = time.perf_counter()
            outcomes: list[Outcome] = [None] * len(group)
            sync_seconds = 0.0
            if count:
                outcomes, sync_seconds = await loop.run_in_executor(self._thread, self._commit, group)
                seconds = time.perf_counter() - began
                is_ok = self.is_writable = not any(
                    error is not None and not isinstance(error, ChangeRefused) for error in outcomes
                )
                self._observer.committed(changes=count, seconds=seconds, sync_seconds=sync_seconds, is_ok=is_ok)
            for (_, done), error in zip(group, outcomes, strict=True):
                try:
                    done(error)
                except Exception as failure:  # noqa: BLE001 - one caller's fault must not keep the others waiting
                    context = {"message": "a caller failed to take the outcome of its commit", "exception": failure}
                    loop.call_exception_handler(context)
        self._task = None

    def _commit(self, group: Sequence[Changeset]) -> tuple[list[Outcome], float]:
        """Commit a group as one transaction; only if something in it is refused, find out what."""
        try:
            connection = self._connection()
            with connection.pipeline():
                with connection.transaction():
                    apply_group(connection, (changes for changes, _ in group))
                began = time.perf_counter()
        except (psycopg.Error, ValueError, struct.error) as failure:
            if is_unavailable(failure):
                return [unavailable(failure)] * len(group), 0.0
        else:
            return [None] * len(group), time.perf_counter() - began
        return [self._commit_alone(changes) for changes, _ in group], 0.0

    def _commit_alone(self, changes: Sequence[Change]) -> Outcome:
        try:
            connection = self._connection()
            with connection.transaction():
                apply_group(connection, [changes])
        except (psycopg.Error, ValueError, struct.error) as failure:
            return unavailable(failure) if is_unavailable(failure) else refusal(failure)
        return None

    def _connection(self) -> psycopg.Connection[Any]:
        if self._opened is None or self._opened.closed:
            self._opened = psycopg.connect(self._conninfo, autocommit=True)
            prepare(self._opened)
        return self._opened
