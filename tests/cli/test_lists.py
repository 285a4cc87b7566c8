"""`maskline numbers list` and `sessions list`, and names wherever SIDs are taken; with a server and without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from click.testing import Result

from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]

PEOPLE = ("+14155550110", "+14155550111")
POOL = ("+12125550171", "+12125550172", "+12125550173")


class World(NamedTuple):
    """Two accounts, each with a service named rides; sessions of the first."""

    directory: Path
    run: Callable[..., Result]
    accounts: tuple[str, str]
    services: tuple[str, str]
    sessions: tuple[str, ...]

    def told(self, *arguments: object) -> Any:  # noqa: ANN401 - what JSON holds
        """Return a command's answer in JSON."""
        answer = self.run(*arguments, "--data-dir", self.directory, "--json")
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.output)

    def refused(self, *arguments: object) -> str:
        """Return what a command that is refused says."""
        answer = self.run(*arguments, "--data-dir", self.directory)
        assert answer.exit_code in {1, 2}, answer.output
        return answer.output


@pytest.fixture(params=["served", "offline"])
def world(run: Run, start_server: StartServer, tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """Three sessions, one of them closed; a number that is reserved, one in no pool, a short code."""
    server = start_server("--data-dir", str(tmp_path))
    made = [
        json.loads(run("account", "create", "--name", name, "--data-dir", tmp_path, "--json").output)
        for name in ("Rides Ltd", "Bikes")
    ]
    numbers = tmp_path / "numbers.csv"
    numbers.write_text(f"number,country,reserved\n{POOL[0]},US,no\n{POOL[1]},US,yes\n12345,US,no\n")
    sessions: list[str] = []
    services: list[str] = []
    for place, account in enumerate(made):
        credentials = (account["account"]["sid"], account["auth_token"])
        with httpx.Client(base_url=f"{server.address}/v1", auth=credentials) as client:
            services.append(client.post("/Services", data={"UniqueName": "rides"}).json()["sid"])
            if place:
                continue
            where = ("--account", "Rides Ltd", "--data-dir", tmp_path)
            assert run("numbers", "import", numbers, "--service", "rides", *where).exit_code == 0
            numbers.write_text(f"{POOL[2]}\n")
            assert run("numbers", "import", numbers, *where).exit_code == 0
            for name in ("ride-1", "ride-2", "ride +14155550199"):
                people = [json.dumps({"Identifier": one}) for one in (PEOPLE if name == "ride-1" else ())]
                form = {"UniqueName": name, "Participants": people}
                sessions.append(client.post(f"/Services/{services[0]}/Sessions", data=form).json()["sid"])
            client.post(f"/Services/{services[0]}/Sessions/{sessions[1]}", data={"Status": "closed"})
    if request.param == "offline":
        server.stop()
    accounts = (made[0]["account"]["sid"], made[1]["account"]["sid"])
    return World(tmp_path, run, accounts, (services[0], services[1]), tuple(sessions))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("numbers", "list"), "no numbers found"),
        (("service", "list"), "there are no services"),
        (("apikey", "list", "Shop"), "the account has no API keys"),
        (("alerts", "list", "Shop"), "no events found"),
        (("outbox", "list"), "nothing in the outbox"),
        (("pool", "report"), "there are no pools"),
        (("pool", "report", "--unused"), "every number has been used"),
        (("sip", "peers"), "there are no SIP peers"),
        (("smpp", "peers"), "there are no SMPP peers"),
    ],
)
def test_a_list_without_entries_says_so(  # noqa: PLR0917 - fixtures
    run: Run, start_server: StartServer, tmp_path: Path, command: tuple[str, ...], said: str
) -> None:
    """In a sentence, not by a line of headings."""
    start_server("--data-dir", str(tmp_path))
    run("account", "create", "--name", "Shop", "--data-dir", tmp_path)

    listed = run(*command, "--data-dir", tmp_path)

    assert listed.exit_code == 0
    assert listed.stdout.startswith(said)
    assert len(listed.stdout.splitlines()) == 1


