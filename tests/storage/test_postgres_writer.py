"""Group commit on PostgreSQL: one fenced round trip a group, and an outcome that may be unknown for a while."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

import psycopg
import pytest

from engine.core.model.changes import Change, ErasurePlanned
from engine.core.model.errors import ChangeRefused, StoreUnavailable
from storage import writer
from storage.postgres import writer as postgres_writer
from storage.postgres.connections import conninfo_of
from storage.postgres.places import PlaceTaken, attach_place, take_place
from tests import postgres
from tests.storage.cutting_proxy import CuttingProxy
from tests.storage.material import Observed
from tests.storage.words import PLACE, Rig, said, until, word

pytestmark = pytest.mark.anyio


@pytest.fixture
def conninfo(words_server: postgres.Server) -> str:
    """Say how to connect to a database with nothing said."""
    conninfo = conninfo_of(words_server.conninfo("words"))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("TRUNCATE said, hosts")
    return conninfo


@pytest.fixture
def observer() -> Observed:
    """Remember what the store tells."""
    return Observed()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(postgres_writer, "RECONNECT_SECONDS", 0.01)


@pytest.fixture
async def cut_rig(conninfo: str, through: CuttingProxy, tmp_path: Path, observer: Observed) -> AsyncIterator[Rig]:
    """Open a writer that reaches the database through the proxy."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        epoch = take_place(connection, PLACE, node="here", lease_seconds=0)
    rig = Rig(psycopg.conninfo.make_conninfo(conninfo, host=str(tmp_path)), observer, epoch=epoch)
    yield rig
    await rig.close()


@pytest.fixture
async def rig(conninfo: str, observer: Observed) -> AsyncIterator[Rig]:
    """Open a writer and close it afterwards."""
    rig = Rig(conninfo, observer)
    yield rig
    await rig.close()


async def test_what_a_turn_hands_in_is_one_transaction(conninfo: str, rig: Rig, observer: Observed) -> None:
    """All of it is there when it is told so."""
    words = {f"word {number}" for number in range(200)}

    errors = await rig.write(*map(word, sorted(words)))

    assert set(errors) == {None}
    assert said(conninfo) == words
    assert len(observer.commits) <= 2
    assert all(0 < sync_seconds <= seconds for seconds, sync_seconds in observer.durations)


async def test_a_group_is_one_round_trip(through: CuttingProxy, cut_rig: Rig, conninfo: str) -> None:
    """However many statements it has: all of it is sent before any of it is answered."""
    await cut_rig.write(word("connected"))
    for turn in range(8):  # statements are prepared after a few
        through.withhold_until(b"COMMIT")

        assert set(await cut_rig.write(word(f"a{turn}"), word(f"b{turn}"))) == {None}

    assert len(said(conninfo)) == 17
    assert cut_rig.transaction.unknown_outcomes == 0


async def test_a_changeset_at_fault_fails_alone_and_whole(conninfo: str, rig: Rig) -> None:
    """What else is in its group is committed; which constraint it broke is told, the value is not."""
    await rig.write(word("taken"))

    for turn in range(20):  # statements are prepared after a few
        errors = await rig.write(word(f"a{turn}"), [*word(f"b{turn}"), *word("taken")], word(f"c{turn}"))

        assert [type(error) for error in errors] == [type(None), ChangeRefused, type(None)]
        assert "UNIQUE constraint failed: said_pkey" in str(errors[1])
    assert said(conninfo) == {"taken"} | {f"{letter}{turn}" for letter in "ac" for turn in range(20)}
    assert rig.writer.is_writable


async def test_a_value_that_cannot_be_sent_fails_alone(conninfo: str, rig: Rig) -> None:
    """NUL is in no text of PostgreSQL, and half a surrogate pair in none at all."""
    errors = await rig.write(word("a\0b"), word("\ud800"), word("whole"))

    assert [type(error) for error in errors] == [ChangeRefused, ChangeRefused, type(None)]
    assert said(conninfo) == {"whole"}


