"""The tables and their numbered migrations; how the cells are encoded is `storage.codec`.

The SID is the key, and SIDs are made in time order, so the large tables append. Tables are WITHOUT ROWID, but
for `effects`, `alerts` and `channel_notes`, whose rows carry blobs: from about 1,000 bytes on, a row in a key's own
tree costs a page.
An interaction's and a participant's account follow from the session, an interaction's service too, unless the session
lies in the file of another host: then the interaction's row has both.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database, Migrations

from storage.errors import DatabaseTooNew

migrations = Migrations("maskline")
"""Applied at start, in order, each in its own transaction; recorded by name in `_sqlite_migrations`."""

_FIRST_TABLES = (
    """
    CREATE TABLE accounts (
        sid BLOB NOT NULL PRIMARY KEY, auth_token TEXT NOT NULL, friendly_name TEXT NOT NULL,
        allow_participant_conflict INTEGER NOT NULL, respect_sms_stop_filter INTEGER NOT NULL,
        argentina INTEGER NOT NULL, date_created REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE api_keys (
        sid BLOB NOT NULL PRIMARY KEY, account_sid BLOB NOT NULL, secret_hash BLOB NOT NULL,
        friendly_name TEXT NOT NULL, date_created REAL NOT NULL, date_revoked REAL
    ) WITHOUT ROWID
    """,
    # sid is tagged (PN or SC); address is unique across accounts; capabilities are the bits of `Capability`
    """
    CREATE TABLE numbers (
        sid BLOB NOT NULL PRIMARY KEY, account_sid BLOB NOT NULL, address NOT NULL UNIQUE, iso_country TEXT NOT NULL,
        capabilities INTEGER NOT NULL, friendly_name TEXT NOT NULL, date_created REAL NOT NULL,
        date_updated REAL NOT NULL, service_sid BLOB, is_reserved INTEGER NOT NULL, date_pooled REAL,
        date_pool_updated REAL, stop_filtering INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX numbers_by_service ON numbers (service_sid) WHERE service_sid IS NOT NULL",
    """
    CREATE TABLE services (
        sid BLOB NOT NULL PRIMARY KEY, account_sid BLOB NOT NULL, unique_name TEXT NOT NULL,
        default_ttl_seconds INTEGER NOT NULL, callback_url TEXT, intercept_callback_url TEXT,
        out_of_session_callback_url TEXT, geo_match_level TEXT NOT NULL, number_selection_behavior TEXT NOT NULL,
        chat_instance_sid TEXT, inserts_mexican_one INTEGER NOT NULL, date_created REAL NOT NULL,
        date_updated REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX services_by_name ON services (account_sid, unique_name)",
    # date_activated: when it last became active (created, re-opened); NULL while closed
    """
    CREATE TABLE sessions (
        sid BLOB NOT NULL PRIMARY KEY, service_sid BLOB NOT NULL, account_sid BLOB NOT NULL, unique_name TEXT,
        status INTEGER NOT NULL, closed_reason TEXT, mode INTEGER NOT NULL, ttl_seconds INTEGER NOT NULL,
        date_expiry REAL, idle_since REAL NOT NULL, date_started REAL, date_ended REAL, date_last_interaction REAL,
        fail_on_participant_conflict INTEGER NOT NULL, date_created REAL NOT NULL, date_updated REAL NOT NULL,
        date_activated REAL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX sessions_by_service ON sessions (service_sid)",
    "CREATE UNIQUE INDEX sessions_by_name ON sessions (service_sid, unique_name) WHERE unique_name IS NOT NULL",
    "CREATE INDEX sessions_active ON sessions (date_activated) WHERE date_activated IS NOT NULL",
    "CREATE INDEX sessions_ended ON sessions (date_ended) WHERE date_ended IS NOT NULL",
    # a session's participants lie together; proxy_identifier_sid is tagged
    """
    CREATE TABLE participants (
        session_sid BLOB NOT NULL, sid BLOB NOT NULL, service_sid BLOB NOT NULL, identifier NOT NULL,
        proxy_identifier NOT NULL, proxy_identifier_sid NOT NULL, friendly_name TEXT, date_created REAL NOT NULL,
        date_updated REAL NOT NULL, date_deleted REAL, PRIMARY KEY (session_sid, sid)
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX participants_by_identifier
        ON participants (service_sid, identifier, proxy_identifier, date_created)
    """,
    # the resource SIDs are tagged; media is a JSON array; is_open_call: the inbound leg of a call has not ended
    """
    CREATE TABLE interactions (
        sid BLOB NOT NULL PRIMARY KEY, session_sid BLOB NOT NULL, kind INTEGER NOT NULL, proxy NOT NULL,
        inbound_participant_sid BLOB, inbound_resource_sid, inbound_status INTEGER,
        outbound_participant_sid BLOB, outbound_resource_sid, outbound_status INTEGER,
        body TEXT, media TEXT, duration_seconds INTEGER, date_created REAL NOT NULL, date_updated REAL NOT NULL,
        is_open_call INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX interactions_by_session ON interactions (session_sid)",
    "CREATE INDEX interactions_open_calls ON interactions (is_open_call) WHERE is_open_call = 1",
    """
    CREATE INDEX interactions_sent ON interactions (outbound_participant_sid)
        WHERE inbound_participant_sid IS NULL AND outbound_participant_sid IS NOT NULL
    """,
    # written and emptied again by the probe that looks whether a failed disk has recovered
    "CREATE TABLE probe (id INTEGER PRIMARY KEY, filler BLOB NOT NULL)",
)


_OUTBOX = (
    # the outbox: duty is the MessagePack of an `OutboxContent`, destination derived from it; lane: session or entry
    """
    CREATE TABLE effects (
        sid BLOB NOT NULL PRIMARY KEY, account_sid BLOB NOT NULL, service_sid BLOB, session_sid BLOB,
        destination TEXT NOT NULL, date_created REAL NOT NULL, attempts INTEGER NOT NULL, last_error TEXT NOT NULL,
        date_died REAL, duty BLOB NOT NULL
    )
    """,
    "CREATE INDEX effects_pending ON effects (destination, sid) WHERE date_died IS NULL",
    "CREATE INDEX effects_dead ON effects (sid) WHERE date_died IS NOT NULL",
)

_QUEUES_OF_ACCOUNTS = (
    "DROP INDEX effects_pending",
    "CREATE INDEX effects_pending ON effects (account_sid, destination, sid) WHERE date_died IS NULL",
)

_ALERTS = (
    # level is the catalogue's for the code; event is the MessagePack of a `DebuggerEvent`
    """
    CREATE TABLE alerts (
        sid BLOB NOT NULL PRIMARY KEY, account_sid BLOB NOT NULL, code INTEGER NOT NULL, level INTEGER NOT NULL,
        at REAL NOT NULL, event BLOB NOT NULL
    )
    """,
    "CREATE INDEX alerts_by_account ON alerts (account_sid, sid, level, at)",
    "CREATE INDEX alerts_by_time ON alerts (at)",
)

_SETTINGS = (
    # options is the JSON of `ServiceOptions`, without what is at its default
    "ALTER TABLE services ADD COLUMN options TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE accounts ADD COLUMN debugger_url TEXT",
)

_HOSTS = (
    # NULL: the session's row, in this file, tells; otherwise the session lies in the file of another host
    "ALTER TABLE interactions ADD COLUMN service_sid BLOB",
    "ALTER TABLE interactions ADD COLUMN account_sid BLOB",
    "CREATE INDEX interactions_elsewhere ON interactions (service_sid) WHERE service_sid IS NOT NULL",
    # one row: how far this copy of accounts, keys, services and numbers has come
    "CREATE TABLE registry_version (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL)",
    "INSERT INTO registry_version VALUES (1, 0)",
)

_SESSION_COUNTS = (
    # how many rows of `sessions` have each status, kept by the triggers: counting them would walk the table
    "CREATE TABLE session_counts (status INTEGER NOT NULL PRIMARY KEY, sessions INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO session_counts VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0)",
    "REPLACE INTO session_counts SELECT status, count(*) FROM sessions GROUP BY status",
    """
    CREATE TRIGGER sessions_count_in AFTER INSERT ON sessions
        BEGIN UPDATE session_counts SET sessions = sessions + 1 WHERE status = NEW.status; END
    """,
    """
    CREATE TRIGGER sessions_count_out AFTER DELETE ON sessions
        BEGIN UPDATE session_counts SET sessions = sessions - 1 WHERE status = OLD.status; END
    """,
    """
    CREATE TRIGGER sessions_count_on AFTER UPDATE OF status ON sessions WHEN NEW.status <> OLD.status
        BEGIN
            UPDATE session_counts SET sessions = sessions - 1 WHERE status = OLD.status;
            UPDATE session_counts SET sessions = sessions + 1 WHERE status = NEW.status;
        END
    """,
)


_BATCH_KEYS = (
    # digests of idempotency keys and of the items that came with them
    """
    CREATE TABLE batch_keys (
        service_sid BLOB NOT NULL, digest BLOB NOT NULL, fingerprint BLOB NOT NULL, session_sid BLOB NOT NULL,
        at REAL NOT NULL, PRIMARY KEY (service_sid, digest)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX batch_keys_by_time ON batch_keys (at)",
)


_ERASURES = (
    # sessions that were erased here, of which other hosts' files may have interactions
    "CREATE TABLE erasures (session_sid BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID",
)


_TOKENS_AND_STATE = (
    # previous_token is good beside auth_token until date_token_ends; date_disabled is NULL while the account is active
    "ALTER TABLE accounts ADD COLUMN previous_token TEXT",
    "ALTER TABLE accounts ADD COLUMN date_token_ends REAL",
    "ALTER TABLE accounts ADD COLUMN date_disabled REAL",
)


_NOTES = (
    # what channels keep until a time, each under its own keys; account_sid where it is an account's
    """
    CREATE TABLE channel_notes (
        channel TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, until REAL NOT NULL, account_sid BLOB,
        PRIMARY KEY (channel, key)
    )
    """,
    "CREATE INDEX channel_notes_by_time ON channel_notes (until)",
    "CREATE INDEX channel_notes_by_account ON channel_notes (account_sid) WHERE account_sid IS NOT NULL",
)


_FOUND_ALERTS = (
    # NULL also in rows that are older than the columns: the event has them
    "ALTER TABLE alerts ADD COLUMN service_sid BLOB",
    "ALTER TABLE alerts ADD COLUMN session_sid BLOB",
    "ALTER TABLE alerts ADD COLUMN resource_sid",
    "CREATE INDEX alerts_by_session ON alerts (session_sid) WHERE session_sid IS NOT NULL",
    "CREATE INDEX alerts_by_resource ON alerts (resource_sid) WHERE resource_sid IS NOT NULL",
    "CREATE INDEX effects_dead_of_account ON effects (account_sid, sid) WHERE date_died IS NOT NULL",
)


@migrations(name="0001_first_tables")
def _first_tables(db: Database) -> None:
    for statement in _FIRST_TABLES:
        db.execute(statement)


@migrations(name="0002_outbox")
def _outbox(db: Database) -> None:
    for statement in _OUTBOX:
        db.execute(statement)


@migrations(name="0003_alerts")
def _alerts(db: Database) -> None:
    for statement in _ALERTS:
        db.execute(statement)


@migrations(name="0004_options_and_debugger_url")
def _options_and_debugger_url(db: Database) -> None:
    for statement in _SETTINGS:
        db.execute(statement)


@migrations(name="0005_hosts_of_a_cluster")
def _hosts(db: Database) -> None:
    for statement in _HOSTS:
        db.execute(statement)


@migrations(name="0006_batch_keys")
def _batch_keys(db: Database) -> None:
    for statement in _BATCH_KEYS:
        db.execute(statement)


@migrations(name="0007_session_counts")
def _session_counts(db: Database) -> None:
    for statement in _SESSION_COUNTS:
        db.execute(statement)


@migrations(name="0008_erasures")
def _erasures(db: Database) -> None:
    for statement in _ERASURES:
        db.execute(statement)


@migrations(name="0009_tokens_and_state_of_accounts")
def _tokens_and_state(db: Database) -> None:
    for statement in _TOKENS_AND_STATE:
        db.execute(statement)


@migrations(name="0010_queues_of_accounts")
def _queues_of_accounts(db: Database) -> None:
    for statement in _QUEUES_OF_ACCOUNTS:
        db.execute(statement)


@migrations(name="0011_channel_notes")
def _notes(db: Database) -> None:
    for statement in _NOTES:
        db.execute(statement)


@migrations(name="0012_alerts_are_found")
def _found_alerts(db: Database) -> None:
    for statement in _FOUND_ALERTS:
        db.execute(statement)


@migrations(name="0013_dead_entries_of_services")
def _dead_of_services(db: Database) -> None:
    db.execute("CREATE INDEX effects_dead_of_service ON effects (service_sid) WHERE date_died IS NOT NULL")


@migrations(name="0014_next_tries")
def _next_tries(db: Database) -> None:
    # NULL: not tried yet, or dead
    db.execute("ALTER TABLE effects ADD COLUMN date_next REAL")


def migrate(connection: sqlite3.Connection, database: Path) -> None:
    """Bring the schema up to date.

    Raises:
        DatabaseTooNew: the file carries a migration that this version does not know.
    """
    pending_migrations(connection, database)
    migrations.apply(Database(connection))


def pending_migrations(connection: sqlite3.Connection, database: Path) -> tuple[str, ...]:
    """Name the migrations that a file lacks; writes nothing.

    Raises:
        DatabaseTooNew: the file carries a migration that this version does not know.
    """
    db = Database(connection)
    with closing(Database(memory=True)) as nothing_applied:
        known = {migration.name for migration in migrations.pending(nothing_applied)}
    foreign = tuple(migration.name for migration in migrations.applied(db) if migration.name not in known)
    if foreign:
        raise DatabaseTooNew(database, foreign)
    return tuple(migration.name for migration in migrations.pending(db))
