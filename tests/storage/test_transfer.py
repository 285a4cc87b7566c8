"""What a file holds goes into a database and back: the same rows, the same answers; what cannot go is told."""

import asyncio
import inspect
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.model.changes import (
    AccountSaved,
    AlertRaised,
    ApiKeySaved,
    BatchKeyUsed,
    Change,
    EntryAdded,
    ErasurePlanned,
    InteractionRecorded,
    NoteKept,
    NumberSaved,
    ParticipantAdded,
    RegistryAdvanced,
    ServiceSaved,
    SessionCreated,
)
from engine.core.model.sids import SidKind
from engine.core.ports.store import Store
from engine.core.sessions.batch import ItemKey
from storage.postgres.tables import COLUMNS
from storage.sqlite import claim
from storage.sqlite.rebalance.tables import UNMOVED, tables_of
from storage.sqlite.schema import migrate
from storage.transfer import export_file, import_file
from tests.storage.cluster import SERVICES, shares, small_world, write_cluster
from tests.storage.material import session
from tests.storage.stores import InFiles, InPostgres
from tests.storage.strategies import (
    ACCOUNTS,
    API_KEYS,
    ENTRIES,
    EVENTS,
    INTERACTIONS,
    NUMBERS,
    PARTICIPANTS,
    SESSIONS,
    TIMES,
    sids,
)
from tests.storage.strategies import SERVICES as ANY_SERVICES
from tests.storage.test_postgres_rows import without_nul
from tests.storage.transfers import NOT_READS, Noticed, every_read, exported, imported

pytestmark = pytest.mark.anyio

KEYS = st.builds(
    BatchKeyUsed,
    service_sid=sids(SidKind.SERVICE),
    key=st.builds(ItemKey, digest=st.binary(min_size=16, max_size=16), fingerprint=st.binary(max_size=16)),
    session_sid=sids(SidKind.SESSION),
    at=TIMES,
)
NOTES = st.builds(
    NoteKept,
    channel=st.text("abc ", max_size=9),
    key=st.binary(max_size=9),
    value=st.binary(max_size=9),
    until=TIMES,
    account_sid=st.none() | sids(SidKind.ACCOUNT),
)


def few(records: "st.SearchStrategy[Any]", key: Callable[[Any], object] = lambda one: one.sid) -> Any:  # noqa: ANN401
    return st.lists(records.map(without_nul), max_size=4, unique_by=key)


ANYTHING: "st.SearchStrategy[list[Change]]" = st.builds(
    lambda *lists: [change for changes in lists for change in changes],
    few(ACCOUNTS).map(lambda found: [AccountSaved(one) for one in found]),
    few(API_KEYS).map(lambda found: [ApiKeySaved(one) for one in found]),
    few(ANY_SERVICES).map(lambda found: [ServiceSaved(one) for one in found]),
    few(NUMBERS, lambda one: one.address).map(lambda found: [NumberSaved(one) for one in found]),
    few(SESSIONS).map(lambda found: [SessionCreated(one, ()) for one in found]),
    few(PARTICIPANTS).map(lambda found: [ParticipantAdded(one) for one in found]),
    st.lists(st.tuples(INTERACTIONS, st.booleans()), max_size=4, unique_by=lambda one: one[0].sid).map(
        lambda found: [
            InteractionRecorded(
                msgspec.structs.replace(one, proxy=one.proxy.replace("\0", "0")), is_elsewhere=is_elsewhere
            )
            for one, is_elsewhere in found
        ]
    ),
    st.lists(ENTRIES.filter(lambda one: "\0" not in one.destination), max_size=4, unique_by=lambda one: one.sid).map(
        lambda found: [EntryAdded(one) for one in found]
    ),
    st.lists(EVENTS, max_size=4, unique_by=lambda one: one.sid).map(lambda found: [AlertRaised(one) for one in found]),
    st.lists(KEYS, max_size=4, unique_by=lambda one: one.key.digest),
    st.lists(NOTES, max_size=4),
    st.sets(sids(SidKind.SESSION), max_size=4).map(lambda found: [ErasurePlanned(one) for one in found]),
    st.integers(0, 2**40).map(lambda version: [RegistryAdvanced(version)]),
)
"""Records of every kind that belong to nothing of one another, each field with whatever it may hold."""


def _all_of(table: str) -> str:
    return f"SELECT * FROM {table}"  # noqa: S608 - a name of the schema


def cells_in(data_dir: Path) -> dict[str, list[str]]:
    """Read every cell of a file that holds records, with its type."""
    with closing(sqlite3.connect(data_dir / "maskline.db")) as connection:
        names = sorted(tables_of(connection) - {"probe", "_sqlite_migrations"})
        return {name: sorted(map(repr, connection.execute(_all_of(name)))) for name in names}


