"""Real SMPP peers of a live server: Kannel, which binds to it, and an SMSC of npm's smpp, to which it binds."""

import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from tests.e2e.application import eventually
from tests.e2e.live import NO_TLS, LiveServer, free_port

Json = dict[str, Any]

PATIENCE = 20.0
"""Bound on every wait, in seconds; it is not an expectation."""

SMPP_MODULE = Path(os.environ.get("SMPP_MODULE", "build/smpp/node_modules/smpp")).absolute()
_SMSC = Path(__file__).parents[1] / "clients" / "smsc.js"


def smpp34_python() -> Path:
    """Return the Python that has smpp34; skips the test where there is none."""
    python = Path(os.environ.get("SMPP34_PYTHON", ".venv/smpp/bin/python")).absolute()
    if not python.exists():
        pytest.skip("there is no smpp34 here; `make smpp-test` fetches it and runs this")
    return python


class NodeSmsc:
    """The SMSC of a carrier."""

    def __init__(self) -> None:
        """Start it; skips the test where it is not installed."""
        node = shutil.which("node")
        if node is None or not SMPP_MODULE.is_dir():
            pytest.skip("there is no npm smpp here; `make smpp-test` fetches it and runs this")
        self.port = free_port()
        self.process = subprocess.Popen(  # noqa: S603 - our own script
            [node, str(_SMSC), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SMPP_MODULE": str(SMPP_MODULE)},
        )
        self._lines: queue.Queue[Json] = queue.Queue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        assert self.next() == {"listening": True}

    def next(self) -> Json:
        """Return what it says next."""
        return self._lines.get(timeout=PATIENCE)

    def wait_for_bind(self) -> None:
        """Wait until the server is bound."""
        assert self.next()["bound"] == "masks"

    def tell(self, **what: object) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._reading.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))


class HttpInbox:
    """What a gateway tells its applications over HTTP."""

    def __init__(self, answer: str = "") -> None:
        """Listen, and answer each request so."""
        self.messages: queue.Queue[dict[str, str]] = queue.Queue()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self.messages, answer.encode()))
        self._serving = threading.Thread(target=self._http.serve_forever)
        self._serving.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/in"

    def close(self) -> None:
        """Listen no more."""
        self._http.shutdown()
        self._serving.join()
        self._http.server_close()


def _handler_of(messages: "queue.Queue[dict[str, str]]", answer: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True, encoding="latin-1")
            messages.put({name: values[0] for name, values in query.items()})
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library has it
            """Say nothing."""

    return Handler


_KANNEL = """
group = core
admin-port = {admin}
admin-password = x
admin-interface = 127.0.0.1
smsbox-port = {smsbox}
smsbox-interface = 127.0.0.1
log-file = "{where}/bearerbox.log"
log-level = 0
box-deny-ip = "*.*.*.*"
box-allow-ip = "127.0.0.1"
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = mask
host = 127.0.0.1
port = {smpp}
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = ""
interface-version = 34
enquire-link-interval = 5
reconnect-delay = 1
msg-id-type = 0x00
max-pending-submits = 10

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {send}
sendsms-interface = 127.0.0.1
log-file = "{where}/smsbox.log"
log-level = 0

group = sendsms-user
username = u
password = p
max-messages = 9
concatenation = true

group = sms-service
keyword = default
get-url = "{inbox}?from=%p&to=%P&text=%b&coding=%c&charset=%C"
accept-x-kannel-headers = true
max-messages = 0
omit-empty = true
concatenation = true
"""


