"""Every statement that writes: any number of rows as arrays, one a column, so that a table takes one statement."""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import msgspec

from storage.apply import Many, One
from storage.codec import Cell, proxy_at, service_at
from storage.outbox_rows import ALERT_COLUMNS, ENTRY_COLUMNS, NEW_ENTRY_COLUMNS, entry_key
from storage.postgres.codec import KINDS, Column, shard_at
from storage.rows import (
    ACCOUNT_COLUMNS,
    API_KEY_COLUMNS,
    INTERACTION_COLUMNS,
    NUMBER_COLUMNS,
    PARTICIPANT_COLUMNS,
    ROUTED_COLUMNS,
    SERVICE_COLUMNS,
    SESSION_COLUMNS,
    Row,
)

UNUSED: Final = "fail_on_participant_conflict"
"""A cell of a session that only SQLite still has a column for."""


class ManyRows(msgspec.Struct, frozen=True):
    """A statement with a table of rows in it, {rows}, by the name `news`."""

    text: str
    columns: tuple[str, ...]
    """The cells of a row."""
    shard_key: Callable[[Row], str] | None = None
    """Makes the key whose shard goes in a column behind them."""

    def parameters(self, rows: Sequence[Row], shard_of: Callable[[str], int] = shard_at) -> list[Column]:
        """Encode the rows; `shard_of` finds the shard of a key."""
        columns = zip(*rows, strict=True) if rows else repeat((), len(self.columns))
        cells: dict[str, Sequence[Cell]] = dict(zip(self.columns, columns, strict=True))
        cells.pop(UNUSED, None)
        if self.shard_key is not None:
            cells["shard"] = tuple(map(shard_of, map(self.shard_key, rows)))
        return [Column(KINDS[name], of_rows) for name, of_rows in cells.items()]


def _many(text: str, columns: str, shard_key: Callable[[Any], str] | None = None) -> ManyRows:
    names = tuple(columns.split(", "))
    written = [name for name in names if name != UNUSED] + ["shard"] * (shard_key is not None)
    arrays = ", ".join(f"%s::{KINDS[name].name}[]" for name in written)
    all_names = ", ".join(written)
    spelled = text.format(columns=all_names, rows=f"unnest({arrays}) AS news({all_names})")
    return ManyRows(spelled, names, shard_key)


def _insert(table: str, columns: str, shard_key: Callable[[Any], str] | None = None, *, tail: str = "") -> ManyRows:
    text = f"INSERT INTO {table} ({{columns}}) SELECT {{columns}} FROM {{rows}} {tail}"  # noqa: S608 - names of this package
    return _many(text, columns, shard_key)


def _upsert(table: str, columns: str, key: str = "sid") -> ManyRows:
    kept = key.split(", ")
    settings = ", ".join(f"{name} = excluded.{name}" for name in columns.split(", ") if name not in kept)
    return _insert(table, columns, tail=f"ON CONFLICT ({key}) DO UPDATE SET {settings}")


def _service_of(place: int) -> Callable[[Row], str]:
    return lambda row: service_at(bytes(row[place]))  # type: ignore[arg-type] # the columns are those of the schema


def _proxy_of(row: Row) -> str:
    return proxy_at(row[3])  # type: ignore[arg-type] # likewise


def _entry_key(row: Row) -> str:
    _, account, service, *_, content = row
    return entry_key(content, service, account)  # type: ignore[arg-type] # likewise


