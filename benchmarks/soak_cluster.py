"""A real `maskline serve --runtime ray` for the soak: started, struck, weighed and ended; its log is kept in a file."""

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import msgspec

from engine.channels.sockets import ListenAddress
from engine.cluster.head import read_link
from engine.cluster.notes import read_record
from engine.core.model.placement import host_name
from storage.sqlite.datadir import LOCK
from storage.sqlite.layout import host_dir

START_SECONDS = 120.0
STOP_SECONDS = 60.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used: the engine listens in clear. Without it every client reads the system's certificates."""

_READY = re.compile(r"Maskline is ready at (http://\S+) ")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_POLL_SECONDS = 0.2

Json = dict[str, Any]


class Soaked(Protocol):
    """What is soaked."""

    @property
    def address(self) -> str:
        """A URL at which REST answers now."""

    @property
    def feeds(self) -> Sequence[tuple[str, int]]:
        """Where the feed of some host listens, on each machine."""

    async def strike(self, turn: int) -> None:
        """Kill something, another thing each turn."""

    def weigh(self) -> dict[str, int]:
        """Return resident bytes of the processes, by what they are."""

    async def stop(self) -> int:
        """Stop it in order; returns the exit code."""

    async def operator(self, method: str, path: str, body: Json) -> Json:
        """Ask a host's operator socket."""

    async def knows_everywhere(self, account_sid: str) -> None:
        """Wait until every host has heard of an account."""


class Cluster:
    """Hosts of a data directory, and the process that watches over them."""

    def __init__(self, data_dir: Path, hosts: int, process: "asyncio.subprocess.Process", address: str) -> None:
        """Know a cluster that serves."""
        self.data_dir = data_dir
        self.hosts = hosts
        self._address = address
        self._process = process

    @classmethod
    async def started(cls, data_dir: Path, *, hosts: int, redelivery_seconds: int) -> Self:
        """Start one on free ports, and wait until every host serves."""
        where = ("--data-dir", str(data_dir), "--listen", "127.0.0.1:0", "--feed-listen", "127.0.0.1:0")
        limits = ("--rate-limit-per-second", "0", "--redelivery-window-seconds", str(redelivery_seconds))
        command = ("serve", "--runtime", "ray", "--hosts", str(hosts), *limits, *where)
        with data_dir.with_suffix(".log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("maskline")), *command, stdout=subprocess.PIPE, stderr=log
            )
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), START_SECONDS)).decode()
        ready = _READY.match(line)
        assert ready is not None, data_dir.with_suffix(".log").read_text("utf-8")
        return cls(data_dir, hosts, process, ready[1])

    @property
    def address(self) -> str:
        """Where all hosts answer REST."""
        return self._address

    @property
    def feeds(self) -> list[tuple[str, int]]:
        """Where the feed of the first host listens."""
        address = ListenAddress.parse(read_record(self.data_dir, self.hosts).directory.hosts[0].feed)
        return [(address.host, address.port)]

    async def strike(self, turn: int) -> None:
        """Kill a host's process with -9, each in turn."""
        with suppress(ProcessLookupError):
            os.kill(self._pid(turn % self.hosts), signal.SIGKILL)

    def weigh(self) -> dict[str, int]:
        """Return resident bytes: of each host, of `serve` (the driver), and of Ray with the supervisor together."""
        weights = {host_name(place): resident(self._pid(place)) for place in range(self.hosts)}
        weights["driver"] = resident(self._process.pid)
        link = read_link(self.data_dir)
        hosts = {self._pid(place) for place in range(self.hosts)}
        rest = (pid for pid in _session_of(link.pid if link else 0) if pid not in hosts)
        return {**weights, "rest": sum(map(resident, rest))}

    async def stop(self) -> int:
        """Stop it in order; returns the exit code of `serve`."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), STOP_SECONDS)

    async def operator(self, method: str, path: str, body: Json) -> Json:
        """Ask the first host's operator socket."""
        async with self._operator(0) as http:
            answer: Json = (await http.request(method, path, json=body)).raise_for_status().json()
        return answer

    async def knows_everywhere(self, account_sid: str) -> None:
        """Wait until every host has heard of an account."""
        for place in range(self.hosts):
            async with self._operator(place) as http, asyncio.timeout(START_SECONDS):
                while account_sid not in (await http.get("/accounts")).text:  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(_POLL_SECONDS)

    @asynccontextmanager
    async def _operator(self, place: int) -> AsyncIterator[httpx.AsyncClient]:
        socket = host_dir(self.data_dir, place, self.hosts) / "maskline.sock"
        transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=NO_TLS)
        async with httpx.AsyncClient(transport=transport, base_url="http://maskline", timeout=30) as http:
            yield http

    def _pid(self, place: int) -> int:
        """Return the process that opened a host's database last; 0 in the moment of a change."""
        return int((host_dir(self.data_dir, place, self.hosts) / LOCK).read_text("ascii") or 0)


class Shop(msgspec.Struct, frozen=True):
    """An account with a service on a cluster."""

    account_sid: str
    token: str
    service_sid: str


async def furnished(cluster: Soaked, numbers: tuple[str, ...]) -> Shop:
    """Make an account with a service whose pool has these numbers."""
    made = await cluster.operator("POST", "/accounts", {"friendly_name": "soak"})
    sid, token = made["account"]["sid"], made["auth_token"]
    await cluster.knows_everywhere(sid)
    async with httpx.AsyncClient(base_url=cluster.address, auth=(sid, token), verify=NO_TLS) as http:
        service = (await http.post("/v1/Services", data={"UniqueName": "soak"})).raise_for_status().json()["sid"]
    rows = {"rows": [{"number": number} for number in numbers], "service": service}
    results = (await cluster.operator("POST", f"/accounts/{sid}/numbers", rows))["results"]
    assert all(one.get("number_sid") for one in results), json.dumps(results[:3])
    return Shop(sid, token, service)


def resident(pid: int) -> int:
    """Return the resident bytes of a process; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _session_of(leader: int) -> Iterator[int]:
    """Find the processes that were started with a Ray."""
    for entry in Path("/proc").iterdir():
        if leader and entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if int(fields[3]) == leader:
                    yield int(entry.name)
