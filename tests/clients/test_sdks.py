"""The lines of docs/sdks.md, as they stand there, with the official SDKs against a live server."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import embedded_server  # noqa: F401 - a fixture
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant

ROOT = Path(__file__).parents[2]
PACKAGES = (Path(__file__).parent / "sdks.txt").read_text("utf-8").split()
BOUND_SECONDS = 60.0
"""Bound on a run; it is not an expectation."""

REGION = ("TWILIO_REGION", "TWILIO_EDGE")


def lines_of(language: str, tenant: Tenant) -> str:
    """Return the first block of a language, with the server and the account of the test."""
    document = (ROOT / "docs" / "sdks.md").read_text("utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    assert blocks
    said = {"http://127.0.0.1:8080": tenant.server.address, "AC…": tenant.sid, "the token": tenant.token}
    for written, meant in said.items():
        assert written in blocks[0]
        blocks[0] = blocks[0].replace(written, meant)
    return str(blocks[0])


def environment(**more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in REGION}, **more}


def sessions_of(tenant: Tenant) -> list[tuple[str, int]]:
    """Return name and participants of each session."""
    found = []
    for service in tenant.everything("/Services", "services"):
        path = f"/Services/{service['sid']}/Sessions"
        for session in tenant.everything(path, "sessions"):
            people = tenant.everything(f"{path}/{session['sid']}/Participants", "participants")
            found.append((session["unique_name"], len(people)))
    return found


@pytest.fixture
def tenant(embedded_server: LiveServer) -> Tenant:  # noqa: F811 - the fixture
    """Return an account of its own, whose numbers are let go again."""
    return new_tenant(embedded_server)


def left(tenant: Tenant) -> None:
    """Give back what the lines have made, so that the number is free for the next."""
    for service in tenant.everything("/Services", "services"):
        tenant.delete(f"/Services/{service['sid']}")
    sdk = tenant.sdk()
    for number in sdk.incoming_phone_numbers.list():
        number.delete()
    tenant.close()


def test_the_lines_for_python_work(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service, a number and a session of two people."""
    for name in REGION:
        monkeypatch.delenv(name, raising=False)

    exec(lines_of("python", tenant), {})  # noqa: S102 - our own document

    assert sessions_of(tenant) == [("ride-1", 2)]
    left(tenant)


@pytest.fixture(params=PACKAGES)
def modules(request: pytest.FixtureRequest) -> Path:
    """Return where a generation of Node's SDK is installed; `make sdk-test` does that."""
    package: str = request.param
    where = Path(os.environ.get("SDKS", ROOT / "build" / "sdks")).resolve() / package / "node_modules"
    if shutil.which("node") is None:
        pytest.skip("there is no Node.js here")
    if not where.is_dir():
        pytest.skip(f"{package} is not installed here; `make sdk-test` installs it and runs this")
    return where


def node(script: str, modules: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run lines that await, as a module of CommonJS."""
    found = shutil.which("node")
    assert found is not None
    wrapped = f"(async () => {{\n{script}\n}})().catch((problem) => {{ console.error(problem); process.exit(1); }});"
    return subprocess.run(  # noqa: S603 - our own script
        [found, "-e", wrapped],
        env=environment(NODE_PATH=str(modules), **environ),
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )


def test_the_lines_for_node_work(tenant: Tenant, modules: Path) -> None:
    """With each generation of the SDK."""
    done = node(lines_of("js", tenant), modules)

    assert (done.returncode, done.stderr) == (0, "")
    assert sessions_of(tenant) == [("ride-1", 2)]
    left(tenant)


@pytest.mark.parametrize(
    ("host", "environ", "asked"),
    [
        ("127.0.0.1", {}, "127.0.0.1"),
        ("localhost", {}, "localhost"),
        ("proxy.eu.rides.example.com", {}, "proxy.eu.rides.example.com"),
        ("proxy.eu.prod.rides.example.com", {}, "proxy.eu.prod.example.com"),
        ("proxy.example.com", {"TWILIO_REGION": "ie1"}, "proxy.ie1.example.com"),
        ("proxy.example.com", {"TWILIO_EDGE": "dublin"}, "proxy.dublin.us1.example.com"),
    ],
)
def test_nodes_sdk_rewrites_hosts_as_told(modules: Path, host: str, environ: dict[str, str], asked: str) -> None:
    """The hosts and the variables that the document warns of."""
    script = (
        f'const c = require("twilio")("AC{"0" * 32}", "t"); console.log(c.getHostname("{host}", c.edge, c.region));'
    )

    done = node(script, modules, **environ)

    assert done.stdout.strip() == asked
