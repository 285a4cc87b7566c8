"""How a node comes to take part in the cluster on a database: its row in `nodes`, and of how many hosts the cluster is.

The first node says how many. Another number, a server that is alone, and a machine of the same name are refused while
they live: their rows are watched for the lease. At a full stop the number may be another one, since no row of a record
says which host it belongs to.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import psycopg

from engine.core.model.errors import MasklineError
from engine.core.ports.membership import HostsDiffer, NodeNameTaken
from storage.postgres.places import (
    Installation,
    PlaceTaken,
    Rows,
    Seen,
    SeenPlace,
    confirmed,
    end_backend,
    first_alive,
    installation,
    one_at_a_time,
)

_ATTEMPTS: Final = 3
"""How often the rows are looked at when others begin or stop at the same time."""

_FREE_ALL: Final = """
    UPDATE hosts
    SET epoch = epoch + 1, attached = 0, backend = NULL, node = NULL, addresses = NULL, state = 0, since = now(),
        moves_to = NULL, changes = changes + 1
"""
_ADD_PLACES: Final = """
    INSERT INTO hosts (place, epoch, group_no) SELECT place, 0, 0 FROM generate_series(0, %s - 1) AS place
    ON CONFLICT DO NOTHING
"""
_JOIN: Final = """
    INSERT INTO nodes (name, beat, address, machine, joined) VALUES (%s, 0, %s, %s, %s) ON CONFLICT (name) DO UPDATE
    SET beat = 0, address = excluded.address, machine = excluded.machine, joined = excluded.joined, since = now()
"""


class Joining(msgspec.Struct, frozen=True, kw_only=True):
    """A node that is to take part."""

    node: str
    """Its name, other than those of all other machines."""
    address: str
    """Where the others reach its machine."""
    machine: str
    """Tells this machine from another of its name, and from itself before it was started anew."""
    joined: bytes
    """Random: tells this process from another one on this machine."""
    hosts: int
    """Of how many hosts the cluster is."""


def join_cluster(
    connection: psycopg.Connection[Any],
    joining: Joining,
    *,
    lease_seconds: float,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Have a node take part; blocks for the lease where something may be alive that it cannot go with.

    Raises:
        HostsDiffer: the cluster lives and has another number of hosts.
        NodeNameTaken: another machine takes part under this name.
        PlaceTaken: a server that is alone lives, or an import or an export runs.
        psycopg.Error: the database did not do it.
    """
    with confirmed(connection):
        for _ in range(_ATTEMPTS):
            found = installation(connection)
            suspects = _suspects(found, joining)
            alive = first_alive(connection, suspects, seconds=lease_seconds, sleep=sleep)
            if alive is not None:
                raise _refusal(alive, found, joining)
            with connection.transaction(), one_at_a_time(connection):
                now = installation(connection)
                if _suspects(now, joining).items() <= suspects.items():
                    _join(connection, now, joining)
                    return
    raise PlaceTaken("Others begin or cease to serve on this database at the same time; try again")


def _suspects(found: Installation, joining: Joining) -> Rows:
    """Tell what a node cannot go with if it is alive."""
    if found.hosts != joining.hosts:
        return found.suspects
    return {
        key: row
        for key, row in found.suspects.items()
        if (
            row.node is not None and row.node not in found.nodes
            if isinstance(row, SeenPlace)
            else row.name == joining.node and row.machine != joining.machine
        )
    }


def _refusal(alive: Seen, found: Installation, joining: Joining) -> MasklineError:
    if isinstance(alive, SeenPlace) and alive.node not in found.nodes:
        where = alive.node or "an unknown machine"
        return PlaceTaken(f"A server that is alone, on {where}, serves on this database; stop that one first")
    if found.hosts == joining.hosts:
        assert not isinstance(alive, SeenPlace)  # noqa: S101 - of places only those of no node were watched
        return NodeNameTaken(
            f"Another machine, at {alive.address}, takes part in the cluster as {joining.node}; give this one another "
            "node_name"
        )
    return HostsDiffer(
        f"The cluster on this database is one of {found.hosts} hosts, and this node was started for {joining.hosts}; "
        f"start it with --hosts {found.hosts}, or stop all nodes, and start them all with the other number"
    )


def _join(connection: psycopg.Connection[Any], found: Installation, joining: Joining) -> None:
    if found.hosts != joining.hosts:
        for row in found.places.values():
            end_backend(connection, row)
        connection.execute(_FREE_ALL)
        connection.execute("DELETE FROM nodes")
        connection.execute("UPDATE cluster SET hosts = %s", (joining.hosts,))
    connection.execute(_ADD_PLACES, (joining.hosts,))
    connection.execute(_JOIN, (joining.node, joining.address, joining.machine, joining.joined))
