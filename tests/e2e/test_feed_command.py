"""`maskline feed` against a live server: what it sends, what it shows, how it ends."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.capacity.workload import EXPIRED_TTL_SECONDS
from tests.e2e.live import MASKLINE, LiveServer, clean_environment
from tests.e2e.tenant import Pairing, Tenant, new_tenant, person

StartServer = Callable[..., LiveServer]

BOUND_SECONDS = 60.0
"""Bound on a run; it is not an expectation."""


def feed(server: LiveServer, file: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    where = ("--to", server.feed, "--data-dir", str(server.data_dir))
    return subprocess.run(  # noqa: S603 - our own command
        [str(MASKLINE), "feed", "--file", str(file), *where, *arguments],
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
        env=clean_environment() | environment,
    )


def maskline(*arguments: str) -> None:
    """Run any other command; it has to succeed."""
    command = [str(MASKLINE), *arguments]
    run = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, timeout=BOUND_SECONDS, check=False, env=clean_environment()
    )
    assert run.returncode == 0, run.stdout + run.stderr


def told(run: subprocess.CompletedProcess[str]) -> Any:  # noqa: ANN401 - JSON
    """Return what it says in JSON."""
    assert run.stdout, run.stderr
    return json.loads(run.stdout)


def calls(pairing: Pairing, count: int) -> list[dict[str, Any]]:
    first = pairing.first
    return [
        {"event": "call", "sender": first.identifier, "proxy": first.proxy, "sid": f"CA-{number}"}
        for number in range(count)
    ]


def written(file: Path, *records: object) -> Path:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return file


@pytest.fixture
def credentials(tenant: Tenant) -> dict[str, str]:
    """Return the environment of somebody who has the account's token."""
    return {"FEED_KEY": tenant.sid, "FEED_SECRET": tenant.token}


def test_a_file_is_sent_and_every_answer_counted(tenant: Tenant, tmp_path: Path, credentials: dict[str, str]) -> None:
    """Calls, a message, statuses and questions; all routes are recorded."""
    pairing = tenant.service(numbers=2).pairing()
    first, second = pairing.first, pairing.second
    file = written(
        tmp_path / "traffic.ndjson",
        *calls(pairing, 1_000),
        {"event": "message", "sender": second.identifier, "proxy": second.proxy, "sid": "SM-1", "body": "hi"},
        {"event": "call", "sender": person(), "proxy": first.proxy, "sid": "CA-stranger"},
        {"event": "resolve", "subject": "call", "sender": first.identifier, "proxy": first.proxy},
        {
            "event": "status",
            "subject": "call",
            "leg": "inbound",
            "sid": "CA-nobody",
            "status": "completed",
            "proxy": first.proxy,
        },
    )

    run = feed(tenant.server, file, "--json", **credentials)

    report = told(run)
    assert (run.returncode, report["events"], report["answered"], report["bad_rows"]) == (0, 1_004, 1_004, 0)
    assert report["endings"] == {"routed in-session": 1_002, "refused no-session": 1, "status not-found": 1}
    assert sum(bucket["events"] for bucket in report["latency"]["buckets"]) == 1_004
    assert report["latency"]["p50"] <= report["latency"]["p99"]
    assert len(tenant.everything(f"{pairing.path}/Interactions", "interactions")) == 1_001


def test_a_file_of_messagepack_is_the_same(tenant: Tenant, tmp_path: Path, credentials: dict[str, str]) -> None:
    """And can be sent again: nothing is recorded twice."""
    pairing = tenant.service(numbers=2).pairing()
    file = tmp_path / "traffic.msgpack"
    file.write_bytes(b"".join(map(msgspec.msgpack.encode, calls(pairing, 300))))

    runs = [feed(tenant.server, file, "--json", **credentials) for _ in range(2)]

    assert [told(run)["endings"] for run in runs] == [{"routed in-session": 300}] * 2
    assert len(tenant.everything(f"{pairing.path}/Interactions", "interactions")) == 300


