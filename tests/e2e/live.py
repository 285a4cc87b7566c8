"""A real `maskline serve` in a process of its own, as an operator runs it."""

import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.listeners import short_path

MASKLINE = Path(sys.executable).with_name("maskline")
START_SECONDS = 30.0
"""Bound on the wait for the ready line; it is not an expectation."""
STOP_SECONDS = 5.0
"""What the operator is promised."""

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used: the engine listens in clear. Without it every client reads the system's certificates."""

_READY = re.compile(r"Maskline is ready at (http://\S+) \(data in .*\)$")
_FEED = re.compile(r", feed at ([^\s,)]+)")


def free_port() -> int:
    """Return a port that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


on_both_runtimes = pytest.mark.parametrize("start_server", ["embedded", "ray"], indirect=True)
"""For tests whose own servers are to be a process each, then clusters of two hosts on Ray."""


class LiveServer:
    """A server on a free port; its log goes to a file, so that no full pipe can hold it up."""

    stop_seconds = STOP_SECONDS
    """Within which a stop has ended."""

    def __init__(
        self, data_dir: Path, *arguments: str, public_url: str = "", environment: Mapping[str, str] = {}
    ) -> None:
        """Start it and wait for its ready line; a `public_url` stays the same when it is started again."""
        self.data_dir = data_dir
        self.log_path = data_dir.with_suffix(".log")
        where = ("--data-dir", str(data_dir), "--listen", "127.0.0.1:0", "--public-url", public_url)
        with self.log_path.open("ab") as log_file:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [str(MASKLINE), "serve", *where, *arguments],
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                env={**clean_environment(), **environment},
            )
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if readable else ""
        ready, feed = _READY.match(line), _FEED.search(line)
        if ready is None:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.log}")
        self.address = ready[1]
        self.feed = feed[1] if feed else ""
        self.public_url = public_url or self.address

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text("utf-8")

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the operator's socket."""
        with operator_of(self.data_dir) as http:
            answer: dict[str, Any] = http.request(method, path, json=body).raise_for_status().json()
        return answer

    def metrics(self) -> str:
        """Scrape it."""
        return httpx.get(f"{self.address}/metrics", verify=NO_TLS).raise_for_status().text

    def stop(self) -> int:
        """Ask it to stop; returns its exit code, at the latest when its promise is broken."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            self.kill()
        return self.process.returncode

    def crash(self) -> None:
        """Kill with -9 all that it consists of; when this returns it has ended."""
        self.kill()

    def end(self) -> None:
        """Leave nothing of it running."""
        self.kill()

    def kill(self) -> None:
        """Kill it with -9; harmless when it has ended."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def operator_of(data_dir: Path) -> Iterator[httpx.Client]:
    """Reach the operator's socket in a directory, however long its path is."""
    with short_path(data_dir / "maskline.sock") as short:
        transport = httpx.HTTPTransport(uds=short, verify=NO_TLS)
        with httpx.Client(transport=transport, base_url="http://maskline", timeout=30.0) as http:
            yield http


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings of ours, and with Python's own warnings shown."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MASKLINE_")}
    return {**kept, "PYTHONWARNINGS": "default"}
