"""A commit that waits for its standby is neither done nor failed, whatever is done to it meanwhile."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg
import pytest

from engine.core.model.errors import MasklineError, StoreUnavailable
from engine.core.ports.membership import PlaceState
from storage.errors import MoveRefused
from storage.postgres import writer as postgres_writer
from storage.postgres.connections import WriterConnection, conninfo_of, open_writer
from storage.postgres.ledger import PostgresLedger
from storage.postgres.places import PlaceTaken, take_place
from storage.postgres.schema import migrate
from storage.transfer import import_file
from tests import postgres
from tests.storage.cluster import small_world, write_cluster
from tests.storage.material import Observed, quiet
from tests.storage.replicated import Pair, replicated
from tests.storage.stores import InPostgres
from tests.storage.words import PLACE, Rig, make_words, said, until, word

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

_APPLICATION = "the writer under test"

CRASHES = 5


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Run a primary and its synchronous standby."""
    try:
        with replicated() as pair:
            make_words(pair.primary)
            with psycopg.connect(pair.primary.make_template()) as connection:
                migrate(connection)
            yield pair
    except postgres.NoPostgres as reason:
        pytest.skip(f"no PostgreSQL with a standby here: {reason}")


@pytest.fixture
async def rig(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """Open a writer, with one word written, and let the standby go on afterwards."""
    monkeypatch.setattr(postgres_writer, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(postgres_writer, "CHECK_SECONDS", 0.05)
    conninfo = psycopg.conninfo.make_conninfo(
        conninfo_of(pair.primary.conninfo("words")), application_name=_APPLICATION
    )
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("TRUNCATE said, hosts")
        epoch = take_place(connection, PLACE, node="here", lease_seconds=0)
    rig = Rig(conninfo, Observed(), epoch=epoch, replicas=1)
    assert await rig.write(word("first")) == [None]
    yield rig
    pair.thaw()
    await rig.close()


async def waiting(pair: Pair) -> int:
    """Return the one process that waits for the standby; the test's own time-out bounds it."""
    while not (found := await asyncio.to_thread(pair.backends, _APPLICATION, waiting_for="SyncRep")):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return found[0]


async def test_nobody_is_answered_while_the_standby_is_frozen(pair: Pair, rig: Rig) -> None:
    """The commit waits; it is done when the standby goes on."""
    came: list[StoreUnavailable | None] = []
    pair.freeze()

    rig.writer.put(word("second"), came.append)
    await waiting(pair)
    before = list(came)
    pair.thaw()
    assert await rig.write(word("third")) == [None]

    assert (before, came) == ([], [None])
    assert rig.transaction.unknown_outcomes == 0


async def test_an_owner_that_waits_for_the_standby_keeps_its_place(pair: Pair, rig: Rig) -> None:
    """A spare server that watches it would only have to wait as well, and then load what the owner has in memory."""
    came: list[StoreUnavailable | None] = []

    def pass_time(_: float) -> None:
        if not pair.is_frozen:
            pair.freeze()
            rig.writer.put(word("second"), came.append)
            while not pair.backends(_APPLICATION, waiting_for="SyncRep"):
                time.sleep(0.02)

    with closing(open_writer(pair.primary.conninfo("words"))) as spare, pytest.raises(PlaceTaken):
        await asyncio.to_thread(take_place, spare, PLACE, node="spare", lease_seconds=1.0, sleep=pass_time)
    before = list(came)
    pair.thaw()

    assert await rig.write(word("third")) == [None]
    assert (before, came, rig.fenced) == ([], [None], [])


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_waiting_commit_that_is_ended_by_hand_is_no_success(pair: Pair, rig: Rig, how: str) -> None:
    """PostgreSQL then says that it is done, with a warning; it is on one server only until the standby goes on."""
    came: list[StoreUnavailable | None] = []
    pair.freeze()
    rig.writer.put(word("second"), came.append)
    backend = await waiting(pair)

    await asyncio.to_thread(pair.tell, f"SELECT {how}(%s)", backend)
    while await waiting(pair) == backend:  # noqa: ASYNC110 - until the row is asked, which waits for the standby too
        await asyncio.sleep(0.02)
    on_the_primary, before = said(rig.conninfo), list(came)
    pair.thaw()
    assert await rig.write(word("third")) == [None]

    assert on_the_primary == {"first", "second"}
    assert (before, came) == ([], [None])
    assert rig.transaction.unknown_outcomes == 1


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("pg_cancel_backend", "has committed it, but no standby has confirmed it .*; see maskline database check"),
        ("pg_terminate_backend", "should it say that the database is not empty, it was complete"),
    ],
    ids=["cancelled", "terminated"],
)
async def test_an_import_whose_commit_is_ended_by_hand_is_not_told_as_done(
    pair: Pair, tmp_path: Path, how: str, told: str
) -> None:
    """It is complete on the primary, and on the standby once that goes on."""
    await write_cluster(tmp_path, small_world(), 1)
    frozen = threading.Event()

    def hear(what: str, done: int, total: int) -> None:
        if what == "compare alerts":  # the last table
            pair.freeze()
            frozen.set()

    with pair.primary.database() as conninfo:
        url = psycopg.conninfo.make_conninfo(conninfo, application_name=_APPLICATION)
        moving = asyncio.create_task(asyncio.to_thread(import_file, tmp_path, url, hear, lease_seconds=0))
        assert await asyncio.to_thread(frozen.wait, 60)  # the commit before it waits too, for a moment
        backend = await waiting(pair)

        await asyncio.to_thread(pair.tell, f"SELECT {how}(%s)", backend)
        with pytest.raises(MasklineError, match=told):
            await moving
        pair.thaw()

        with pytest.raises(MoveRefused, match="is not empty"):
            import_file(tmp_path, url, quiet, lease_seconds=0)
        await InPostgres(url).open().close()


