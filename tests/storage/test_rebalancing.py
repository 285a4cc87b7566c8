"""Data moves from any number of hosts to any other: nothing lost, nothing changed, each row with its owner."""

import asyncio
import sqlite3
import stat
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.model.changes import AccountSaved, InteractionRecorded, RegistryAdvanced, SessionCreated, SessionErased
from engine.core.model.placement import owner_of
from engine.core.model.records import SessionStatus
from engine.core.ports.lists import PageCursor
from storage.sqlite import (
    DatabaseTooNew,
    DataDirBusy,
    LayoutDamaged,
    MoveRefused,
    MoveUnfinished,
    SqliteStore,
    claim,
    host_dir,
)
from storage.sqlite.layout import Layout, replace_layout
from storage.sqlite.rebalance import drop, kept_files, rebalance, survey
from storage.sqlite.rebalance.tables import OWNED, SHARED, UNMOVED, tables_of
from storage.sqlite.schema import migrate
from tests.storage.cluster import (
    PROXIES,
    SERVICES,
    add_session,
    astray,
    empty_world,
    joined,
    read_cluster,
    small_world,
    write_cluster,
)
from tests.storage.material import (
    START,
    Observed,
    account,
    interaction,
    interactions_since,
    names_in,
    participant,
    quiet,
    session,
)
from tests.storage.test_upgrade import make_version_1

pytestmark = pytest.mark.anyio

HOSTS = st.integers(1, 4)
SESSIONS = st.lists(
    st.tuples(
        st.sampled_from(SERVICES),
        st.lists(st.sampled_from(PROXIES), max_size=3),
        st.integers(0, 9).map(lambda n: START + n / 8),
        st.booleans(),
    ),
    max_size=8,
)


def digests(data_dir: Path) -> dict[str, tuple[int, str]]:
    return {table.name: (table.rows, table.digest) for table in survey(data_dir, None, quiet).tables}


def opened(directory: Path) -> SqliteStore:
    return SqliteStore.open(directory, synchronous="NORMAL", observer=Observed())


def last_changes(data_dir: Path) -> dict[Path, int]:
    """Return when each file was last changed, but for the lock."""
    return {path: path.stat().st_mtime_ns for path in data_dir.rglob("*") if path.name != "maskline.lock"}


def copied(data_dir: Path, target: Path) -> Path:
    """Copy a directory as a kill would leave it."""
    target.mkdir()
    for path in data_dir.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def database_of(data_dir: Path, place: int, hosts: int) -> sqlite3.Connection:
    return sqlite3.connect(host_dir(data_dir, place, hosts) / "maskline.db", isolation_level=None)


@given(before=HOSTS, between=HOSTS, made=SESSIONS)
@settings(max_examples=30, deadline=None)
def test_any_content_comes_through_any_move(
    before: int, between: int, made: list[tuple[str, list[str], float, bool]]
) -> None:
    """From N hosts to M and to one: the same records, counts and digests, each row exactly with its owner."""
    world = empty_world()
    for service_sid, proxies, at, is_closed in made:
        add_session(world, service_sid, proxies, at=at, is_closed=is_closed)
    with tempfile.TemporaryDirectory() as name, asyncio.Runner() as runner:
        data_dir = Path(name)
        runner.run(write_cluster(data_dir, world, before))
        counted = digests(data_dir)

        rebalance(data_dir, between, quiet)
        spread, counted_between = runner.run(read_cluster(data_dir, between)), digests(data_dir)
        rebalance(data_dir, 1, quiet)
        whole, counted_after = runner.run(read_cluster(data_dir, 1)), digests(data_dir)

    assert counted == counted_between == counted_after
    assert joined(spread) == joined(whole) == world
    assert before == between or astray(spread) == []
    active = sorted((one for one, _ in world.sessions if one.is_active), key=lambda one: (one.date_created, one.sid))
    assert whole[0].world.activated == [one.sid for one in active]