MANY: Final[Mapping[Many, ManyRows]] = {
    Many.INSERT_SESSIONS: _insert("sessions", f"{SESSION_COLUMNS}, {UNUSED}, date_activated", _service_of(1)),
    Many.INSERT_PARTICIPANTS: _insert("participants", PARTICIPANT_COLUMNS, _service_of(2)),
    Many.INSERT_BATCH_KEYS: _insert("batch_keys", "service_sid, digest, fingerprint, session_sid, at", _service_of(0)),
    Many.INSERT_ROUTED: _insert("interactions", ROUTED_COLUMNS, _proxy_of),
    Many.INSERT_TEXTS: _insert("interactions", f"{ROUTED_COLUMNS}, body", _proxy_of),
    Many.INSERT_INTERACTIONS: _insert(
        "interactions", f"{INTERACTION_COLUMNS}, is_open_call, service_sid, account_sid", _proxy_of
    ),
    # 1 is in-progress, 2 closed
    Many.TOUCH_SESSIONS: _many(
        "UPDATE sessions SET status = 1, date_started = coalesce(date_started, news.first_at),"
        " date_last_interaction = greatest(date_last_interaction, news.latest_at),"
        " idle_since = greatest(idle_since, news.latest_at), date_updated = news.last_at"
        " FROM {rows} WHERE sessions.sid = news.sid AND sessions.status <> 2",
        "sid, first_at, latest_at, last_at",
    ),
    # kind 0 is a call
    Many.UPDATE_INTERACTIONS: _many(
        "UPDATE interactions SET inbound_participant_sid = news.inbound_participant_sid,"
        " inbound_resource_sid = news.inbound_resource_sid, inbound_status = news.inbound_status,"
        " outbound_participant_sid = news.outbound_participant_sid,"
        " outbound_resource_sid = news.outbound_resource_sid, outbound_status = news.outbound_status,"
        " duration_seconds = news.duration_seconds, date_updated = news.date_updated,"
        " is_open_call = kind = 0 AND news.is_open_call FROM {rows} WHERE interactions.sid = news.sid",
        "sid, inbound_participant_sid, inbound_resource_sid, inbound_status, outbound_participant_sid,"
        " outbound_resource_sid, outbound_status, duration_seconds, date_updated, is_open_call",
    ),
    Many.UPDATE_OUTBOUND: _many(
        "UPDATE interactions SET outbound_resource_sid = news.outbound_resource_sid,"
        " outbound_status = news.outbound_status, date_updated = news.date_updated FROM {rows}"
        " WHERE interactions.sid = news.sid",
        "sid, outbound_resource_sid, outbound_status, date_updated",
    ),
    Many.INSERT_ENTRIES: _insert("effects", ENTRY_COLUMNS, _entry_key),
    Many.INSERT_NEW_ENTRIES: _many(
        "INSERT INTO effects ({columns}, attempts, last_error) SELECT {columns}, 0, '' FROM {rows}",
        NEW_ENTRY_COLUMNS,
        _entry_key,
    ),
    Many.FAIL_ENTRIES: _many(
        "UPDATE effects SET attempts = news.attempts, last_error = news.last_error, date_died = news.date_died,"
        " date_next = news.date_next FROM {rows} WHERE effects.sid = news.sid",
        "sid, attempts, last_error, date_died, date_next",
    ),
    Many.SETTLE_ENTRIES: _many("DELETE FROM effects USING {rows} WHERE effects.sid = news.sid", "sid"),
    Many.INSERT_ALERTS: _insert("alerts", ALERT_COLUMNS),
    Many.KEEP_UNOWNED_NOTES: _insert(
        "channel_notes",
        "channel, key, value, until",
        tail="ON CONFLICT (channel, key) DO UPDATE"
        " SET value = excluded.value, until = excluded.until, account_sid = NULL",
    ),
    Many.KEEP_NOTES: _upsert("channel_notes", "channel, key, value, until, account_sid", "channel, key"),
    Many.DROP_NOTES: _many(
        "DELETE FROM channel_notes USING {rows}"
        " WHERE channel_notes.channel = news.channel AND channel_notes.key = news.key",
        "channel, key",
    ),
    Many.SETTLE_ERASURES: _many(
        "DELETE FROM erasures USING {rows} WHERE erasures.session_sid = news.session_sid", "session_sid"
    ),
    Many.SAVE_ACCOUNTS: _upsert("accounts", ACCOUNT_COLUMNS),
    Many.SAVE_API_KEYS: _upsert("api_keys", API_KEY_COLUMNS),
    Many.SAVE_NUMBERS: _upsert("numbers", NUMBER_COLUMNS),
    Many.SAVE_SERVICES: _upsert("services", SERVICE_COLUMNS),
}

INSERT_ERASURES: Final = _insert("erasures", "session_sid")

