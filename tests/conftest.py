"""What every test rests on: the engine's event loop, Hypothesis without wall-clock limits, one Ray, one PostgreSQL."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from hypothesis import settings
from xdist.remote import Producer  # type: ignore[import-untyped] # likewise the next
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from storage.postgres.schema import migrate
from tests import postgres
from tests.cluster.live_cluster import LiveCluster, eventually, session_of
from tests.outbound.receiver import Receiver, receiving

settings.register_profile("house", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=2_000)  # by hand: --hypothesis-profile=deep
settings.load_profile("house")


TOGETHER = re.compile(r"(?<=[\[-])ray(?=[\]-])|test_smpp_jasmin\.py")
"""What names the tests of which one worker runs all, by what it finds: those that share a cluster on Ray, say."""


class TestByTest(LoadScopeScheduling):  # type: ignore[misc] # it ships no types
    """Gives each worker the next test, and all that belong together to one worker, first.

    xdist's own mark for it says nothing in pytest 9.2, where xdist 3.8 cannot write it into the names of tests.
    """

    __test__ = False

    def _split_scope(self, nodeid: str) -> str:
        found = TOGETHER.search(nodeid)
        return nodeid if found is None else found[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TestByTest | None:
    """Take the place of xdist's own scheduler of groups."""
    return TestByTest(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run async tests on uvloop."""
    return "asyncio", {"use_uvloop": True}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of tests/e2e that run over Ray do so on another number of hosts."""
    parser.addoption("--ray-hosts", type=int, default=2, help="hosts of the clusters that tests/e2e runs on")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run an application to which webhooks go."""
    with receiving() as running:
        yield running


@pytest.fixture(scope="session")
def shared_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Return hosts on a local Ray that serve, two by default; afterwards they stop in order and leave no process.

    Tests that ask for it have "ray" among their parameters, so that one worker runs them all.
    """
    cluster = LiveCluster(tmp_path_factory.mktemp("ray") / "data", hosts=request.config.getoption("--ray-hosts"))
    try:
        cluster.serve()
        head = cluster.head
        yield cluster
        code = cluster.stop()
        assert (code, "Traceback" in cluster.log) == (0, False), cluster.log[-4000:]
        eventually(lambda: session_of(head) == [], "all processes of Ray ended")
    finally:
        cluster.end()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """Run a PostgreSQL whose databases begin with the store's tables; skip where there is none, but in CI."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres.running())
        except postgres.NoPostgres as reason:
            if os.environ.get(postgres.REQUIRED):
                raise
            pytest.skip(f"no PostgreSQL here: {reason}")
        with psycopg.connect(server.make_template()) as connection:
            migrate(connection)
        yield server


@pytest.fixture
def database(postgres_server: postgres.Server) -> Iterator[str]:
    """Make a PostgreSQL database with the store's tables; say how to connect."""
    with postgres_server.database() as conninfo:
        yield conninfo