async def test_an_interaction_names_its_owners_only_where_its_session_is_not(tmp_path: Path) -> None:
    """The columns are as the engine itself would have filled them, in every file."""
    await write_cluster(tmp_path, small_world(), 1)

    rebalance(tmp_path, 3, quiet)
    named = [named_owners(tmp_path, place, 3) for place in range(3)]
    rebalance(tmp_path, 1, quiet)

    assert named_owners(tmp_path, 0, 1) == set()
    for place in range(3):
        with closing(database_of(tmp_path / "before-rebalance-2", place, 3)) as connection:
            lonely = "SELECT sid FROM interactions WHERE session_sid NOT IN (SELECT sid FROM sessions)"
            assert named[place] == {sid for (sid,) in connection.execute(lonely)}
    assert any(named)


def named_owners(data_dir: Path, place: int, hosts: int) -> set[bytes]:
    with closing(database_of(data_dir, place, hosts)) as connection:
        rows = connection.execute("SELECT sid, service_sid, account_sid FROM interactions").fetchall()
    assert all((service is None) == (account is None) for _, service, account in rows)
    return {sid for sid, service, _ in rows if service is not None}


async def test_what_was_erased_stays_erased_and_what_was_seen_stays_seen(tmp_path: Path) -> None:
    """Interactions whose session is gone: one is out of sight, the other, whose session lay elsewhere, is not."""
    here, gone = session(service_sid=SERVICES[0]), session(service_sid=SERVICES[0])
    unseen, seen = interaction(gone, sender=participant(gone)), interaction(gone, sender=participant(gone))
    claim(tmp_path, 1)
    store = opened(tmp_path)
    await store.write([SessionCreated(here, ()), SessionCreated(gone, ()), SessionErased(gone.sid)])
    await store.write([InteractionRecorded(unseen), InteractionRecorded(seen, is_elsewhere=True)])
    await store.close()

    for hosts in (3, 2, 1):
        rebalance(tmp_path, hosts, quiet)

    again = opened(tmp_path)
    assert interactions_since(again, 0.0) == [seen]
    await again.close()


async def test_the_old_files_are_kept_as_a_data_directory_of_their_own(tmp_path: Path) -> None:
    """Until they are dropped, one could go back to them."""
    world = small_world()
    await write_cluster(tmp_path, world, 3)
    before = digests(tmp_path)

    moved = rebalance(tmp_path, 2, quiet)
    rebalance(tmp_path, 1, quiet)

    assert moved.kept_in == "before-rebalance-1"
    assert [(kept.path.name, kept.hosts) for kept in kept_files(tmp_path)] == [
        ("before-rebalance-1", 3),
        ("before-rebalance-2", 2),
    ]
    assert digests(tmp_path / "before-rebalance-1") == before
    for kept in kept_files(tmp_path):
        assert kept.size_bytes > 100_000
        drop(kept)
    assert kept_files(tmp_path) == ()
    assert joined(await read_cluster(tmp_path, 1)) == world


