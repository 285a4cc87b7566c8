"""A PostgreSQL with a synchronous standby that can be frozen."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests import postgres
from tests.cluster.live_cluster import eventually

STANDBY = "standby_one"


class Pair:
    """A primary whose commits wait for its standby."""

    def __init__(self, primary: postgres.Server, standby: postgres.Server) -> None:
        self.primary = primary
        self._standby = standby
        self._frozen: list[int] = []

    def backends(self, application: str, *, waiting_for: str) -> list[int]:
        """Name the processes of an application that wait for something."""
        with closing(self.primary.admin()) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event = %s",
                (application, waiting_for),
            )
            return [pid for (pid,) in rows]

    def tell(self, statement: str, *parameters: Any) -> None:  # noqa: ANN401 - whatever a statement takes
        """Run a statement on the primary, whose own commit waits for nothing."""
        with closing(self.primary.admin()) as connection:
            connection.execute("SET synchronous_commit = local")
            connection.execute(statement, parameters)

    def wait_for_standby(self) -> None:
        """Have commits wait for the standby."""
        self.tell(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        self.tell("SELECT pg_reload_conf()")
        eventually(lambda: _is_synchronous(self.primary), "the standby is synchronous")

    def wait_for_none(self) -> None:
        """Have them wait for none."""
        self.tell("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.tell("SELECT pg_reload_conf()")

    @property
    def is_frozen(self) -> bool:
        """Whether nothing is confirmed now."""
        return bool(self._frozen)

    def freeze(self) -> None:
        """Stop the process of the standby that receives and confirms."""
        with closing(self._standby.admin()) as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'")
            self._frozen = [pid for (pid,) in rows]
        assert self._frozen
        for pid in self._frozen:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        while self._frozen:
            os.kill(self._frozen.pop(), signal.SIGCONT)


@contextmanager
def replicated(settings: Mapping[str, str] | None = None) -> Iterator[Pair]:
    """Run both while the context lasts, the primary with these settings.

    Raises:
        NoPostgres: there are no programs for it.
    """
    programs, user = postgres._programs(), postgres._user()
    if not (programs / "pg_basebackup").exists():
        raise postgres.NoPostgres(f"no pg_basebackup in {programs}")
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    if user is not None:
        os.chown(directory, user.pw_uid, user.pw_gid)
    try:
        with postgres.running({"wal_level": "replica", "fsync": "on"} | dict(settings or {})) as primary:
            data = directory / "data"
            command = [str(programs / "pg_basebackup"), f"--dbname={primary.conninfo('postgres')}", f"--pgdata={data}"]
            postgres._finished([*command, "--checkpoint=fast", "--no-sync", "--write-recovery-conf"], user, directory)
            told = {"unix_socket_directories": directory, "listen_addresses": "", "max_connections": "200"}
            told |= {"primary_conninfo": f"{primary.conninfo('postgres')} application_name={STANDBY}"}
            options = [part for name, value in told.items() for part in ("-c", f"{name}={value}")]
            with postgres._guarded([str(programs / "postgres"), "-D", str(data), *options], user, directory) as process:
                standby = postgres.Server(directory)
                postgres._await(standby, process, directory)
                pair = Pair(primary, standby)
                pair.wait_for_standby()
                try:
                    yield pair
                finally:
                    pair.thaw()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _is_synchronous(primary: postgres.Server) -> bool:
    with closing(primary.admin()) as connection:
        connection.execute("SET synchronous_commit = local")
        rows = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
    return rows == [("sync",)]