async def _round(directory: Path, database: str, changes: Sequence[Change]) -> set[str]:
    """Take what changes make from a file into a database and back; returns what the stores were asked."""
    stores = [InFiles(directory / "before"), InPostgres(database), InFiles(directory / "after")]
    claim(directory / "before", 1)
    store = stores[0].open()
    await store.write(changes)
    await store.close()
    claim(directory / "before", 1)

    into = imported(directory / "before", database)
    back = exported(database, directory / "after")

    assert into.tables == back.tables
    assert into.pending == back.pending
    assert cells_in(directory / "before") == cells_in(directory / "after")
    answers = list[object]()
    asked = set[str]()
    for records in stores:
        noticed = Noticed(records.open())
        answers.append(await every_read(noticed, changes))
        asked |= noticed.asked
        await noticed.close()
    assert answers[0] == answers[1]
    assert answers[0] == answers[2]
    return asked


@given(made=ANYTHING)
@settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck])
def test_anything_comes_through_to_the_last_cell(database: str, made: list[Change]) -> None:
    """Whatever the fields of records hold, each of them for itself."""
    with tempfile.TemporaryDirectory() as name, InPostgres(database).anew(), asyncio.Runner() as runner:
        runner.run(_round(Path(name), database, made))


async def test_a_world_is_the_same_by_every_read(tmp_path: Path, database: str) -> None:
    """Sessions with those who are in them, calls, deliveries, keys and notes, as stores are asked for them."""
    (changes,) = shares(small_world(), 1)
    changes.append(SessionCreated(session(service_sid=SERVICES[0], unique_name="ride-1"), ()))

    asked = await _round(tmp_path, database, changes)

    reads = {name for name, _ in inspect.getmembers(Store) if not name.startswith("_")} - NOT_READS
    assert reads - asked == set()


def test_every_table_goes(database: str) -> None:
    """A table that a migration adds has to be named, in both stores."""
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection, Path("of a test"))
        of_files = tables_of(connection)
    with psycopg.connect(database) as connected:
        rows = connected.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()

    assert of_files - UNMOVED - {"registry_version"} == {*COLUMNS}
    of_serving = {"migrations", "hosts", "nodes", "cluster", "registry_changes"}
    assert {name for (name,) in rows} - of_serving == {*COLUMNS}


async def test_the_source_is_not_written_to(tmp_path: Path, database: str) -> None:
    """Neither the file of an import, but for its lock, nor the database of an export, but for whose it is."""
    await write_cluster(tmp_path / "data", small_world(), 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}

    imported(tmp_path / "data", database)
    after = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    with psycopg.connect(database) as connection:
        counted = {name: connection.execute(_all_of(name)).fetchall() for name in COLUMNS}
        exported(database, tmp_path / "back")
        assert counted == {name: connection.execute(_all_of(name)).fetchall() for name in COLUMNS}

    before.pop("maskline.lock", None)
    after.pop("maskline.lock", None)
    assert after == before


async def test_what_a_killed_server_left_in_its_log_goes_too(tmp_path: Path, database: str) -> None:
    """It had acknowledged it."""
    claim(tmp_path / "running", 1)
    store = InFiles(tmp_path / "running").open()
    await store.write([SessionCreated(session(service_sid=SERVICES[0]), ())])
    (tmp_path / "killed").mkdir()
    for path in (tmp_path / "running").iterdir():
        (tmp_path / "killed" / path.name).write_bytes(path.read_bytes())

    copied = imported(tmp_path / "killed", database)

    assert {one.name: one.rows for one in copied.tables}["sessions"] == 1
    await store.close()


async def test_batches_are_bounded(tmp_path: Path, database: str) -> None:
    """A table is told of some thousand rows at a time, on both ways."""
    changes: list[Change] = [ErasurePlanned(f"KC{n:032x}") for n in range(9_000)]
    claim(tmp_path / "data", 1)
    store = InFiles(tmp_path / "data").open()
    await store.write(changes)
    await store.close()
    told: list[tuple[str, int, int]] = []

    import_file(tmp_path / "data", database, lambda *one: told.append(one), lease_seconds=0)
    export_file(database, tmp_path / "back", lambda *one: told.append(one), lease_seconds=0)

    steps = [("copy erasures", done, 9_000) for done in (4_096, 8_192, 9_000)]
    steps += [("compare erasures", done, 9_000) for done in (4_096, 8_192, 9_000)]
    assert told == [*steps, *steps]


async def test_an_imported_row_is_what_a_server_would_have_written(tmp_path: Path, database: str) -> None:
    """To the last cell, the shard that a host finds it by included."""
    world = small_world()
    await write_cluster(tmp_path / "data", world, 1)
    (changes,) = shares(world, 1)
    imported(tmp_path / "data", database)

    with psycopg.connect(database, autocommit=True) as connection:

        def rows() -> dict[str, list[str]]:
            return {name: sorted(map(repr, connection.execute(_all_of(name)))) for name in COLUMNS}

        by_import = rows()
        with InPostgres(database).anew() as records:
            store = records.open()
            await store.write(changes)
            await store.close()
        by_server = rows()

    assert by_import == by_server
