"""The rows of `hosts`: which process writes for a place; the function `fence` keeps all others from it.

A server that is alone takes the one place for itself. A host of a cluster attaches to a place that was assigned to its
node. Nobody takes what lives: a row that was not given back is watched first, and what waits for the standby is alive.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg

from engine.core.model.errors import MasklineError
from engine.core.ports.membership import AT_ONCE, PlaceState, Tenure
from storage.postgres.errors import NotConfirmed

_WATCH_SECONDS: Final = 0.25

_LOCK: Final = 0x6D61736B6E6F6465
"""Of whoever begins to serve; "masknode"."""

_ADD: Final = "INSERT INTO hosts (place, epoch, group_no) VALUES (%s, 0, 0) ON CONFLICT DO NOTHING"
_PLACES: Final = "SELECT place, epoch, group_no, backend, node, state FROM hosts"
_NODES: Final = "SELECT name, beat, address, machine, joined FROM nodes"
_HOSTS: Final = "SELECT hosts FROM cluster"
_TAKE: Final = """
    UPDATE hosts
    SET epoch = epoch + 1, attached = 0, backend = NULL, node = %s, addresses = NULL, state = 0, since = now(),
        moves_to = NULL, changes = changes + 1
    WHERE place = %s AND epoch = %s
"""
_FREE: Final = """
    UPDATE hosts
    SET epoch = epoch + 1, attached = 0, backend = NULL, node = NULL, addresses = NULL, state = 0, since = now(),
        moves_to = NULL, changes = changes + 1
    WHERE place <> %s AND (state <> 0 OR node IS NOT NULL)
"""
_ALONE: Final = "UPDATE cluster SET hosts = 1 WHERE hosts IS DISTINCT FROM 1"
_ATTACH: Final = """
    UPDATE hosts SET epoch = epoch + 1, attached = 0, backend = NULL, since = now()
    WHERE place = %s AND node = %s RETURNING epoch, state
"""
_WAITING: Final = "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s) AND wait_event = 'SyncRep'"
_END_BACKEND: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = %(backend)s AND datname = current_database() AND usename = current_user
        AND NOT EXISTS (SELECT FROM hosts WHERE backend = %(backend)s AND place <> %(place)s)
"""


