"""Every record comes back from its row as it was, whatever its fields hold."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from engine.core.model.sids import SidKind
from storage import outbox_rows, rows
from storage.codec import ABSENT, address_at, address_cell, lookup_key, tagged, untagged
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

Record = TypeVar("Record")


def stored(record: Record, row_of: Callable[[Record], rows.Row], *, mark: str = "?") -> rows.Fetched:
    """Return the row of a record as SQLite hands it back from untyped columns."""
    row = row_of(record)
    connection = sqlite3.connect(":memory:")
    try:
        marks = ", ".join([mark] * len(row))
        fetched: rows.Fetched = connection.execute(f"SELECT {marks}", row).fetchone()
    finally:
        connection.close()
    return fetched


@given(ACCOUNTS)
def test_an_account_comes_back(account: Account) -> None:
    """Row and record are one."""
    assert rows.account_of(stored(account, rows.account_row)) == account


@given(API_KEYS)
def test_an_api_key_comes_back(api_key: ApiKey) -> None:
    """Row and record are one."""
    assert rows.api_key_of(stored(api_key, rows.api_key_row)) == api_key


@given(NUMBERS)
def test_a_number_comes_back(number: ProxyNumber) -> None:
    """Row and record are one, the kind of its SID and of its address included."""
    assert rows.number_of(stored(number, rows.number_row)) == number


@given(SERVICES)
def test_a_service_comes_back(service: Service) -> None:
    """Row and record are one."""
    assert rows.service_of(stored(service, rows.service_row)) == service


@given(SESSIONS)
def test_a_session_comes_back(session: Session) -> None:
    """Row and record are one, but for the store's own last cell."""
    row = stored(session, rows.session_row)

    assert rows.session_of(row[:-1]) == session
    assert row[-1] == (session.date_created if session.is_active else None)


@given(PARTICIPANTS)
def test_a_participant_comes_back_with_its_sessions_account(participant: Participant) -> None:
    """Row and record are one once the session's account is added."""
    row = stored(participant, rows.participant_row)

    assert rows.participant_of((*row, bytes.fromhex(participant.account_sid[2:]))) == participant


@given(INTERACTIONS)
def test_an_interaction_comes_back_with_its_sessions_owners(interaction: Interaction) -> None:
    """Row and record are one once the session's service and account are added."""
    row = stored(interaction, partial(rows.interaction_row, is_elsewhere=False), mark="nullif(?, x'')")
    owners = bytes.fromhex(interaction.service_sid[2:]), bytes.fromhex(interaction.account_sid[2:])

    assert row[-2:] == (None, None)
    assert rows.interaction_of((*row[:-3], *owners)) == interaction


@given(INTERACTIONS)
def test_an_interaction_whose_session_is_elsewhere_comes_back_by_itself(interaction: Interaction) -> None:
    """Its row ends with whether it is an open call, and its owners."""
    row = stored(interaction, partial(rows.interaction_row, is_elsewhere=True), mark="nullif(?, x'')")

    assert rows.interaction_of((*row[:-3], *row[-2:])) == interaction


@given(INTERACTIONS)
def test_a_row_of_what_was_just_routed_says_all_there_is(interaction: Interaction) -> None:
    """The same as the whole row, but for the body; what has more to say has no such row."""
    row = rows.routed_row(interaction)

    whole = rows.interaction_row(interaction, is_elsewhere=False)
    cells = dict(zip(f"{rows.INTERACTION_COLUMNS}, is_open_call".split(", "), whole, strict=False))
    del cells["body"]
    others = [cells.pop(name) for name in ("outbound_resource_sid", "media", "duration_seconds")]
    is_plain = all(other == ABSENT for other in others)
    assert (row is not None) is (is_plain and ABSENT not in cells.values())
    if row is not None:
        assert dict(zip(rows.ROUTED_COLUMNS.split(", "), row, strict=True)) == cells


@given(ENTRIES)
def test_an_entry_comes_back(entry: OutboxEntry) -> None:
    """Row and record are one, whatever its content; what the store searches by has columns of its own."""
    row = stored(entry, outbox_rows.entry_row)

    assert outbox_rows.entry_of(row) == entry
    assert row[4] == entry.destination


@given(ENTRIES)
def test_a_row_of_a_new_entry_says_all_there_is(entry: OutboxEntry) -> None:
    """The same as the whole row; what has been tried has no such row."""
    row = outbox_rows.new_entry_row(entry)

    cells = dict(zip(outbox_rows.ENTRY_COLUMNS.split(", "), outbox_rows.entry_row(entry), strict=True))
    others = [cells.pop(name) for name in ("attempts", "last_error", "date_died", "date_next")]
    assert (row is not None) is (others == [0, "", None, None])
    if row is not None:
        assert dict(zip(outbox_rows.NEW_ENTRY_COLUMNS.split(", "), row, strict=True)) == cells


@given(EVENTS)
def test_a_debugger_event_comes_back(event: DebuggerEvent) -> None:
    """Row and record are one, the request at fault included."""
    *_, blob = stored(event, outbox_rows.alert_row)

    assert outbox_rows.alert_of((blob,)) == event


@given(st.lists(ADDRESSES, min_size=2, max_size=2, unique=True))
def test_no_two_addresses_share_a_cell(addresses: list[Address]) -> None:
    """A short code is never taken for a phone number with the same digits."""
    first, second = map(address_cell, addresses)

    assert (type(first), first) != (type(second), second)
    assert [address_at(first), address_at(second)] == addresses


def test_an_e164_number_is_an_integer() -> None:
    """Eight bytes, not thirteen."""
    assert address_cell("+15005550001") == 15_005_550_001
    assert address_cell("15005550001") == "15005550001"
    assert address_cell("+") == "+"
    assert address_cell("+1²") == "+1²"


@given(RESOURCE_SIDS)
def test_a_foreign_sid_comes_back_to_the_letter(sid: str) -> None:
    """Whatever a platform calls its calls and messages is kept."""
    cell = tagged(sid)

    assert cell is not None
    assert untagged(cell) == sid


@pytest.mark.parametrize("sid", ["", "KC", "KC" + "0" * 31, "KP" + "0" * 32, "KC" + "A" * 32, "KC" + "  " * 16])
def test_what_is_no_sid_of_that_kind_is_not_looked_for(sid: str) -> None:
    """A reader never takes one kind, spelling or form for another."""
    assert lookup_key(SidKind.SESSION, sid) is None


def test_records_leave_no_field_out() -> None:
    """A field added to a record must be given a column."""
    derived = {"account_sid"}

    assert {field.name for field in msgspec.structs.fields(Session)} == set(rows.SESSION_COLUMNS.split(", "))
    assert {field.name for field in msgspec.structs.fields(Participant)} == (
        set(rows.PARTICIPANT_COLUMNS.split(", ")) | derived
    )
    assert {field.name for field in msgspec.structs.fields(Account)} == set(rows.ACCOUNT_COLUMNS.split(", "))
    assert {field.name for field in msgspec.structs.fields(ApiKey)} == set(rows.API_KEY_COLUMNS.split(", "))
    assert {field.name for field in msgspec.structs.fields(ProxyNumber)} == set(rows.NUMBER_COLUMNS.split(", "))
    assert {field.name for field in msgspec.structs.fields(Service)} == set(rows.SERVICE_COLUMNS.split(", "))
    assert {field.name for field in msgspec.structs.fields(OutboxEntry)} == (
        set(outbox_rows.ENTRY_COLUMNS.split(", ")) - {"destination", "duty"} | {"content"}
    )
