"""A PostgreSQL on two machines, the second one a synchronous standby: killed, promoted, restarted, frozen, kept apart.

The test reaches each by a socket in its directory, whatever cables are cut.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests import postgres
from tests.cluster.live_cluster import eventually
from tests.cluster.machines import Machine, Machines

STANDBY = "standby_one"
DATABASE = "maskline"

_WAYS = ("local {} all trust", "host {} all 198.18.0.0/15 trust")
_TRUST = "".join(f"{way.format(what)}\n" for way in _WAYS for what in ("all", "replication"))
_SETTINGS = {
    "fsync": "on",
    "wal_level": "replica",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "listen_addresses": "*",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
    "wal_retrieve_retry_interval": "200ms",
}


class DatabaseServer:
    """One of the two, on a machine of its own."""

    def __init__(self, machine: Machine, directory: Path, programs: Path) -> None:
        """Know where it is; nothing runs yet."""
        self.machine = machine
        self.directory = directory
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Connect as who may do everything, with commits that wait for no standby; close it."""
        server = postgres.Server(self.directory)
        return psycopg.connect(server.conninfo(database), autocommit=True, options="-c synchronous_commit=local")

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with closing(self.admin(database)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it, and wait until it answers."""
        told = _SETTINGS | {"unix_socket_directories": str(self.directory)}
        options = [part for name, value in told.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self.data), *options]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                [*self.machine.prefix, *as_user(), *command], stdout=log, stderr=log, start_new_session=True
            )
        postgres._await(postgres.Server(self.directory), self._process, self.directory)

    def stop(self, how: signal.Signals) -> None:
        """Stop it: SIGINT ends its connections, SIGQUIT ends it at once, so that it recovers from its log next time."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)

    def wait(self) -> None:
        """Wait until it has ended by itself."""
        assert self._process is not None
        self._process.wait(60)

    def kill(self) -> None:
        """Lose the machine."""
        self.machine.kill()
        assert self._process is not None
        self._process.wait(60)

    def remove(self) -> None:
        """End it and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self.machine.signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self.stop(signal.SIGQUIT)  # leaves no shared memory
        shutil.rmtree(self.directory, ignore_errors=True)


class Databases:
    """A primary whose commits wait for its standby."""

    def __init__(self, primary: DatabaseServer, standby: DatabaseServer) -> None:
        """Know two that run."""
        self.primary = primary
        self.standby = standby
        self._frozen: list[int] = []

    @property
    def url(self) -> str:
        """What a server is told as `database_url`."""
        hosts = ",".join(one.machine.address for one in (self.primary, self.standby))
        return f"postgresql://{postgres.OWNER}@{hosts}/{DATABASE}"

    def wait_for_standby(self) -> None:
        """Have commits wait for the standby."""
        self.wait_for(STANDBY)
        eventually(self._is_synchronous, "the standby is synchronous")

    def wait_for(self, names: str) -> None:
        """Name the standbys that commits wait for."""
        self.primary.run(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.run("SELECT pg_reload_conf()")

    def freeze(self) -> None:
        """Stop the process of the standby that receives and confirms."""
        rows = self.standby.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'")
        self._frozen = [pid for (pid,) in rows]
        assert self._frozen
        for pid in self._frozen:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        while self._frozen:
            os.kill(self._frozen.pop(), signal.SIGCONT)

    def freeze_for(self, seconds: float) -> tuple[float, float]:
        """Freeze it for longer than that; return between which times, monotonic, nothing was confirmed."""
        self.freeze()
        time.sleep(1)  # what was confirmed before is answered
        frozen = time.monotonic()
        time.sleep(seconds)
        thawed = time.monotonic()
        self.thaw()
        return frozen, thawed

    def promote(self) -> None:
        """Make the standby a primary, which waits for no other; returns when it takes commits."""
        ((has_come,),) = self.standby.run("SELECT pg_promote(true, 60)")
        assert has_come

    def swap(self) -> None:
        """Call the standby that was promoted the primary from now on."""
        self.primary, self.standby = self.standby, self.primary

    def _is_synchronous(self) -> bool:
        return self.primary.run("SELECT sync_state FROM pg_stat_replication") == [("sync",)]


@contextmanager
def replicated(machines: Machines) -> Iterator[Databases]:
    """Run both on machines of their own while the context lasts.

    Raises:
        postgres.NoPostgres: there are no programs for it.
    """
    programs, user = postgres._programs(), postgres._user()
    if not (programs / "pg_basebackup").exists():
        raise postgres.NoPostgres(f"no pg_basebackup in {programs}")
    place = Path(tempfile.mkdtemp(prefix="pg-"))
    place.chmod(0o755)
    servers: list[DatabaseServer] = []
    try:
        programs = postgres._reachable(programs, place, user)
        for name in ("database-1", "database-2"):
            directory = place / name
            directory.mkdir()
            if user is not None:
                os.chown(directory, user.pw_uid, user.pw_gid)
            servers.append(DatabaseServer(machines.add(name), directory, programs))
        primary, standby = servers
        _make(primary, programs)
        primary.start()
        primary.run(f"CREATE DATABASE {DATABASE}")
        _copy(primary, standby, programs)
        standby.start()
        pair = Databases(primary, standby)
        pair.wait_for_standby()
        yield pair
        pair.thaw()
    finally:
        for server in servers:
            server.remove()
        shutil.rmtree(place, ignore_errors=True)


def _make(server: DatabaseServer, programs: Path) -> None:
    command = [str(programs / "initdb"), f"--pgdata={server.data}", f"--username={postgres.OWNER}"]
    postgres._finished(
        [*command, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"], postgres._user(), server.directory
    )
    (server.data / "pg_hba.conf").write_text(_TRUST, "ascii")


def _copy(primary: DatabaseServer, standby: DatabaseServer, programs: Path) -> None:
    """Copy one to the other, which follows it over the network from its start on."""
    local = postgres.Server(primary.directory).conninfo("postgres")
    command = [str(programs / "pg_basebackup"), f"--dbname={local}", f"--pgdata={standby.data}"]
    postgres._finished([*command, "--checkpoint=fast", "--no-sync"], postgres._user(), standby.directory)
    (standby.data / "standby.signal").touch()
    following = f"host={primary.machine.address} user={postgres.OWNER} application_name={STANDBY}"
    with (standby.data / "postgresql.auto.conf").open("a", encoding="ascii") as settings:
        settings.write(f"primary_conninfo = '{following} connect_timeout=3 keepalives_idle=3'\n")


def as_user() -> tuple[str, ...]:
    """Return what runs a command as another user, since PostgreSQL does not run as root."""
    user = postgres._user()
    return () if user is None else ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
