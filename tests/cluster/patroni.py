"""A PostgreSQL that Patroni runs by the shipped file: three servers on machines of their own, an etcd on a fourth."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from tests import postgres
from tests.cluster.databases import DATABASE, as_user
from tests.cluster.live_cluster import eventually
from tests.cluster.machines import Machine, Machines
from tests.e2e.live import NO_TLS

SHIPPED = Path("deploy/postgres/patroni.yml")
PATRONI = Path(".venv/patroni/bin/patroni").absolute()
"""`make failover-tools` installs it."""
FAILOVER_SECONDS = 90.0
"""Bound on the wait for another primary: the shipped file takes about 20."""

_SUPERUSER = "postgres"
_IN_STEP = {"running", "streaming"}


class NoPatroni(Exception):  # noqa: N818 - names a state
    """It cannot be run here; the message says what is missing."""


class Member:
    """A server with its Patroni, on a machine of its own."""

    def __init__(self, machine: Machine, directory: Path, settings: Path, passwords: dict[str, str]) -> None:
        """Know where it is; nothing runs yet."""
        self.machine = machine
        self._directory = directory
        self._settings = settings
        self._password = passwords["PATRONI_SUPERUSER_PASSWORD"]
        self._environment = {
            **passwords,
            "HOME": str(directory),
            "PATRONI_NAME": machine.name,
            "PATRONI_RESTAPI_CONNECT_ADDRESS": f"{machine.address}:8008",
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"{machine.address}:5432",
            "PATRONI_POSTGRESQL_DATA_DIR": str(directory / "data"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._directory / "log").read_text("utf-8", "replace")

    def start(self) -> None:
        """Start its Patroni, which starts the rest."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                [*self.machine.prefix, *as_user(), str(PATRONI), str(self._settings)],
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=os.environ | self._environment,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Lose the machine."""
        self.machine.kill()
        if self._process is not None:
            self._process.wait(60)

    def signal_patroni(self, number: int) -> None:
        """Send a signal to Patroni, not to its server."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        where = f"host={self.machine.address} user={_SUPERUSER} password={self._password} dbname={database}"
        options = "connect_timeout=3 options='-c synchronous_commit=local'"
        with closing(psycopg.connect(f"{where} {options}", autocommit=True)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def roles(self) -> dict[str, str] | None:
        """Return the roles of all that are in step, by name, as its Patroni tells; None: it tells nothing."""
        try:
            answer = httpx.get(f"http://{self.machine.address}:8008/cluster", verify=NO_TLS, timeout=2).json()
        except (httpx.TransportError, ValueError):
            return None
        return {one["name"]: one["role"] for one in answer["members"] if one["state"] in _IN_STEP}


class PatroniCluster:
    """What `tests.cluster.site.Site` wants of a database."""

    def __init__(self, members: list[Member], passfile: Path) -> None:
        """Know those that run."""
        self.members = members
        self._passfile = passfile

    @property
    def url(self) -> str:
        """What a server is told as `database_url`."""
        hosts = ",".join(one.machine.address for one in self.members)
        return f"postgresql://{postgres.OWNER}@{hosts}/{DATABASE}?passfile={self._passfile}"

    @property
    def primary(self) -> Member:
        """The server that takes commits; waits for one that answers."""
        return self._with_role({"leader"})

    @property
    def standby(self) -> Member:
        """The one that confirms them, and is promoted when the primary is lost."""
        return self._with_role({"sync_standby"})

    def await_whole(self) -> None:
        """Wait until one is primary, one synchronous standby, and all the others follow."""

        def is_whole() -> bool:
            told = [one.roles() for one in self.members]
            return None not in told and all(
                len(roles or {}) == len(self.members) and {"leader", "sync_standby"} <= {*(roles or {}).values()}
                for roles in told
            )

        eventually(is_whole, "all servers are in step", seconds=2 * FAILOVER_SECONDS)

    def await_primary_other_than(self, lost: Member) -> float:
        """Wait until another server takes commits; returns for how many seconds."""
        began = time.monotonic()
        eventually(
            lambda: self._find({"leader"}, asked=[one for one in self.members if one is not lost]) not in {None, lost},
            "another server is the primary",
            seconds=FAILOVER_SECONDS,
        )
        return time.monotonic() - began

    def _with_role(self, roles: set[str]) -> Member:
        found: list[Member] = []

        def is_found() -> bool:
            one = self._find(roles, asked=self.members)
            found.extend([one] if one else [])
            return bool(found)

        eventually(is_found, f"a server is {roles}", seconds=FAILOVER_SECONDS)
        return found[0]

    def _find(self, roles: set[str], *, asked: list[Member]) -> Member | None:
        for one in asked:
            told = one.roles()
            names = [name for name, role in (told or {}).items() if role in roles]
            if names:
                return next(member for member in self.members if member.machine.name == names[0])
        return None


@contextmanager
def patroni(machines: Machines) -> Iterator[PatroniCluster]:
    """Run an etcd and three servers while the context lasts.

    Raises:
        NoPatroni: Patroni or etcd is not installed.
        postgres.NoPostgres: there are no programs for the database.
    """
    etcd = shutil.which("etcd")
    if etcd is None or not PATRONI.exists():
        raise NoPatroni("etcd or Patroni is not installed (make failover-tools)")
    if not all(path.stat().st_mode & 0o5 == 0o5 for path in (PATRONI.resolve(), *PATRONI.parents)):
        raise NoPatroni(f"the database's user may not go to {PATRONI}")
    with_lz4 = [one for one in postgres.installed() if b"liblz4" in (one / "postgres").read_bytes()]
    if not with_lz4:
        raise postgres.NoPostgres("there is none with lz4 (postgresql of Debian has it)")
    password = secrets.token_hex(8)
    passwords = {f"PATRONI_{who}_PASSWORD": password for who in ("SUPERUSER", "REPLICATION", "REWIND")}
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="patroni-"))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        place.chmod(0o755)
        programs = postgres._reachable(with_lz4[0], place, postgres._user())
        keeper = machines.add("etcd")
        stack.callback(_started_etcd(etcd, keeper, place).wait)
        stack.callback(keeper.kill)
        members: list[Member] = []
        for name in ("database-1", "database-2", "database-3"):
            machine = machines.add(name)
            directory = place / name
            directory.mkdir()
            settings = directory / "patroni.yml"
            settings.write_text(_settings(directory, programs, f"{keeper.address}:2379"), "utf-8")
            _give(directory)
            members.append(Member(machine, directory, settings, passwords))
            stack.callback(members[-1].kill)
            members[-1].start()
        passfile = place / "passfile"
        passfile.write_text(f"*:*:*:{postgres.OWNER}:{password}\n", "ascii")
        passfile.chmod(0o600)
        found = PatroniCluster(members, passfile)
        try:
            found.await_whole()
        except AssertionError as late:
            for one in members:
                late.add_note(one.log[-2000:])
            raise
        found.primary.run(f"CREATE ROLE {postgres.OWNER} LOGIN PASSWORD '{password}' IN ROLE pg_monitor")
        found.primary.run(f"CREATE DATABASE {DATABASE} OWNER {postgres.OWNER}")
        yield found


