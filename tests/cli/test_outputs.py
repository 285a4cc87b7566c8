"""Whatever the outputs are - another encoding, closed, full, narrow, no terminal known - nothing is a traceback."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import MASKLINE
from tests.e2e.live import free_port

NAME = "Zoë \N{SNOWMAN} 木 \U0001f600"
BOUND_SECONDS = 60.0

LOCALES = (
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LANG": "POSIX", "LC_ALL": "POSIX"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LANG": "xx_XX.nonsense", "LC_ALL": "xx_XX.nonsense"},
)
COMMANDS = (("account", "list"), ("account", "list", "--json"), ("outbox", "list"), ("--help",), ("serve", "--help"))


def ran(
    *arguments: str, environ: dict[str, str] | None = None, redirected: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in an environment; `redirected` says where its outputs go."""
    clean = {name: value for name, value in os.environ.items() if name not in {"LC_ALL", "LANG", "PYTHONIOENCODING"}}
    command: Sequence[str] = [str(MASKLINE), *arguments]
    if redirected:
        command = ["bash", "-o", "pipefail", "-c", f'"$@" {redirected}', "bash", *command]
    return subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, timeout=BOUND_SECONDS, check=False, env={**clean, **(environ or {})}
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory with an account whose name few encodings can write."""
    data_dir = tmp_path_factory.mktemp("outputs") / "data"
    made = ran("account", "create", "--name", NAME, "--data-dir", str(data_dir), environ={"LANG": "C.UTF-8"})
    assert made.returncode == 0, made.stderr
    return data_dir


def where(command: Sequence[str], data_dir: Path) -> list[str]:
    return [*command, *([] if "--help" in command else ["--data-dir", str(data_dir)])]


@pytest.mark.parametrize("environ", LOCALES, ids=lambda environ: " ".join(f"{k}={v}" for k, v in environ.items()))
def test_any_locale_will_do(data_dir: Path, environ: dict[str, str]) -> None:
    """What cannot be written is written in its escaped form; JSON stays JSON of the same text."""
    for command in COMMANDS:
        done = ran(*where(command, data_dir), environ=environ)

        assert (done.returncode, done.stderr) == (0, b""), command
        if "--json" in command:
            (account,) = json.loads(done.stdout)["accounts"]
            assert account["friendly_name"] == NAME


@pytest.mark.parametrize("shell", ["| true", "| head -c 1", ">&-", "2>&-", ">&- 2>&-", "> /dev/null", "< /dev/null"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_output_that_nobody_reads_is_no_failure_of_ours(
    data_dir: Path, command: tuple[str, ...], shell: str
) -> None:
    """Closed from the start, or half way."""
    done = ran(*where(command, data_dir), redirected=shell)

    assert done.returncode in {0, 1, 141}
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_output_is_one_sentence(data_dir: Path, command: tuple[str, ...]) -> None:
    """As a disk is, to which a report goes."""
    done = ran(*where(command, data_dir), redirected="> /dev/full")

    assert done.returncode == 2
    assert done.stderr == b"maskline: cannot write the answer: No space left on device\n"


@pytest.mark.parametrize("columns", [1, 5, 20, 40])
@pytest.mark.parametrize("term", ["", "dumb", "nonsense", "xterm-256color"])
def test_any_terminal_will_do(data_dir: Path, columns: int, term: str) -> None:
    """However narrow, and whatever it says it is."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {**os.environ, "TERM": term} if term else {k: v for k, v in os.environ.items() if k != "TERM"}
    command = [str(MASKLINE), "account", "list", "--data-dir", str(data_dir)]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environ) as process:  # noqa: S603 - ours
        os.close(its)
        seen = b""
        try:
            while piece := os.read(ours, 65_536):
                seen += piece
        except OSError:
            pass  # the other end is closed
        process.wait(BOUND_SECONDS)
    os.close(ours)

    assert process.returncode == 0
    assert b"Traceback" not in seen


@pytest.mark.parametrize("shell", ["| head -c 0", ">&-", "2>&-", "> /dev/full"])
def test_a_server_serves_on_whoever_reads_its_line_of_readiness(tmp_path: Path, shell: str) -> None:
    """A supervisor that closes its pipe, or a log on a full disk, ends no calls."""
    port = free_port()
    script = f'exec "$@" {shell}' if "|" not in shell else f'"$@" {shell} & wait'
    command = ["bash", "-c", script, "bash", str(MASKLINE), "serve", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--listen", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            answers = until_ready(port), httpx.get(f"http://127.0.0.1:{port}/healthz").status_code
        finally:
            os.killpg(process.pid, signal.SIGTERM)

    assert answers == (200, 200)


def until_ready(port: int) -> int:
    """Wait for a server; returns what its readiness says."""
    until = time.monotonic() + BOUND_SECONDS
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
