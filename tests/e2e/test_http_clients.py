"""Clients of others that offer HTTP/2, or whose connections end early: what they ask for is done, whole and once."""

import base64
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.e2e.carrier import call_form
from tests.e2e.tenant import Pairing, Tenant, person

JAVA_CLIENT = Path(__file__).parents[1] / "clients" / "Requests.java"
BOUND_SECONDS = 60.0
"""Bound on a run; it is not an expectation."""

Sent = tuple[str, str, str, tuple[str, ...]]
"""Method, path, form, headers."""

Client = Callable[[Tenant, list[Sent]], list[tuple[int, str]]]
"""Sends requests one after the other; returns statuses and bodies."""


def program(name: str) -> str:
    """Return where a program is; only a machine of one's own may be without it."""
    found = shutil.which(name)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"there is no {name} here")
    assert found is not None, f"this test needs {name}"
    return found


def run(command: list[str], given: str = "") -> str:
    """Run a program to its end; returns what it printed."""
    done = subprocess.run(  # noqa: S603 - curl, or our own program
        command, input=given, capture_output=True, text=True, timeout=BOUND_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_java(tenant: Tenant, requests: list[Sent]) -> list[tuple[int, str]]:
    """Ask with the JDK's HttpClient, which upgrades by default."""
    lines = [
        "\t".join((method, tenant.server.address + path, form, *headers)) for method, path, form, headers in requests
    ]
    answers = run([program("java"), str(JAVA_CLIENT)], "".join(f"{line}\n" for line in lines)).splitlines()
    assert {answer.split("\t")[1] for answer in answers} == {"HTTP_1_1"}
    return [(int(answer.split("\t")[0]), answer.split("\t", 2)[2]) for answer in answers]


def with_curl(tenant: Tenant, requests: list[Sent]) -> list[tuple[int, str]]:
    """Ask with curl, which is told to upgrade; all over one connection."""
    command = [program("curl"), "--silent", "--show-error"]
    for place, (method, path, form, headers) in enumerate(requests):
        command += ["--next"] if place else []
        command += ["--http2", "--request", method, "--write-out", "\t%{http_code}\n", tenant.server.address + path]
        command += ["--data", form] if form else []
        command += [part for header in headers for part in ("--header", header)]
    answers = run(command).rstrip("\n").split("\n")
    return [(int(answer.rpartition("\t")[2]), answer.rpartition("\t")[0]) for answer in "\n".join(answers).split("\n")]


def credentials(tenant: Tenant) -> str:
    """Return the header that names an account."""
    return "Authorization: Basic " + base64.b64encode(f"{tenant.sid}:{tenant.token}".encode()).decode()


def webhook(tenant: Tenant, pairing: Pairing) -> Sent:
    """Return a call of the first participant's."""
    form = call_form(tenant.sid, pairing.first.identifier, pairing.first.proxy)
    signature = tenant.carrier.signature("/inbound/voice", form)
    return "POST", "/inbound/voice", urlencode(form), (f"X-Twilio-Signature: {signature}",)


@pytest.mark.parametrize("ask", [with_java, with_curl])
def test_a_client_that_offers_http_2_is_obeyed(tenant: Tenant, ask: Client) -> None:
    """Webhooks and requests on one connection, each with its body: made, routed, closed, and nothing besides."""
    service = tenant.service(numbers=2)
    pairing = service.pairing()
    identity = (credentials(tenant),)

    answers = ask(
        tenant,
        [
            ("POST", f"/v1{service.path}/Sessions", "UniqueName=made+by+another", identity),
            webhook(tenant, pairing),
            ("GET", f"/v1{pairing.path}", "", identity),
            ("POST", f"/v1{pairing.path}", "Status=closed", identity),
            webhook(tenant, pairing),
        ],
    )

    assert [status for status, _ in answers] == [201, 200, 200, 200, 200]
    assert '"unique_name":"made by another"' in answers[0][1]
    assert pairing.second.identifier in answers[1][1]
    assert "<Reject/>" in answers[4][1]
    assert tenant.get(pairing.path)["status"] == "closed"
    assert len(tenant.get(f"{pairing.path}/Interactions")["interactions"]) == 1
    assert len(tenant.get(f"{service.path}/Sessions")["sessions"]) == 2


def half_closed(tenant: Tenant, path: str, body: str, media_type: str) -> bytes:
    """Post to REST, close the sending side at once, and read to the end."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{credentials(tenant)}\r\nContent-Type: {media_type}\r\n"
    place = urlsplit(tenant.server.address)
    with socket.create_connection((place.hostname, place.port), timeout=BOUND_SECONDS) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_half_closed_client_of_rest_gets_its_answer(tenant: Tenant) -> None:
    """A single request, and a batch whose answer comes in parts."""
    service = tenant.service(numbers=2)
    sessions = f"/v1{service.path}/Sessions"
    lines = "".join(f'{{"Operation":"create","UniqueName":"b{number}"}}\n' for number in range(300))

    single = [
        half_closed(tenant, sessions, f"UniqueName=s{number}", "application/x-www-form-urlencoded")
        for number in range(20)
    ]
    batch = half_closed(tenant, f"{sessions}/Batch", lines, "application/x-ndjson")

    assert [answer[:12] for answer in single] == [b"HTTP/1.1 201"] * 20
    assert batch.startswith(b"HTTP/1.1 200")
    assert batch.endswith(b"0\r\n\r\n")
    assert batch.count(b'"sid":"KC') >= 300


def test_a_client_that_leaves_in_its_body_changes_nothing(tenant: Tenant) -> None:
    """And is no failure of the server's; what it sent after its request is not read as another one."""
    service = tenant.service(numbers=2)
    body = f"UniqueName=half&Participants={person()}"
    head = f"POST /v1{service.path}/Sessions HTTP/1.1\r\nHost: a\r\n{credentials(tenant)}\r\n"
    place = urlsplit(tenant.server.address)
    for _ in range(5):
        with socket.create_connection((place.hostname, place.port), timeout=BOUND_SECONDS) as connection:
            connection.sendall(f"{head}Content-Length: {len(body) + 10}\r\n\r\n{body}".encode())
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000) == b""

    assert tenant.get(f"{service.path}/Sessions")["sessions"] == []
    assert 'route="/v1/Services/{ServiceSid}/Sessions",status="500"} 0.0' in tenant.server.metrics()