class Kannel:
    """An SMS gateway that binds to the server as an aggregator does."""

    def __init__(self, where: Path, smpp_port: int) -> None:
        """Start it; skips the test where it is not installed."""
        self._boxes: list[subprocess.Popen[bytes]] = []
        boxes = [shutil.which(box, path=f"{os.environ['PATH']}:/usr/sbin") for box in ("bearerbox", "smsbox")]
        if None in boxes:
            pytest.skip("there is no Kannel here; `make smpp-test` fetches it and runs this")
        self._inbox = HttpInbox()
        ports = {name: free_port() for name in ("admin", "smsbox", "send")}
        self._admin, self._send = (f"http://127.0.0.1:{ports[name]}" for name in ("admin", "send"))
        text = _KANNEL.format(**ports, smpp=smpp_port, where=where, inbox=self._inbox.url)
        configuration = where / "kannel.conf"
        configuration.write_text(text)
        self._dlr_url = f"{self._inbox.url}?state=%d"
        self.log = where / "bearerbox.log"
        for box in boxes:
            assert box is not None
            self._boxes.append(
                subprocess.Popen(  # noqa: S603 - the program under test
                    [box, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
            assert eventually(lambda: self._answers(self._admin + "/status"), seconds=PATIENCE)
        assert eventually(self._is_online, seconds=PATIENCE), self.log.read_text("latin-1")[-3000:]
        assert eventually(lambda: self._answers(self._send), seconds=PATIENCE)

    def send(self, sender: str, to: str, text: str, *, coding: int = 0, asks: bool = False) -> None:
        """Send a text; who `asks` is told what becomes of it: 1 delivered, 2 failed, 4 on its way."""
        charset = {"coding": "2", "charset": "UTF-8"} if coding else {"coding": "0", "charset": "UTF-8"}
        form = {"username": "u", "password": "p", "from": sender, "to": to, "text": text, **charset}
        if asks:
            form |= {"dlr-mask": "7", "dlr-url": self._dlr_url}
        answer = httpx.get(f"{self._send}/cgi-bin/sendsms?{urlencode(form)}", verify=NO_TLS, timeout=PATIENCE)
        assert answer.status_code == 202, answer.text

    def next(self) -> dict[str, str]:
        """Return the next text that reached it."""
        return self._inbox.messages.get(timeout=PATIENCE)

    def close(self) -> None:
        """End it."""
        for box in reversed(self._boxes):
            box.kill()
            box.wait()
        self._inbox.close()

    def _answers(self, url: str) -> bool:
        try:
            httpx.get(url, verify=NO_TLS, timeout=PATIENCE)
        except httpx.TransportError:
            return False
        return True

    def _is_online(self) -> bool:
        return "(online" in httpx.get(self._admin + "/status?password=x", verify=NO_TLS).text


class SmppWorld:
    """A live server with both peers, and numbers from which each of them sends."""

    def __init__(self, where: Path, smsc: NodeSmsc) -> None:
        """Start the server."""
        self.smsc = smsc
        self.smpp_port = free_port()
        self.configuration = where / "maskline.toml"
        self.data_dir = where / "data"
        self.configuration.write_text(_MASKLINE.format(listen=self.smpp_port, port=smsc.port))
        self.server = self.started()

    def started(self) -> LiveServer:
        """Start a server on the data."""
        return LiveServer(self.data_dir, "--config", str(self.configuration), "--rate-limit-per-second", "0")

    def __enter__(self) -> Self:
        """Be there."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.server.end()


_MASKLINE = """
smpp_listen = "127.0.0.1:{listen}"
carrier_tries = 3

[smpp_peers.carrier]
role = "esme"
host = "127.0.0.1"
port = {port}
system_id = "masks"
password = "secret"

[smpp_peers.hub]
role = "smsc"
system_id = "kannel"
password = "secret"

[carrier_routes]
"+1646" = "hub"
"*" = "carrier"
"""


@contextmanager
def smpp_world(where: Path) -> Iterator[SmppWorld]:
    """Run an SMSC and a server that is bound to it."""
    with ExitStack() as stack:
        smsc = stack.enter_context(closing(NodeSmsc()))
        world = stack.enter_context(SmppWorld(where, smsc))
        smsc.wait_for_bind()
        yield world
