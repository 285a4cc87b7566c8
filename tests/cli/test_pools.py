"""`maskline pool report`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant, person

Run = Callable[..., Result]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Serve a new data directory."""
    server = LiveServer(tmp_path / "data", "--rate-limit-per-second", "0")
    yield server
    server.kill()


@pytest.fixture
def tenant(server: LiveServer) -> Iterator[Tenant]:
    """Make an account."""
    tenant = new_tenant(server)
    yield tenant
    tenant.close()


def test_the_fullest_pool_comes_first_with_who_fills_it(run: Run, server: LiveServer, tenant: Tenant) -> None:
    """Masked; a pool that nobody uses has nobody; a full one is full now."""
    busy, name = person(), "rides of +14155550123"
    rides, empty = tenant.service(numbers=2, UniqueName=name), tenant.service(numbers=3, UniqueName="empty")
    for _ in range(2):
        rides.session(busy, person())

    told = json.loads(run("pool", "report", "--data-dir", server.data_dir, "--json").output)
    shown = run("pool", "report", "--data-dir", server.data_dir, "--limit", "1").output

    full, unused = told["pools"]
    assert [full["service_sid"], unused["service_sid"]] == [rides.sid, empty.sid]
    assert (full["saturation"], full["full_in_seconds"], full["free"], full["in_use"]) == (1.0, 0.0, 0, 2)
    assert (full["busiest"], full["busiest_holds"], full["active_sessions"]) == (f"{busy[:-4]}XXXX", 2, 2)
    assert (unused["busiest"], unused["busiest_holds"], unused["full_in_seconds"], unused["free"]) == (None, 0, None, 3)
    assert told["count"] == 2
    assert rides.sid in shown
    assert "100%" in shown
    assert "1 not shown" in shown
    assert "4155550123" not in shown + json.dumps(told)


def test_numbers_that_were_never_used_are_counted_and_named(run: Run, server: LiveServer, tenant: Tenant) -> None:
    """One whose session is closed was used."""
    service = tenant.service(numbers=3, UniqueName="rides")
    pairing = service.pairing()
    tenant.update(pairing.path, Status="closed")
    unused = {*service.pool} - {pairing.first.proxy, pairing.second.proxy}

    counted = json.loads(run("pool", "report", "--data-dir", server.data_dir, "--json").output)["pools"][0]
    named = json.loads(run("pool", "report", "--unused", "--data-dir", server.data_dir, "--json").output)["pools"][0]
    shown = run("pool", "report", "--unused", "--data-dir", server.data_dir).output

    assert (counted["never_used"], counted["unused_numbers"]) == (len(unused), [])
    assert {one["number"] for one in named["unused_numbers"]} == unused
    assert all(number in shown for number in unused)
    assert pairing.first.proxy not in shown


def test_pools_of_one_account_and_of_one_that_is_not_there(run: Run, server: LiveServer, tenant: Tenant) -> None:
    """The second is an error that names it."""
    mine, other = tenant.service(numbers=1), new_tenant(server)
    other.service(numbers=1)
    other.close()

    told = json.loads(run("pool", "report", "--account", tenant.sid, "--data-dir", server.data_dir, "--json").output)
    missing = run("pool", "report", "--account", f"AC{'0' * 32}", "--data-dir", server.data_dir)

    assert [one["service_sid"] for one in told["pools"]] == [mine.sid]
    assert (missing.exit_code, "AC000" in missing.output) == (1, True)


def test_without_a_server_there_is_nothing_to_report(run: Run, server: LiveServer) -> None:
    """And the command says so."""
    server.kill()

    result = run("pool", "report", "--data-dir", server.data_dir)

    assert (result.exit_code, "No server runs on this data directory" in result.output) == (1, True)
