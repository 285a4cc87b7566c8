"""Clients that two generators make of `/openapi.json`: a Python one that is used, a TypeScript one that compiles.

`make client-test` installs the generators; without them the tests are skipped, and say so.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.live import NO_TLS, LiveServer, clean_environment
from tests.e2e.tenant import Tenant, new_tenant

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv" / "clients"
USES = ROOT / "tests" / "clients" / "generated.ts"
BOUND_SECONDS = 120.0
"""Bound on a run; it is not an expectation."""

PYTHON_USE = """
import datetime, json, sys
import httpx
from masks_client import Client
from masks_client.api.default import (
    create_participant, create_phone_number, create_service, create_session, fetch_account, list_incoming_phone_number,
    list_participant, list_session, update_session,
)
from masks_client.models import *

address, sid, token = sys.argv[1:]
client = Client(base_url=address)
client.set_httpx_client(httpx.Client(base_url=address, auth=(sid, token)))
expiry = datetime.datetime(2031, 7, 30, 20, tzinfo=datetime.timezone.utc)

service = create_service.sync(client=client, body=CreateServiceBody(
    unique_name="generated", callback_url="https://app.example.com/hook",
    geo_match_level=CreateServiceBodyGeoMatchLevel.AREA_CODE))
number = create_phone_number.sync(service.sid, client=client, body=CreatePhoneNumberBody(
    phone_number="+12125550171", is_reserved=False))
owned = list_incoming_phone_number.sync(sid, client=client, phone_number="+12125550171",
    beta=True, origin=ListIncomingPhoneNumberOrigin.HOSTED)
session = create_session.sync(service.sid, client=client, body=CreateSessionBody(
    date_expiry=expiry, mode=CreateSessionBodyMode.MESSAGE_ONLY, participants=['{"Identifier": "+12122345123"}']))
joined = create_participant.sync(service.sid, session.sid, client=client,
    body=CreateParticipantBody(identifier="+12122345124"))
people = list_participant.sync(service.sid, session.sid, client=client)
closed = update_session.sync(service.sid, session.sid, client=client,
    body=UpdateSessionBody(status=UpdateSessionBodyStatus.CLOSED))
listed = list_session.sync(service.sid, client=client, page_size=1)
refused = create_phone_number.sync(service.sid, client=client, body=CreatePhoneNumberBody())
print(json.dumps({
    "account": fetch_account.sync(sid, client=client).sid,
    "level": service.geo_match_level,
    "numbers": [one.phone_number for one in owned.incoming_phone_numbers],
    "proxies": [number.phone_number == one.proxy_identifier for one in people.participants],
    "joined": joined.identifier,
    "expiry_kept": session.date_expiry == expiry and isinstance(session.date_created, datetime.datetime),
    "ended": isinstance(closed.date_ended, datetime.datetime),
    "status": [session.status, closed.status, listed.sessions[0].status],
    "refusal": [refused.code, refused.status],
}))
"""


def tool(name: str) -> str:
    """Return where a generator or compiler is; skips the test where it is not installed."""
    found = shutil.which(name, path=f"{TOOLS / 'bin'}{os.pathsep}{TOOLS / 'node_modules' / '.bin'}")
    if found is None:
        pytest.skip(f"{name} is not installed: `make client-test` installs it and runs this")
    return found


def ran(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its good end; returns what it printed."""
    done = subprocess.run(  # noqa: S603 - the development tool
        command,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=BOUND_SECONDS,
        check=False,
        env=clean_environment() | {"PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def account(start_server: Callable[..., LiveServer], tmp_path: Path) -> Tenant:
    """Start a server, and save its document as `openapi.json`; returns an account on it."""
    server = start_server()
    document = httpx.get(f"{server.address}/openapi.json", verify=NO_TLS)
    (tmp_path / "openapi.json").write_bytes(document.content)
    return new_tenant(server)


@pytest.mark.timeout(180)
def test_a_generated_python_client_speaks_to_the_server(account: Tenant, tmp_path: Path) -> None:
    """Forms, queries, dates, enumerations and refusals; it leaves out one media type of batches, and says so."""
    generate = tool("openapi-python-client")

    made = ("--path", "openapi.json", "--meta", "none", "--output-path", "masks_client")
    warned = ran(generate, "generate", *made, cwd=tmp_path).stderr
    (tmp_path / "use.py").write_text(PYTHON_USE)
    python = str(TOOLS / "bin" / "python")
    used = json.loads(ran(python, "use.py", account.server.address, account.sid, account.token, cwd=tmp_path).stdout)
    account.close()

    assert re.findall("^WARNING .*", warned, re.MULTILINE) == [
        "WARNING parsing POST /v1/Services/{ServiceSid}/Sessions/Batch within default."
    ]
    assert "Unsupported content type application/x-ndjson" in warned
    assert used == {
        "account": account.sid,
        "level": "area-code",
        "numbers": ["+12125550171"],
        "proxies": [True, True],
        "joined": "+12122345124",
        "expiry_kept": True,
        "ended": True,
        "status": ["open", "closed", "closed"],
        "refusal": [80701, 400],
    }


@pytest.mark.timeout(180)
def test_generated_typescript_knows_forms_and_answers(account: Tenant, tmp_path: Path) -> None:
    """What may be sent compiles, what may not does not."""
    generate, compile_ = tool("openapi-typescript"), tool("tsc")
    account.close()

    ran(generate, "openapi.json", "--output", "schema.d.ts", cwd=tmp_path)
    shutil.copy(USES, tmp_path)
    ran(compile_, "--noEmit", "--strict", "--target", "es2022", "generated.ts", "schema.d.ts", cwd=tmp_path)
