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


def answers(server: Server, sid: str, token: str) -> int:
    """Ask REST for services, and return the status."""
    return httpx.get(f"{server.address}/v1/Services", auth=httpx.BasicAuth(sid, token)).status_code


def test_a_token_is_rotated_without_anybody_cut_off(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """Both are good, also after a kill -9; the one before ends when it is told to."""
    here = ("--data-dir", tmp_path)
    server = start_server(*map(str, here))
    made = json.loads(run("account", "create", "--name", "Shop", *here, "--json").output)
    sid, old = made["account"]["sid"], made["auth_token"]

    rotated = json.loads(run("account", "rotate-token", "Shop", "--overlap", "2h", *here, "--json").output)
    twice = run("account", "rotate-token", sid, *here)
    server.process.kill()
    server.process.communicate()
    again = start_server(*map(str, here))
    during = [answers(again, sid, token) for token in (old, rotated["auth_token"])]
    ended = json.loads(run("account", "rotate-token", sid, "--finish", *here, "--json").output)
    after = [answers(again, sid, token) for token in (old, rotated["auth_token"])]

    assert rotated["account"]["previous_token_ends"] is not None
    assert (twice.exit_code, "Two tokens are good until" in twice.stderr) == (1, True)
    assert all(option in twice.stderr for option in ("--finish", "--instead"))
    assert (during, after) == ([200, 200], [401, 200])
    assert ended["previous_token_ends"] is None
    assert rotated["auth_token"] not in json.dumps(ended)


def test_a_rotation_that_is_not_under_way_cannot_be_finished(run: Run, place: Path) -> None:
    """Whoever mistook the account learns that nothing was done."""
    run("account", "create", "--name", "Shop", "--data-dir", place)

    refused = run("account", "rotate-token", "Shop", "--finish", "--data-dir", place)

    assert refused.exit_code == 1
    assert "Only one token is good" in refused.stderr


def test_a_name_that_another_account_has_is_told(run: Run, place: Path) -> None:
    """Names need not be unique; whoever repeats a command has made another account."""
    here = ("--data-dir", place)
    first = run("account", "create", "--name", "Shop", *here)
    unnamed = [run("account", "create", *here) for _ in range(2)]

    second = run("account", "create", "--name", "Shop", *here, "--json")

    assert [one.exit_code for one in (first, *unnamed, second)] == [0] * 4
    assert [one.stderr for one in unnamed] == ["", ""]
    assert f"{first.stdout.split()[1]} has the name 'Shop' too" in second.stderr
    assert json.loads(second.stdout)["account"]["friendly_name"] == "Shop"


def test_a_disabled_account_is_refused_until_it_is_enabled(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """By its token and by its keys, with what the public API answers for a suspended account; also after a kill -9."""
    here = ("--data-dir", tmp_path)
    server = start_server(*map(str, here))
    made = json.loads(run("account", "create", *here, "--json").output)
    sid, token = made["account"]["sid"], made["auth_token"]
    key = json.loads(run("apikey", "create", sid, *here, "--json").output)

    shown = run("account", "disable", sid, *here)
    server.process.kill()
    server.process.communicate()
    server = start_server(*map(str, here))
    refused = [answers(server, sid, token), answers(server, key["key"]["sid"], key["secret"])]
    run("account", "enable", sid, *here)
    let_in = [answers(server, sid, token), answers(server, key["key"]["sid"], key["secret"])]

    assert "disabled" in shown.output
    assert (refused, let_in) == ([401, 401], [200, 200])
    _, _, log = server.stop()
    assert f"The account is active again account_sid={sid}" in log


def test_an_account_is_deleted_in_steps_that_cannot_happen_by_mistake(run: Run, place: Path) -> None:
    """Disabled first, then asked about, then only when it has nothing or everything is to go."""
    here = ("--data-dir", place)
    sid = json.loads(run("account", "create", *here, "--json").output)["account"]["sid"]
    numbers = place / "numbers.csv"
    numbers.write_text("number\n+14155550100\n")
    run("numbers", "import", numbers, "--account", sid, *here)

    active, unasked = (run("account", "delete", sid, *options, *here) for options in (("--yes",), ()))
    run("account", "disable", sid, *here)
    unsure = run("account", "delete", sid, *here)
    owning = run("account", "delete", sid, "--yes", *here)
    gone = run("account", "delete", sid, "--everything", "--yes", *here)

    for refused in (active, unasked):
        assert (refused.exit_code, "disable it first" in refused.stderr) == (1, True)
    assert "for good?" not in unasked.output
    assert unsure.exit_code == 1
    assert (owning.exit_code, "0 services and 1 numbers" in owning.stderr) == (1, True)
    assert (gone.exit_code, gone.output) == (0, f"deleted {sid}, 0 services, 1 numbers\n")
    assert json.loads(run("account", "list", *here, "--json").output)["accounts"] == []
