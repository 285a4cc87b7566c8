"""`maskline sessions batch`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from click.testing import Result

from engine.cli.batches import LINES_AT_ONCE
from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]


class Shop(NamedTuple):
    """A service on a running server."""

    data_dir: Path
    service: str
    client: httpx.Client

    def sessions(self) -> list[dict[str, object]]:
        """Read its sessions, oldest first; a page is enough."""
        found: list[dict[str, object]] = self.client.get("/Sessions?PageSize=100").json()["sessions"]
        return found[::-1]


@pytest.fixture
def shop(run: Run, start_server: StartServer, tmp_path: Path) -> Iterator[Shop]:
    """A service with two numbers."""
    made = json.loads(run("account", "create", "--data-dir", tmp_path / "data", "--json").output)
    credentials = (made["account"]["sid"], made["auth_token"])
    server = start_server("--data-dir", str(tmp_path / "data"))
    with httpx.Client(base_url=server.address, auth=credentials) as client:
        service = client.post("/v1/Services", data={"UniqueName": "rides"}).json()["sid"]
        for number in ("+12125550171", "+12125550172"):
            client.post(f"/v1/Services/{service}/PhoneNumbers", data={"PhoneNumber": number})
    with httpx.Client(base_url=f"{server.address}/v1/Services/{service}", auth=credentials) as below:
        yield Shop(tmp_path / "data", service, below)


def send(run: Run, shop: Shop, tmp_path: Path, *lines: object) -> Result:
    file = tmp_path / "rides.ndjson"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts), encoding="utf-8")
    return run("sessions", "batch", "--file", file, "--service", shop.service, "--data-dir", shop.data_dir)


def ride(number: int, **fields: object) -> dict[str, object]:
    people = [{"Identifier": f"+1415{2_000_000 + 2 * number + side}"} for side in range(2)]
    return {"UniqueName": f"ride-{number}", "IdempotencyKey": f"{number}", "Participants": people, **fields}


def test_the_sessions_of_a_file_are_made_changed_and_closed(run: Run, shop: Shop, tmp_path: Path) -> None:
    """In the order of its lines."""
    close = {"Operation": "close", "UniqueName": "ride-0"}

    sent = send(
        run, shop, tmp_path, ride(0), "", ride(1), {"Operation": "update", "UniqueName": "ride-1", "Ttl": 5}, close
    )

    assert (sent.exit_code, sent.output) == (0, "4 done, 0 of them before, 0 refused\n")
    assert [(one["unique_name"], one["status"], one["ttl"]) for one in shop.sessions()] == [
        ("ride-0", "closed", 0),
        ("ride-1", "open", 5),
    ]


def test_a_file_with_nothing_in_it_is_refused(run: Run, shop: Shop, tmp_path: Path) -> None:
    """It is not what was meant."""
    sent = send(run, shop, tmp_path, "", " ", "")

    assert sent.exit_code == 2
    assert "nothing in it" in sent.output


def test_refused_lines_are_named_and_the_others_carried_out(run: Run, shop: Shop, tmp_path: Path) -> None:
    """What is no JSON, what is no item and what the engine refuses, in their order, numbers masked."""
    sent = send(
        run,
        shop,
        tmp_path,
        "{",
        ride(0),
        "",
        {"Ttl": "+14155550100"},
        "[1]",
        {"Participants": [{"Identifier": "+1415555010"}]},
        {"UniqueName": "x" * 40_000},
        ride(1),
    )

    *refused, total = sent.output.splitlines()
    assert (sent.exit_code, total) == (1, "2 done, 0 of them before, 5 refused")
    assert [line.partition(":")[0] for line in refused] == ["line 1", "line 4", "line 5", "line 6", "line 7"]
    assert "(code 80404)" in refused[3]
    assert "5555010" not in sent.output
    assert len(shop.sessions()) == 2


def test_a_file_may_be_sent_again_as_a_whole(run: Run, shop: Shop, tmp_path: Path) -> None:
    """Where every line has its key; a long one goes in parts."""
    rides = [ride(number) for number in range(LINES_AT_ONCE * 2 + 1)]
    first = send(run, shop, tmp_path, *rides)

    second = send(run, shop, tmp_path, *rides)

    count = len(rides)
    assert first.output == f"{count} done, 0 of them before, 0 refused\n"
    assert second.output == f"{count} done, {count} of them before, 0 refused\n"


def test_a_report_for_machines(run: Run, shop: Shop, tmp_path: Path) -> None:
    """In JSON, with the same exit code."""
    file = tmp_path / "rides.ndjson"
    file.write_text('{}\n{"Ttl": -1}\n')

    sent = run("sessions", "batch", "--file", file, "--service", shop.service, "--data-dir", shop.data_dir, "--json")

    report = json.loads(sent.output)
    assert sent.exit_code == 1
    assert (report["service"], report["done"], report["repeated"]) == (shop.service, 1, 0)
    assert [one["line"] for one in report["refused"]] == [2]


def test_a_service_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    """Without a server as well; in one line."""
    file = tmp_path / "rides.ndjson"
    file.write_text("{}\n")

    run("account", "create", "--data-dir", tmp_path / "data")
    sent = run("sessions", "batch", "--file", file, "--service", "KS" + "0" * 32, "--data-dir", tmp_path / "data")

    assert sent.exit_code == 1
    assert sent.output.startswith("maskline: ")
