"""Jasmin, an SMS gateway, with the broker and the store that it needs: in directories of the test, on free ports."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.e2e.application import eventually
from tests.e2e.live import NO_TLS, free_port
from tests.e2e.smpp_peers import PATIENCE, HttpInbox

START_SECONDS = 180.0
"""Bound on the start of each program, in seconds; it is not an expectation."""

PYTHON = Path(os.environ.get("JASMIN_PYTHON", ".venv/jasmin/bin/python")).absolute()
_DAEMON = Path(__file__).parents[1] / "clients" / "jasmind.py"
_BROKER = "/usr/lib/rabbitmq/bin:/usr/lib/rabbitmq/sbin:/usr/sbin"
"""First without the script that changes to a user and a directory of its own."""


class NoJasmin(Exception):  # noqa: N818 - names a state
    """Something that Jasmin needs is not installed here; the message says what."""


def programs() -> dict[str, str]:
    """Return where the programs are. Raises NoJasmin."""
    path = f"{_BROKER}:{os.environ['PATH']}"
    found = {name: shutil.which(name, path=path) for name in ("rabbitmq-server", "epmd", "redis-server")}
    missing = [name for name, where in found.items() if where is None]
    if not PYTHON.exists():
        missing.append("Jasmin")
    if missing:
        raise NoJasmin(
            f"there is no {' and no '.join(missing)} here; `make jasmin-test` fetches what it can and runs this"
        )
    return {name: where for name, where in found.items() if where is not None}


class Running:
    """Programs that the test has started."""

    def __init__(self, where: Path) -> None:
        """Have none yet."""
        self._where = where
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **environment: str) -> None:
        """Start a program; its output goes to a file."""
        with (self._where / f"{Path(command[0]).name}.out").open("ab") as output:
            self._started.append(
                subprocess.Popen(  # noqa: S603 - the programs under test
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._where,
                    env={**os.environ, "HOME": str(self._where), **environment},
                    start_new_session=True,
                )
            )

    def wait_for(self, port: int) -> None:
        """Wait until something listens."""
        assert eventually(lambda: self._answers(port), seconds=START_SECONDS), self.output

    def _answers(self, port: int) -> bool:
        assert all(one.poll() is None for one in self._started), self.output
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
            return True
        return False

    def cpu_seconds(self) -> float:
        """Return the processor time that they and what they have started have used."""
        ours = {one.pid for one in self._started}
        each = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in each if os.getsid(pid) in ours)

    @property
    def output(self) -> str:
        """What they have printed, the end of each."""
        return "\n".join(f"{path.name}: {path.read_text('latin-1')[-3000:]}" for path in self._where.glob("*.out"))

    def close(self) -> None:
        """End them, and what they have started."""
        for one in reversed(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def start_broker(running: Running, found: Mapping[str, str], where: Path) -> int:
    """Start RabbitMQ, and the name service that Erlang wants; returns the port that it will listen on."""
    port, names, between = free_port(), free_port(), free_port()
    on = {"ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    running.start(found["epmd"], **on)
    running.wait_for(names)  # else Erlang starts one that stays
    running.start(
        found["rabbitmq-server"],
        **on,
        RABBITMQ_NODENAME="jasmin@localhost",
        RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
        RABBITMQ_NODE_PORT=str(port),
        RABBITMQ_DIST_PORT=str(between),
        RABBITMQ_MNESIA_BASE=str(where / "mnesia"),
        RABBITMQ_LOG_BASE=str(where),
        RABBITMQ_LOGS="-",
        RABBITMQ_CONF_ENV_FILE=os.devnull,
        RABBITMQ_CONFIG_FILE=str(where / "rabbitmq"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(where / "plugins"),
        RABBITMQ_PID_FILE=str(where / "rabbitmq.pid"),
        RABBITMQ_ALLOW_INPUT="1",  # else it is started by a shell that waits
        RABBITMQ_SERVER_START_ARGS="-noinput +sbwt none",
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
    )
    return port


def start_store(running: Running, found: Mapping[str, str]) -> int:
    """Start Redis; returns the port that it will listen on."""
    port = free_port()
    running.start(found["redis-server"], "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    return port


class JasminConsole:
    """What Jasmin's operators type, over its console."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._read_until(_GREETING)

    def enter(self, *lines: str) -> str:
        """Type lines, each after the prompt; return what was said to the last."""
        said = ""
        for line in lines:
            self._socket.sendall(line.encode() + b"\r\n")
            said = self._read_until(_PROMPT)
        return said

    def add(self, what: str, **fields: str) -> None:
        """Add something that has these fields."""
        said = self.enter(f"{what} -a", *(f"{name} {value}" for name, value in fields.items()), "ok")
        assert "Successfully added" in said, said

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _read_until(self, end: re.Pattern[bytes]) -> str:
        said = b""
        while end.search(said) is None:
            came = self._socket.recv(65536)
            assert came, said
            said += came
        return said.decode("latin-1")


