"""A server in a process of its own, and the command line in this one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli import main

MASKLINE = Path(sys.executable).with_name("maskline")
STOP_SECONDS = 5.0
"""What the operator is promised."""


@contextmanager
def hearing_hangups() -> Iterator[None]:
    """Let what is started meanwhile not inherit that SIGHUP is ignored, as it is where the tests run under `nohup`."""
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, ours)


class Server:
    """A running `maskline serve`."""

    def __init__(self, *arguments: str, launcher: Sequence[str] = ()) -> None:
        with hearing_hangups():
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*launcher, str(MASKLINE), "serve", "--listen", "127.0.0.1:0", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONWARNINGS": "default"},
            )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        self.address = self.ready_line.removeprefix("Maskline is ready at ").partition(" ")[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send the signal; returns exit code, the rest of the output, and the log."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, out, err


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start servers; whatever still runs at the end is killed."""
    servers: list[Server] = []

    def start(*arguments: str) -> Server:
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command in this process."""

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke
