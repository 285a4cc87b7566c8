"""Every record comes back from PostgreSQL as it was, by the statements that write and read it there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from engine.core.model.changes import (
    AccountSaved,
    AlertRaised,
    ApiKeySaved,
    Change,
    EntryAdded,
    InteractionRecorded,
    NumberSaved,
    ParticipantChanged,
    ServiceSaved,
    SessionCreated,
)
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Account,
    Address,
    ApiKey,
    DebuggerEvent,
    Interaction,
    Participant,
    ProxyNumber,
    Service,
    Session,
)
from engine.core.ports.lists import OutboxFilter, PageCursor
from storage.codec import tagged
from storage.postgres.apply import apply_group
from storage.postgres.codec import placeholders, prepare, tagged_at, tagged_cell
from storage.postgres.reader import dialect
from storage.reader import Reader
from storage.rows import Fetched
from tests.postgres import Server
from tests.storage.strategies import (
    ACCOUNTS,
    ADDRESSES,
    API_KEYS,
    ENTRIES,
    EVENTS,
    INTERACTIONS,
    NUMBERS,
    PARTICIPANTS,
    RESOURCE_SIDS,
    SERVICES,
    SESSIONS,
)

TRIED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
ALL = PageCursor(limit=100)


class ReaderInside(Reader):
    """Reads through the connection that has written, so before anything is committed."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(dialect(None))
        self._connection = connection

    def fetch(self, text: str, values: Sequence[Any]) -> list[Fetched]:
        """Fetch every row."""
        return self._connection.execute(placeholders(text), values, binary=True).fetchall()

    def walk(self, text: str, values: Sequence[Any]) -> Iterator[list[Fetched]]:
        """Fetch every row."""
        yield self.fetch(text, values)


@pytest.fixture(scope="module")
def connection(postgres_server: Server) -> Iterator[psycopg.Connection[Any]]:
    """Connect to a database of the module's own."""
    with postgres_server.database() as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
        prepare(connection)
        yield connection


@contextmanager
def written(connection: psycopg.Connection[Any], *changes: Change) -> Iterator[Reader]:
    """Write changes, and take them back once they were read."""
    with connection.transaction(force_rollback=True):
        apply_group(connection, [changes])
        yield ReaderInside(connection)


def without_nul(record: Any) -> Any:  # noqa: ANN401 - any record
    """Return a record in which nothing holds a NUL that people gave: those are refused before they are stored."""
    texts = {name: value for name, value in msgspec.structs.asdict(record).items() if type(value) is str}
    return msgspec.structs.replace(record, **{name: value.replace("\0", "0") for name, value in texts.items()})


@given(ACCOUNTS)
@TRIED
def test_an_account_comes_back(connection: psycopg.Connection[Any], account: Account) -> None:
    """Row and record are one."""
    made = without_nul(account)

    with written(connection, AccountSaved(made), AccountSaved(made)) as reader:
        assert reader.registry().accounts == (made,)


@given(API_KEYS)
@TRIED
def test_an_api_key_comes_back(connection: psycopg.Connection[Any], api_key: ApiKey) -> None:
    """Row and record are one."""
    made = without_nul(api_key)

    with written(connection, ApiKeySaved(made)) as reader:
        assert reader.registry().api_keys == (made,)


@given(NUMBERS)
@TRIED
def test_a_number_comes_back(connection: psycopg.Connection[Any], number: ProxyNumber) -> None:
    """Row and record are one, the kind of its SID and of its address included."""
    made = without_nul(number)

    with written(connection, NumberSaved(made)) as reader:
        assert reader.registry().numbers == (made,)


@given(SERVICES)
@TRIED
def test_a_service_comes_back(connection: psycopg.Connection[Any], service: Service) -> None:
    """Row and record are one."""
    made = without_nul(service)

    with written(connection, ServiceSaved(made)) as reader:
        assert reader.registry().services == (made,)


@given(SESSIONS, PARTICIPANTS)
@TRIED
def test_a_session_and_its_people_come_back(
    connection: psycopg.Connection[Any], session: Session, participant: Participant
) -> None:
    """Row and record are one; a participant that was changed is what it was changed to."""
    made = without_nul(session)
    joined = msgspec.structs.replace(
        without_nul(participant),
        session_sid=made.sid,
        service_sid=made.service_sid,
        account_sid=made.account_sid,
    )
    changed = msgspec.structs.replace(joined, friendly_name="changed", date_updated=joined.date_created + 1)

    with written(connection, SessionCreated(made, (joined,))) as reader:
        assert reader.session(made.sid) == made
        assert reader.participants(made.sid) == (joined,)
    with written(connection, SessionCreated(made, (joined,)), ParticipantChanged(changed)) as reader:
        assert reader.participants(made.sid) == (changed,)


@given(INTERACTIONS)
@TRIED
def test_an_interaction_comes_back(connection: psycopg.Connection[Any], interaction: Interaction) -> None:
    """Whatever its text holds, and whatever a platform calls it."""
    made = msgspec.structs.replace(interaction, proxy=interaction.proxy.replace("\0", "0"))

    with written(connection, InteractionRecorded(made, is_elsewhere=True)) as reader:
        assert reader.interaction(made.sid) == made


@given(ENTRIES)
@TRIED
def test_an_entry_comes_back(connection: psycopg.Connection[Any], entry: OutboxEntry) -> None:
    """Row and record are one, whatever its content and its last error."""
    if "\0" in entry.destination:
        return

    with written(connection, EntryAdded(entry)) as reader:
        assert reader.outbox_page(OutboxFilter(), ALL).records == (entry,)


@given(EVENTS)
@TRIED
def test_a_debugger_event_comes_back(connection: psycopg.Connection[Any], event: DebuggerEvent) -> None:
    """Row and record are one, the request at fault included."""
    with written(connection, AlertRaised(event)) as reader:
        assert reader.alert(event.sid) == event


@given(ADDRESSES, ADDRESSES)
@TRIED
def test_addresses_sort_by_their_bytes(connection: psycopg.Connection[Any], one: Address, other: Address) -> None:
    """As a file of SQLite sorts texts, whatever the database's language is."""
    first, second = one.replace("\0", "0"), other.replace("\0", "0")

    ((is_less,),) = connection.execute('SELECT %s::text COLLATE "C" < %s::text', (first, second))

    assert is_less is (first.encode() < second.encode())


@given(RESOURCE_SIDS)
def test_a_foreign_sid_comes_back_to_the_letter(sid: str) -> None:
    """Whatever a platform calls its calls and messages is kept."""
    cell = tagged(sid)

    assert cell is not None
    assert tagged_at(bytes(tagged_cell(cell))) == sid
