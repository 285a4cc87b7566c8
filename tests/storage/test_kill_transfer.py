"""Kill -9 in the middle of an import or an export: the source is as it was, and nobody takes the target for whole."""

import asyncio
import signal
import sys
from pathlib import Path

import psycopg
import pytest

from storage.postgres.stopped import ImportUnfinished
from storage.postgres.tables import COLUMNS, count
from storage.sqlite import claim
from storage.sqlite.errors import FillUnfinished
from storage.transfer import import_file
from tests.storage.cluster import read_cluster, small_world, write_cluster
from tests.storage.stores import InPostgres
from tests.storage.transfers import exported, imported

pytestmark = pytest.mark.anyio

SECONDS = 50.0


async def killed(which: str, data_dir: Path, database: str, fatal: int) -> None:
    """Have a process move data, and see that it dies of it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.storage.killed_transfer", which, str(data_dir), database, str(fatal)
    )
    async with asyncio.timeout(SECONDS):
        await process.communicate()
    assert process.returncode == -signal.SIGKILL


def content_of(data_dir: Path) -> dict[str, bytes]:
    """Read a directory, but for the lock, which names its last owner."""
    return {path.name: path.read_bytes() for path in data_dir.iterdir() if path.name != "maskline.lock"}


def steps_of(data_dir: Path, database: str) -> list[str]:
    """Count what an import tells of, on a database that is emptied again."""
    told: list[str] = []
    with InPostgres(database).anew():
        import_file(data_dir, database, lambda what, *_: told.append(what), lease_seconds=0)
    with InPostgres(database).anew():
        return told


@pytest.mark.timeout(300)
async def test_an_import_that_is_killed_leaves_nothing_that_is_served(tmp_path: Path, database: str) -> None:
    """At its first row, while it copies, while it compares, and before it commits; then it is run again."""
    world = small_world()
    await write_cluster(tmp_path, world, 1)
    before = content_of(tmp_path)
    told = steps_of(tmp_path, database)
    comparing = next(place for place, what in enumerate(told, start=1) if what.startswith("compare"))

    for fatal in (1, comparing - 1, comparing, len(told)):
        await killed("import", tmp_path, database, fatal)

        with pytest.raises(ImportUnfinished, match="was interrupted; nothing of it is there"):
            InPostgres(database).open()
        with psycopg.connect(database) as connection:
            assert [count(connection, name) for name in COLUMNS] == [0] * len(COLUMNS)
        assert content_of(tmp_path) == before

    again = imported(tmp_path, database)
    await InPostgres(database).open().close()
    assert again.tables == exported(database, tmp_path / "back").tables
    assert (await read_cluster(tmp_path / "back", 1))[0].world == (await read_cluster(tmp_path, 1))[0].world


@pytest.mark.timeout(300)
async def test_an_export_that_is_killed_leaves_nothing_that_is_served(tmp_path: Path, database: str) -> None:
    """The same, on a directory; the database may be served meanwhile."""
    await write_cluster(tmp_path / "data", small_world(), 1)
    told: list[str] = []
    copied = import_file(tmp_path / "data", database, lambda what, *_: told.append(what), lease_seconds=0)

    for fatal in (1, len(told) // 2, len(told)):
        await killed("export", tmp_path / "back", database, fatal)

        with pytest.raises(FillUnfinished, match="run maskline restore, or maskline database export, again"):
            claim(tmp_path / "back", 1)
        await InPostgres(database).open().close()

    assert exported(database, tmp_path / "back").tables == copied.tables
    assert {*content_of(tmp_path / "back")} == {"maskline.db", "maskline.layout"}
