"""`maskline database` and what other commands say where a database keeps everything."""

import json
import re
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from click.testing import Result

from storage.postgres.connections import WriterConnection, conninfo_of, open_writer
from storage.postgres.places import take_place

Run = Callable[..., Result]


@pytest.fixture
def empty(database: str) -> str:
    """Say how to connect to a database without our tables."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return database


def test_init_makes_the_tables_once(run: Run, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what it did."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", empty)

    first, second = run("database", "init"), run("database", "init", "--json")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "applied 0001_first_tables" in first.output
    assert json.loads(second.output) == {"applied": []}


def test_check_says_what_is_lacking_and_changes_nothing(run: Run, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' server has neither a disk that it waits for nor a standby."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", empty)

    checked = run("database", "check", "--json")

    assert checked.exit_code == 1
    found = {one["subject"]: one for one in json.loads(checked.output)}
    assert {name for name, one in found.items() if one["is_well"]} >= {"version", "TLS"}
    assert "maskline database init" in found["tables"]["text"]
    assert "loses what was acknowledged" in found["fsync"]["text"]
    assert not found["standby"]["is_well"]
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


@pytest.mark.parametrize("command", ["init", "check", "import", "export"])
def test_without_a_database_there_is_nothing_to_do(run: Run, tmp_path: Path, command: str) -> None:
    """It says what keeps everything instead."""
    refused = run("database", command, "--data-dir", tmp_path)

    assert refused.exit_code == 2
    assert "database_url is not set: the file in the data directory keeps everything" in refused.output


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (("backup", "TARGET"), "pgBackRest"),
        (("restore", "TARGET"), "the tool that made its backup"),
        (("rebalance", "--hosts", "2"), "need not be moved"),
        (("outbox", "release"), "nothing of a database is held"),
    ],
)
def test_what_is_for_files_says_what_to_do_instead(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, command: tuple[str, ...], instead: str
) -> None:
    """And does not touch the file that may lie there."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", "host=nowhere.invalid")

    refused = run(*command, "--data-dir", tmp_path / "data")

    assert refused.exit_code == 2
    assert refused.output.startswith("maskline: database_url is set")
    assert instead in refused.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://maskline:tell-nobody@pg1/maskline",
        "host=pg1 password=tell-nobody",
        "postgres//maskline:tell-nobody@pg1",
    ],
)
def test_a_password_in_the_connection_string_is_refused_and_not_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """It belongs into a file, which the message names."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", url)

    refused = run("serve", "--print-settings")

    assert refused.exit_code == 2
    assert "tell-nobody" not in refused.output
    assert re.search(r"'database_url' \(variable MASKLINE_DATABASE_URL\).*passfile=/file", refused.output)


def test_a_cluster_on_a_database_joins_no_ray(run: Run) -> None:
    """Every machine has its own; it says so before anything is started."""
    refused = run("serve", "--runtime", "ray", "--database-url", "host=pg1", "--address", "10.0.0.5:6379")

    assert refused.exit_code == 2
    assert "every machine has a Ray of its own" in refused.output


def test_an_account_is_made_in_the_database_before_any_server_runs(run: Run, tmp_path: Path, database: str) -> None:
    """And found there from another data directory: nothing of it lies in a file."""
    config = tmp_path / "maskline.toml"
    config.write_text(f'database_url = "{database}"\ndatabase_replicas = 0\n')

    made = run("account", "create", "--name", "Rides", "--config", config, "--data-dir", tmp_path / "one", "--json")
    found = run("account", "list", "--config", config, "--data-dir", tmp_path / "two", "--json")

    assert (made.exit_code, found.exit_code) == (0, 0), found.output
    assert "Rides" in found.output
    assert [*tmp_path.iterdir()] == [config]


def test_an_import_and_an_export_say_what_they_copied(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """A line a table, with rows and digest, then what not to do; or the same in JSON."""
    run("account", "create", "--name", "Rides", "--data-dir", tmp_path / "data")
    monkeypatch.setenv("MASKLINE_DATABASE_URL", database)

    into = run("database", "import", "--data-dir", tmp_path / "data")
    back = run("database", "export", "--data-dir", tmp_path / "back", "--json")

    assert (into.exit_code, back.exit_code) == (0, 0), into.output
    copied = json.loads(back.output)
    lines = into.output.splitlines()
    assert lines[0].split() == ["table", "rows", "digest"]
    assert [line.split() for line in lines[1:-1]] == [
        [one["name"], str(one["rows"]), one["digest"]] for one in copied["tables"]
    ]
    assert (copied["tables"][0]["name"], copied["tables"][0]["rows"]) == ("accounts", 1)
    assert lines[-1].endswith(
        f"holds what {tmp_path / 'data'} does, and owes 0 deliveries; never serve that directory again: its file owes "
        "them too"
    )
    assert copied["pending"] == 0


def test_an_interrupted_import_is_told_by_a_check_and_by_every_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """In a line that says what to do."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE cluster SET importing = '/var/lib/maskline'")

    checked = run("database", "check", "--json")
    listed = run("account", "list", "--data-dir", tmp_path)

    found = {one["subject"]: one for one in json.loads(checked.output)}
    assert not found["import"]["is_well"]
    assert found["import"]["text"] == "that of /var/lib/maskline was interrupted: maskline database import"
    assert listed.exit_code == 2
    assert "was interrupted; nothing of it is there. Run maskline database import again" in listed.output


