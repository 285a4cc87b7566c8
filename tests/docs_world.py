"""What the commands of the documents run in: a scratch directory, a real server, and things for placeholders to name.

`SUBSTITUTES` says what is written for what stands in a document; nothing else is changed.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import httpx
import msgspec

from engine.cli import main

ROOT = Path(__file__).parent.parent
MASKLINE = Path(sys.executable).with_name("maskline")
BOUND_SECONDS = 180.0
"""Bound on one block; it is not an expectation."""

SUBSTITUTES = {
    ".venv/bin/maskline": "maskline",
    "/var/lib/maskline": "data",
    "/backups/": "",
    "/etc/maskline/": "",
    "AC…:TOKEN": "$ACCOUNT:$TOKEN",
    "AUTH_TOKEN=…": "AUTH_TOKEN=$TOKEN",
    "--sessions 10000 --numbers 100 --events 200000": "--sessions 50 --numbers 20 --events 200",
    " &\n": "\n",  # a server is waited for, and goes on in the background
}
"""What a document says: what is run. Besides, each `AC…` names an account, and so on; an address to listen on or to
send to becomes one of this machine, the same port the same free one throughout a document, and what curl sends to the
`public_url` of an example goes there too. `maskline.toml` is the document's first block of TOML."""

PUBLIC_URLS = ("https://masks.example.com", "https://masks.example.net")

ENDS_ACCOUNT = ("account delete", "account rotate-token")
"""Blocks with one of these name an account of their own, as those that follow need the other."""

_DATABASE_URL = re.compile(r"postgresql://[^\s\"]+")
_SERVE = "maskline serve --data-dir data --listen 127.0.0.1:8080 --feed-listen 127.0.0.1:9090\n"
_ADDRESS = re.compile(r"\b(?:0\.0\.0\.0|127\.0\.0\.1|10\.0\.0\.5):(\d{4,5})\b")

_MASKLINE = """#!/bin/bash
# A server is waited for and left running; the one before it is stopped. Everything else is the command itself.
if [ "$1" != serve ]; then exec "$REAL" "$@"; fi
"$STOP"
echo "$*" >"$WORLD/served"
: >"$WORLD/ready" # here, not in the background: what the one before said must not be read as this one's
"$REAL" "$@" >"$WORLD/ready" 2>>"$WORLD/log" </dev/null &
echo $! >>"$WORLD/pids"
for _ in $(seq 1200); do
  grep -q "is ready" "$WORLD/ready" && exit 0
  kill -0 $! 2>/dev/null || break
  sleep 0.1
done
cat "$WORLD/log" >&2
exit 1
"""
_STOP = """#!/bin/bash
for pid in $(cat "$WORLD/pids" 2>/dev/null); do
  kill "$pid" 2>/dev/null
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
done
: >"$WORLD/pids"
"""
_CURL_SCRIPT = """#!/bin/bash
arguments=()
for argument in "$@"; do
  for url in $PUBLIC_URLS; do argument="${argument/#"$url"/"$SERVER"}"; done
  arguments+=("$argument")
done
exec "$CURL" --fail-with-body --silent --show-error "${arguments[@]}"
"""
_TOOLS = {
    "maskline": _MASKLINE,
    "stop": _STOP,
    "curl": _CURL_SCRIPT,
    "make": '#!/bin/bash\nexec "$MAKE" --dry-run --directory "$ROOT" "$@"\n',
}
"""`make` is asked what it would do: that the target exists is what a document promises."""


class Block(msgspec.Struct, frozen=True):
    """A fenced block of commands."""

    document: str
    """Path from the root."""
    line: int
    text: str
    is_run: bool
    """Not marked `not-run` behind its language."""

    @property
    def commands(self) -> list[str]:
        """Its commands, each with the lines that continue it, without comments."""
        joined = re.sub(r"\\\n\s*", "", re.sub(r"<<'(\w+)'\n.*?^\1$", "", self.text, flags=re.DOTALL | re.MULTILINE))
        return [line.partition(" #")[0].strip() for line in joined.splitlines() if line.strip()]