def test_bad_rows_are_named_and_nothing_is_sent_for_them(
    tenant: Tenant, tmp_path: Path, credentials: dict[str, str]
) -> None:
    """Line and field, no whole number; the good rows are sent, the exit code is 1."""
    pairing = tenant.service(numbers=2).pairing()
    good = calls(pairing, 2)
    bad = {"event": "call", "sender": "+12125550111 2", "proxy": 14155550100, "sid": "CA-3"}
    file = written(tmp_path / "traffic.ndjson", good[0], {"event": "+12125550111"}, bad, good[1])

    run = feed(tenant.server, file, **credentials)

    assert run.returncode == 1
    assert "line 2: event: " in run.stdout
    assert "line 3: proxy: Expected `str`, got `int`" in run.stdout
    assert "+12125550111" not in run.stdout
    assert "2 sent, 2 answered, 2 bad rows" in run.stdout
    assert "routed in-session" in run.stdout
    assert "latency in ms: p50" in run.stdout


def test_a_rate_is_kept(tenant: Tenant, tmp_path: Path, credentials: dict[str, str]) -> None:
    """Never exceeded, whatever the server could take."""
    pairing = tenant.service(numbers=2).pairing()
    file = written(tmp_path / "traffic.ndjson", *calls(pairing, 101))

    report = told(feed(tenant.server, file, "--json", "--rate", "200", **credentials))

    assert report["events"] == 101
    assert report["seconds"] >= 0.49


def test_without_a_key_the_operator_makes_one_for_the_run(start_server: StartServer, tmp_path: Path) -> None:
    """Of the only account, or of the one named; it is revoked afterwards."""
    tenant = new_tenant(start_server())
    pairing = tenant.service(numbers=2).pairing()
    file = written(tmp_path / "traffic.ndjson", *calls(pairing, 3))

    alone = feed(tenant.server, file, "--json")
    other = new_tenant(tenant.server)
    unclear = feed(tenant.server, file)
    named = feed(tenant.server, file, "--json", "--account", tenant.sid)
    keys = tenant.server.admin("GET", f"/accounts/{tenant.sid}/keys")["keys"]
    for one in (tenant, other):
        one.close()

    assert [told(run)["endings"] for run in (alone, named)] == [{"routed in-session": 3}] * 2
    assert (unclear.returncode, "there are 2 accounts" in unclear.stderr) == (2, True)
    assert [key["date_revoked"] is not None for key in keys] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (("--to", "127.0.0.1"), {}, "--to: expected host:port; got '127.0.0.1'"),
        (("--key", "SK1"), {}, "a key goes with its secret"),
        ((), {"FEED_KEY": "SK1", "FEED_SECRET": "wrong"}, "bad-credentials"),
        (("--data-dir", "/nowhere"), {}, "no server of /nowhere runs here"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    *, tenant: Tenant, tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], complaint: str
) -> None:
    """Exit code 2, nothing sent."""
    run = feed(tenant.server, written(tmp_path / "traffic.ndjson"), *arguments, **environment)

    assert (run.returncode, run.stdout) == (2, "")
    assert complaint in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_workload_ends_as_it_says(start_server: StartServer, tmp_path: Path) -> None:
    """Numbers, sessions and events are made, brought in and sent; every ending is as often as was foretold."""
    files = tmp_path / "workload"
    shares = ("--misses", "0.1", "--expired", "0.05", "--wrong-mode", "0.05", "--opt-out", "0.05")
    size = ("--sessions", "200", "--numbers", "10", "--events", "3000", "--rate", "3000", "--arrivals", "poisson")
    maskline("bench", "workload", "--out", str(files), *size, *shares)
    server = start_server("--feed-listen", "127.0.0.1:0")
    tenant = new_tenant(server)
    service = tenant.create("/Services", UniqueName="workload")["sid"]
    where = ("--service", service, "--data-dir", str(server.data_dir))
    maskline("numbers", "import", str(files / "numbers.csv"), *where)
    maskline("sessions", "batch", "--file", str(files / "sessions.ndjson"), *where)
    tenant.close()
    time.sleep(EXPIRED_TTL_SECONDS + 1)  # what is to have expired, has

    sent = told(feed(server, files / "events.ndjson", "--as-recorded", "--json"))

    assert sent["endings"] == json.loads((files / "expected.json").read_bytes())
    assert len(sent["endings"]) == 6
    assert sent["seconds"] > 0.5