async def test_new_files_are_as_a_stopped_host_leaves_them(tmp_path: Path) -> None:
    """One file each, for the owner alone, in WAL mode; nothing else is left behind."""
    await write_cluster(tmp_path, small_world(), 1)

    rebalance(tmp_path, 2, quiet)

    assert names_in(tmp_path) == {
        "before-rebalance-1",
        "host-0",
        "host-1",
        "maskline.layout",
        "maskline.lock",
    }
    for place in range(2):
        directory = host_dir(tmp_path, place, 2)
        assert names_in(directory) == {"maskline.db"}
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "maskline.db").stat().st_mode) == 0o600
        with closing(database_of(tmp_path, place, 2)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert names_in(tmp_path / "before-rebalance-1") == {"maskline.db", "maskline.layout"}


async def test_hosts_work_on_their_new_files(tmp_path: Path) -> None:
    """They take what comes next."""
    await write_cluster(tmp_path, small_world(), 1)
    made = session(service_sid=SERVICES[1])
    passed = interaction(made, sender=participant(made))

    rebalance(tmp_path, 3, quiet)

    store = opened(host_dir(tmp_path, owner_of(made.service_sid, 3), 3))
    await store.write([SessionCreated(made, ()), InteractionRecorded(passed)])
    page = await store.interactions_page(made.sid, PageCursor(limit=9))
    await store.close()
    assert page.records == (passed,)
    with closing(database_of(tmp_path, 0, 3)) as connection:
        (plan,) = connection.execute("EXPLAIN QUERY PLAN SELECT 1 FROM sessions WHERE service_sid = ?", (b"",))
    assert "sessions_by_service" in plan[3]


async def test_new_files_know_how_many_sessions_they_hold(tmp_path: Path) -> None:
    """By status, each its own, without walking them."""
    world = small_world()
    await write_cluster(tmp_path, world, 1)
    before = opened(tmp_path)
    counted = Counter(before.session_counts())
    await before.close()

    rebalance(tmp_path, 3, quiet)

    after: Counter[SessionStatus] = Counter()
    for place in range(3):
        store = opened(host_dir(tmp_path, place, 3))
        after.update(store.session_counts())
        await store.close()
    assert sum(counted.values()) > 0
    assert +after == +counted


async def test_the_newest_copy_of_the_registry_counts(tmp_path: Path) -> None:
    """Of hosts that were stopped at different versions, and the report says which were behind or differed."""
    await write_cluster(tmp_path, small_world(), 4)
    newest = msgspec.structs.replace(account(), friendly_name="Rides and more Ltd")
    for place, name, version in (
        (1, "Rides and more Ltd", 40),
        (2, "Rides and less Ltd", 40),
        (3, "Rides old Ltd", 39),
    ):
        store = opened(host_dir(tmp_path, place, 4))
        renamed = msgspec.structs.replace(account(), friendly_name=name)
        await store.write([AccountSaved(renamed), RegistryAdvanced(version)])
        await store.close()

    moved = rebalance(tmp_path, 3, quiet)

    assert moved.registry is not None
    assert (moved.registry.version, moved.registry.place) == (40, 1)
    assert (moved.registry.behind, moved.registry.different) == ((0, 3), (2,))
    for held in await read_cluster(tmp_path, 3):
        assert held.version == 40
        assert held.world.registry.accounts == (newest,)


async def test_a_survey_tells_where_rows_would_go_and_changes_nothing(tmp_path: Path) -> None:
    """Also the rows that do not lie with their owner, as debugger events may."""
    await write_cluster(tmp_path, small_world(), 2)
    before = last_changes(tmp_path)

    found = survey(tmp_path, 3, quiet)
    after = last_changes(tmp_path)
    moved = rebalance(tmp_path, 3, quiet)

    assert after == before
    assert (found.hosts_before, found.hosts) == (2, 3)
    assert [(one.name, one.digest, one.per_host) for one in found.tables] == [
        (one.name, one.digest, one.per_host) for one in moved.tables
    ]
    tables = {one.name: one for one in found.tables}
    assert sum(tables["sessions"].per_host) == 12
    assert (tables["sessions"].astray, tables["alerts"].astray) == (0, 6)
    assert found.needed_bytes > 100_000


def test_every_table_is_moved_or_named_as_a_files_own() -> None:
    """A table that a migration adds has to say whose its rows are."""
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection, Path("of a test"))
        tables = tables_of(connection)

    assert tables == {*SHARED, *(table.name for table in OWNED)} | UNMOVED


async def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """As a start would; a survey refuses it instead."""
    made = session()
    make_version_1(tmp_path, account(), msgspec.structs.replace(empty_world().registry.services[0]), made)

    with pytest.raises(MoveRefused, match="older version"):
        survey(tmp_path, 2, quiet)
    rebalance(tmp_path, 2, quiet)

    held = await read_cluster(tmp_path, 2)
    assert [one.friendly_name for one in held[0].world.registry.accounts] == ["Rides"]
    assert sum(len(each.world.activated) for each in held) == 1


