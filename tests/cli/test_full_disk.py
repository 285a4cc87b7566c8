"""A disk that takes no more, as an operator and an application meet it; and space again."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import httpx
from click.testing import Result
from twilio.request_validator import RequestValidator

from tests.cli.conftest import Server

BOUND_SECONDS = 20.0
PROXY, ALICE, BOB = "+14155550100", "+12125550111", "+12125550122"


def limit_files(server: Server, most_bytes: int) -> None:
    """Let the server's files grow to so many bytes and no further, as a full disk does."""
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))


def until(is_true: Callable[[], bool]) -> bool:
    """Poll until it is true or the bound is reached."""
    end = monotonic() + BOUND_SECONDS
    while not is_true() and monotonic() < end:
        sleep(0.05)
    return is_true()


def test_a_full_disk_acknowledges_nothing_and_recovers(
    start_server: Callable[..., Server], run: Callable[..., Result], tmp_path: Path
) -> None:
    """Writes get 500/80501 with advice, calls 503, readiness turns red, reads go on; with space all is as before."""
    server = start_server("--data-dir", str(tmp_path), "--rate-limit-per-second", "0")
    made = json.loads(run("account", "create", "--json", "--data-dir", tmp_path).output)
    sid, token = made["account"]["sid"], made["auth_token"]
    with httpx.Client(base_url=server.address, auth=(sid, token)) as client:
        service = client.post("/v1/Services", data={"UniqueName": "rides"}).json()["url"]
        client.post(f"{service}/PhoneNumbers", data={"PhoneNumber": PROXY})
        people = [json.dumps({"Identifier": person}) for person in (ALICE, BOB)]
        session = client.post(f"{service}/Sessions", data={"Participants": people}).json()

        def call(call_sid: str) -> httpx.Response:
            form = {"AccountSid": sid, "CallSid": call_sid, "From": ALICE, "To": PROXY}
            url = f"{server.address}/inbound/voice"
            signature = RequestValidator(token).compute_signature(url, form)
            return client.post(url, data=form, headers={"X-Twilio-Signature": signature})

        limit_files(server, 4096)
        refused = client.post("/v1/Services", data={"UniqueName": "more"})
        called = call("CA1")
        ready = client.get("/readyz")
        read = client.get(service)

        assert (refused.status_code, refused.json()["code"]) == (500, 80501)
        assert "space" in refused.json()["message"]
        assert called.status_code == 503
        assert ready.status_code == 503
        assert read.status_code == 200

        limit_files(server, resource.RLIM_INFINITY)

        assert until(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/v1/Services", data={"UniqueName": "more"}).status_code == 201
        assert "<Number" in call("CA1").text
        assert len(client.get(session["links"]["interactions"]).json()["interactions"]) == 1
