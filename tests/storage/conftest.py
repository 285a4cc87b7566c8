"""A store of each kind, for every storage test that wants one; those of files alone are marked `files`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from tests import postgres
from tests.storage.cutting_proxy import CuttingProxy, cutting_proxy
from tests.storage.material import Observed
from tests.storage.stores import KINDS, AnyStore, InFiles, InPostgres, Records
from tests.storage.words import make_words


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark."""
    config.addinivalue_line("markers", "files: what a store on files alone does")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have every test that opens records do so in each store."""
    if "store_kind" in metafunc.fixturenames:
        is_of_files = metafunc.definition.get_closest_marker("files") is not None
        metafunc.parametrize("store_kind", KINDS[:1] if is_of_files else KINDS)


@pytest.fixture(scope="module")
def words_server() -> Iterator[postgres.Server]:
    """Run a server of this module's own, which its tests may disturb."""
    try:
        with postgres.running() as server:
            make_words(server)
            yield server
    except postgres.NoPostgres as reason:
        pytest.skip(f"no PostgreSQL here: {reason}")


@pytest.fixture
async def through(words_server: postgres.Server, tmp_path: Path) -> AsyncIterator[CuttingProxy]:
    """Stand between whoever connects by way of this directory and the database."""
    address = Path(str(psycopg.conninfo.conninfo_to_dict(words_server.conninfo("words"))["host"])) / ".s.PGSQL.5432"
    async with cutting_proxy(address, tmp_path / ".s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
def observer() -> Observed:
    """Remember what the store tells."""
    return Observed()


@pytest.fixture
def records(store_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Records:
    """Make a place for records."""
    return InFiles(tmp_path / "data") if store_kind == "sqlite" else InPostgres(request.getfixturevalue("database"))


@pytest.fixture
async def store(records: Records, observer: Observed) -> AsyncIterator[AnyStore]:
    """Open a store and close it afterwards."""
    store = records.open(observer)
    yield store
    await store.close()
