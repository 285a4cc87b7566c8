"""`maskline service` and `maskline alerts`, with a server running and without."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import Result

from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]

DOCUMENT = "<Response><Say>Wrong number</Say></Response>"


class Shop:
    """A data directory with one account and one service."""

    def __init__(self, run: Run, start_server: StartServer, directory: Path, *, is_served: bool) -> None:
        server = start_server("--data-dir", str(directory))
        made = json.loads(run("account", "create", "--data-dir", directory, "--json").output)
        self.account, self.token = made["account"]["sid"], made["auth_token"]
        form = {"UniqueName": "shop", "CallbackUrl": "https://shop.example/hook"}
        answer = httpx.post(f"{server.address}/v1/Services", auth=(self.account, self.token), data=form)
        self.service = answer.json()["sid"]
        self.directory = directory
        self.server = server
        if not is_served:
            server.stop()


@pytest.fixture(params=["server", "no server"])
def shop(request: pytest.FixtureRequest, run: Run, start_server: StartServer, tmp_path: Path) -> Shop:
    """One that a server has, and one that nobody has."""
    return Shop(run, start_server, tmp_path, is_served=request.param == "server")


def test_options_of_a_service_are_set_and_shown(run: Run, shop: Shop) -> None:
    """Each with its opposite; what is not named stays."""
    where = ("--data-dir", shop.directory, "--json")
    run("service", "set", shop.service, "--hangs-up-on-close", "--no-respect-sms-stop-filter", *where)

    run("service", "set", shop.service, "--has-rich-callbacks", "--account-sms-stop-filter", *where)
    found = json.loads(run("service", "show", shop.service, *where).output)

    on = {name for name, value in found["options"].items() if value}
    assert on == {"hangs_up_on_close", "has_rich_callbacks"}
    assert found["options"]["respect_sms_stop_filter"] is None
    assert found["callback_url"] == "https://shop.example/hook"


def test_an_answer_of_ones_own_comes_from_a_file(run: Run, shop: Shop, tmp_path: Path) -> None:
    """And can be taken back."""
    file = tmp_path / "answer.xml"
    file.write_text(DOCUMENT)
    where = ("--data-dir", shop.directory)

    shown = run("service", "set", shop.service, "--twiml-file", "no-session", file, *where).output
    table = run("service", "list", *where).output
    found = json.loads(run("service", "set", shop.service, "--no-twiml", "no-session", *where, "--json").output)

    assert DOCUMENT in shown
    assert "no-session-twiml" in table
    assert found["options"]["no_session_twiml"] is None


@pytest.mark.parametrize("content", [b"sorry", b"<Response>\xff</Response>"])
def test_a_file_that_is_no_twiml_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    """In one line."""
    file = tmp_path / "answer.xml"
    file.write_bytes(content)

    refused = run("service", "set", "KS" + "0" * 32, "--twiml-file", "closed", file, "--data-dir", tmp_path)

    assert refused.exit_code in {1, 2}
    assert refused.output.startswith("maskline: ")
    assert refused.output.count("\n") == 1


def test_services_of_all_accounts_are_listed(run: Run, shop: Shop) -> None:
    """Or those of one."""
    where = ("--data-dir", shop.directory, "--json")
    other = json.loads(run("account", "create", *where).output)["account"]["sid"]

    everywhere = json.loads(run("service", "list", *where).output)["services"]
    elsewhere = json.loads(run("service", "list", "--account", other, *where).output)["services"]

    assert [one["sid"] for one in everywhere] == [shop.service]
    assert elsewhere == []


def test_events_of_an_account_are_kept_and_shown(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """By the server that raised them, and by whoever asks later."""
    shop = Shop(run, start_server, tmp_path, is_served=True)
    call_sid = "CA" + "1" * 32
    form = {"AccountSid": shop.account, "CallSid": call_sid, "From": "+14155550100", "To": "+14155550199"}
    httpx.post(f"{shop.server.address}/inbound/voice", data=form, headers={"x-twilio-signature": "wrong"})
    shop.server.stop()

    found = json.loads(run("alerts", "list", shop.account, "--data-dir", tmp_path, "--json").output)["alerts"]
    table = run("alerts", "list", shop.account, "--level", "error", "--since", "1h", "--data-dir", tmp_path).output

    assert [(one["code"], one["resource_sid"]) for one in found] == [(80625, call_sid)]
    assert "80625" in table


def test_debugger_webhook_of_an_account_is_set_and_cleared(run: Run, tmp_path: Path) -> None:
    """Empty clears it."""
    account = json.loads(run("account", "create", "--data-dir", tmp_path, "--json").output)["account"]["sid"]
    where = ("--data-dir", tmp_path, "--json")

    made = json.loads(run("account", "set", account, "--debugger-url", "https://shop.example/debug", *where).output)
    gone = json.loads(run("account", "set", account, "--debugger-url", "", *where).output)

    assert (made["debugger_url"], gone["debugger_url"]) == ("https://shop.example/debug", None)