async def test_a_host_that_was_killed_loses_nothing(tmp_path: Path) -> None:
    """What it acknowledged and had not yet moved out of its log is moved too."""
    claim(tmp_path / "running", 1)
    store = opened(tmp_path / "running")
    await store.write([SessionCreated(session(service_sid=SERVICES[0]), ())])
    data_dir = copied(tmp_path / "running", tmp_path / "killed")

    counted = digests(data_dir)
    rebalance(data_dir, 2, quiet)

    assert counted["sessions"][0] == 1
    assert digests(data_dir) == counted
    await store.close()


async def test_the_same_number_of_hosts_is_nothing_to_do(tmp_path: Path) -> None:
    """Nothing is copied and nothing kept; what an interrupted copy left is removed."""
    await write_cluster(tmp_path, small_world(), 2)
    (tmp_path / "rebalance-new" / "host-0").mkdir(parents=True)

    moved = rebalance(tmp_path, 2, quiet)

    assert not moved.is_changed
    assert kept_files(tmp_path) == ()
    assert not (tmp_path / "rebalance-new").exists()


async def test_a_running_host_is_named(tmp_path: Path) -> None:
    """Any of them, and nothing is touched."""
    await write_cluster(tmp_path, small_world(), 2)
    store = opened(host_dir(tmp_path, 1, 2))

    for work in (rebalance, survey):
        with pytest.raises(DataDirBusy, match=r"host-1 is in use by process \d+"):
            work(tmp_path, 3, quiet)

    await store.close()
    assert rebalance(tmp_path, 3, quiet).is_changed


@pytest.mark.parametrize("hosts", [0, -1, 257])
def test_an_impossible_number_of_hosts_is_refused(tmp_path: Path, hosts: int) -> None:
    """Before anything is looked at."""
    with pytest.raises(MoveRefused, match="1 to 256 hosts"):
        rebalance(tmp_path, hosts, quiet)


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """The directory, the data, or one host's file."""
    await write_cluster(tmp_path / "full", small_world(), 3)
    (tmp_path / "full" / "host-1" / "maskline.db").rename(tmp_path / "aside.db")
    (tmp_path / "empty").mkdir()

    with pytest.raises(MoveRefused, match="There is no directory"):
        rebalance(tmp_path / "none", 2, quiet)
    with pytest.raises(MoveRefused, match="nothing to move"):
        rebalance(tmp_path / "empty", 2, quiet)
    with pytest.raises(MoveRefused, match=r"host-1/maskline.db is missing"):
        rebalance(tmp_path / "full", 2, quiet)
    with pytest.raises(MoveRefused, match="Nothing is to be finished"):
        rebalance(tmp_path / "full", None, quiet)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """Nothing of it could be understood."""
    await write_cluster(tmp_path, small_world(), 2)
    with closing(database_of(tmp_path, 1, 2)) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('maskline', '0099_later', '')"
        )

    with pytest.raises(DatabaseTooNew, match="0099_later"):
        rebalance(tmp_path, 3, quiet)

    assert not (tmp_path / "rebalance-new").exists()


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Whether SQLite sees it at once or only when it looks at every page."""
    await write_cluster(tmp_path, small_world(60), 2)
    database = tmp_path / "host-1" / "maskline.db"
    sound = database.read_bytes()

    database.write_bytes(sound[:8192] + b"\x00" * 8192 + sound[16_384:])
    with pytest.raises(MoveRefused, match=r"host-1/maskline.db.*damaged"):
        rebalance(tmp_path, 3, quiet)
    database.write_text("somebody's notes" * 1000)
    with pytest.raises(MoveRefused, match=r"host-1/maskline.db.*no SQLite database"):
        rebalance(tmp_path, 3, quiet)

    database.write_bytes(sound)
    assert rebalance(tmp_path, 3, quiet).is_changed


async def test_two_files_with_one_row_are_refused(tmp_path: Path) -> None:
    """An old copy of a host's file beside the newer one, say."""
    world = small_world()
    await write_cluster(tmp_path, world, 2)
    (tmp_path / "host-1" / "maskline.db").write_bytes((tmp_path / "host-0" / "maskline.db").read_bytes())

    with pytest.raises(MoveRefused, match="Two of the old files have the same row of the table sessions"):
        rebalance(tmp_path, 1, quiet)

    assert not (tmp_path / "rebalance-new").exists()
    assert kept_files(tmp_path) == ()


