"""The store of many hosts: one PostgreSQL database, written by one thread of each host, read beside it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from math import inf
from typing import Self

from engine.core.model.errors import Fenced, StoreUnreadable
from engine.core.ports.membership import AT_ONCE, Tenure
from engine.core.ports.observing import Observer
from engine.core.ports.operations import Clock
from engine.core.ports.store import HeldRegistry, RegistryNews
from engine.core.sessions.bindings import ActiveSession
from storage.active import sessions_of
from storage.postgres.apply import apply_group
from storage.postgres.codec import shard_among
from storage.postgres.connections import (
    LIST_SECONDS,
    POINT_SECONDS,
    WriterConnection,
    connect,
    conninfo_of,
    open_writer,
)
from storage.postgres.errors import DatabaseUnreadable, reading
from storage.postgres.places import Attached, attach_place, take_place
from storage.postgres.reader import PostgresReader
from storage.postgres.schema import migrate
from storage.postgres.search import PostgresSearch, searching
from storage.postgres.stopped import demand_complete
from storage.postgres.writer import LEASE_LOOKS, PostgresTransaction
from storage.store import GroupStore, Result
from storage.writer import GroupWriter

_log = logging.getLogger("maskline.storage")


class PostgresStore(GroupStore):
    """`engine.core.ports.store.Store` on a PostgreSQL database; used on one event loop."""

    is_shared = True
    _points: PostgresReader
    _walks: PostgresReader

    def __init__(
        self,
        conninfo: str,
        transaction: PostgresTransaction,
        observer: Observer,
        *,
        shards: Sequence[int] | None,
        patience_seconds: float,
        look_seconds: float = inf,
    ) -> None:
        """Take over what commits; `open` is how to make one."""
        open_points = partial(PostgresReader, conninfo, shards, deadline_seconds=POINT_SECONDS)
        open_lists = partial(PostgresReader, conninfo, shards, deadline_seconds=LIST_SECONDS)
        writer = GroupWriter(transaction, observer, patience_seconds=patience_seconds, look_seconds=look_seconds)
        super().__init__(writer, points=open_points(), open_reader=open_lists)
        self._conninfo = conninfo
        self._patience = patience_seconds
        self._transaction = transaction
        self._walks = open_points()  # not on the thread of the others
        self._point_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maskline-points")

    @classmethod
    def open(
        cls,
        database_url: str,
        *,
        observer: Observer,
        fenced: Callable[[Fenced], None],
        place: int = 0,
        node: str = "",
        tenure: Tenure = AT_ONCE,
        lease_seconds: float = 0.0,
        steady: Clock = time.monotonic,
        replicas: int = 0,
        shards: Sequence[int] | None = None,
        commit_patience_seconds: float = inf,
    ) -> Self:
        """Bring the database up to date, take a place in it and open it; whoever had the place is fenced.

        `fenced` is called on the writer's thread when another process takes the place, and is to end this one. `shards`
        are those whose rows are this host's: what it walks at its start, delivers, erases in time and counts. A host of
        a cluster has some, and a place that was assigned to its node. None = all: a server alone, which watches the
        place for the lease before it takes it. The place is this process's for as long as the lease after each renewal,
        by `steady`; without a lease it is taken at once, for good. After the patience a commit is late, and a record
        that is read is not waited for. `tenure` is what the node knew at the launch of when the host may answer.

        Raises:
            BadDatabaseUrl: it is no connection string.
            DatabaseTooNew: a newer version wrote it.
            ImportUnfinished: an import into it was interrupted.
            PlaceTaken: another process serves there.
            PlaceElsewhere: the place of a host is not assigned to its node.
            StoreUnavailable: it does not answer, or refuses.
        """
        conninfo = conninfo_of(database_url)
        with reading():
            with connect(conninfo, autocommit=False) as connection:
                migrate(connection)
            with closing(open_writer(conninfo)) as connection:
                assigned = None if shards is None else tenure
                attached = _attach(connection, place, node, assigned, lease_seconds=lease_seconds, steady=steady)
                demand_complete(connection)
            transaction = PostgresTransaction(
                lambda: open_writer(conninfo),
                partial(apply_group, shard_of_entry=shard_among(shards)),
                place=place,
                epoch=attached.epoch,
                not_before=attached.not_before,
                fenced=fenced,
                replicas=replicas,
                lease_seconds=lease_seconds or inf,
                steady=steady,
            )
            transaction.attach()
        return cls(
            conninfo,
            transaction,
            observer,
            shards=shards,
            patience_seconds=commit_patience_seconds,
            look_seconds=lease_seconds / LEASE_LOOKS if lease_seconds else inf,
        )

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
    def lease_until(self) -> float:
        """Until when no other process can have this host's place; renewed by every group, and each second."""
        return self._transaction.lease_until

    @property
    def not_before(self) -> float:
        """From when on no other process may answer for this host."""
        return self._transaction.not_before

    @property
    def leases_lost(self) -> int:
        """Count how often the lease ran out before it was renewed."""
        return self._transaction.leases_lost

    @property
    def lacks(self) -> str:
        """Say what the database lacks to be replicated as it should be; nothing: empty."""
        return self._transaction.lacks

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
        for reader in (self._walks, self._points):
            reader.close()
        self._close_lists()
        self._writer.close()

    @property
    def is_writable(self) -> bool:
        """Whether the last commit (or probe) succeeded, its outcome is known, and none is late."""
        return super().is_writable and self._transaction.unknown_since is None

    def active_sessions(self) -> Iterator[ActiveSession]:
        """Walk the active sessions in the order of activation, each with its live participants' endpoints."""
        return sessions_of(self._walks.active_sessions())

    async def held_registry(self) -> HeldRegistry:
        """Read accounts, keys, services and numbers, and which version that is."""
        return await asyncio.to_thread(self._walks.held_registry)

    async def registry_news(self, after: int) -> RegistryNews | None:
        """Read the changes of the registry since a version; None: they are not kept, read the whole."""
        return await self._point(partial(self._points.registry_news, after))

    def _searching(self) -> AbstractContextManager[PostgresSearch]:
        return searching(self._conninfo, seconds=self.search_seconds)

    async def _point(self, read: Callable[[], Result]) -> Result:
        answer = asyncio.get_running_loop().run_in_executor(self._point_thread, read)
        await asyncio.wait((answer,), timeout=self._patience if self._patience < inf else None)
        if not answer.done():
            answer.cancel()
            raise StoreUnreadable(f"The database has not answered for {self._patience:g} seconds")
        return answer.result()


def _attach(
    connection: WriterConnection,
    place: int,
    node: str,
    assigned: Tenure | None,
    *,
    lease_seconds: float,
    steady: Clock,
) -> Attached:
    """Take a place that was assigned to a node; None: the only one there is."""
    if assigned is None:
        return Attached(take_place(connection, place, node=node, lease_seconds=lease_seconds), 0.0)
    return attach_place(connection, place, node=node, tenure=assigned, lease_seconds=lease_seconds, steady=steady)
