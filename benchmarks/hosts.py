"""Clusters as operators start them (`maskline serve --runtime ray`), filled over REST, ended with all of theirs."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from benchmarks.peers import cpu_of
from engine.cluster.head import is_running, read_link, stop_head
from engine.core.model.placement import owner_of
from storage.sqlite.layout import host_dir

START_SECONDS = 180.0
ITEMS = 2_000
"""Sessions of a batch."""

_READY = re.compile(r"Maskline is ready at (http://\S+) \(\d+ hosts?, ")
_KNOWN_SECONDS = 30.0
_POLL_SECONDS = 0.1


class Cluster(msgspec.Struct, frozen=True):
    """Hosts that serve, with an account and its pairs."""

    feeds: tuple[tuple[str, int], ...]
    """Where each host's feed listens, by place."""
    pids: tuple[int, ...]
    """The hosts' processes."""
    account_sid: str
    token: str

    def cpu_seconds(self) -> float:
        """Return the processor time of all hosts; Ray's own processes are not counted."""
        return sum(cpu_of(pid) for pid in self.pids)

    def owner(self, proxy: str) -> int:
        """Return the place of the host that owns a number."""
        return owner_of(proxy, len(self.pids))


@contextmanager
def cluster(data_dir: Path, *, hosts: int, pairs: Sequence[tuple[str, str]]) -> Iterator[Cluster]:
    """Run a cluster with partners side by side in `pairs` of (person, proxy number) in session."""
    data_dir.mkdir(parents=True)
    command = (
        *(str(Path(sys.executable).with_name("maskline")), "serve", "--data-dir", str(data_dir)),
        *("--runtime", "ray", "--hosts", str(hosts), "--rate-limit-per-second", "0"),
        *("--listen", "127.0.0.1:0", "--feed-listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"),
    )
    with (data_dir / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 - our command
    try:
        address = _ready(process)
        yield _filled(data_dir, address, hosts=hosts, pairs=pairs)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        link = read_link(data_dir)
        if link is not None and is_running(link):
            stop_head(data_dir, link)


def _ready(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()  # `serve` ends, and with it this, when its cluster does not come up
    found = _READY.match(line)
    assert found is not None, f"no ready line but {line!r}"
    return found[1]


def _filled(data_dir: Path, address: str, *, hosts: int, pairs: Sequence[tuple[str, str]]) -> Cluster:
    made = _admin(host_dir(data_dir, 0, hosts), "POST", "/accounts", {"friendly_name": "benchmark"})
    sid, token = made["account"]["sid"], made["auth_token"]
    until = time.monotonic() + _KNOWN_SECONDS
    for place in range(hosts):
        while sid not in {
            one["sid"] for one in _admin(host_dir(data_dir, place, hosts), "GET", "/accounts")["accounts"]
        }:
            assert time.monotonic() < until, "a host does not hear of a new account"
            time.sleep(_POLL_SECONDS)
    with httpx.Client(base_url=f"{address}/v1", auth=(sid, token), timeout=120.0) as http:
        service = http.post("/Services", data={"UniqueName": "benchmark"}).raise_for_status().json()["sid"]
        for proxy in sorted({proxy for _, proxy in pairs}):
            http.post(f"/Services/{service}/PhoneNumbers", data={"PhoneNumber": proxy}).raise_for_status()
        for at in range(0, len(pairs), 2 * ITEMS):
            body = _batch(pairs[at : at + 2 * ITEMS])
            headers = {"content-type": "application/x-ndjson"}
            answer = http.post(f"/Services/{service}/Sessions/Batch", content=body, headers=headers)
            assert answer.text.count('"status":201') == body.count(b"\n") + 1, answer.text[:500]
    feeds = _feeds(data_dir)
    locks = (host_dir(data_dir, place, hosts) / "maskline.lock" for place in range(hosts))
    pids = tuple(int(lock.read_text("ascii")) for lock in locks)
    return Cluster(feeds, pids, sid, token)


def _batch(pairs: Sequence[tuple[str, str]]) -> bytes:
    endpoints = [{"Identifier": who, "ProxyIdentifier": proxy} for who, proxy in pairs]
    items = [{"Participants": endpoints[at : at + 2]} for at in range(0, len(endpoints), 2)]
    return "\n".join(map(json.dumps, items)).encode()


def _feeds(data_dir: Path) -> tuple[tuple[str, int], ...]:
    command = [str(Path(sys.executable).with_name("maskline")), "cluster", "status", "--json", "--data-dir"]
    told = subprocess.run([*command, str(data_dir)], capture_output=True, check=True)  # noqa: S603 - our command
    feeds = [one["feed"].rpartition(":") for one in json.loads(told.stdout)["hosts"]]
    return tuple((host, int(port)) for host, _, port in feeds)


def _admin(directory: Path, method: str, path: str, body: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
    transport = httpx.HTTPTransport(uds=str(directory / "maskline.sock"))
    with httpx.Client(transport=transport, base_url="http://maskline", timeout=30.0) as http:
        return http.request(method, path, json=body).raise_for_status().json()