def test_numbers_are_listed_with_their_pools(world: World) -> None:
    """SIDs to be used elsewhere, short codes too, and by how many active sessions each is used."""
    listed = {one["number"]: one for one in world.told("numbers", "list")["numbers"]}
    pooled = world.told("numbers", "list", "--service", world.services[0], "--unreserved")["numbers"]

    assert listed.keys() == {*POOL, "12345"}
    assert {number: one["in_use"] for number, one in listed.items()} == {
        POOL[0]: 1,
        POOL[1]: 0,
        POOL[2]: None,
        "12345": 0,
    }
    assert (listed[POOL[1]]["is_reserved"], listed[POOL[2]]["service_sid"]) == (True, None)
    assert listed["12345"]["sid"].startswith("SC")
    assert {one["number"] for one in pooled} == {POOL[0], "12345"}
    assert world.told("numbers", "list", "--account", "Bikes")["numbers"] == []


def test_numbers_come_in_pages(world: World) -> None:
    """Each once."""
    first = world.told("numbers", "list", "--limit", "3")
    second = world.told("numbers", "list", "--limit", "3", "--after", first["after"])

    assert [len(page["numbers"]) for page in (first, second)] == [3, 1]
    assert second["after"] is None
    assert len({one["sid"] for page in (first, second) for one in page["numbers"]}) == 4


def test_sessions_are_listed_newest_first(world: World) -> None:
    """By status, by age, in pages; names are masked, people are not shown."""
    listed = world.told("sessions", "list", "--service", world.services[0])
    closed = world.told("sessions", "list", "--service", world.services[0], "--status", "closed")
    first = world.told("sessions", "list", "--service", world.services[0], "--limit", "2")
    rest = world.told("sessions", "list", "--service", world.services[0], "--after", first["after"], "--since", "1h")

    assert [one["sid"] for one in listed["sessions"]] == list(reversed(world.sessions))
    assert [one["unique_name"] for one in listed["sessions"]] == ["ride +1415555XXXX", "ride-2", "ride-1"]
    assert [(one["sid"], one["closed_reason"]) for one in closed["sessions"]] == [(world.sessions[1], "api")]
    assert [one["sid"] for one in (*first["sessions"], *rest["sessions"])] == list(reversed(world.sessions))
    assert rest["after"] is None


def test_a_name_stands_for_its_sid(world: World) -> None:
    """Of accounts, services, keys and sessions, as arguments and as filters."""
    world.told("apikey", "create", "Rides Ltd", "--name", "ci")

    assert world.told("account", "show", "Bikes")["sid"] == world.accounts[1]
    assert world.told("account", "set", "Bikes", "--argentina")["argentina"] is True
    assert world.told("alerts", "list", "Rides Ltd") == {"alerts": []}
    assert [one["friendly_name"] for one in world.told("apikey", "list", "Rides Ltd")["keys"]] == ["ci"]
    assert world.told("apikey", "revoke", "ci")["account_sid"] == world.accounts[0]
    assert [one["sid"] for one in world.told("service", "list", "--account", "Bikes")["services"]] == [
        world.services[1]
    ]
    assert world.told("sessions", "show", "ride-2")["sid"] == world.sessions[1]
    assert world.told("sessions", "show", "ride-2", "--service", world.services[0])["sid"] == world.sessions[1]
    assert world.told("outbox", "list", "--account", "Rides Ltd", "--session", "ride-1")["effects"] == []


def test_a_name_that_is_none_or_several_is_refused(world: World) -> None:
    """With the SIDs that may be meant; a number in a name is masked."""
    several = world.refused("service", "show", "rides")

    assert all(sid in several for sid in world.services)
    assert "AC… named 'Nobody +1415555XXXX' was not found" in world.refused("account", "show", "Nobody +14155550110")
    assert "2 services" in world.refused("sessions", "list")
    assert "2 accounts" in world.refused("numbers", "import", world.directory / "numbers.csv")


def test_tables_show_the_same(world: World) -> None:
    """With where to go on."""
    where = ("--data-dir", world.directory)

    numbers = world.run("numbers", "list", *where).output
    sessions = world.run("sessions", "list", "--service", world.services[0], "--limit", "1", *where).output

    assert all(number in numbers for number in POOL)
    assert world.sessions[2] in sessions
    assert f"there are more: --after {world.sessions[2]}" in sessions