def test_a_command_beside_another_machines_server_says_how_to_ask_it(
    run: Run, tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory that is not the server's, where nothing is made."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", database)
    monkeypatch.setenv("MASKLINE_DATABASE_REPLICAS", "0")
    run("account", "create", "--data-dir", tmp_path / "data")
    with closing(open_writer(conninfo_of(database))) as connection:
        take_place(connection, 0, node="machine-a, process 7", lease_seconds=0)
        connection.execute("UPDATE hosts SET backend = pg_backend_pid()")
        served = threading.Thread(target=_commit_on, args=(connection, done := threading.Event()))
        served.start()
        try:
            refused = run("account", "list", "--data-dir", tmp_path / "data")
        finally:
            done.set()
            served.join()

    assert refused.exit_code == 2
    assert "machine-a, process 7, serves on this database" in refused.output
    assert "--data-dir names its directory" in refused.output
    assert not (tmp_path / "data").exists()


def _commit_on(connection: WriterConnection, done: threading.Event) -> None:
    """Write as a server does, so that its place is seen to be used."""
    while not done.wait(0.05):
        connection.execute("UPDATE hosts SET group_no = group_no + 1")


@pytest.mark.parametrize("command", ["init", "check"])
def test_what_stands_in_the_way_is_told(run: Run, database: str, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """That nobody listens, or that there is no such database: each wants another remedy."""
    monkeypatch.setenv("MASKLINE_DATABASE_URL", psycopg.conninfo.make_conninfo(database, dbname="elsewhere"))
    unmade = run("database", command)
    monkeypatch.setenv("MASKLINE_DATABASE_URL", "postgresql://maskline@127.0.0.1:1,127.0.0.1:2/maskline")
    unheard = run("database", command)
    monkeypatch.setenv("MASKLINE_DATABASE_URL", "postgresql://maskline@nowhere.invalid/maskline")
    unknown = run("database", command)
    monkeypatch.setenv("MASKLINE_DATABASE_URL", "postgresql://maskline@127.0.0.1/maskline?sslmode=perhaps")
    misspelt = run("database", command)

    assert [one.exit_code for one in (unmade, unheard, unknown, misspelt)] == [2, 2, 2, 2]
    assert "there is no such database" in unmade.output
    assert "nobody listens there" in unheard.output
    assert "its host has no address" in unknown.output
    assert "database_url has a value that libpq does not take" in misspelt.output
