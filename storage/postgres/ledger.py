"""The rows of nodes and places as one node reads and changes them: `Ledger` on PostgreSQL.

Beats go over a connection of their own and wait for no standby: they show that a node lives, and nothing else. What
has to outlive the primary goes over another one, where a commit may wait for its standby for as long as that takes;
meanwhile the next change is not tried, and beats go on.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar, final

import msgspec
import psycopg

from engine.core.model.errors import StoreUnavailable
from engine.core.model.hosts import HostState
from engine.core.ports.membership import (
    ClusterRows,
    HostsDiffer,
    HostTold,
    MembershipRefused,
    NodeNameTaken,
    NodeRow,
    PlaceRow,
    PlaceState,
)
from storage.postgres.connections import BoundedConnection, connect, conninfo_of, open_reader, open_writer
from storage.postgres.errors import reading
from storage.postgres.joining import Joining, join_cluster
from storage.postgres.places import confirmed
from storage.postgres.schema import migrate
from storage.postgres.stopped import demand_complete

CALL_SECONDS: Final = 2.0
"""How long a call may take."""

_BEAT: Final = """
    UPDATE nodes SET beat = beat + 1 WHERE name = %s AND joined = %s AND (SELECT hosts FROM cluster) = %s
"""
_CLUSTER: Final = "SELECT (SELECT coalesce(sum(changes), 0)::BIGINT FROM hosts), secret, hosts FROM cluster"
_PLACES: Final = """
    SELECT place, epoch, attached, group_no, node, state, is_drained, moves_to, addresses FROM hosts
    WHERE place < (SELECT hosts FROM cluster) ORDER BY place
"""
_NODES: Final = "SELECT name, beat, address, joined FROM nodes ORDER BY name"
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ"
"""What is read is of one moment."""

_TELL: Final = "UPDATE hosts SET changes = changes + 1, addresses = %s WHERE place = %s AND node = %s"
_DRAIN: Final = "UPDATE hosts SET changes = changes + 1, is_drained = %s, moves_to = NULL WHERE place = %s"
_MOVE: Final = """
    UPDATE hosts SET changes = changes + 1, moves_to = %s WHERE place = %s AND node = %s AND NOT is_drained
"""
_STAY: Final = "UPDATE hosts SET changes = changes + 1, moves_to = NULL WHERE place = %s AND moves_to = %s"
_GIVE_BACK: Final = """
    UPDATE hosts
    SET changes = changes + 1, node = moves_to, moves_to = NULL, addresses = NULL, since = now(),
        epoch = CASE WHEN moves_to IS NULL THEN epoch ELSE epoch + 1 END,
        state = CASE WHEN moves_to IS NULL OR state = 0 THEN state ELSE 2 END
    WHERE place = %s AND node = %s
"""
_GIVE_ALL_BACK: Final = """
    UPDATE hosts SET changes = changes + 1, node = NULL, moves_to = NULL, addresses = NULL, since = now()
    WHERE node = %s
"""
_LEAVE: Final = "DELETE FROM nodes WHERE name = %s AND joined = %s"
_END_OWNER: Final = """
    SELECT pg_terminate_backend(active.pid)
    FROM hosts JOIN pg_stat_activity AS active ON active.pid = hosts.backend
    WHERE hosts.place = %s AND hosts.epoch = %s AND NOT hosts.is_drained
        AND active.datname = current_database() AND active.usename = current_user
        AND NOT EXISTS (SELECT FROM hosts AS others WHERE others.backend = active.pid AND others.place <> hosts.place)
"""
_ASSIGN: Final = """
    UPDATE hosts SET epoch = epoch + 1, backend = NULL, node = %(node)s, state = %(state)s,
        moves_to = NULL, addresses = NULL, since = now(), changes = changes + 1
    WHERE place = %(place)s AND epoch = %(epoch)s AND NOT is_drained AND (%(state)s <> 0 OR state = 0)