async def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    """Rather than left behind."""
    await write_cluster(tmp_path, small_world(), 1)
    with closing(database_of(tmp_path, 0, 1)) as connection:
        connection.execute("CREATE TABLE notes (text)")

    with pytest.raises(MoveRefused, match="not Maskline's: notes"):
        rebalance(tmp_path, 2, quiet)


async def test_what_lies_where_a_new_file_goes_is_not_overwritten(tmp_path: Path) -> None:
    """A database in the directory of a cluster, or a host's directory beyond its number."""
    await write_cluster(tmp_path, small_world(), 2)
    (tmp_path / "maskline.db").write_text("a copy of old")
    (tmp_path / "host-3").mkdir()

    with pytest.raises(MoveRefused, match=r"maskline.db is not part of the layout"):
        rebalance(tmp_path, 1, quiet)
    with pytest.raises(MoveRefused, match=r"host-3 is not part of the layout"):
        rebalance(tmp_path, 4, quiet)

    assert (tmp_path / "maskline.db").read_text() == "a copy of old"


async def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    """The message says how much is needed."""
    await write_cluster(tmp_path, small_world(), 1)
    before = digests(tmp_path)

    with pytest.raises(MoveRefused, match=r"The new files need \d+ MB .* has 1 MB free"):
        rebalance(tmp_path, 2, quiet, free_on=lambda _: 1_000_000)

    assert digests(tmp_path) == before
    assert not (tmp_path / "rebalance-new").exists()


@pytest.mark.parametrize(
    "spoiling",
    [
        "UPDATE interactions SET body = 'changed'",
        "DELETE FROM interactions",
        "UPDATE alerts SET account_sid = zeroblob(16)",
    ],
)
async def test_what_came_to_lie_wrong_stops_the_move(tmp_path: Path, spoiling: str) -> None:
    """The comparison reads what was written; whatever differs, the old files stay."""
    await write_cluster(tmp_path, small_world(), 1)
    before = digests(tmp_path)
    spoilt: list[str] = []

    def spoil(what: str, done: int, total: int) -> None:
        if what == "compare sessions" and not spoilt:
            for place in range(2):
                with closing(database_of(tmp_path / "rebalance-new", place, 2)) as connection:
                    connection.execute(spoiling)
            spoilt.append(what)

    with pytest.raises(MoveRefused, match="thrown away and nothing was changed"):
        rebalance(tmp_path, 2, spoil)

    assert spoilt
    assert digests(tmp_path) == before
    assert not (tmp_path / "rebalance-new").exists()


async def test_an_interrupted_move_keeps_old_files_from_being_dropped(tmp_path: Path) -> None:
    """They may not all be away yet."""
    await write_cluster(tmp_path, small_world(), 2)
    replace_layout(tmp_path, Layout(hosts=2, moving_to=3, kept_in="before-rebalance-1"))

    with pytest.raises(MoveUnfinished):
        kept_files(tmp_path)
    with pytest.raises(MoveUnfinished):
        survey(tmp_path, 3, quiet)


async def test_a_lost_note_is_not_guessed(tmp_path: Path) -> None:
    """But old files without one can still be dropped."""
    await write_cluster(tmp_path, small_world(), 3)
    rebalance(tmp_path, 2, quiet)
    (tmp_path / "maskline.layout").unlink()
    (tmp_path / "before-rebalance-1" / "maskline.layout").unlink()

    with pytest.raises(LayoutDamaged):
        rebalance(tmp_path, 3, quiet)
    (tmp_path / "maskline.layout").write_text("hosts = 2\n")
    (kept,) = kept_files(tmp_path)
    drop(kept)

    assert kept.hosts is None
    assert rebalance(tmp_path, 3, quiet).is_changed
