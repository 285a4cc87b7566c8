"""PostgreSQL as a part of peers: a cluster of its own on a port of its own, commits on disk as by default."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.packages import program
from benchmarks.peers import cpu_of

_PACKAGE = "postgresql"
_START_SECONDS = 60.0
_USER = "postgres"


class Postgres(msgspec.Struct, frozen=True):
    """A server that runs."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time of the server and of the processes of its connections."""
        return sum(map(cpu_of, family(self.pid)))


def family(pid: int) -> list[int]:
    """List a process and its children."""
    children = (task / "children" for task in Path(f"/proc/{pid}/task").iterdir())
    return [pid, *(int(child) for file in children for child in file.read_text("ascii").split())]


@contextmanager
def postgres() -> Iterator[Postgres | None]:
    """Run PostgreSQL while the context lasts; None where it is missing."""
    server, initdb = program("postgres", package=_PACKAGE), program("initdb", package=_PACKAGE)
    if server is None or initdb is None:
        yield None
        return
    directory = Path(tempfile.mkdtemp(prefix="bench-postgres-"))
    as_user = _as_user(directory)
    try:
        data = directory / "data"
        made = [*as_user, initdb, "--pgdata", str(data), "--auth=trust", f"--username={_USER}", "--encoding=UTF8"]
        subprocess.run(made, check=True, capture_output=True, cwd=directory)  # noqa: S603 - our own words
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["-D", str(data), "-p", str(port), "-k", str(directory), "-c", "listen_addresses=127.0.0.1"]
        process = subprocess.Popen(  # noqa: S603 - our own words
            [*as_user, server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory
        )
        try:
            _await(port)
            yield Postgres(port, process.pid)
        finally:
            process.terminate()  # a smart shutdown would wait for connections: those are closed by then
            process.wait(_START_SECONDS)
    finally:
        shutil.rmtree(directory)


def _as_user(directory: Path) -> list[str]:
    """Return what to put before a command so that it does not run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(_USER)
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _await(port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until, "PostgreSQL does not come up"
            time.sleep(0.1)
        else:
            return
