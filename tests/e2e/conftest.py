"""Live servers and fresh accounts on them."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.cluster.live_cluster import LiveCluster
from tests.e2e.application import Application, serving
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant

UNLIMITED = (
    "--rate-limit-per-second",
    "0",
    "--outgoing-allow",
    "127.0.0.0/8",
    "--webhook-tries",
    "3",
    "--feed-listen",
    "127.0.0.1:0",
)


ONE_COPY = ("--database-replicas", "0", "--owner-lease-seconds", "2")
"""A database that loses nothing with a process, and owners that are known to be gone soon."""


@pytest.fixture
def anyio_backend() -> str:
    """Run the clients of async tests on the standard loop: on uvloop a connection that is reset at once trips anyio."""
    return "asyncio"


RUNTIMES = ("embedded", "ray")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what starts more than one process take longer."""
    for item in items:
        if "[postgres" in item.name or re.search(r"[\[-]ray[\]-]", item.name):
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Return one process that serves."""
    server = LiveServer(tmp_path_factory.mktemp("e2e") / "data", *UNLIMITED)
    yield server
    code = server.stop()
    assert (code, "Traceback" in server.log, "Warning:" in server.log) == (0, False, False), server.log[-4000:]


@pytest.fixture(params=RUNTIMES)
def shared_server(request: pytest.FixtureRequest) -> LiveServer:
    """Return the server of all tests that need only an account of their own: a process, then two hosts on Ray."""
    runtimes = {"embedded": "embedded_server", "ray": "shared_cluster"}
    server: LiveServer = request.getfixturevalue(runtimes[request.param])
    return server


@pytest.fixture
def start_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Start servers of the test's own, all on one data directory; whatever still runs at the end is killed.

    Each is a process, or with `on_both_runtimes` also hosts on Ray; "postgres" is one on a database.
    """
    servers: list[LiveServer] = []

    def start(*arguments: str, public_url: str = "") -> LiveServer:
        given = arguments or UNLIMITED
        how = getattr(request, "param", "embedded")
        if how == "postgres":
            given = (*given, *ONE_COPY, "--database-url", request.getfixturevalue("database"))
        if how != "ray":
            servers.append(LiveServer(tmp_path / "data", *given, public_url=public_url))
        else:
            hosts: int = request.config.getoption("--ray-hosts")
            servers.append(cluster := LiveCluster(tmp_path / "data", *given, hosts=hosts, public_url=public_url))
            cluster.serve()
        return servers[-1]

    yield start
    for server in servers:
        server.end()
    assert not any("Traceback" in server.log for server in servers)


@pytest.fixture
def tenant(shared_server: LiveServer) -> Iterator[Tenant]:
    """Return a fresh account."""
    tenant = new_tenant(shared_server)
    yield tenant
    tenant.close()


@pytest.fixture
def neighbour(shared_server: LiveServer) -> Iterator[Tenant]:
    """Return another account on the same server."""
    tenant = new_tenant(shared_server)
    yield tenant
    tenant.close()


@pytest.fixture
def keep() -> Iterator[Callable[[Tenant], Tenant]]:
    """Close the connections of tenants that a test has made itself, when it is over."""
    with ExitStack() as stack:
        yield lambda tenant: stack.enter_context(closing(tenant))


@pytest.fixture
def application() -> Iterator[Application]:
    """Return an application whose webhooks all answer 200."""
    with serving() as application:
        yield application
