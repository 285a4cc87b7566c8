"""What the storage tests are made of: plausible records, a counting id factory, an observer that remembers."""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.core.model.errors import Code
from engine.core.model.outbox import OutboxCallback, OutboxContent, OutboxEntry
from engine.core.model.records import (
    Account,
    Capability,
    DebuggerEvent,
    Interaction,
    Kind,
    Leg,
    LegStatus,
    Participant,
    ProxyNumber,
    Service,
    Session,
    SessionStatus,
)
from engine.core.model.sids import SidKind, ordered_sid, unpack
from storage.outbox_rows import ENTRY_COLUMNS, entry_row
from storage.postgres.store import PostgresStore
from storage.reader import Reader
from storage.sqlite import SqliteStore
from tests.silent import SilentObserver

START = 1_700_000_000.0
"""The time at which the tests' world begins."""


class Observed(SilentObserver):
    """An observer that remembers the commits."""

    def __init__(self) -> None:
        self.commits: list[tuple[int, bool]] = []
        self.durations: list[tuple[float, float]] = []

    def committed(self, *, changes: int, seconds: float, sync_seconds: float, is_ok: bool) -> None:
        """Remember a group commit."""
        self.commits.append((changes, is_ok))
        self.durations.append((seconds, sync_seconds))


def counting_id_factory() -> Callable[[SidKind], str]:
    """Return an id factory whose SIDs differ by a millisecond."""
    made = 0

    def new_sid(kind: SidKind) -> str:
        nonlocal made
        made += 1
        return ordered_sid(kind, milliseconds=int(START * 1000) + made, counter=0, random_bits=made * 7919)

    return new_sid


def numbered_sid(kind: SidKind, number: int) -> str:
    """Return the SID of a number, the same in every process."""
    return ordered_sid(kind, milliseconds=number, counter=0, random_bits=number)


def names_in(directory: Path) -> set[str]:
    """Name what lies in a directory."""
    return {path.name for path in directory.iterdir()}


def quiet(what: str, done: int, total: int) -> None:
    """Hear nothing of how far a move has come."""


new_sid = counting_id_factory()
"""SIDs that no two tests of a run share."""

ACCOUNT_SID = new_sid(SidKind.ACCOUNT)
SERVICE_SID = new_sid(SidKind.SERVICE)


def account(sid: str = ACCOUNT_SID) -> Account:
    return Account(sid=sid, auth_token="0" * 32, friendly_name="Rides", date_created=START)


def service(sid: str = SERVICE_SID, *, unique_name: str = "rides") -> Service:
    return Service(
        sid=sid, account_sid=ACCOUNT_SID, unique_name=unique_name, date_created=START, date_updated=START + 0.1
    )


def number(address: str, *, service_sid: str | None = SERVICE_SID) -> ProxyNumber:
    is_pooled = service_sid is not None
    return ProxyNumber(
        sid=new_sid(SidKind.PHONE_NUMBER),
        account_sid=ACCOUNT_SID,
        address=address,
        iso_country="US",
        capabilities=Capability.SMS | Capability.VOICE_INBOUND,
        friendly_name="(555) 555-5555",
        date_created=START,
        date_updated=START,
        service_sid=service_sid,
        is_reserved=is_pooled,
        date_pooled=START if is_pooled else None,
        date_pool_updated=START if is_pooled else None,
    )


def session(
    *,
    at: float = START,
    service_sid: str = SERVICE_SID,
    unique_name: str | None = None,
    status: SessionStatus = SessionStatus.OPEN,
) -> Session:
    return Session(
        sid=new_sid(SidKind.SESSION),
        service_sid=service_sid,
        account_sid=ACCOUNT_SID,
        unique_name=unique_name,
        status=status,
        ttl_seconds=600,
        idle_since=at,
        date_created=at,
        date_updated=at,
        date_ended=at if status is SessionStatus.CLOSED else None,
    )


def participant(
    of: Session, *, identifier: str = "+15005550001", proxy: str = "+15105550001", at: float = START
) -> Participant:
    return Participant(
        sid=new_sid(SidKind.PARTICIPANT),
        session_sid=of.sid,
        service_sid=of.service_sid,
        account_sid=of.account_sid,
        identifier=identifier,
        proxy_identifier=proxy,
        proxy_identifier_sid=new_sid(SidKind.PHONE_NUMBER),
        date_created=at,
        date_updated=at,
    )


def interactions_since(store: SqliteStore | PostgresStore, at: float) -> list[Interaction]:
    """Read what was recorded at or after a time, oldest first."""
    return recorded_since(store._points, at)


def recorded_since(reader: Reader, at: float) -> list[Interaction]:
    """Read the same through a reader."""
    rows = reader.fetch("SELECT sid FROM interactions WHERE date_created >= ? ORDER BY sid", (at,))
    found = [reader.interaction(unpack(SidKind.INTERACTION, sid)) for (sid,) in rows]
    return [one for one in found if one is not None]


def interaction(
    of: Session,
    *,
    kind: Kind = Kind.VOICE,
    sender: Participant | None = None,
    receiver: Participant | None = None,
    status: LegStatus | None = LegStatus.RINGING,
    at: float = START,
) -> Interaction:
    inbound = Leg(participant_sid=sender.sid, resource_sid=new_sid(SidKind.CALL), status=status) if sender else Leg()
    return Interaction(
        sid=new_sid(SidKind.INTERACTION),
        session_sid=of.sid,
        service_sid=of.service_sid,
        account_sid=of.account_sid,
        kind=kind,
        proxy="+15105550001",
        inbound=inbound,
        outbound=Leg(participant_sid=receiver.sid if receiver else None, status=LegStatus.INITIATED),
        body="on my way" if kind is Kind.MESSAGE else None,
        date_created=at,
        date_updated=at,
    )


def callback(of: Session, *, url: str = "https://app.example/callback", at: float = START) -> OutboxCallback:
    return OutboxCallback(url=url, interaction=interaction(of, sender=participant(of), at=at))


def outbox_entry(of: Session, *, content: OutboxContent | None = None, at: float = START) -> OutboxEntry:
    return OutboxEntry(
        sid=new_sid(SidKind.OUTBOX_ENTRY),
        account_sid=of.account_sid,
        service_sid=of.service_sid,
        session_sid=of.sid,
        content=callback(of, at=at) if content is None else content,
        date_created=at,
    )


def insert_old_entries(connection: sqlite3.Connection, entries: Iterable[OutboxEntry]) -> None:
    """Write entries as the versions did that did not keep when they are tried again."""
    columns = ENTRY_COLUMNS.split(", ")
    place = columns.index("date_next")
    del columns[place]
    text = f"INSERT INTO effects ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names of ours
    for entry in entries:
        row = entry_row(entry)
        connection.execute(text, (*row[:place], *row[place + 1 :]))


def alert(*, account_sid: str = ACCOUNT_SID, code: Code = Code.NO_ACTIVE_SESSION, at: float = START) -> DebuggerEvent:
    return DebuggerEvent(
        sid=new_sid(SidKind.DEBUGGER_EVENT),
        code=code,
        account_sid=account_sid,
        service_sid=SERVICE_SID,
        message="No session pairs +1500555XXXX with +1510555XXXX",
        at=at,
    )