class PlaceTaken(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Another process serves on this database, and lives."""


class PlaceElsewhere(MasklineError):  # noqa: N818 - likewise
    """A place is assigned to another node, or to none."""


class SeenPlace(NamedTuple):
    """A row of `hosts`."""

    place: int
    epoch: int
    group_no: int
    backend: int | None
    node: str | None
    state: int

    @property
    def is_free(self) -> bool:
        """Tell whether it was given back in order, or never had."""
        return self.state == PlaceState.FREE and self.backend is None


class SeenNode(NamedTuple):
    """A row of `nodes`."""

    name: str
    beat: int
    address: str
    machine: str
    joined: bytes


Seen = SeenPlace | SeenNode

Rows = Mapping[int | str, Seen]
"""By place or by name."""


class Installation(NamedTuple):
    """Who serves on a database, or did."""

    hosts: int | None
    """Of how many it is the cluster; None = nobody has served yet."""
    places: Mapping[int, SeenPlace]
    nodes: Mapping[str, SeenNode]

    @property
    def rows(self) -> Rows:
        """Return all rows."""
        rows: dict[int | str, Seen] = {one.place: one for one in self.places.values()}
        rows.update({one.name: one for one in self.nodes.values()})
        return rows

    @property
    def suspects(self) -> Rows:
        """Tell what may be alive."""
        return {key: row for key, row in self.rows.items() if isinstance(row, SeenNode) or not row.is_free}


def this_process() -> str:
    """Name this process for whoever meets its row."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def installation(connection: psycopg.Connection[Any]) -> Installation:
    """Read who serves on a database; raises psycopg.Error."""
    row = connection.execute(_HOSTS).fetchone()
    assert row is not None  # noqa: S101 - the first migration makes it
    places = [SeenPlace(*row) for row in connection.execute(_PLACES)]
    nodes = [SeenNode(*row) for row in connection.execute(_NODES)]
    return Installation(row[0], {one.place: one for one in places}, {one.name: one for one in nodes})


def take_place(
    connection: psycopg.Connection[Any],
    place: int,
    *,
    node: str,
    lease_seconds: float,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Make a place the only one, and this process's; return its new epoch. Whoever had one is fenced from then on.

    What was not given back is watched for the lease first: what its owner may still answer without a commit has run
    out by then, and an owner that lives is seen to. Blocks so long.

    Raises:
        PlaceTaken: its owner lives, as does a cluster, or another process took it just now.
        psycopg.Error: the database did not do it.
    """
    with confirmed(connection):
        connection.execute(_ADD, (place,))
        found = installation(connection)
        alive = first_alive(connection, found.suspects, seconds=lease_seconds, sleep=sleep)
        if alive is not None:
            raise PlaceTaken(_who_lives(alive, found))
        for row in found.places.values():
            end_backend(connection, row)
        with connection.transaction(), one_at_a_time(connection):
            taken = connection.execute(_TAKE, (node, place, found.places[place].epoch)).rowcount
            connection.execute(_FREE, (place,))
            connection.execute(
                "DELETE FROM nodes WHERE joined = ANY(%s)", ([row.joined for row in found.nodes.values()],)
            )
            has_come = connection.execute("SELECT FROM nodes LIMIT 1").fetchone() is not None
            if taken != 1 or has_come:
                raise PlaceTaken("Another process has begun to serve on this database just now; stop one of the two")
            connection.execute(_ALONE)
    return found.places[place].epoch + 1


class Attached(NamedTuple):
    """What a process that has attached must know."""

    epoch: int
    """Its own."""
    not_before: float
    """When it may answer at the earliest, by the steady clock."""


def attach_place(
    connection: psycopg.Connection[Any],
    place: int,
    *,
    node: str,
    tenure: Tenure = AT_ONCE,
    lease_seconds: float = 0.0,
    steady: Callable[[], float] = time.monotonic,
) -> Attached:
    """Make a place that is assigned to a node this process's.

    Its predecessor on that node is fenced, and must be dead. That of another node may answer until its lease is over:
    `tenure` tells when that is if the place is as it was then. Otherwise it was taken since, and the lease is counted
    from now.

    Raises:
        PlaceElsewhere: it is assigned to another node, or to none.
        psycopg.Error: the database did not do it.
    """
    with confirmed(connection):
        row = installation(connection).places.get(place)
        if row is not None and row.node == node:
            end_backend(connection, row)
            attached = connection.execute(_ATTACH, (place, node)).fetchone()
            if attached is not None:
                epoch, state = attached
                was_taken_since = state == PlaceState.TAKEN and epoch != tenure.epoch + 1
                return Attached(epoch, steady() + lease_seconds if was_taken_since else tenure.not_before)
            row = installation(connection).places[place]
    whose = "nobody" if row is None or row.node is None else row.node
    raise PlaceElsewhere(f"Place {place} is assigned to {whose}, not to {node}")


@contextmanager
def confirmed(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Raise NotConfirmed for a warning that comes meanwhile: a commit may be on one server only."""
    warnings: list[str] = []

    def note(told: psycopg.errors.Diagnostic) -> None:
        if told.severity_nonlocalized == "WARNING":
            warnings.append(f"{told.sqlstate}")

    connection.add_notice_handler(note)
    try:
        yield
    finally:
        connection.remove_notice_handler(note)
    if warnings:
        raise NotConfirmed(warnings[0])


@contextmanager
def one_at_a_time(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Let nobody else begin to serve until the end of the transaction; raises PlaceTaken."""
    try:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield
    except psycopg.errors.LockNotAvailable as failure:
        raise PlaceTaken("An import into this database, or an export from it, runs; wait for its end") from failure


def first_alive(
    connection: psycopg.Connection[Any], suspects: Rows, *, seconds: float, sleep: Callable[[float], object]
) -> Seen | None:
    """Watch rows for as long as one may stay the same while its owner lives; return one that changed. Blocks.

    Also one whose owner waits for the standby. That is no silence: it goes on when the standby does, and sooner than
    whoever takes its place could, since the commits of that one wait too.
    """
    waited = 0.0
    while suspects and waited < seconds:
        sleep(_WATCH_SECONDS)
        waited += _WATCH_SECONDS
        waiting = _waiting(connection, suspects)
        if waiting is not None:
            return waiting
        found = installation(connection)
        for key, row in suspects.items():
            now = found.rows.get(key)
            if now != row:
                return now or row
    return None


def _waiting(connection: psycopg.Connection[Any], suspects: Rows) -> Seen | None:
    places = {row.backend: row for row in suspects.values() if isinstance(row, SeenPlace) and row.backend is not None}
    found = connection.execute(_WAITING, (list(places),)).fetchone()
    return None if found is None else places[found[0]]


def end_backend(connection: psycopg.Connection[Any], row: SeenPlace) -> None:
    """End the connection that a place was written by, with whatever it has locked."""
    if row.backend is not None:
        connection.execute(_END_BACKEND, {"backend": row.backend, "place": row.place})


def _who_lives(alive: Seen, found: Installation) -> str:
    if not found.nodes:
        owner = alive.node if isinstance(alive, SeenPlace) else None
        return (
            f"Another process, on {owner or 'an unknown machine'}, serves on this database; stop that one first. (A "
            "command asks it when --data-dir names its directory, on its machine.)"
        )
    names = ", ".join(sorted(found.nodes))
    return (
        f"A cluster of {found.hosts} hosts serves on this database; stop maskline serve on {names} first. (A command "
        "asks it on one of these machines, when --data-dir names the directory there.)"
    )
