"""A real `maskline serve --runtime ray` in a process of its own, as an operator runs it, and what it left running."""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from engine.channels.sockets import CannotListen, ListenAddress, bind_tcp
from engine.cluster.hosting import HOST_LOG
from engine.cluster.notes import read_record
from storage.sqlite.layout import host_dir
from tests.e2e.live import MASKLINE, NO_TLS, LiveServer, clean_environment, operator_of

START_SECONDS = 120.0
"""Bound on the wait for the ready line; it is not an expectation."""
WAIT_SECONDS = 60.0
"""Bound on every other wait."""

Json = dict[str, Any]

_READY = re.compile(r"Maskline is ready(?: at (http://\S+))? \((?:\d+ of )?(\d+) hosts?, ")
_FIRST_POLL_SECONDS = 0.01
_POLL_SECONDS = 0.2
_LOG_TAIL = 20_000


def eventually(holds: Callable[[], bool], what: str, *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until something holds: asked often at first, since most of it does soon, then ever more seldom."""
    until, pause = time.monotonic() + seconds, _FIRST_POLL_SECONDS
    while not holds():
        assert time.monotonic() < until, f"not in {seconds:g} seconds: {what}"
        time.sleep(pause)
        pause = min(2 * pause, _POLL_SECONDS)


class LiveCluster(LiveServer):
    """A cluster on free ports; `serve` starts it or attaches to it."""

    stop_seconds = WAIT_SECONDS

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        hosts: int = 2,
        environ: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        public_url: str = "",
    ) -> None:
        """Know its place; nothing is started yet. `prefix` is put before each command."""
        self.prefix = prefix
        self.data_dir = data_dir
        self.log_path = data_dir.with_suffix(".log")
        self.hosts = hosts
        self.elsewhere: dict[int, Path] = {}
        self.address = self.feed = ""
        self._served_by = 0
        self.public_url = public_url
        self.environ = clean_environment() | (environ or {})
        self.arguments = (
            *("--data-dir", str(data_dir), "--runtime", "ray", "--hosts", str(hosts)),
            *("--listen", _free_address(), "--operations-listen", "127.0.0.1:0", "--feed-listen", "127.0.0.1:0"),
            *("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--host-silence-seconds", "5"),
            *("--public-url", public_url, "--webhook-tries", "3"),
            *arguments,
        )

    @property
    def log(self) -> str:
        """What `serve` and the hosts have logged so far."""
        logs = [self.log_path, *(self.host_dir(place) / HOST_LOG for place in range(self.hosts))]
        return "\n".join(log.read_text("utf-8") for log in logs if log.exists())

    def metrics(self) -> str:
        """Scrape all hosts."""
        scraped = (httpx.get(f"{self.operations(place)}/metrics", verify=NO_TLS) for place in range(self.hosts))
        return "".join(one.raise_for_status().text for one in scraped)

    def serve(self, *more: str) -> None:
        """Start or attach, and wait for the ready line."""
        with self.log_path.open("ab") as log_file:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*self.prefix, str(MASKLINE), "serve", *self.arguments, *more],
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                env=self.environ,
            )
        line = first_line(self.process, START_SECONDS)
        ready = _READY.search(line)
        assert ready is not None, f"no ready line but {line!r}:\n{self.log}"
        assert int(ready[2]) == self.hosts
        self._served_by = self.head
        self._is_ready_at(ready[1] or "")

    def _is_ready_at(self, address: str) -> None:
        self.address = address
        self.public_url = self.public_url or self.address
        self.feed = read_record(self.data_dir, self.hosts).directory.hosts[0].feed

    def run(
        self, *arguments: str, seconds: float = WAIT_SECONDS, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the operator's on this data directory, with these variables besides."""
        return subprocess.run(  # noqa: S603 - our own command
            [*self.prefix, str(MASKLINE), *arguments, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=self.environ | (environ or {}),
        )

    def status(self) -> list[Json]:
        """Ask how the hosts fare, until the supervisor answers."""
        said: list[str] = []

        def answers() -> bool:
            told = self.run("cluster", "status", "--json")
            assert told.returncode in {0, 1}, told.stderr
            said[:] = [told.stdout] if told.stdout else []
            return bool(said)

        eventually(answers, "the supervisor answers")
        hosts: list[Json] = json.loads(said[0])["hosts"]
        return hosts

    def is_whole(self) -> bool:
        """Tell whether the supervisor, if it answers at all, knows that every host is ready."""
        told = self.run("cluster", "status", "--json")
        return told.returncode == 0 and all(one["state"] == "ready" for one in json.loads(told.stdout)["hosts"])

    def kill_supervisor(self) -> int:
        """Kill the supervisor's process, found by the title that Ray gives it; returns the process."""
        pid = process_of(self.head, "ray::SupervisorActor")
        os.kill(pid, signal.SIGKILL)
        return pid

    def host_dir(self, place: int) -> Path:
        """Return the directory of a host: in the cluster's, or in that of another node."""
        return host_dir(self.elsewhere.get(place, self.data_dir), place, self.hosts)

    def pid(self, place: int) -> int:
        """Return the process that opened a host's database last, as its lock says; 0 in the moment of a change."""
        return int((self.host_dir(place) / "maskline.lock").read_text("ascii") or 0)

    def kill_host(self, place: int, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a host's process; returns the process."""
        pid = self.pid(place)
        os.kill(pid, number)
        return pid

    def is_ready(self, place: int) -> bool:
        """Ask a host's own operations port."""
        try:
            return httpx.get(f"{self.operations(place)}/readyz", verify=NO_TLS, timeout=1.0).is_success
        except httpx.TransportError:
            return False

    def operations(self, place: int) -> str:
        """Read from the list of scrape targets where a host's metrics are."""
        groups = json.loads((self.data_dir / "prometheus-targets.json").read_bytes())
        (found,) = (one["targets"][0] for one in groups if one["labels"]["host"] == f"host-{place}")
        return f"http://{found}"

    def await_ready(self, *, other_than: dict[int, int] | None = None) -> None:
        """Wait until every host is ready, those given by another process than before."""
        for place in range(self.hosts):
            self._await_host(place, (other_than or {}).get(place))

    def _await_host(self, place: int, old: int | None) -> None:
        try:
            eventually(lambda: self.pid(place) != old and self.is_ready(place), f"host-{place} is ready")
        except AssertionError as late:
            late.add_note(f"{self.run('cluster', 'status').stdout}\n{self.log[-_LOG_TAIL:]}")
            raise

    def admin(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask the operator's socket of the first host; a new account is waited for on every host."""
        answer = ask_operator(self.host_dir(0), method, path, body)
        if (method, path) == ("POST", "/accounts"):
            sid = answer["account"]["sid"]
            eventually(lambda: all(sid in accounts(self.host_dir(place)) for place in range(self.hosts)), "all know it")
        return answer

    def stop(self) -> int:
        """Ask `serve` to stop the cluster; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT_SECONDS)
        finally:
            self.kill()
        return self.process.returncode

    def crash(self) -> None:
        """Kill the driver, Ray, the supervisor and all hosts."""
        self.process.kill()
        os.kill(self.head, signal.SIGKILL)
        for place in range(self.hosts):
            self.kill_host(place)
        self.kill()

    @property
    def head(self) -> int:
        """The process that holds Ray together; 0 when none does, or the Ray was joined."""
        try:
            return int(json.loads((self.data_dir / "ray.json").read_bytes()).get("pid", 0))
        except FileNotFoundError:
            return 0

    def end(self) -> None:
        """End whatever a test that failed has left running."""
        if hasattr(self, "process"):
            self.kill()
        if head := self.head or self._served_by:  # the directory of a test that passed may be gone
            end_session(head)


def _free_address() -> str:
    """Choose an address that stays the same when all is started again.

    Of the ports that no system gives to whoever asks for any: another process would have it while this one is away.
    """
    while True:
        address = ListenAddress("127.0.0.1", random.randrange(20_000, 32_000))  # noqa: S311 - not for secrets
        with suppress(CannotListen), bind_tcp(address):
            return f"{address.host}:{address.port}"


def ask_operator(directory: Path, method: str, path: str, body: Json | None = None) -> Json:
    """Ask a host's operator socket."""
    with operator_of(directory) as http:
        answer: Json = http.request(method, path, json=body).raise_for_status().json()
    return answer


def accounts(directory: Path) -> dict[str, str]:
    """Return the accounts that a host knows: SID to name."""
    listed = ask_operator(directory, "GET", "/accounts")["accounts"]
    return {one["sid"]: one["friendly_name"] for one in listed}


def first_line(process: "subprocess.Popen[str]", seconds: float) -> str:
    """Wait for the first line of standard output; empty when the process ends without one."""
    until = time.monotonic() + seconds
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    line = ""
    while not line.endswith("\n") and time.monotonic() < until:
        has_ended = process.poll() is not None
        read = process.stdout.readline()
        line += read
        if not read:
            if has_ended:
                break
            time.sleep(0.05)
    return line


def end_session(leader: int) -> None:
    """Kill the processes of a session that was started here."""
    for pid in session_of(leader):
        with suppress(ProcessLookupError):  # it may follow its parent
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: session_of(leader) == [], "the processes of the session ended")


def process_of(leader: int, title: str) -> int:
    """Find the one process of a session whose title, or the name of whose program, is this."""
    (pid,) = (pid for pid in session_of(leader) if title_of(pid).rpartition("/")[2] == title)
    return pid


def title_of(pid: int) -> str:
    """Return the first word of a process's command, which may be a title that it gave itself; "" when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:
        return ""


def session_of(leader: int) -> list[int]:
    """List the processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, *fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            except OSError:
                continue
            if state != "Z" and int(fields[2]) == leader:
                found.append(int(entry.name))
    return found
