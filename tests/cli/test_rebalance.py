"""`maskline rebalance`: what it says, what it refuses, and a server that works on what it moved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from twilio.request_validator import RequestValidator

from engine.cli import main
from storage.sqlite import LayoutMismatch, claim
from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]

PROXY, ALICE, BOB = "+14155550100", "+12125550111", "+12125550122"


class Tenant:
    """An account, what it made and what its carrier sends."""

    def __init__(self, sid: str, token: str) -> None:
        self.sid = sid
        self.token = token

    def client(self, server: Server) -> httpx.Client:
        """Speak to a server as the account."""
        return httpx.Client(base_url=server.address, auth=(self.sid, self.token))

    def call(self, server: Server, call_sid: str, *, sender: str) -> str:
        """Let a carrier ask what to do with a call; returns the TwiML."""
        form = {"AccountSid": self.sid, "CallSid": call_sid, "From": sender, "To": PROXY}
        url = f"{server.address}/inbound/voice"
        signature = RequestValidator(self.token).compute_signature(url, form)
        return httpx.post(url, data=form, headers={"X-Twilio-Signature": signature}).text


def made_tenant(run: Run, data_dir: Path) -> Tenant:
    made = json.loads(run("account", "create", "--json", "--data-dir", data_dir).output)
    return Tenant(made["account"]["sid"], made["auth_token"])


def paired(client: httpx.Client) -> str:
    """Make a service with a number and a session; returns the session's URL."""
    service = client.post("/v1/Services", data={"UniqueName": "rides"}).json()["url"]
    client.post(f"{service}/PhoneNumbers", data={"PhoneNumber": PROXY})
    people = [json.dumps({"Identifier": person}) for person in (ALICE, BOB)]
    url: str = client.post(f"{service}/Sessions", data={"Participants": people}).json()["url"]
    return url


def interactions(client: httpx.Client, session: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"{session}/Interactions").json()["interactions"]
    return found


def test_a_server_works_on_what_was_moved_to_a_cluster_and_back(
    start_server: StartServer, run: Run, tmp_path: Path
) -> None:
    """Its sessions route as before, its history is there, and in between it is refused."""
    tenant = made_tenant(run, tmp_path)
    first = start_server("--data-dir", str(tmp_path))
    with tenant.client(first) as client:
        session = paired(client)
        before = tenant.call(first, "CA1", sender=ALICE)
        passed, made = interactions(client, session), client.get(session).json()
    first.stop()

    to_three = run("rebalance", "--hosts", 3, "--data-dir", tmp_path)
    refused = run("account", "list", "--data-dir", tmp_path)
    to_one = run("rebalance", "--hosts", 1, "--data-dir", tmp_path)
    second = start_server("--data-dir", str(tmp_path))

    assert (to_three.exit_code, to_one.exit_code) == (0, 0)
    assert refused.exit_code == 2
    assert "laid out for 3 hosts" in refused.output
    there = session.replace(first.address, second.address)
    with tenant.client(second) as client:
        assert client.get(there).json()["sid"] == made["sid"]
        assert [one["sid"] for one in interactions(client, there)] == [one["sid"] for one in passed]
    assert BOB in before
    assert BOB in tenant.call(second, "CA2", sender=ALICE)
    assert BOB not in tenant.call(second, "CA3", sender="+12125550199")


def test_a_running_server_is_named(start_server: StartServer, run: Run, tmp_path: Path) -> None:
    """By its process, for a move and for a check."""
    server = start_server("--data-dir", str(tmp_path))

    moved = run("rebalance", "--hosts", 3, "--data-dir", tmp_path)
    checked = run("rebalance", "--check", "--data-dir", tmp_path)

    for refused in (moved, checked):
        assert refused.exit_code == 2
        assert f"in use by process {server.process.pid};" in refused.output
    claim(tmp_path, 1)


def test_a_move_says_what_lies_where(run: Run, tmp_path: Path) -> None:
    """A line a table, with rows, digest and hosts; then where the old files are."""
    made_tenant(run, tmp_path)

    told = run("rebalance", "--hosts", 2, "--data-dir", tmp_path).output.splitlines()
    again = run("rebalance", "--hosts", 2, "--data-dir", tmp_path).output

    assert told[0].split() == ["table", "rows", "digest", "host-0", "host-1"]
    (accounts,) = [line.split() for line in told if line.startswith("accounts")]
    assert (accounts[1], accounts[3:]) == ("1", ["1", "1"])
    assert len(accounts[2]) == 16
    assert told[-1] == (
        "moved from 1 host to 2 hosts; the old files are kept in before-rebalance-1 until maskline rebalance --drop-old"
    )
    assert again == "nothing to move: the data is laid out for 2 hosts already\n"


def test_a_check_counts_as_a_move_does(run: Run, tmp_path: Path) -> None:
    """The same tables in JSON, and nothing is moved."""
    made_tenant(run, tmp_path)

    checked = json.loads(run("rebalance", "--check", "--hosts", 3, "--json", "--data-dir", tmp_path).output)
    shown = run("rebalance", "--check", "--data-dir", tmp_path).output
    claim(tmp_path, 1)
    moved = json.loads(run("rebalance", "--hosts", 3, "--json", "--data-dir", tmp_path).output)

    assert checked["tables"] == moved["tables"]
    assert (checked["hosts_before"], checked["hosts"]) == (1, 3)
    assert (moved["is_changed"], moved["kept_in"]) == (True, "before-rebalance-1")
    assert "laid out for 1 host; moving to 1 host would need" in shown


def test_old_files_are_dropped_when_told(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """After a question or --yes, also while a server runs; the data stays."""
    made_tenant(run, tmp_path)
    for hosts in (2, 1):
        run("rebalance", "--hosts", hosts, "--data-dir", tmp_path)
    server = start_server("--data-dir", str(tmp_path))

    no = CliRunner().invoke(main, ["rebalance", "--drop-old", "--data-dir", str(tmp_path)], input="n\n")
    kept = sorted(path.name for path in tmp_path.glob("before-*"))
    yes = json.loads(run("rebalance", "--drop-old", "--yes", "--json", "--data-dir", tmp_path).output)
    none = run("rebalance", "--drop-old", "--data-dir", tmp_path)

    assert no.exit_code == 1
    assert "before-rebalance-1 (1 MB), before-rebalance-2 (1 MB)" in no.output
    assert kept == ["before-rebalance-1", "before-rebalance-2"] == yes["dropped"]
    assert yes["freed_bytes"] > 0
    assert none.output == "no old files are kept\n"
    assert list(tmp_path.glob("before-*")) == []
    assert httpx.get(f"{server.address}/readyz").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--hosts", "0"), "1 to 256 hosts"),
        (("--hosts", "1000"), "1 to 256 hosts"),
        (("--hosts", "2"), "nothing to move"),
        ((), "nothing to move"),
        (("--drop-old", "--hosts", "2"), "--drop-old goes alone"),
        (("--drop-old", "--check"), "--drop-old goes alone"),
    ],
)
def test_what_cannot_be_done_is_told(run: Run, tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    """In a line, with exit code 2, and an empty directory stays empty of layouts."""
    refused = run("rebalance", *arguments, "--data-dir", tmp_path)

    assert refused.exit_code == 2
    assert why in refused.output
    claim(tmp_path, 7)
    with pytest.raises(LayoutMismatch):
        claim(tmp_path, 1)