def _settings(directory: Path, programs: Path, etcd: str) -> str:
    """Return the shipped file with what belongs to this machine."""
    settings = yaml.safe_load(SHIPPED.read_text("utf-8"))
    settings["etcd3"]["hosts"] = [etcd]
    local = settings["postgresql"]
    local["bin_dir"] = str(programs)
    local["parameters"] = {"unix_socket_directories": str(directory)}
    routed = [line.replace("samenet", "198.18.0.0/15") for line in local["pg_hba"]]
    local["pg_hba"] += routed  # there is a router between the machines, and each has a net of its own
    text: str = yaml.safe_dump(settings)
    return text


def _started_etcd(etcd: str, machine: Machine, place: Path) -> "subprocess.Popen[bytes]":
    client, peer = f"http://{machine.address}:2379", f"http://{machine.address}:2380"
    told = {
        "name": "etcd1",
        "data-dir": str(place / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"etcd1={peer}",
    }
    with (place / "etcd.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [*machine.prefix, etcd, *(f"--{name}={value}" for name, value in told.items())],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{client}/health", verify=NO_TLS, timeout=1).is_success
        return False

    eventually(answers, "etcd answers")
    return process


def _give(directory: Path) -> None:
    user = postgres._user()
    if user is not None:
        for path in (directory, *directory.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
