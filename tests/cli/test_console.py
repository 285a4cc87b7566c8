"""`maskline console`, and the console that a server serves."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
from click.testing import Result

from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]


def test_the_link_opens_the_console_once(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """At the server's own address, or at its public URL."""
    run("account", "create", "--name", "Rides Ltd", "--data-dir", tmp_path)
    server = start_server("--data-dir", str(tmp_path))
    link = run("console", "--data-dir", tmp_path).output.strip()
    other = json.loads(run("console", "--data-dir", tmp_path, "--json").output)["url"]

    with httpx.Client() as client:
        form = dict(re.findall(r'name="(form|code)" value="([^"]*)"', client.get(link).text))
        entered = client.post(f"{server.address}/console/open", data=form, follow_redirects=True)
        again = client.post(f"{server.address}/console/open", data=form)

    assert link.startswith(f"{server.address}/console/open?code=0.")
    assert link != other
    assert (entered.status_code, entered.url.path) == (200, "/console")
    assert "operator, all accounts" in entered.text
    assert "host-0" in entered.text
    assert again.status_code == 403


def test_an_account_looks_at_its_own(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """With the credentials that REST takes; live figures count real traffic."""
    made = json.loads(run("account", "create", "--name", "Rides Ltd", "--data-dir", tmp_path, "--json").output)
    server = start_server("--data-dir", str(tmp_path), "--no-verify-signatures")
    credentials = {"username": made["account"]["sid"], "password": made["auth_token"]}

    with httpx.Client(base_url=server.address, follow_redirects=True) as client:
        form = dict(re.findall(r'name="(form)" value="([^"]*)"', client.get("/console").text))
        page = client.post("/console/login", data={**form, **credentials}).text
        client.post("/inbound/voice", data={"From": "+14155550110", "To": "+12125550171", "CallSid": "CA" + "1" * 32})
        traffic = client.get("/console/live")

    assert "Rides Ltd" in page
    assert "Nothing has arrived" in page
    assert traffic.headers["content-security-policy"].startswith("default-src 'none'")
    assert "unknown-number" in traffic.text


def test_a_server_may_have_no_console(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """Then its address is unknown, and there is no link to it."""
    server = start_server("--data-dir", str(tmp_path), "--no-console")

    refused = run("console", "--data-dir", tmp_path)

    assert refused.exit_code == 1
    assert "No console is served" in refused.output
    assert httpx.get(f"{server.address}/console").status_code == 404


def test_without_a_server_there_is_no_link(run: Run, tmp_path: Path) -> None:
    """One line, exit code 1."""
    run("account", "create", "--data-dir", tmp_path)
    refused = run("console", "--data-dir", tmp_path)

    assert refused.exit_code == 1
    assert refused.output.startswith("maskline: No console is served")
