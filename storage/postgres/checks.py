"""What a database lacks to keep everything on two machines, and who serves on it."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict

from engine.core.model.placement import host_name
from engine.core.ports.membership import PlaceState
from storage.postgres.places import Rows, installation
from storage.postgres.schema import pending_migrations
from storage.postgres.stopped import unfinished_import

OLDEST_SERVER: Final = 15

_STATE: Final = """
    SELECT current_setting('fsync') = 'on', current_setting('synchronous_standby_names') <> '',
        count(*) FILTER (WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')),
        count(*) FILTER (WHERE state IS NULL), current_user
    FROM pg_stat_replication
"""
_SETTINGS: Final = {
    "fsync": "a server that loses its power loses what was acknowledged",
    "full_page_writes": "a page that was half written at a power cut is not repaired",
}
"""What each costs when it is off."""


_LOOK_SECONDS: Final = 2.5
"""How long rows are looked at to see whether they change, as they do each second while their owners live."""

_NODES_SINCE: Final = "SELECT name, since FROM nodes ORDER BY name"
_PLACES_SINCE: Final = """
    SELECT place, since, is_drained, addresses::json ->> 'problem' FROM hosts
    WHERE place < (SELECT hosts FROM cluster) ORDER BY place
"""


class Finding(msgspec.Struct, frozen=True):
    """Something that was looked at."""

    subject: str
    is_well: bool
    text: str


def lacks(connection: psycopg.Connection[Any], *, replicas: int) -> str:
    """Say what keeps a database from being on as many synchronous standbys as are asked for; nothing: empty."""
    if not replicas:
        return ""
    row = connection.execute(_STATE).fetchone()
    assert row is not None  # noqa: S101 - it counts
    has_fsync, is_named, streaming, hidden, user = row
    if not has_fsync:
        return f"fsync is off: {_SETTINGS['fsync']}"
    if not is_named:
        return "synchronous_standby_names is empty: commits do not wait for a standby"
    if hidden:
        return f'its standbys cannot be seen: GRANT pg_monitor TO "{user}"'
    if streaming < replicas:
        return f"{streaming} of {replicas} synchronous standbys follow"
    return ""


def findings(
    connection: psycopg.Connection[Any], *, replicas: int, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Finding]:
    """Look at all that a database should be, and at who serves on it; reads only, and takes some seconds.

    Whether Patroni is strict is not to be seen from here.
    """
    version = connection.info.server_version // 10_000
    yield Finding("version", version >= OLDEST_SERVER, f"PostgreSQL {version}; {OLDEST_SERVER} or newer is needed")
    pending = pending_migrations(connection)
    yield Finding(
        "tables", not pending, f"lacks {', '.join(pending)}: maskline database init" if pending else "up to date"
    )
    source = None if pending else unfinished_import(connection)
    if source is not None:
        yield Finding("import", is_well=False, text=f"that of {source} was interrupted: maskline database import")
    for name, cost in _SETTINGS.items():
        is_on = _shown(connection, name) == "on"
        yield Finding(name, is_on, "on" if is_on else f"off: {cost}")
    lacking = lacks(connection, replicas=replicas)
    if not replicas:
        yield Finding("standby", is_well=True, text="database_replicas = 0: none is asked for")
    else:
        yield Finding("standby", not lacking, lacking or f"{replicas} or more confirm each commit")
    names = _shown(connection, "synchronous_standby_names")
    if replicas and names.upper().startswith("ANY"):
        yield Finding(
            "quorum",
            is_well=False,
            text="any of several standbys may confirm: promote only with Patroni's watchdog required",
        )
    yield _of_servers(connection)
    yield _of_tls(connection)
    if not pending:
        yield from _who_serves(connection, sleep)


def _who_serves(connection: psycopg.Connection[Any], sleep: Callable[[float], object]) -> Iterator[Finding]:
    """Tell nodes and places: who has what, since when, and whether it shows any life."""
    before = installation(connection)
    if before.suspects:
        sleep(_LOOK_SECONDS)
    found = installation(connection)
    for name, since in connection.execute(_NODES_SINCE).fetchall():
        lives = _has_changed(name, before.rows, found.rows)
        state = "lives" if lives else "silent: it is lost, or cut off from the database"
        yield Finding(f"node {name}", lives, f"{state}; takes part since {_moment(since)}")
    for place, since, is_drained, problem in connection.execute(_PLACES_SINCE).fetchall():
        row = found.places[place]
        lives = row.is_free or _has_changed(place, before.rows, found.rows)
        state = "free" if row.is_free else "serves" if lives else "silent"
        if row.state == PlaceState.TAKEN:
            state = "taken from its owner, not served yet"
        where = f"on {row.node}" if row.node else "on no node"
        text = f"{where}, {state}, since {_moment(since)}{', drained' if is_drained else ''}"
        yield Finding(host_name(place), lives and not problem, f"{text}; {problem}" if problem else text)


def _has_changed(key: int | str, before: Rows, now: Rows) -> bool:
    return before.get(key) != now.get(key)


def _moment(since: datetime) -> str:
    return f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _of_servers(connection: psycopg.Connection[Any]) -> Finding:
    servers = len(str(conninfo_to_dict(connection.info.dsn).get("host", "")).split(","))
    if servers > 1:
        return Finding("servers", is_well=True, text=f"{servers} are named")
    return Finding(
        "servers",
        is_well=False,
        text="one is named: after a failover the new primary is not found, unless its address moves",
    )


def _of_tls(connection: psycopg.Connection[Any]) -> Finding:
    if connection.info.host.startswith("/"):
        return Finding("TLS", is_well=True, text="not needed: the connection stays on this machine")
    row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    if row is None or not row[0]:
        return Finding(
            "TLS", is_well=False, text="none: phone numbers and texts pass in the clear; use sslmode=verify-full"
        )
    is_verified = conninfo_to_dict(connection.info.dsn).get("sslmode") == "verify-full"
    return Finding(
        "TLS", is_verified, "verified" if is_verified else "the server is not verified; use sslmode=verify-full"
    )


def _shown(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return "" if row is None else str(row[0])
