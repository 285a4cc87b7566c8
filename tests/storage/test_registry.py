"""The registry as stores keep it where any host may change it: upon the version it saw, or not at all."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import psycopg
import pytest

from engine.core.model.changes import (
    AccountErased,
    AccountSaved,
    ApiKeySaved,
    Change,
    NoteKept,
    NumberSaved,
    RegistryChange,
    RegistryRevised,
    ServiceErased,
    ServiceSaved,
)
from engine.core.model.errors import ChangeRefused, RegistryOutrun
from engine.core.model.records import ApiKey
from engine.core.model.sids import SidKind
from engine.core.ports.store import HeldRegistry, Registry, RegistryNews
from storage.postgres.store import PostgresStore
from tests.storage.material import START, account, new_sid, number, service
from tests.storage.stores import AnyStore, InPostgres

pytestmark = pytest.mark.anyio

ACCOUNT = account()
RENAMED = msgspec.structs.replace(ACCOUNT, friendly_name="Renamed")


@pytest.fixture
async def tables(database: str) -> AsyncIterator[PostgresStore]:
    """Open a store that hosts share."""
    store = InPostgres(database).open()
    yield store
    await store.close()


def note(name: str) -> tuple[Change, ...]:
    return (NoteKept("words", name.encode(), b"", START),)


async def test_a_change_upon_the_version_that_is_leads_to_the_next(store: AnyStore) -> None:
    """With all that it consists of."""
    await store.write([RegistryRevised(0, (AccountSaved(ACCOUNT), ServiceSaved(service())))])
    await store.write([RegistryRevised(1, (AccountSaved(RENAMED),))])

    assert await store.held_registry() == HeldRegistry(2, Registry((RENAMED,), (), (service(),), ()))


@pytest.mark.parametrize("after", [0, 2])
async def test_a_change_upon_another_version_is_refused_alone(store: AnyStore, after: int) -> None:
    """What was handed in with it is committed, in its order."""
    await store.write([RegistryRevised(0, (AccountSaved(ACCOUNT),))])

    outcomes = await asyncio.gather(
        store.write(note("before")),
        store.write([RegistryRevised(after, (AccountSaved(RENAMED),))]),
        store.write(note("behind")),
        store.write([RegistryRevised(1, (ServiceSaved(service()),))]),
        return_exceptions=True,
    )

    assert [type(one) for one in outcomes] == [type(None), RegistryOutrun, type(None), type(None)]
    assert await store.held_registry() == HeldRegistry(2, Registry((ACCOUNT,), (), (service(),), ()))
    assert [key for key, _ in await store.latest_notes("words", b"be", 9)] == [b"behind", b"before"]
    assert store.is_writable


async def test_a_change_that_contradicts_the_tables_leaves_the_version(store: AnyStore) -> None:
    """They have the last word, and say which constraint it was where they know its name."""
    await store.write([RegistryRevised(0, (ServiceSaved(service()),))])
    double = service(new_sid(SidKind.SERVICE))

    with pytest.raises(ChangeRefused) as refused:
        await store.write([RegistryRevised(1, (ServiceSaved(double),))])

    assert refused.value.constraint in {"", "services_unique_name"}
    assert (await store.held_registry()).version == 1


async def test_what_was_changed_since_a_version_is_told(tables: PostgresStore) -> None:
    """In order, as it was written; nothing, where nothing was."""
    key = ApiKey(
        sid=new_sid(SidKind.API_KEY),
        account_sid=ACCOUNT.sid,
        secret_hash=bytes(32),
        friendly_name="till",
        date_created=START,
    )
    made: list[tuple[RegistryChange, ...]] = [
        (AccountSaved(ACCOUNT), ApiKeySaved(key)),
        (ServiceSaved(service()), NumberSaved(number("+16465550001"))),
        (ServiceErased(service().sid, START), AccountErased(ACCOUNT.sid)),
    ]
    for version, changes in enumerate(made):
        await tables.write([RegistryRevised(version, changes)])

    told = [await tables.registry_news(version) for version in range(4)]

    assert told == [RegistryNews(3, tuple(one for some in made[version:] for one in some)) for version in range(4)]


async def test_what_is_not_kept_any_more_is_not_told_in_part(database: str, tables: PostgresStore) -> None:
    """Nor is anything told to who knows more than is there."""
    for version in range(3):
        await tables.write([RegistryRevised(version, (AccountSaved(ACCOUNT),))])
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM registry_changes WHERE version <= 1")

    assert await tables.registry_news(0) is None
    assert await tables.registry_news(1) == RegistryNews(3, (AccountSaved(ACCOUNT),) * 2)
    assert await tables.registry_news(4) is None


async def test_the_latest_changes_are_kept(database: str, tables: PostgresStore) -> None:
    """200 versions; what an earlier life of the same versions left is told to nobody."""
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO registry_changes SELECT number, '' FROM generate_series(1, 250) AS number")
        connection.execute("UPDATE cluster SET registry_version = 239")

    await tables.write([RegistryRevised(239, (AccountSaved(ACCOUNT),))])

    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT min(version), max(version), count(*) FROM registry_changes").fetchone()
    assert found == (40, 240, 201)


async def test_a_change_waits_not_long_for_another_hosts(database: str, tables: PostgresStore) -> None:
    """Whatever that host is about: calls of this one wait behind the change."""
    with psycopg.connect(database) as other:
        other.execute("UPDATE cluster SET registry_version = registry_version")

        with pytest.raises(RegistryOutrun):
            await tables.write([RegistryRevised(0, (AccountSaved(ACCOUNT),))])

    await tables.write([RegistryRevised(0, (AccountSaved(ACCOUNT),))])


@pytest.mark.parametrize("more", range(2))
async def test_what_was_behind_a_refused_statement_is_prepared_when_it_comes_again(
    tables: PostgresStore, more: int
) -> None:
    """However often each has been sent, which decides when it is to be prepared."""
    version = 0

    async def refused() -> None:
        with pytest.raises(RegistryOutrun):
            await tables.write([RegistryRevised(999, (AccountSaved(ACCOUNT),))])

    await refused()
    for turn in range(12):
        for _ in range(1 + more * (turn == 0)):
            await tables.write([RegistryRevised(version, (AccountSaved(ACCOUNT),))])
            version += 1
        await refused()

    assert (await tables.held_registry()).version == version


async def test_a_group_that_a_deadlock_ended_is_tried_again(database: str, tables: PostgresStore) -> None:
    """Two hosts that write the same rows in another order: nobody is told of it."""
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SEQUENCE tries")
        connection.execute("""
            CREATE FUNCTION be_in_the_way() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('tries') = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
                RETURN NEW;
            END $$
        """)
        connection.execute(
            "CREATE TRIGGER once BEFORE INSERT ON channel_notes FOR EACH ROW EXECUTE FUNCTION be_in_the_way()"
        )

    await tables.write(note("kept"))

    assert [key for key, _ in await tables.latest_notes("words", b"kept", 9)] == [b"kept"]
