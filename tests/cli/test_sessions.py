"""`maskline sessions show` and `maskline explain`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from click.testing import Result

from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]

ALICE, BOB, PROXY = "+14155550110", "+14155550111", "+12125550171"


class Pairing(NamedTuple):
    """A session of Alice and Bob on a running server."""

    data_dir: Path
    account: str
    session: str


@pytest.fixture
def pairing(run: Run, start_server: StartServer, tmp_path: Path) -> Pairing:
    """A live session whose two participants share one number."""
    made = json.loads(run("account", "create", "--data-dir", tmp_path, "--json").output)
    credentials = (made["account"]["sid"], made["auth_token"])
    server = start_server("--data-dir", str(tmp_path))
    with httpx.Client(base_url=server.address, auth=credentials) as client:
        service = client.post("/v1/Services", data={"UniqueName": "rides"}).json()["sid"]
        client.post(f"/v1/Services/{service}/PhoneNumbers", data={"PhoneNumber": PROXY})
        people = [json.dumps({"Identifier": number}) for number in (ALICE, BOB)]
        form = {"UniqueName": "ride-1", "Participants": people}
        session = client.post(f"/v1/Services/{service}/Sessions", data=form).json()["sid"]
        client.post(
            f"/v1/Services/{service}/Sessions/{session}/Participants/"
            + client.get(f"/v1/Services/{service}/Sessions/{session}/Participants").json()["participants"][0]["sid"]
            + "/MessageInteractions",
            data={"Body": "secret"},
        )
    return Pairing(tmp_path, credentials[0], session)


def test_a_session_is_shown_without_real_numbers_and_texts(run: Run, pairing: Pairing) -> None:
    """The operator sees who is paired through what, and what passed, but neither numbers nor words."""
    shown = run("sessions", "show", pairing.session, "--data-dir", pairing.data_dir)

    assert shown.exit_code == 0
    assert "ride-1" in shown.output
    assert "+1415555XXXX" in shown.output
    assert PROXY in shown.output
    assert "KI" in shown.output
    assert ALICE not in shown.output
    assert "secret" not in shown.output


def test_a_session_is_shown_to_machines(run: Run, pairing: Pairing) -> None:
    """The same in JSON."""
    shown = json.loads(run("sessions", "show", pairing.session, "--data-dir", pairing.data_dir, "--json").output)

    assert shown["sid"] == pairing.session
    assert len(shown["participants"]) == 2
    assert [one["outbound_status"] for one in shown["interactions"]] == ["queued"]


def test_an_explanation_says_where_a_caller_would_go(run: Run, pairing: Pairing) -> None:
    """Outcome, masked partner, shown number and the steps that led there."""
    where = ("--data-dir", pairing.data_dir)

    explained = run("explain", "--to", PROXY, "--from", ALICE, *where)
    answer = json.loads(run("explain", "--to", PROXY, "--from", ALICE, *where, "--json").output)
    shown = json.loads(run("sessions", "show", pairing.session, *where, "--json").output)

    assert explained.exit_code == 0
    assert re.search(r"a call, over SIP *302 Moved Temporarily", explained.output)
    assert re.search(rf"^from +\+1415555XXXX \({answer['sender_sid']}\)$", explained.output, re.MULTILINE)
    assert f"routed: in-session, to +1415555XXXX ({answer['partner_sid']}) showing {PROXY}" in explained.output
    assert {answer["sender_sid"], answer["partner_sid"]} == {one["sid"] for one in shown["participants"]}
    assert "  - " in explained.output
    assert BOB not in explained.output
    assert (answer["session_sid"], answer["call"]["outcome"]) == (pairing.session, "routed")


def test_an_explanation_says_why_a_stranger_goes_nowhere(run: Run, pairing: Pairing) -> None:
    """The reason and the debugger's code."""
    explained = run("explain", "--to", PROXY, "--from", "+19255550110", "--data-dir", pairing.data_dir)

    assert "refused: no-session (code 80902)" in explained.output


def test_a_session_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    """One line, exit code 1."""
    run("account", "create", "--data-dir", tmp_path)
    refused = run("sessions", "show", "KC" + "0" * 32, "--data-dir", tmp_path)

    assert refused.exit_code == 1
    assert refused.output.startswith("maskline: ")


@pytest.mark.parametrize(
    ("options", "named"), [(("--from", "abc", "--to", "+1"), "--from"), (("--from", "+1", "--to", "x"), "--to")]
)
def test_what_is_no_number_is_not_explained(run: Run, pairing: Pairing, options: tuple[str, ...], named: str) -> None:
    """The refusal says which option is wrong."""
    refused = run("explain", *options, "--data-dir", pairing.data_dir)

    assert refused.exit_code == 2
    assert f"{named} " in refused.stderr
    assert "is no number" in refused.stderr


def test_a_list_does_not_go_on_behind_a_session_that_is_not_there(run: Run, pairing: Pairing) -> None:
    """An empty list would look like its end."""
    listed = run("sessions", "list", "--after", "KC" + "0" * 32, "--data-dir", pairing.data_dir)

    assert listed.exit_code == 1
    assert "KC" + "0" * 32 in listed.stderr
