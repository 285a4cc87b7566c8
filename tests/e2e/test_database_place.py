"""Two servers on one database: a second one is refused, and one whose place is taken ends."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from storage.postgres.connections import conninfo_of
from storage.postgres.places import take_place
from tests.e2e.live import MASKLINE, LiveServer, clean_environment


@pytest.mark.parametrize("start_server", ["postgres"], indirect=True)
def test_a_second_server_is_refused_and_a_fenced_one_ends(
    start_server: Callable[..., LiveServer], database: str, tmp_path: Path
) -> None:
    """The first one is named; when its place is taken all the same, it says so and exits with 1."""
    first = start_server()
    where = ("--data-dir", str(tmp_path / "second"), "--listen", "127.0.0.1:0", "--database-url", database)

    second = subprocess.run(  # noqa: S603 - our own command
        [str(MASKLINE), "serve", *where, "--owner-lease-seconds", "10"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
    )
    with psycopg.connect(conninfo_of(database), autocommit=True) as connection:
        take_place(connection, 0, node="elsewhere", lease_seconds=0)

    assert first.process.wait(30) == 1
    assert second.returncode == 2
    assert f"process {first.process.pid}, serves on this database; stop that one first" in second.stderr
    assert "Another process has taken place 0 in the database; this one ends" in first.log
