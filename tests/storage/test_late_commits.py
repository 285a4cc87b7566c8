"""A commit that hangs: whoever waits is told, nothing new is taken, and in the end its outcome is told all the same."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
import pytest

from engine.core.model.changes import Change, SessionCreated
from engine.core.model.errors import StoreLate, StoreUnavailable
from engine.core.model.records import Session
from storage.postgres.store import PostgresStore
from storage.writer import GroupWriter
from tests.storage.material import Observed, session

pytestmark = pytest.mark.anyio

PATIENCE = 0.05
WAIT_SECONDS = 20.0


class Hanging:
    """Transactions that wait, once begun, until they are let go on."""

    def __init__(self) -> None:
        self.is_let_go = threading.Event()
        self.problem: StoreUnavailable | None = None
        self.groups: list[int] = []

    def begin(self) -> None:
        """Wait."""
        self.is_let_go.wait(WAIT_SECONDS)

    def apply(self, group: Sequence[Sequence[Change]]) -> None:
        """Count it, or fail."""
        self.groups.append(len(group))
        if self.problem is not None:
            raise self.problem

    def apply_alone(self, changes: Sequence[Change]) -> None:
        """Refuse nothing."""

    def commit(self) -> float:
        """Commit."""
        return 0.0

    def outcome(self, failure: Exception) -> StoreUnavailable | None:
        """Say why nothing was committed."""
        assert failure is self.problem
        return self.problem

    def look(self, *, is_failed: bool) -> StoreUnavailable | None:
        """Be well."""
        del is_failed
        return None

    def rest(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Wait for nothing."""

    def close(self) -> None:
        """Close nothing."""


class Asked:
    """Somebody who waits for a commit."""

    def __init__(self) -> None:
        self.is_late = asyncio.Event()
        self.is_done = asyncio.Event()
        self.outcomes: list[StoreUnavailable | None] = []

    def late(self) -> None:
        """Hear that it takes long."""
        self.is_late.set()

    def done(self, problem: StoreUnavailable | None) -> None:
        """Hear how it ended."""
        self.outcomes.append(problem)
        self.is_done.set()


async def heard(event: asyncio.Event) -> None:
    """Wait, with a bound."""
    await asyncio.wait_for(event.wait(), WAIT_SECONDS)


def asked(writer: GroupWriter) -> Asked:
    """Have something committed."""
    who = Asked()
    writer.put([SessionCreated(session(), ())], who.done, who.late)
    return who


@pytest.fixture
async def hanging() -> Hanging:
    """Make transactions that hang."""
    return Hanging()


@pytest.fixture
async def writer(hanging: Hanging) -> AsyncIterator[GroupWriter]:
    """Write with little patience, and stop in the end."""
    writer = GroupWriter(hanging, Observed(), patience_seconds=PATIENCE)
    yield writer
    hanging.is_let_go.set()
    stopped = writer.stop()
    assert stopped is not None
    await stopped


async def test_whoever_waits_for_a_commit_that_hangs_hears_it_and_then_how_it_ended(
    writer: GroupWriter, hanging: Hanging
) -> None:
    """Those of the group that hangs, and those behind it."""
    first = asked(writer)
    await asyncio.sleep(0)
    behind = asked(writer)

    await heard(first.is_late)
    await heard(behind.is_late)
    before = first.outcomes + behind.outcomes
    hanging.is_let_go.set()
    await heard(behind.is_done)

    assert (before, first.outcomes, behind.outcomes) == ([], [None], [None])


async def test_nothing_new_is_taken_while_a_commit_is_late(writer: GroupWriter, hanging: Hanging) -> None:
    """So that what waits stays little; afterwards it is."""
    first = asked(writer)
    await heard(first.is_late)
    was_late = writer.is_late
    refused = asked(writer)
    await heard(refused.is_done)
    hanging.is_let_go.set()
    await heard(first.is_done)

    taken = asked(writer)
    await heard(taken.is_done)

    assert (was_late, writer.is_late) == (True, False)
    assert [type(one) for one in refused.outcomes] == [StoreLate]
    assert (taken.outcomes, sum(hanging.groups)) == ([None], 2)


async def test_a_late_commit_may_fail(writer: GroupWriter, hanging: Hanging) -> None:
    """It is told so then."""
    hanging.problem = StoreUnavailable("The disk is full")
    first = asked(writer)
    await heard(first.is_late)

    hanging.is_let_go.set()
    await heard(first.is_done)

    assert (first.outcomes, writer.is_late) == ([hanging.problem], False)


async def test_a_commit_in_time_is_late_for_nobody(hanging: Hanging) -> None:
    """Whoever has patience hears its outcome alone."""
    writer = GroupWriter(hanging, Observed(), patience_seconds=3600)
    first = asked(writer)
    hanging.is_let_go.set()
    await heard(first.is_done)
    stopped = writer.stop()
    assert stopped is not None
    await stopped

    assert (first.outcomes, first.is_late.is_set()) == ([None], False)


@contextmanager
def locked(conninfo: str) -> Iterator[None]:
    """Keep others from the sessions of a database until the context is left."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
        yield


async def read_at_last(store: PostgresStore, session_sid: str) -> Session | None:
    """Read a session once the database answers soon enough; the thread that reads has to end an earlier read first."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            with suppress(StoreUnavailable):
                return await store.session(session_sid)


@pytest.fixture
async def postgres(database: str) -> AsyncIterator[PostgresStore]:
    """Open a database with little patience, and close it in the end."""
    store = PostgresStore.open(database, observer=Observed(), fenced=lambda _: None, commit_patience_seconds=PATIENCE)
    yield store
    await store.close()


async def test_a_database_that_hangs_is_not_ready_and_ends_what_it_began(
    postgres: PostgresStore, database: str
) -> None:
    """The commit is not cancelled: it is there once the database goes on."""
    made = session()
    who = Asked()
    with locked(database):
        postgres.commit([SessionCreated(made, ())], who.done, who.late)
        await heard(who.is_late)
        while_it_hangs = (postgres.is_late, postgres.is_writable, who.outcomes[:])
        with pytest.raises(StoreLate):
            await postgres.write([SessionCreated(session(), ())])

    await heard(who.is_done)

    assert while_it_hangs == (True, False, [])
    assert (who.outcomes, postgres.is_late, postgres.is_writable) == ([None], False, True)
    assert await read_at_last(postgres, made.sid) == made


async def test_who_waits_for_the_commits_before_waits_no_longer_than_these_are_late(
    postgres: PostgresStore, database: str
) -> None:
    """It changes nothing, so that it may simply fail."""
    with locked(database):
        postgres.commit([SessionCreated(session(), ())], lambda _: None)

        with pytest.raises(StoreLate):
            await asyncio.wait_for(postgres.write(()), WAIT_SECONDS)


async def test_a_read_of_a_database_that_hangs_fails(postgres: PostgresStore, database: str) -> None:
    """One that waits behind it, too; both work again once it goes on."""
    made = session()
    await postgres.write([SessionCreated(made, ())])
    with locked(database):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(postgres.session(made.sid), WAIT_SECONDS)

    assert await read_at_last(postgres, made.sid) == made
