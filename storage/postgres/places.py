"""The rows of `hosts`: which process writes for a place; the function `fence` keeps all others from it."""

import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import psycopg

from engine.core.model.errors import MasklineError
from storage.postgres.errors import NotConfirmed

_WATCH_SECONDS: Final = 0.25

_ADD: Final = "INSERT INTO hosts (place, epoch, group_no) VALUES (%s, 0, 0) ON CONFLICT DO NOTHING"
_READ: Final = "SELECT epoch, group_no, backend, node FROM hosts WHERE place = %s"
_TAKE: Final = """
    UPDATE hosts SET epoch = epoch + 1, attached = 0, backend = NULL, node = %s WHERE place = %s AND epoch = %s
"""
_END_BACKEND: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = %s AND datname = current_database() AND usename = current_user
"""


class PlaceTaken(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Another process serves on this database, and lives."""


class _Row(NamedTuple):
    epoch: int
    group_no: int
    backend: int | None
    node: str | None


def this_process() -> str:
    """Name this process for whoever meets its row."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def take_place(
    connection: psycopg.Connection[Any],
    place: int,
    *,
    node: str,
    lease_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Make a place this process's, and return its new epoch; whoever had it is fenced from then on.

    A row that was not given back is watched for the lease first: what its owner may still answer without a commit has
    run out by then, and an owner that lives is seen to. Blocks so long.

    Raises:
        PlaceTaken: its owner lives, or another process took it just now.
        psycopg.Error: the database did not do it.
    """
    warnings: list[str] = []
    connection.add_notice_handler(lambda told: warnings.append(f"{told.sqlstate}") if _is_warning(told) else None)
    connection.execute(_ADD, (place,))
    row = _read(connection, place)
    waited = 0.0
    while row.backend is not None and waited < lease_seconds:
        sleep(_WATCH_SECONDS)
        waited += _WATCH_SECONDS
        if (now := _read(connection, place)) != row:
            owner = now.node or row.node or "an unknown machine"
            raise PlaceTaken(
                f"Another process, on {owner}, serves on this database; stop that one first. (A command asks it when "
                "--data-dir names its directory, on its machine.)"
            )
    if row.backend is not None:
        connection.execute(_END_BACKEND, (row.backend,))
    try:
        taken = connection.execute(_TAKE, (node, place, row.epoch)).rowcount
    except psycopg.errors.LockNotAvailable as failure:
        raise PlaceTaken("An import into this database, or an export from it, runs; wait for its end") from failure
    if taken != 1:
        raise PlaceTaken("Another process has begun to serve on this database just now; stop one of the two")
    if warnings:
        raise NotConfirmed(warnings[0])
    return row.epoch + 1


def _is_warning(told: psycopg.errors.Diagnostic) -> bool:
    return told.severity_nonlocalized == "WARNING"


def _read(connection: psycopg.Connection[Any], place: int) -> _Row:
    row = connection.execute(_READ, (place,)).fetchone()
    assert row is not None  # noqa: S101 - it was added
    return _Row(*row)