"""

_log = logging.getLogger("maskline.storage")

T = TypeVar("T")
C = TypeVar("C", bound=BoundedConnection)


class _Thread(Generic[C]):
    """A connection that is made when it is wanted, with the thread that it is used on."""

    def __init__(self, connect: Callable[[], C], name: str) -> None:
        self._connect = connect
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: C | None = None

    async def run(self, act: Callable[[C], T]) -> T:
        """Do something with the connection; raises StoreUnavailable when that fails or has not ended in time."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._executor, self._done, act), CALL_SECONDS)
        except TimeoutError:
            raise StoreUnavailable(f"The database did not answer within {CALL_SECONDS:.0f} seconds") from None

    async def close(self) -> None:
        """Disconnect, once the thread has come to the end of what it does; that is waited for within bounds."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._executor, self._drop)
        except TimeoutError:
            _log.debug("a connection to the database is left to its own end")
        self._executor.shutdown(wait=False)

    def _done(self, act: Callable[[C], T]) -> T:
        with reading():
            try:
                if self._connection is not None and not self._connection.is_current:
                    self._drop()
                if self._connection is None:
                    self._connection = self._connect()
                return act(self._connection)
            except psycopg.Error:
                self._drop()
                raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@final
class PostgresLedger:
    """`engine.core.ports.membership.Ledger` on a database; used on one event loop."""

    def __init__(self, conninfo: str, joining: Joining) -> None:
        """Act for a node that has joined; `join` is how to make one."""
        self._joining = joining
        self._beats = _Thread(partial(_open_beats, conninfo), "maskline-beats")
        self._acts = _Thread(partial(open_writer, conninfo), "maskline-membership")
        self._telling: asyncio.Task[None] | None = None
        self._has_missed = False

    @classmethod
    async def join(
        cls, database_url: str, *, node: str, address: str, hosts: int, lease_seconds: float, machine: str = ""
    ) -> Self:
        """Bring a database up to date and have a node take part in the cluster on it; close it.

        `address` is where others reach the node's machine, which `machine` tells from others (empty: this one). Takes
        the lease where something may live that the node cannot go with.

        Raises:
            BadDatabaseUrl: it is no connection string.
            DatabaseTooNew: a newer version wrote it.
            ImportUnfinished: an import into it was interrupted.
            MembershipRefused: the cluster has another number of hosts, or another node this name.
            PlaceTaken: a server that is alone serves there, or an import or an export runs.
            StoreUnavailable: it does not answer, or refuses.
        """
        conninfo = conninfo_of(database_url)
        joining = Joining(
            node=node, address=address, machine=machine or this_machine(), joined=os.urandom(16), hosts=hosts
        )
        await asyncio.to_thread(_join, conninfo, joining, lease_seconds)
        return cls(conninfo, joining)

    async def beat(self, told: Mapping[int, HostTold]) -> ClusterRows:
        """Show that this node lives, and read all rows."""
        try:
            rows = await self._beats.run(partial(_beat, joining=self._joining, has_missed=self._has_missed))
        except StoreUnavailable:
            self._has_missed = True
            raise
        self._has_missed = False
        news = {
            row.place: told[row.place]
            for row in rows.places
            if row.node == self._joining.node and row.place in told and row.told != told[row.place]
        }
        if news and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell(news))
        return rows

    async def assign(self, place: int, *, epoch: int, node: str, state: PlaceState) -> bool:
        """Assign a place that is still at an epoch to a node."""
        return await self._acts.run(partial(_assign, place=place, epoch=epoch, node=node, state=state))

    async def set_drained(self, place: int, is_drained: bool) -> None:  # noqa: FBT001 - the value, not a switch
        """Take a place out, or in again; it moves nowhere then."""
        await self._change((_DRAIN, (is_drained, place)))

    async def move(self, place: int, node: str, to: str) -> bool:
        """Have a node give a place back for another one, or for itself."""
        return await self._acts.run(partial(_change, statements=[(_MOVE, (to, place, node))])) == 1

    async def stay(self, place: int, to: str) -> None:
        """Have a place that has not been given back yet stay where it is."""
        await self._change((_STAY, (place, to)))

    async def give_back(self, place: int) -> None:
        """Assign a place of this node to the node that it moves to, or to nobody."""
        await self._change((_GIVE_BACK, (place, self._joining.node)))

    async def leave(self) -> None:
        """Take part no more."""
        joining = self._joining
        await self._change((_GIVE_ALL_BACK, (joining.node,)), (_LEAVE, (joining.node, joining.joined)))

    async def close(self) -> None:
        """Disconnect; the rows stay as they are."""
        if self._telling is not None:
            self._telling.cancel()
        await asyncio.gather(self._beats.close(), self._acts.close())

    async def _tell(self, news: Mapping[int, HostTold]) -> None:
        """Write what is told of hosts; what does not succeed is tried again with the next beat."""
        node = self._joining.node
        try:
            await self._change(*((_TELL, (_text_of(told), place, node)) for place, told in sorted(news.items())))
        except StoreUnavailable as failure:
            _log.debug("what hosts tell was not written", exc_info=failure)

    async def _change(self, *statements: tuple[str, Sequence[object]]) -> None:
        await self._acts.run(partial(_change, statements=statements))


def this_machine() -> str:
    """Name this machine's kernel since it was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _open_beats(conninfo: str) -> BoundedConnection:
    connection = open_reader(conninfo, deadline_seconds=CALL_SECONDS)
    try:
        connection.execute("SET synchronous_commit = local")
    except BaseException:
        connection.close()
        raise
    return connection