@pytest.fixture
async def ledgers(pair: Pair) -> AsyncIterator[tuple[PostgresLedger, PostgresLedger]]:
    """Have two nodes take part, and let the standby go on afterwards."""
    conninfo = psycopg.conninfo.make_conninfo(
        conninfo_of(pair.primary.conninfo("words")), application_name=_APPLICATION
    )
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("TRUNCATE said, hosts, nodes")
        connection.execute("UPDATE cluster SET hosts = NULL")
    first, second = [
        await PostgresLedger.join(conninfo, node=name, address="192.0.2.1", hosts=2, lease_seconds=0) for name in "ab"
    ]
    yield first, second
    pair.thaw()
    await first.close()
    await second.close()


async def test_nodes_beat_while_the_standby_is_frozen(
    pair: Pair, ledgers: tuple[PostgresLedger, PostgresLedger]
) -> None:
    """What they change waits for it, is unknown meanwhile, and seen by nobody; other calls are not tried."""
    first, second = ledgers
    before = await first.beat({})
    pair.freeze()

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await first.assign(0, epoch=0, node="a", state=PlaceState.FREE)
    await waiting(pair)
    meanwhile = [(await ledger.beat({})) for ledger in (first, second, first)]
    still_waiting = await asyncio.to_thread(pair.backends, _APPLICATION, waiting_for="SyncRep")
    pair.thaw()
    while (after := await second.beat({})).places[0].node is None:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.02)

    assert [node.beat - 1 for node in meanwhile[-1].nodes] == [before.nodes[0].beat + 1, 0]
    assert {rows.places[0].node for rows in meanwhile} == {None}
    assert len(still_waiting) == 1
    assert (after.places[0].node, after.places[0].epoch) == ("a", 1)
    assert after.version > before.version == meanwhile[-1].version


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_an_assignment_whose_commit_is_ended_by_hand_is_unknown(
    pair: Pair, ledgers: tuple[PostgresLedger, PostgresLedger], how: str
) -> None:
    """It is there on the primary; who asks again reads so, and cannot assign the same epoch twice."""
    first, second = ledgers
    await second.set_drained(1, is_drained=True)
    pair.freeze()
    assigning = asyncio.create_task(first.assign(0, epoch=0, node="a", state=PlaceState.TAKEN))
    backend = await waiting(pair)

    await asyncio.to_thread(pair.tell, f"SELECT {how}(%s)", backend)
    with pytest.raises(StoreUnavailable):
        await assigning
    seen = (await second.beat({})).places[0]
    pair.thaw()

    assert (seen.node, seen.epoch) == ("a", 1)
    assert not await second.assign(0, epoch=0, node="b", state=PlaceState.TAKEN)


async def test_a_commit_that_waits_too_long_is_asked_for_and_not_cancelled(
    pair: Pair, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may be one that nobody follows any more; the attempts to ask do not pile up there."""
    monkeypatch.setattr(WriterConnection, "deadline_seconds", 0.3)
    came: list[StoreUnavailable | None] = []
    pair.freeze()

    rig.writer.put(word("second"), came.append)
    await until(lambda: rig.transaction.unknown_since is not None)
    await asyncio.sleep(2)  # some attempts
    still_waiting = await asyncio.to_thread(pair.backends, _APPLICATION, waiting_for="SyncRep")
    before = list(came)
    pair.thaw()
    assert await rig.write(word("third")) == [None]

    assert len(still_waiting) == 1
    assert (before, came) == ([], [None])
    assert said(rig.conninfo) == {"first", "second", "third"}


async def test_a_database_that_crashes_under_load_loses_nothing_and_does_nothing_twice(pair: Pair, rig: Rig) -> None:
    """Every word is told to be there or not, and so it is; writers go on until it has come back from each crash."""
    kept, refused = {"first"}, set[str]()
    is_over = asyncio.Event()

    async def write(name: str) -> int:
        for number in count():
            if is_over.is_set():
                return number
            text = f"{name} {number}"
            (error,) = await rig.write(word(text))
            (kept if error is None else refused).add(text)
            if error is not None:
                await asyncio.sleep(0.02)
        raise AssertionError

    async def more_is_kept(words: int) -> None:
        enough = len(kept) + words
        await until(lambda: len(kept) >= enough)

    load = asyncio.gather(*(write(f"writer {number}") for number in range(8)))
    for _ in range(CRASHES):
        await more_is_kept(60)
        await asyncio.to_thread(crash, pair)
    await more_is_kept(1)
    is_over.set()
    written = sum(await load)

    assert said(rig.conninfo) == kept
    assert len(kept) + len(refused) == written + 1


async def test_a_database_that_does_not_wait_for_a_standby_any_more_is_noticed_under_load(pair: Pair, rig: Rig) -> None:
    """Commits go on, on one machine: that is what is to be seen, and how it ends. The test's time-out bounds it."""

    async def load_until(lacks: str) -> None:
        count = len(said(rig.conninfo))
        while rig.transaction.lacks != lacks:
            count += 1
            assert await rig.write(word(f"number {count}")) == [None]

    await load_until("")
    await asyncio.to_thread(pair.wait_for_none)
    await load_until("synchronous_standby_names is empty: commits do not wait for a standby")
    await asyncio.to_thread(pair.wait_for_standby)
    await load_until("")


def crash(pair: Pair) -> None:
    """Kill a process of the server, upon which it ends them all and recovers from its log."""
    with closing(pair.primary.admin()) as connection:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        os.kill(pid, signal.SIGKILL)