_GREETING, _PROMPT = re.compile(rb"Session ref: \d+\s+$"), re.compile(rb"(jcli : |> )$")

_CONFIGURATION = """
[smpp-server]
bind = 127.0.0.1
port = {smpp}
[smpp-server-pb]
bind = 127.0.0.1
port = {smpp_pb}
[amqp-broker]
port = {broker}
spec = {spec}
[redis-client]
port = {store}
[http-api]
bind = 127.0.0.1
port = {http}
[client-management]
bind = 127.0.0.1
port = {clients}
[router]
bind = 127.0.0.1
port = {router}
[dlr]
dlr_lookup_retry_delay = 1
dlr_lookup_max_retries = 20
[jcli]
bind = 127.0.0.1
port = {console}
authentication = no
"""


class Jasmin:
    """A gateway in both roles: users bind to its SMSC, and its connectors bind to SMSCs."""

    def __init__(self, where: Path) -> None:
        """Start it with all that it needs. Raises NoJasmin."""
        found = programs()
        self.running = Running(where)
        self.inbox = HttpInbox("ACK/Jasmin")
        try:
            ports = {"broker": start_broker(self.running, found, where), "store": start_store(self.running, found)}
            for port in ports.values():
                self.running.wait_for(port)
            ports |= {name: free_port() for name in ("smpp", "smpp_pb", "http", "clients", "router", "console")}
            (spec,) = PYTHON.parents[1].glob("lib/*/site-packages/txamqp/specs/standard/amqp0-9-1.stripped.xml")
            (where / "jasmin.cfg").write_text(_CONFIGURATION.format(**ports, spec=spec))
            self.smpp_port, self._http = ports["smpp"], f"http://127.0.0.1:{ports['http']}"
            self._start_daemon(where)
            self.running.wait_for(ports["console"])
            self.console = JasminConsole(ports["console"])
        except BaseException:
            self.running.close()
            self.inbox.close()
            raise

    def _start_daemon(self, where: Path) -> None:
        script = PYTHON.parent / "jasmind.py"
        self.running.start(
            str(PYTHON),
            str(_DAEMON),
            str(script),
            "--config",
            str(where / "jasmin.cfg"),
            "--enable-dlr-lookup",
            "--enable-dlr-thrower",
            CONFIG_PATH=str(where),
            LOG_PATH=str(where),
            STORE_PATH=str(where),
        )

    def connect(self, name: str, port: int) -> None:
        """Have a connector bind to an SMSC."""
        self.console.add(
            "smppccm",
            cid=name,
            port=str(port),
            username=name,
            password="secret",
            submit_throughput="0",
            src_ton="1",
            src_npi="1",
            con_fail_delay="1",
            con_loss_delay="1",
        )
        said = self.console.enter(f"smppccm -1 {name}")
        assert "Successfully started" in said, said

    def send(self, sender: str, to: str, text: str, *, is_ucs2: bool = False, asks: bool = False) -> None:
        """Send a text as the application `app` does; who `asks` is told what becomes of it."""
        content = {"coding": "8", "hex-content": text.encode("utf-16-be").hex()} if is_ucs2 else {"content": text}
        form = {"username": "app", "password": "secret", "from": sender, "to": to, "dlr": "no", **content}
        if asks:
            form |= {"dlr": "yes", "dlr-level": "2", "dlr-url": self.inbox.url, "dlr-method": "GET"}
        answer = httpx.post(f"{self._http}/send", data=form, verify=NO_TLS, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text

    def next(self) -> Mapping[str, str]:
        """Return what its applications are told next."""
        return self.inbox.messages.get(timeout=PATIENCE)

    def close(self) -> None:
        """End all of it."""
        self.console.close()
        self.running.close()
        self.inbox.close()
