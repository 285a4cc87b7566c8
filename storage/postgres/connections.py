"""How connections to the database are made: what is set on each, and what may be said of an address in public."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from engine.core.model.errors import MasklineError
from storage.postgres.codec import prepare

DEADLINE_SECONDS: Final = 10.0
"""How long the database may leave the writer without an answer before its connection counts as lost."""

POINT_SECONDS: Final = 5.0
LIST_SECONDS: Final = 60.0
"""The same for what reads a few rows by their keys, while others wait for it, and for what may go through many."""

_NETWORK: Final[Mapping[str, int | str]] = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3_000,
    "target_session_attrs": "read-write",
}
"""A dead server is noticed within seconds, and of a list of servers the primary is found."""

_SESSION: Final[Mapping[str, str]] = {
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "5s",  # a stopped client keeps no locks
    "lock_timeout": "3s",
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "3000",
}
"""What the server is told of the writer's session; a commit that waits for its standby is ended by none of it."""

_LISTS: Final = {"host", "hostaddr", "port"}
"""What has a part for each server."""

_SECRETS: Final = {"password", "sslpassword"}

_found: Final[dict[str, str]] = {}
"""Of each connection string, the same with the server first that took the last connection."""

_SET: Final = f"SELECT {', '.join(['set_config(%s, %s, false)'] * len(_SESSION))}"


AnyConnection = TypeVar("AnyConnection", bound="BoundedConnection")


class BadDatabaseUrl(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """What names the database cannot be read, or lacks something; the message never has a password in it."""


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that counts as lost when nothing comes for too long; what waits at the server is not cancelled."""

    deadline_seconds: float | None = DEADLINE_SECONDS
    """None: as long as it takes."""
    conninfo = ""
    """What it was made by."""
    found = ""
    """The same with its server first."""

    @property
    def is_current(self) -> bool:
        """Whether no other server has been found to be the primary, or looked for, since."""
        return self.found == _found.get(self.conninfo)

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401 - psycopg's
        """Wait for the server, within bounds."""
        return super().wait(gen, interval, self.deadline_seconds if timeout is None else timeout)


class WriterConnection(BoundedConnection):
    """That of who commits: where it is not answered, the primary is looked for on the other servers first.

    The old one may go on as such after another was promoted, if what looks after it hangs; no standby confirms what is
    committed there.
    """

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401 - psycopg's
        """Wait for the server, within bounds."""
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError as failure:
            if failure.sqlstate is None and self.is_current:  # no word of the server's
                _found[self.conninfo] = _turned(self.conninfo, self.info.host, str(self.info.port), by=1)
            raise


def conninfo_of(database_url: str) -> str:
    """Complete what an operator wrote as `database_url` with what every connection needs.

    Raises:
        BadDatabaseUrl: it is no connection string.
    """
    try:
        given = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:  # its text may have the password in it
        raise BadDatabaseUrl(
            "it is no connection string of PostgreSQL; one is postgresql://user@host1,host2/database?passfile=/file"
        ) from None
    for name in _SECRETS & given.keys():
        raise BadDatabaseUrl(
            f"it has a {name} in it, which logs and process lists would show; leave that out, and name a passfile that "
            "only this user may read: ?passfile=/file"
        )
    return make_conninfo("", **{**_NETWORK, "application_name": "maskline", **given})


def address_towards(database_url: str) -> str:
    """Tell the address of this machine that it speaks to the database from; loopback where that is on this machine."""
    servers = conninfo_to_dict(database_url)
    for server in str(servers.get("hostaddr") or servers.get("host") or "").split(","):
        if not server or server.startswith(("/", "@")):
            continue  # the directory of a socket
        with suppress(OSError):
            family, kind, *_, address = socket.getaddrinfo(server, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(address)  # nothing is sent
                return str(probe.getsockname()[0])
    return _LOOPBACK


_ANY_PORT: Final = 5432
_LOOPBACK: Final = "127.0.0.1"


def connect(conninfo: str, *, autocommit: bool) -> BoundedConnection:
    """Connect, with nothing set for a session and no bound to what it waits for; raises psycopg.Error."""
    connection = _connected(BoundedConnection, conninfo, autocommit=autocommit)
    connection.deadline_seconds = None
    return connection


def open_writer(conninfo: str) -> WriterConnection:
    """Connect for the writer; raises psycopg.Error."""
    connection = _connected(WriterConnection, conninfo)
    try:
        prepare(connection)
        connection.execute(_SET, tuple(part for pair in _SESSION.items() for part in pair))
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(conninfo: str, *, deadline_seconds: float) -> BoundedConnection:
    """Connect to read; raises psycopg.Error."""
    connection = _connected(BoundedConnection, conninfo)
    connection.deadline_seconds = deadline_seconds
    return connection


def _connected(kind: type[AnyConnection], conninfo: str, *, autocommit: bool = True) -> AnyConnection:
    """Connect to the server that was the primary last, else to whichever of the others is now.

    A machine that is lost says nothing: were it asked first each time, each connection would take `connect_timeout`
    more, which is longer than most wait.
    """
    connection = kind.connect(_found.get(conninfo, conninfo), autocommit=autocommit)
    found = _turned(conninfo, connection.info.host, str(connection.info.port))
    connection.conninfo, connection.found = conninfo, found
    _found[conninfo] = found
    return connection


def _turned(conninfo: str, host: str, port: str, *, by: int = 0) -> str:
    """Turn the servers of a connection string so that this one is first, or the one that comes `by` behind it."""
    given = conninfo_to_dict(conninfo)
    lists = {name: str(given[name]).split(",") for name in _LISTS & given.keys()}
    hosts, ports = lists.get("host", []), lists.get("port", [])
    for at, one in enumerate(hosts):
        if one == host and (len(ports) < len(hosts) or ports[at] in {"", port}):
            place = (at + by) % len(hosts)
            turned = {name: [*parts[place:], *parts[:place]] for name, parts in lists.items() if len(parts) > 1}
            return make_conninfo(conninfo, **{name: ",".join(parts) for name, parts in turned.items()})
    return conninfo
