"""Of several servers, the one that was the primary last is asked first."""

import socket
from contextlib import closing, suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage.postgres.connections import conninfo_of, open_reader, open_writer


@pytest.mark.parametrize("default", ["5432", ""])
def test_a_server_that_says_nothing_is_waited_for_once(database: str, default: str) -> None:
    """As one is whose machine is lost: what connects afterwards goes to the other one at once."""
    there = conninfo_to_dict(database)
    with closing(socket.create_server(("127.0.0.1", 0))) as lost:
        places = {"host": f"127.0.0.1,{there['host']}", "port": f"{lost.getsockname()[1]},{default}"}
        conninfo = conninfo_of(make_conninfo(database, **places))

        for _ in range(3):
            open_writer(conninfo).close()
            open_reader(conninfo, deadline_seconds=1).close()

        assert _connections(lost) == 1


def test_a_server_that_does_not_answer_whoever_commits_is_left_for_another_primary(database: str) -> None:
    """As an old primary does whose standby was promoted; what reads from it is told to go along."""
    there = conninfo_to_dict(database)
    places = {"host": f"{there['host']},{there['host']}/.", "port": there["port"]}
    conninfo = conninfo_of(make_conninfo(database, **places))
    with closing(open_writer(conninfo)) as writer, closing(open_reader(conninfo, deadline_seconds=1)) as reader:
        before = (writer.info.host, reader.info.host, writer.is_current, reader.is_current)
        writer.deadline_seconds = 0.2
        with pytest.raises(psycopg.OperationalError):
            writer.execute("SELECT pg_sleep(20)")
        after = (writer.is_current, reader.is_current)

    with closing(open_writer(conninfo)) as writer, closing(open_reader(conninfo, deadline_seconds=1)) as reader:
        assert before == (there["host"], there["host"], True, True)
        assert after == (False, False)
        assert (writer.info.host, reader.info.host) == (f"{there['host']}/.",) * 2


def _connections(listening: socket.socket) -> int:
    listening.settimeout(0)
    count = 0
    with suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            count += 1
    return count
