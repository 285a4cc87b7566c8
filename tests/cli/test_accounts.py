"""`maskline account` and `maskline apikey`, with a server running and without."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import Result

from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]


@pytest.fixture(params=["server", "no server"])
def place(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Path:
    """A data directory that a server has, and one that nobody has."""
    if request.param == "server":
        start_server("--data-dir", str(tmp_path))
    return tmp_path


def test_an_account_is_made_with_its_token_shown_once(run: Run, place: Path) -> None:
    """The token stands in the answer of create and in no other."""
    made = json.loads(run("account", "create", "--name", "Shop", "--argentina", "--data-dir", place, "--json").output)

    listed = run("account", "list", "--data-dir", place, "--json").output
    shown = json.loads(run("account", "show", made["account"]["sid"], "--data-dir", place, "--json").output)

    assert made["account"]["argentina"] is True
    assert len(made["auth_token"]) == 32
    assert [one["friendly_name"] for one in json.loads(listed)["accounts"]] == ["Shop"]
    assert shown == made["account"]
    assert made["auth_token"] not in listed


def test_settings_change_one_by_one(run: Run, place: Path) -> None:
    """What is not named stays; a switch can be turned back."""
    options = ("--allow-participant-conflict", "--respect-sms-stop-filter")
    made = json.loads(run("account", "create", *options, "--data-dir", place, "--json").output)["account"]

    changed = json.loads(
        run("account", "set", made["sid"], "--no-respect-sms-stop-filter", "--data-dir", place, "--json").output
    )

    assert changed == {**made, "respect_sms_stop_filter": False}


def test_people_read_a_table(run: Run, place: Path) -> None:
    """Without --json every SID is whole and names are not read as markup."""
    created = run("account", "create", "--name", "[bold]Shop", "--data-dir", place)
    sid = created.stdout.split()[1]

    table = run("account", "list", "--data-dir", place)

    assert "shown this once" in created.output
    assert sid in table.output
    assert "[bold]Shop" in table.output


def test_an_account_that_is_not_there_is_refused_in_one_line(run: Run, place: Path) -> None:
    """The engine's own words and code, exit code 1."""
    run("account", "create", "--data-dir", place)
    refused = run("account", "show", "AC" + "0" * 32, "--data-dir", place)

    assert refused.exit_code == 1
    assert refused.output.startswith("maskline: ")
    assert "(code 20404)" in refused.output
    assert refused.output.count("\n") == 1


def test_a_key_works_until_it_is_revoked(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """The secret is shown once; revoking counts at once on the running server."""
    server = start_server("--data-dir", str(tmp_path))
    account = json.loads(run("account", "create", "--data-dir", tmp_path, "--json").output)["account"]["sid"]
    made = json.loads(run("apikey", "create", account, "--name", "ci", "--data-dir", tmp_path, "--json").output)
    credentials = (made["key"]["sid"], made["secret"])

    before = httpx.get(f"{server.address}/v1/Services", auth=credentials)
    revoked = json.loads(run("apikey", "revoke", made["key"]["sid"], "--data-dir", tmp_path, "--json").output)
    after = httpx.get(f"{server.address}/v1/Services", auth=credentials)

    listed = run("apikey", "list", account, "--data-dir", tmp_path, "--json").output
    assert (before.status_code, after.status_code) == (200, 401)
    assert revoked["date_revoked"] is not None
    assert json.loads(listed)["keys"] == [revoked]
    assert made["secret"] not in listed


def test_keys_are_shown_to_people(run: Run, tmp_path: Path) -> None:
    """Facts when made and revoked, a table when listed."""
    account = json.loads(run("account", "create", "--data-dir", tmp_path, "--json").output)["account"]["sid"]

    made = run("apikey", "create", account, "--data-dir", tmp_path).output
    key = made.split()[1]

    assert "shown this once" in made
    assert key in run("apikey", "list", account, "--data-dir", tmp_path).output
    assert "revoked" in run("apikey", "revoke", key, "--data-dir", tmp_path).output


def test_what_was_made_offline_is_there_for_the_server(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """Both ways lead to the same database."""
    made = json.loads(run("account", "create", "--data-dir", tmp_path, "--json").output)

    server = start_server("--data-dir", str(tmp_path))

    credentials = (made["account"]["sid"], made["auth_token"])
    assert httpx.get(f"{server.address}/v1/Services", auth=credentials).status_code == 200


def test_a_socket_left_behind_does_not_mislead(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """After a crash the commands open the directory themselves."""
    server = start_server("--data-dir", str(tmp_path))
    server.process.kill()
    server.process.communicate()

    created = run("account", "create", "--data-dir", tmp_path)

    assert (tmp_path / "maskline.sock").exists()
    assert created.exit_code == 0