def blocks_of(document: Path) -> list[Block]:
    """Read the blocks of a document whose language is sh."""
    text = document.read_text("utf-8")
    found = re.finditer(r"^ *```sh\b([^\n]*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    name = str(document.relative_to(ROOT))
    return [Block(name, text.count("\n", 0, one.start()) + 1, dedent(one[2]), "not-run" not in one[1]) for one in found]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words name, and what is left of them."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            raise AssertionError(f"there is no command {words[0]!r} in {command.name}")
        command, words = found, words[1:]
    return command, words


def flags_of(command: click.Command) -> set[str]:
    """Return the flags of a command."""
    flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    return flags | {"--help", "--version"}


class World:
    """One document's scratch directory."""

    def __init__(self, directory: Path, database: str = "") -> None:
        """Lay it out; `enter` fills it. The database is what a connection string of a document names."""
        self.directory = directory
        self._database = database
        self.control = directory / ".world"
        self._ports: dict[str, int] = {}
        self._named: dict[str, str] = {}
        self._spare = ""
        self._environ = {
            "PATH": f"{self.control}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(directory),
            "REAL": str(MASKLINE),
            "STOP": str(self.control / "stop"),
            "WORLD": str(self.control),
            "ROOT": str(ROOT),
            "CURL": shutil.which("curl") or "curl",
            "PUBLIC_URLS": " ".join(PUBLIC_URLS),
            "SERVER": self.read("http://127.0.0.1:8080"),
            "MASKLINE_LISTEN": "127.0.0.1:0",  # for a server whose line says nothing else
            "MAKE": shutil.which("make") or "make",
        }
        self.control.mkdir()
        for name, script in _TOOLS.items():
            (self.control / name).write_text(script)
            (self.control / name).chmod(0o755)

    def read(self, text: str) -> str:
        """Write what is run for what a document says."""
        for said, meant in SUBSTITUTES.items():
            text = text.replace(said, meant)
        text = _DATABASE_URL.sub(self._database, text)
        named = self._named
        if any(one in text for one in ENDS_ACCOUNT):
            self._spare = self._spare or self._account("Spare")["account"]["sid"]
            named = {**named, "AC": self._spare}
        for kind, sid in named.items():
            text = text.replace(f"{kind}…", sid)
        return _ADDRESS.sub(lambda found: f"127.0.0.1:{self._port(found[1])}", text)

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a block as a shell does, to its first command that fails; questions are answered with yes."""
        return subprocess.run(  # noqa: S603 - our own documents
            ["/bin/bash", "-euo", "pipefail", "-c", self.read(text)],
            cwd=self.directory,
            env=self._environ,
            input="y\n" * 20,
            capture_output=True,
            text=True,
            timeout=BOUND_SECONDS,
            check=False,
        )

    def enter(self) -> None:
        """Start a server and make what the documents speak of: account, key, service, number, session, files."""
        self._check(self.run(_SERVE))
        account = self._account("Rides")
        sid, token = account["account"]["sid"], account["auth_token"]
        key = json.loads(self._check(self.run(f"maskline apikey create {sid} --data-dir data --json\n")))
        with httpx.Client(base_url=self.read("http://127.0.0.1:8080/v1"), auth=(sid, token)) as http:
            service = http.post("/Services", data={"UniqueName": "rides"}).json()["sid"]
            http.post(f"/Services/{service}/PhoneNumbers", data={"PhoneNumber": "+14155550100"}).raise_for_status()
            session = http.post(f"/Services/{service}/Sessions", data={"UniqueName": "ride-0"}).json()["sid"]
        self._environ |= {"ACCOUNT": sid, "TOKEN": token}
        self._write_files()
        self._check(self.run("maskline numbers import codes.csv --account Rides --data-dir data\n"))
        numbers = json.loads(self._check(self.run("maskline numbers list --data-dir data --json\n")))["numbers"]
        owned = {one["sid"][:2]: one["sid"] for one in numbers}
        self._named = {"AC": sid, "KS": service, "KC": session, "SK": key["key"]["sid"], **owned}

    def attend(self) -> None:
        """Have the first server again where a block has left another one, or none."""
        if "--data-dir data " not in (self.control / "served").read_text().replace("\n", " "):
            self._check(self.run(_SERVE))

    def configure(self, document: Path) -> None:
        """Write the settings that a document shows first."""
        shown = re.search(r"^ *```toml\n(.*?)^ *```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        if shown is not None:
            (self.directory / "maskline.toml").write_text(self.read(dedent(shown[1])))

    def stop(self) -> None:
        """Stop whatever serves."""
        self._check(self.run("stop\n"))

    def leave(self) -> None:
        """End what a failure has left."""
        pids = self.control / "pids"
        for pid in pids.read_text().split() if pids.exists() else ():
            _end(int(pid))

    def _write_files(self) -> None:
        files = {
            "numbers.csv": "number\n+14155550123\n",
            "twilio-token": self._environ["TOKEN"],
            "codes.csv": "number,country\n55123,US\n",
            "rides.ndjson": '{"UniqueName": "ride-7", "IdempotencyKey": "7"}\n',
            "traffic.ndjson": '{"event": "call", "sender": "+12125550111", "proxy": "+14155550100", "sid": "CA1"}\n',
        }
        for name, content in files.items():
            (self.directory / name).write_text(content)
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=feed.example"
        self._check(self.run(f"{made} -keyout feed.key -out feed.pem\n"))

    def _account(self, name: str) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(
            self._check(self.run(f"maskline account create --name {name} --data-dir data --json\n"))
        )
        return made

    def _check(self, done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _port(self, written: str) -> int:
        if written not in self._ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._ports[written] = probe.getsockname()[1]
        return self._ports[written]


@contextmanager
def a_world(directory: Path, database: str = "") -> Iterator[World]:
    """Make one and leave nothing of it running."""
    world = World(directory, database)
    try:
        world.enter()
        yield world
        world.stop()
    finally:
        world.leave()


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(200):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            time.sleep(0.1)