async def test_writers_that_wait_for_each_other_both_go_through(conninfo: str, observer: Observed) -> None:
    """The database ends the transaction of one, which is tried again; nobody is told of it."""
    meet = threading.Barrier(2)
    attempts: list[str] = []
    both_ways = {"first": (b"left", b"right"), "second": (b"right", b"left")}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS crossed (word BYTEA PRIMARY KEY, by TEXT[])")
        connection.execute("INSERT INTO crossed VALUES ('left', '{}'), ('right', '{}')")
        epochs = []
        for place in (0, 1):
            postgres.assign(conninfo, place, node="here")
            epochs.append(attach_place(connection, place, node="here").epoch)

    def cross(connection: psycopg.Connection, changesets: Iterable[Sequence[Change]]) -> None:
        update = "UPDATE crossed SET by = by || %s::text WHERE word = %s RETURNING word"
        for (change,) in changesets:
            assert isinstance(change, ErasurePlanned)
            one, other = both_ways[change.session_sid]
            assert connection.execute(update, (change.session_sid, one)).fetchone() == (one,)
            attempts.append(change.session_sid)
            if attempts.count(change.session_sid) == 1:
                meet.wait(30)
            connection.execute(update, (change.session_sid, other))

    rigs = [Rig(conninfo, observer, place=place, epoch=epochs[place], apply=cross) for place in (0, 1)]
    outcomes = await asyncio.gather(rigs[0].write(word("first")), rigs[1].write(word("second")))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        rows = connection.execute("SELECT by FROM crossed").fetchall()
        connection.execute("DROP TABLE crossed")
    for rig in rigs:
        await rig.close()

    assert [*outcomes[0], *outcomes[1]] == [None, None]
    assert [sorted(by) for (by,) in rows] == [["first", "second"], ["first", "second"]]
    assert len(attempts) > len(rigs)


async def test_another_epoch_fences_and_nobody_is_answered(conninfo: str, rig: Rig, observer: Observed) -> None:
    """The process is to end: what was handed in is neither committed nor refused."""
    came: list[object] = []
    await rig.write(word("before"))
    second = Rig(conninfo, observer)

    rig.writer.put(word("behind"), came.append)
    assert await asyncio.to_thread(rig.has_ended.wait, 10)
    rig.writer.put(word("later"), came.append)
    assert await second.write(word("of the successor")) == [None]
    await second.close()

    assert second.epoch == rig.epoch + 1
    assert came == []
    assert said(conninfo) == {"before", "of the successor"}
    assert not rig.writer.is_writable