def _join(conninfo: str, joining: Joining, lease_seconds: float) -> None:
    with reading():
        with connect(conninfo, autocommit=False) as connection:
            migrate(connection)
            demand_complete(connection)
        with closing(open_writer(conninfo)) as connection:
            join_cluster(connection, joining, lease_seconds=lease_seconds)


def _beat(connection: BoundedConnection, *, joining: Joining, has_missed: bool) -> ClusterRows:
    with connection.pipeline():
        connection.execute(_BEGIN, prepare=False)
        beat = connection.execute(_BEAT, (joining.node, joining.joined, joining.hosts))
        cluster = connection.execute(_CLUSTER)
        places = connection.execute(_PLACES)
        nodes = connection.execute(_NODES)
        connection.execute("COMMIT", prepare=False)
    version, secret, hosts = cluster.fetchall()[0]
    found = nodes.fetchall()
    if beat.rowcount != 1:
        raise _left_out(joining, hosts, {name: address for name, _, address, _ in found})
    return ClusterRows(
        version=version,
        secret=secret,
        places=tuple(map(_place_of, places.fetchall())),
        nodes=tuple(NodeRow(*row[:3]) for row in found),
        has_missed=has_missed,
    )


def _left_out(joining: Joining, hosts: int | None, nodes: Mapping[str, str]) -> MembershipRefused:
    if hosts != joining.hosts:
        return HostsDiffer(
            f"The database is that of a cluster of {hosts} hosts now, and this node was started for {joining.hosts}"
        )
    if joining.node in nodes:
        where = nodes[joining.node]
        return NodeNameTaken(f"Another process, at {where}, takes part in the cluster as {joining.node} now")
    return MembershipRefused(f"The cluster has done without {joining.node} and forgotten it; start it anew")


def _place_of(row: Sequence[Any]) -> PlaceRow:
    place, epoch, attached, group_no, node, state, is_drained, moves_to, told = row
    return PlaceRow(
        place=place,
        epoch=epoch,
        attached=attached,
        group_no=group_no,
        node=node,
        state=PlaceState(state),
        is_drained=is_drained,
        moves_to=moves_to,
        told=None if told is None else _told_of(told),
    )


def _told_of(text: str) -> HostTold:
    try:
        return msgspec.json.decode(text, type=HostTold)
    except msgspec.ValidationError:  # of a newer version
        return HostTold(state=HostState.UNKNOWN)


def _text_of(told: HostTold) -> str:
    return msgspec.json.encode(told).decode()


def _assign(connection: psycopg.Connection[Any], *, place: int, epoch: int, node: str, state: PlaceState) -> bool:
    with confirmed(connection):
        if state is PlaceState.TAKEN:
            connection.execute(_END_OWNER, (place, epoch))
        wanted = {"place": place, "epoch": epoch, "node": node, "state": state}
        return connection.execute(_ASSIGN, wanted).rowcount == 1


def _change(connection: psycopg.Connection[Any], *, statements: Sequence[tuple[str, Sequence[object]]]) -> int:
    """Make changes together, sent at once: the rows of hosts are not kept locked for a round trip; returns how many."""
    with confirmed(connection):
        with connection.pipeline(), connection.transaction():
            done = [connection.execute(text, values) for text, values in statements]
        return sum(one.rowcount for one in done)
