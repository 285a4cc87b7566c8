"""Entries and debugger events as rows and back: what is looked for in columns, the rest as one MessagePack blob."""

from typing import Final

import msgspec

from engine.core.model.errors import CATALOGUE, Code
from engine.core.model.outbox import (
    OutboxAlert,
    OutboxCallback,
    OutboxContent,
    OutboxEntry,
    OutboxHangUp,
    OutboxMessage,
    OutboxReceipt,
)
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import SidKind, unpack
from storage.codec import LEVEL, account_at, blob, key, owner, service_at, tagged
from storage.rows import Fetched, Row

ENTRY_COLUMNS: Final = (
    "sid, account_sid, service_sid, session_sid, destination, date_created, attempts, last_error, date_died, date_next,"
    " duty"
)
NEW_ENTRY_COLUMNS: Final = "sid, account_sid, service_sid, session_sid, destination, date_created, duty"
"""Those of an entry that has not been tried yet: `attempts` is 0, `last_error` empty, and there is no other date."""
ALERT_COLUMNS: Final = "sid, account_sid, code, level, at, service_sid, session_sid, resource_sid, event"

_CONTENT: Final[msgspec.msgpack.Decoder[OutboxContent]] = msgspec.msgpack.Decoder(OutboxContent)
_EVENT: Final = msgspec.msgpack.Decoder(DebuggerEvent)
_ENCODER: Final = msgspec.msgpack.Encoder()


def entry_row(entry: OutboxEntry) -> Row:
    """Return the row of an entry."""
    return (
        blob(entry.sid),
        blob(entry.account_sid),
        key(entry.service_sid),
        key(entry.session_sid),
        entry.destination,
        entry.date_created,
        entry.attempts,
        entry.last_error,
        entry.date_died,
        entry.date_next,
        _ENCODER.encode(entry.content),
    )


def new_entry_row(entry: OutboxEntry) -> Row | None:
    """Return the row of an entry that has not been tried yet; None if it has."""
    if entry.attempts or entry.last_error or entry.date_died is not None or entry.date_next is not None:
        return None
    service_sid = entry.service_sid
    return (
        blob(entry.sid),
        owner(entry.account_sid),
        None if service_sid is None else owner(service_sid),
        key(entry.session_sid),
        entry.destination,
        entry.date_created,
        bytearray(_ENCODER.encode(entry.content)),
    )


def entry_of(row: Fetched) -> OutboxEntry:
    """Return the entry of a row."""
    return OutboxEntry(
        sid=unpack(SidKind.OUTBOX_ENTRY, row[0]),
        account_sid=account_at(row[1]),
        service_sid=None if row[2] is None else service_at(row[2]),
        session_sid=None if row[3] is None else unpack(SidKind.SESSION, row[3]),
        date_created=row[5],
        attempts=row[6],
        last_error=row[7],
        date_died=row[8],
        date_next=row[9],
        content=_CONTENT.decode(row[10]),
    )


def entry_key(content: bytes | bytearray, service_sid: bytes | bytearray | None, account_sid: bytes | bytearray) -> str:
    """Return the key by which the owner of an entry is found.

    The owner of what it is about: an interaction's or a sender's proxy number, a service for a hang-up, an account for
    its debugger webhook and for what a peer is told.
    """
    match _CONTENT.decode(content):
        case OutboxCallback(interaction=interaction):
            return interaction.proxy
        case OutboxMessage(sender=sender):
            return sender
        case OutboxHangUp() if service_sid is not None:
            return service_at(bytes(service_sid))
        case OutboxHangUp() | OutboxAlert() | OutboxReceipt():
            return account_at(bytes(account_sid))


def alert_row(event: DebuggerEvent) -> Row:
    """Return the row of a debugger event."""
    level = LEVEL[CATALOGUE[Code(event.code)].level]
    return (
        blob(event.sid),
        blob(event.account_sid),
        event.code,
        level,
        event.at,
        key(event.service_sid),
        key(event.session_sid),
        tagged(event.resource_sid),
        _ENCODER.encode(event),
    )


def alert_of(row: Fetched) -> DebuggerEvent:
    """Return the debugger event of a row that holds nothing else."""
    return _EVENT.decode(row[0])
