"""`maskline database` and what other commands say where a database keeps everything."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from click.testing import Result

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


def test_without_a_database_there_is_nothing_to_check(run: Run, tmp_path: Path) -> None:
    """It says what keeps everything instead."""
    refused = run("database", "check", "--data-dir", tmp_path)

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


def test_a_cluster_keeps_files(run: Run) -> None:
    """As yet; it says so before anything is started."""
    refused = run("serve", "--runtime", "ray", "--database-url", "host=pg1")

    assert refused.exit_code == 2
    assert "one host in one process; runtime ray keeps files" in refused.output


def test_an_account_is_made_in_the_database_before_any_server_runs(run: Run, tmp_path: Path, database: str) -> None:
    """And found there from another data directory: nothing of it lies in a file."""
    config = tmp_path / "maskline.toml"
    config.write_text(f'database_url = "{database}"\ndatabase_replicas = 0\n')

    made = run("account", "create", "--name", "Rides", "--config", config, "--data-dir", tmp_path / "one", "--json")
    found = run("account", "list", "--config", config, "--data-dir", tmp_path / "two", "--json")

    assert (made.exit_code, found.exit_code) == (0, 0), found.output
    assert "Rides" in found.output
    assert not (tmp_path / "one" / "maskline.db").exists()