CHANGE_PARTICIPANT: Final = _many(
    "UPDATE participants SET service_sid = news.service_sid, identifier = news.identifier,"
    " proxy_identifier = news.proxy_identifier, proxy_identifier_sid = news.proxy_identifier_sid,"
    " friendly_name = news.friendly_name, date_created = news.date_created, date_updated = news.date_updated,"
    " date_deleted = news.date_deleted, shard = news.shard FROM {rows}"
    " WHERE participants.session_sid = news.session_sid AND participants.sid = news.sid",
    PARTICIPANT_COLUMNS,
    _service_of(2),
)

ONE: Final[Mapping[One, Sequence[str]]] = {
    One.ERASE_BATCH_KEYS: (
        (
            "DELETE FROM batch_keys WHERE (service_sid, digest) IN"
            " (SELECT service_sid, digest FROM batch_keys WHERE at < %s ORDER BY at LIMIT %s)"
        ),
    ),
    One.REMOVE_PARTICIPANT: (
        (
            "UPDATE participants SET date_deleted = gone.at, date_updated = gone.at"
            " FROM (VALUES (%s::float8, %s::bytea, %s::bytea)) AS gone(at, session_sid, sid)"
            " WHERE participants.session_sid = gone.session_sid AND participants.sid = gone.sid"
        ),
    ),
    One.REVIVE_ENTRY: (
        (
            "UPDATE effects SET attempts = 0, last_error = '', date_died = NULL, date_next = NULL"
            " WHERE sid = %s AND date_died IS NOT NULL"
        ),
    ),
    One.ERASE_ALERTS: ("DELETE FROM alerts WHERE at < %s",),
    One.ERASE_NOTES: (
        (
            # by the newest version of a note: its host may put its end off meanwhile
            "WITH asked (before, most) AS (VALUES (%s::float8, %s::bigint)), expired AS"
            " (SELECT channel, key FROM channel_notes, asked WHERE until <= before"
            " ORDER BY until LIMIT (SELECT most FROM asked))"
            " DELETE FROM channel_notes USING expired, asked WHERE channel_notes.channel = expired.channel"
            " AND channel_notes.key = expired.key AND channel_notes.until <= asked.before"
        ),
    ),
    One.ERASE_SESSION: (
        "DELETE FROM interactions WHERE session_sid = %s",
        "DELETE FROM participants WHERE session_sid = %s",
        "DELETE FROM sessions WHERE sid = %s",
    ),
    One.ERASE_SERVICE: (
        "DELETE FROM interactions WHERE service_sid = %s",
        "DELETE FROM interactions WHERE session_sid IN (SELECT sid FROM sessions WHERE service_sid = %s)",
        "DELETE FROM participants WHERE service_sid = %s",
        "DELETE FROM sessions WHERE service_sid = %s",
        "DELETE FROM batch_keys WHERE service_sid = %s",
        (
            "UPDATE numbers SET service_sid = NULL, is_reserved = false, date_pooled = NULL, date_pool_updated = NULL"
            " WHERE service_sid = %s"
        ),
        "DELETE FROM services WHERE sid = %s",
    ),
    One.ERASE_INTERACTION: ("DELETE FROM interactions WHERE sid = %s",),
    One.ERASE_ACCOUNT: (
        "DELETE FROM effects WHERE account_sid = %s",
        "DELETE FROM alerts WHERE account_sid = %s",
        "DELETE FROM channel_notes WHERE account_sid = %s",
        "DELETE FROM api_keys WHERE account_sid = %s",
        "DELETE FROM accounts WHERE sid = %s",
    ),
    One.OWE_ERASURE: ("INSERT INTO erasures (session_sid) VALUES (%s) ON CONFLICT DO NOTHING",),
    One.RELEASE_NUMBER: ("DELETE FROM numbers WHERE sid = %s",),
    One.SAVE_REGISTRY_VERSION: ("UPDATE cluster SET registry_version = %s",),
    One.ADVANCE_REGISTRY: ("SELECT advance_registry(%s, %s)",),
}
"""`CHANGE_PARTICIPANT` is apart: its cells are those of a row."""