async def test_an_idle_host_learns_that_it_is_fenced(conninfo: str, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It renews its row while nothing is to be written."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.01)
    await rig.write(word("before"))

    with psycopg.connect(conninfo, autocommit=True) as connection:
        take_place(connection, PLACE, node="there", lease_seconds=0)

    assert await asyncio.to_thread(rig.has_ended.wait, 10)


async def test_what_an_abandoned_connection_still_brings_takes_nothing(conninfo: str, rig: Rig) -> None:
    """An attempt to attach that was given up may reach the database after the next one has; so may its group."""
    await rig.write(word("first"))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("UPDATE hosts SET attached = attached + 1")  # as the next attempt does
        attempt = {"attached": 1, "place": PLACE, "epoch": rig.epoch, "is_begun": True}

        assert connection.execute(postgres_writer._ATTACH, attempt).fetchone() is None
        with pytest.raises(psycopg.Error, match="fenced") as fenced:
            connection.execute(postgres_writer._FENCE, (PLACE, rig.epoch, 1, 99))

    assert fenced.value.sqlstate == "MK001"


async def test_a_twin_of_the_same_epoch_is_fenced(conninfo: str, rig: Rig, observer: Observed) -> None:
    """Each process takes the place for itself first."""
    await rig.write(word("first"))
    twin = Rig(conninfo, observer, epoch=rig.epoch)

    twin.writer.put(word("second"), lambda _: None)

    assert await asyncio.to_thread(twin.has_ended.wait, 10)
    assert await rig.write(word("third")) == [None]
    await twin.close()
    assert said(conninfo) == {"first", "third"}


async def test_a_place_is_not_taken_from_an_owner_that_lives(conninfo: str, rig: Rig) -> None:
    """Its row changes while it is watched; one that was given back is taken at once."""
    await rig.write(word("here"))
    turns: list[float] = []

    def renew(seconds: float) -> None:
        turns.append(seconds)
        rig.transaction.look(is_failed=False)

    with psycopg.connect(conninfo, autocommit=True) as connection:
        await rig.stop()
        with pytest.raises(PlaceTaken, match="on here, serves on this database; stop that one first"):
            take_place(connection, PLACE, node="there", lease_seconds=4, sleep=renew)
        rig.transaction.close()
        taken = take_place(connection, PLACE, node="there", lease_seconds=4, sleep=renew)

    assert taken == rig.epoch + 1
    assert len(turns) == 1


async def test_a_silent_owner_is_fenced_after_the_lease(
    conninfo: str, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backend is ended, so that no lock of it is left, and its next group is refused."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 3600.0)
    await rig.write(word("here"))
    turns: list[float] = []

    with psycopg.connect(conninfo, autocommit=True) as connection:
        taken = take_place(connection, PLACE, node="there", lease_seconds=4, sleep=turns.append)
    rig.writer.put(word("too late"), lambda _: None)

    assert await asyncio.to_thread(rig.has_ended.wait, 10)
    assert (taken, sum(turns)) == (rig.epoch + 1, 4)
    assert said(conninfo) == {"here"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", ["answers", "questions"])
async def test_wherever_a_connection_is_cut_what_is_told_is_true(
    conninfo: str, through: CuttingProxy, cut_rig: Rig, which: str
) -> None:
    """At each byte of a group's answer, and of the group itself: what was not committed is tried again.

    Nothing is written twice, which would be refused.
    """
    for turn in range(8):  # until all statements are prepared
        through.arm()
        assert await cut_rig.write(word(f"warm {turn:04}"), word(f"up {turn:04}")) == [None, None]
    length = through.answered if which == "answers" else through.asked
    kept = said(conninfo)

    for position in range(1, length, 1 if which == "answers" else 4):
        await cut_rig.write(word(f"clean {position:04}"))  # a whole connection again
        kept.add(f"clean {position:04}")
        pair = {f"left {position:04}", f"right {position:04}"}
        through.arm(**{which: position})
        errors = await cut_rig.write(*map(word, sorted(pair)))
        through.arm()

        assert errors == [None, None]
        kept |= pair

    assert said(conninfo) == kept
    assert cut_rig.transaction.unknown_outcomes > 0
    assert cut_rig.fenced == []


async def test_while_an_outcome_is_unknown_nobody_is_answered(
    conninfo: str, through: CuttingProxy, cut_rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the group, and not what waits behind it; both are, in order, once the database can be asked again.

    The log says once what is in the way.
    """
    came: list[tuple[str, StoreUnavailable | None]] = []
    done = asyncio.Event()

    def note(name: str) -> Callable[[StoreUnavailable | None], None]:
        def take(error: StoreUnavailable | None) -> None:
            came.append((name, error))
            if len(came) == 2:
                done.set()

        return take

    await cut_rig.write(word("first"))
    through.refuses = True
    through.arm(answers=1)
    cut_rig.writer.put(word("second"), note("second"))
    await until(lambda: cut_rig.transaction.unknown_since is not None)
    cut_rig.writer.put(word("third"), note("third"))
    await asyncio.sleep(0.1)  # some attempts
    before = list(came)
    through.refuses = False
    await done.wait()

    assert before == []
    assert came == [("second", None), ("third", None)]
    assert said(conninfo) == {"first", "second", "third"}
    assert cut_rig.transaction.unknown_since is None
    assert caplog.text.count("It cannot be found out yet: the database cannot be reached") == 1


async def test_stopping_does_not_wait_for_an_outcome_that_cannot_be_known(through: CuttingProxy, cut_rig: Rig) -> None:
    """And answers nobody: neither "saved" nor "not saved" would be true."""
    came: list[object] = []
    await cut_rig.write(word("first"))
    through.refuses = True
    through.arm(answers=1)
    cut_rig.writer.put(word("second"), came.append)
    await until(lambda: cut_rig.transaction.unknown_since is not None)

    await cut_rig.close()

    assert came == []


async def test_a_database_that_cannot_be_reached_refuses_until_it_can(
    conninfo: str, through: CuttingProxy, cut_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not sent is not in doubt; the idle writer finds out by itself when it is back."""
    await cut_rig.write(word("first"))
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.01)
    through.refuses = True
    through.cut()
    await until(lambda: not cut_rig.writer.is_writable)

    (refused,) = await cut_rig.write(word("second"))
    through.refuses = False
    await until(lambda: cut_rig.writer.is_writable)

    assert type(refused) is StoreUnavailable
    assert "the database cannot be reached" in str(refused)
    assert await cut_rig.write(word("third")) == [None]
    assert said(conninfo) == {"first", "third"}


class Steady:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
async def leased(conninfo: str, observer: Observed) -> AsyncIterator[tuple[Rig, Steady]]:
    """Open a writer whose lease runs by a clock of the test's."""
    steady = Steady()
    rig = Rig(conninfo, observer, lease_seconds=4.0, steady=steady)
    yield rig, steady
    await rig.close()


async def test_a_group_renews_the_lease_from_when_it_began(leased: tuple[Rig, Steady]) -> None:
    """However long its commit takes: somebody may have taken the place right behind it."""
    rig, steady = leased
    rig.transaction.attach()
    attached = rig.transaction.lease_until
    steady.now += 3.0

    rig.transaction.begin()
    steady.now += 0.5
    rig.transaction.apply([word("slow")])
    rig.transaction.commit()

    assert (attached, rig.transaction.lease_until, rig.transaction.leases_lost) == (104.0, 107.0, 0)


async def test_an_idle_host_renews_its_lease(leased: tuple[Rig, Steady], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a group without changes, and no less while it is handed changesets without changes."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.01)
    rig, steady = leased
    await rig.write(word("first"))

    steady.now += 1.0
    await until(lambda: rig.transaction.lease_until == 105.0)
    steady.now += 1.0
    while rig.transaction.lease_until < 106.0:
        await rig.write([])

    assert rig.transaction.leases_lost == 0


async def test_a_lease_that_ran_out_is_counted_once_and_renewed(
    leased: tuple[Rig, Steady], caplog: pytest.LogCaptureFixture
) -> None:
    """At once, and after its renewal; the log says for how long there was none."""
    rig, steady = leased
    rig.transaction.attach()
    steady.now += 4.5
    meanwhile = rig.transaction.leases_lost

    assert await rig.write(word("first")) == [None]

    assert (meanwhile, rig.transaction.leases_lost) == (1, 1)
    assert "The lease on place 3 had run out for 0.5 seconds" in caplog.text


async def test_a_group_that_failed_or_was_fenced_renews_nothing(conninfo: str, leased: tuple[Rig, Steady]) -> None:
    """It tells nothing of whose the place is, or that it is another's."""
    rig, steady = leased
    await rig.write(word("taken"))
    known = rig.transaction.lease_until
    steady.now += 1.0

    rig.transaction.begin()
    rig.transaction.apply([word("taken")])
    with pytest.raises(psycopg.Error) as refused:
        rig.transaction.commit()
    rig.transaction.outcome(refused.value)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        take_place(connection, PLACE, node="there", lease_seconds=0)
    rig.writer.put(word("behind"), lambda _: None)

    assert await asyncio.to_thread(rig.has_ended.wait, 10)
    assert rig.transaction.lease_until == known
