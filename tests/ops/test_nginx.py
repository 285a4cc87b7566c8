"""Maskline behind TLS: deploy/nginx with the real nginx, REST, webhooks, a large batch; the compose file's parts."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from engine.settings import SETTINGS, VARIABLE_PREFIX, Settings
from tests.e2e.application import eventually
from tests.e2e.carrier import call_form
from tests.e2e.live import LiveServer, free_port
from tests.e2e.tenant import Tenant, new_tenant
from tests.ops.kit import DEPLOY

CONFIGURATION = DEPLOY / "nginx" / "maskline.conf"
PUBLIC = "https://masks.example.net"
_WRAPPER = """
{1}
pid {0}/nginx.pid;
error_log {0}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {0}/body;
    proxy_temp_path {0}/proxy;
    fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi;
    scgi_temp_path {0}/scgi;
    include {0}/maskline.conf;
}}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Return a server that knows its public URL."""
    server = LiveServer(tmp_path / "data", public_url=PUBLIC)
    yield server
    server.end()


@pytest.fixture
def proxy(server: LiveServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """Return a client of the proxy, which runs as the file says but for its certificate and the ports."""
    nginx, openssl = shutil.which("nginx"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("there is no nginx here; `make proxy-test` fetches it and runs this")
    key, certificate, port = tmp_path / "masks.key", tmp_path / "masks.crt", free_port()
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=masks.example.net"
    names = ("-addext", "subjectAltName=DNS:masks.example.net,IP:127.0.0.1")
    written = [openssl, *made.split(), *names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(written, check=True, capture_output=True)  # noqa: S603 - our own arguments
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/masks.crt": str(certificate),
        "/etc/nginx/masks.key": str(key),
        "server 127.0.0.1:8080": f"server {server.address.removeprefix('http://')}",
    }
    text = CONFIGURATION.read_text("utf-8")
    for said, meant in changes.items():
        assert said in text
        text = text.replace(said, meant)
    (tmp_path / "maskline.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(_WRAPPER.format(tmp_path, "user root;" if os.geteuid() == 0 else ""))
    command = [nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]
    process = subprocess.Popen([*command, "-g", "daemon off;"])  # noqa: S603 - the program under test
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=str(certificate)) as client:
            assert eventually(lambda: _is_up(client)), (tmp_path / "error.log").read_text()
            yield client
    finally:
        process.terminate()
        process.wait(10)


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def tenant(server: LiveServer) -> Iterator[Tenant]:
    """Return an account."""
    tenant = new_tenant(server)
    yield tenant
    tenant.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # httpx, of a path to a certificate
def test_rest_and_webhooks_pass_through_the_proxy(tenant: Tenant, proxy: httpx.Client) -> None:
    """URLs in answers are public ones, signatures for them hold, a batch is as large as the engine lets it be."""
    service = tenant.service()
    form = call_form(tenant.sid, "+14155550111", service.pool[0])
    signed = {"X-Twilio-Signature": tenant.carrier.signature("/inbound/voice", form)}
    batch = "\n".join(f'{{"Operation": "close", "UniqueName": "{"x" * 100}{place}"}}' for place in range(9_000))
    lines = {"Content-Type": "application/x-ndjson"}

    assert len(batch) > 2**20

    listed = proxy.get("/v1/Services", auth=(tenant.sid, tenant.token))
    called = proxy.post("/inbound/voice", data=form, headers=signed)
    forged = proxy.post("/inbound/voice", data=form, headers={"X-Twilio-Signature": "x"})
    url = f"/v1{service.path}/Sessions/Batch"
    batched = proxy.post(url, auth=(tenant.sid, tenant.token), timeout=30, content=batch, headers=lines)

    assert listed.json()["services"][0]["url"].startswith(f"{PUBLIC}/v1/Services/")
    assert (called.status_code, forged.status_code) == (200, 403)
    assert "<Reject" in called.text
    assert batched.status_code == 200
    assert proxy.get("/metrics").status_code == 200


def test_the_proxy_lets_the_largest_batch_through() -> None:
    """The file says the engine's own limit."""
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", CONFIGURATION.read_text("utf-8"))

    assert int(megabytes) * 2**20 == Settings().max_batch_body_bytes


def test_the_parts_of_the_compose_file_are_there() -> None:
    """The image's file, the proxy's, settings that exist, and one network for a proxy that asks 127.0.0.1."""
    file = DEPLOY / "docker" / "compose.yaml"
    services = yaml.safe_load(file.read_text("utf-8"))["services"]
    root = (file.parent / services["maskline"]["build"]["context"]).resolve()
    variables = {name.removeprefix(VARIABLE_PREFIX).lower() for name in services["maskline"]["environment"]}
    mounted = [volume.split(":")[0] for volume in services["nginx"]["volumes"]]

    assert (root / services["maskline"]["build"]["dockerfile"]).is_file()
    assert variables <= set(SETTINGS)
    assert (file.parent / mounted[0]).resolve() == CONFIGURATION
    assert services["nginx"]["network_mode"] == "service:maskline"
