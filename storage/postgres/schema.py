"""The tables and their numbered migrations; how the cells are encoded is `storage.postgres.codec`.

The tables of `storage.sqlite.schema` for many hosts at once. SIDs are bytes, texts and addresses sort by their bytes,
and whatever may hold any character at all, NUL too, is bytes: the text of a message, the last error of an entry.
`shard` is that of the key by which a row's owner is found (`engine.core.model.placement`), for what a start reads.
"""

from typing import Any, Final

import psycopg

from storage.errors import DatabaseTooNew

_LOCK: Final = 0x6D61736B6C696E65
"""Of whoever migrates; "maskline"."""

_FIRST_TABLES: Final = (
    """
    CREATE TABLE accounts (
        sid BYTEA NOT NULL PRIMARY KEY, auth_token TEXT COLLATE "C" NOT NULL, friendly_name TEXT COLLATE "C" NOT NULL,
        allow_participant_conflict BOOLEAN NOT NULL, respect_sms_stop_filter BOOLEAN NOT NULL,
        argentina BOOLEAN NOT NULL, debugger_url TEXT COLLATE "C", previous_token TEXT COLLATE "C",
        date_token_ends FLOAT8, date_disabled FLOAT8, date_created FLOAT8 NOT NULL
    )
    """,
    """
    CREATE TABLE api_keys (
        sid BYTEA NOT NULL PRIMARY KEY, account_sid BYTEA NOT NULL, secret_hash BYTEA NOT NULL,
        friendly_name TEXT COLLATE "C" NOT NULL, date_created FLOAT8 NOT NULL, date_revoked FLOAT8
    )
    """,
    # sid is tagged (PN or SC); address is unique across accounts; capabilities are the bits of `Capability`
    """
    CREATE TABLE numbers (
        sid BYTEA NOT NULL PRIMARY KEY, account_sid BYTEA NOT NULL, address TEXT COLLATE "C" NOT NULL,
        iso_country TEXT COLLATE "C" NOT NULL, capabilities SMALLINT NOT NULL, friendly_name TEXT COLLATE "C" NOT NULL,
        date_created FLOAT8 NOT NULL, date_updated FLOAT8 NOT NULL, service_sid BYTEA, is_reserved BOOLEAN NOT NULL,
        date_pooled FLOAT8, date_pool_updated FLOAT8, stop_filtering BOOLEAN NOT NULL,
        CONSTRAINT numbers_address UNIQUE (address)
    )
    """,
    "CREATE INDEX numbers_by_service ON numbers (service_sid) WHERE service_sid IS NOT NULL",
    # options is the JSON of `ServiceOptions`, without what is at its default
    """
    CREATE TABLE services (
        sid BYTEA NOT NULL PRIMARY KEY, account_sid BYTEA NOT NULL, unique_name TEXT COLLATE "C" NOT NULL,
        default_ttl_seconds BIGINT NOT NULL, callback_url TEXT COLLATE "C", intercept_callback_url TEXT COLLATE "C",
        out_of_session_callback_url TEXT COLLATE "C", geo_match_level TEXT COLLATE "C" NOT NULL,
        number_selection_behavior TEXT COLLATE "C" NOT NULL, chat_instance_sid TEXT COLLATE "C",
        inserts_mexican_one BOOLEAN NOT NULL, options TEXT COLLATE "C" NOT NULL, date_created FLOAT8 NOT NULL,
        date_updated FLOAT8 NOT NULL, CONSTRAINT services_unique_name UNIQUE (account_sid, unique_name)
    )
    """,
    # date_activated: when it last became active (created, re-opened); NULL while closed. A touch changes no column
    # that is in an index, so that it finds room beside the row.
    """
    CREATE TABLE sessions (
        sid BYTEA NOT NULL PRIMARY KEY, service_sid BYTEA NOT NULL, account_sid BYTEA NOT NULL,
        unique_name TEXT COLLATE "C", status SMALLINT NOT NULL, closed_reason TEXT COLLATE "C", mode SMALLINT NOT NULL,
        ttl_seconds BIGINT NOT NULL, date_expiry FLOAT8, idle_since FLOAT8 NOT NULL, date_started FLOAT8,
        date_ended FLOAT8, date_last_interaction FLOAT8, date_created FLOAT8 NOT NULL, date_updated FLOAT8 NOT NULL,
        date_activated FLOAT8, shard SMALLINT NOT NULL,
        CONSTRAINT sessions_unique_name UNIQUE (service_sid, unique_name)
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX sessions_by_service ON sessions (service_sid, sid)",
    "CREATE INDEX sessions_active ON sessions (shard, date_activated) WHERE date_activated IS NOT NULL",
    "CREATE INDEX sessions_ended ON sessions (date_ended, sid) WHERE date_ended IS NOT NULL",
    # proxy_identifier_sid is tagged
    """
    CREATE TABLE participants (
        session_sid BYTEA NOT NULL, sid BYTEA NOT NULL, service_sid BYTEA NOT NULL,
        identifier TEXT COLLATE "C" NOT NULL, proxy_identifier TEXT COLLATE "C" NOT NULL,
        proxy_identifier_sid BYTEA NOT NULL, friendly_name TEXT COLLATE "C", date_created FLOAT8 NOT NULL,
        date_updated FLOAT8 NOT NULL, date_deleted FLOAT8, shard SMALLINT NOT NULL, PRIMARY KEY (session_sid, sid)
    )
    """,
    """
    CREATE INDEX participants_by_identifier
        ON participants (service_sid, identifier, proxy_identifier, date_created)
    """,
    # The resource SIDs are tagged; media is a JSON array; is_open_call: the inbound leg of a call has not ended.
    # service_sid and account_sid are NULL where the session's row tells.
    """
    CREATE TABLE interactions (
        sid BYTEA NOT NULL PRIMARY KEY, session_sid BYTEA NOT NULL, kind SMALLINT NOT NULL,
        proxy TEXT COLLATE "C" NOT NULL, inbound_participant_sid BYTEA, inbound_resource_sid BYTEA,
        inbound_status SMALLINT, outbound_participant_sid BYTEA, outbound_resource_sid BYTEA,
        outbound_status SMALLINT, body BYTEA, media TEXT COLLATE "C", duration_seconds BIGINT,
        date_created FLOAT8 NOT NULL, date_updated FLOAT8 NOT NULL, is_open_call BOOLEAN NOT NULL,
        service_sid BYTEA, account_sid BYTEA, shard SMALLINT NOT NULL
    )
    """,
    "CREATE INDEX interactions_by_session ON interactions (session_sid, sid)",
    "CREATE INDEX interactions_open_calls ON interactions (shard) WHERE is_open_call",
    """
    CREATE INDEX interactions_sent ON interactions (outbound_participant_sid)
        WHERE inbound_participant_sid IS NULL AND outbound_participant_sid IS NOT NULL
    """,
    "CREATE INDEX interactions_elsewhere ON interactions (service_sid) WHERE service_sid IS NOT NULL",
    # the outbox: duty is the MessagePack of an `OutboxContent`, destination derived from it
    """
    CREATE TABLE effects (
        sid BYTEA NOT NULL PRIMARY KEY, account_sid BYTEA NOT NULL, service_sid BYTEA, session_sid BYTEA,
        destination TEXT COLLATE "C" NOT NULL, date_created FLOAT8 NOT NULL, attempts INTEGER NOT NULL,
        last_error BYTEA NOT NULL, date_died FLOAT8, date_next FLOAT8, duty BYTEA NOT NULL, shard SMALLINT NOT NULL
    )
    """,
    "CREATE INDEX effects_pending ON effects (account_sid, destination, sid) WHERE date_died IS NULL",
    "CREATE INDEX effects_dead ON effects (sid) WHERE date_died IS NOT NULL",
    "CREATE INDEX effects_dead_of_account ON effects (account_sid, sid) WHERE date_died IS NOT NULL",
    "CREATE INDEX effects_dead_of_service ON effects (service_sid) WHERE date_died IS NOT NULL",
    # level is the catalogue's for the code; event is the MessagePack of a `DebuggerEvent`
    """
    CREATE TABLE alerts (
        sid BYTEA NOT NULL PRIMARY KEY, account_sid BYTEA NOT NULL, code INTEGER NOT NULL, level SMALLINT NOT NULL,
        at FLOAT8 NOT NULL, service_sid BYTEA, session_sid BYTEA, resource_sid BYTEA, event BYTEA NOT NULL
    )
    """,
    "CREATE INDEX alerts_by_account ON alerts (account_sid, sid, level, at)",
    "CREATE INDEX alerts_by_time ON alerts (at)",
    "CREATE INDEX alerts_by_session ON alerts (session_sid) WHERE session_sid IS NOT NULL",
    "CREATE INDEX alerts_by_resource ON alerts (resource_sid) WHERE resource_sid IS NOT NULL",
    # digests of idempotency keys and of the items that came with them
    """
    CREATE TABLE batch_keys (
        service_sid BYTEA NOT NULL, digest BYTEA NOT NULL, fingerprint BYTEA NOT NULL, session_sid BYTEA NOT NULL,
        at FLOAT8 NOT NULL, shard SMALLINT NOT NULL, PRIMARY KEY (service_sid, digest)
    )
    """,
    "CREATE INDEX batch_keys_by_time ON batch_keys (at)",
    # sessions that were erased, of which other hosts may have something in memory
    "CREATE TABLE erasures (session_sid BYTEA NOT NULL PRIMARY KEY)",
    # what channels keep until a time, each under its own keys; account_sid where it is an account's
    """
    CREATE TABLE channel_notes (
        channel TEXT COLLATE "C" NOT NULL, key BYTEA NOT NULL, value BYTEA NOT NULL, until FLOAT8 NOT NULL,
        account_sid BYTEA, PRIMARY KEY (channel, key)
    )
    """,
    "CREATE INDEX channel_notes_by_time ON channel_notes (until)",
    "CREATE INDEX channel_notes_by_account ON channel_notes (account_sid) WHERE account_sid IS NOT NULL",
    # one row a host, updated by each of its commits, in place as long as the page has room; attached: which of its
    # connections, in the order that it opened them, is the one that writes
    """
    CREATE TABLE hosts (
        place INTEGER NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL, attached BIGINT NOT NULL DEFAULT 0,
        group_no BIGINT NOT NULL, backend INTEGER, node TEXT COLLATE "C", addresses TEXT COLLATE "C",
        state SMALLINT NOT NULL DEFAULT 0
    ) WITH (fillfactor = 10)
    """,
    # the first statement of every group: it fails unless the place is this connection's, and counts the group
    """
    CREATE FUNCTION fence(its_place INTEGER, its_epoch BIGINT, its_attached BIGINT, its_group BIGINT) RETURNS void
    LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE hosts SET group_no = its_group
            WHERE place = its_place AND epoch = its_epoch AND attached = its_attached;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'fenced' USING ERRCODE = 'MK001';
        END IF;
    END
    $$
    """,
    # shards: into how many keys are divided, for good
    """
    CREATE TABLE cluster (
        id INTEGER PRIMARY KEY CHECK (id = 1), shards SMALLINT NOT NULL, registry_version BIGINT NOT NULL
    )
    """,
    "INSERT INTO cluster VALUES (1, 1024, 0)",
)

_NOTED: Final = """
    CREATE TABLE IF NOT EXISTS migrations (
        name TEXT COLLATE "C" PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
"""

_IMPORTS: Final = (
    # from where an import was begun that has not come to its end; no server starts meanwhile
    'ALTER TABLE cluster ADD COLUMN importing TEXT COLLATE "C"',
)

_REGISTRY_CHANGES: Final = (
    # the latest changes of the registry, each the MessagePack of a tuple of `RegistryChange`, for hosts that are behind
    "CREATE TABLE registry_changes (version BIGINT NOT NULL PRIMARY KEY, changes BYTEA NOT NULL)",
    # it fails where another host has changed the registry since, or is about to; calls wait behind it, so it waits
    # for that one a moment only
    """
    CREATE FUNCTION advance_registry(its_version BIGINT, its_changes BYTEA) RETURNS void
    LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
    BEGIN
        UPDATE cluster SET registry_version = its_version + 1 WHERE registry_version = its_version;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'outrun' USING ERRCODE = 'MK002';
        END IF;
        DELETE FROM registry_changes WHERE version > its_version OR version <= its_version - 200;
        INSERT INTO registry_changes VALUES (its_version + 1, its_changes);
    EXCEPTION WHEN lock_not_available THEN
        RAISE EXCEPTION 'about to be outrun' USING ERRCODE = 'MK002';
    END
    $$
    """,
)

_MEMBERSHIP: Final = (
    # of how many hosts the cluster is, NULL until one has started; 32 random bytes that its hosts know each other by
    "ALTER TABLE cluster ADD COLUMN hosts INTEGER, ADD COLUMN secret BYTEA",
    "UPDATE cluster SET secret = uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())",
    "ALTER TABLE cluster ALTER COLUMN secret SET NOT NULL",
    # state is `PlaceState`, addresses the JSON of a `HostTold`, since when it was assigned last, or its owner attached;
    # changes counts those of what all nodes go by, and their sum is the version of the map: one row would be locked
    # by each for all
    """
    ALTER TABLE hosts
        ADD COLUMN is_drained BOOLEAN NOT NULL DEFAULT FALSE, ADD COLUMN since TIMESTAMPTZ NOT NULL DEFAULT now(),
        ADD COLUMN changes BIGINT NOT NULL DEFAULT 0
    """,
    "UPDATE hosts SET state = 1 WHERE backend IS NOT NULL",
    # machine tells machines of one name apart, joined the processes of one machine
    """
    CREATE TABLE nodes (
        name TEXT COLLATE "C" PRIMARY KEY, beat BIGINT NOT NULL, address TEXT COLLATE "C" NOT NULL,
        machine TEXT COLLATE "C" NOT NULL, joined BYTEA NOT NULL, since TIMESTAMPTZ NOT NULL DEFAULT now()
    ) WITH (fillfactor = 10)
    """,
)

_MOVES: Final = (
    # the node that gets the place when the one that has it gives it back
    'ALTER TABLE hosts ADD COLUMN moves_to TEXT COLLATE "C"',
)

MIGRATIONS: Final = {
    "0001_first_tables": _FIRST_TABLES,
    "0002_imports": _IMPORTS,
    "0003_registry_changes": _REGISTRY_CHANGES,
    "0004_membership": _MEMBERSHIP,
    "0005_moves": _MOVES,
}
"""Statements by name, in order; what was released never changes."""


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Bring the schema up to date, all of it or nothing; whoever else migrates meanwhile waits.

    Raises:
        DatabaseTooNew: the database carries a migration that this version does not know.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        pending = pending_migrations(connection)
        if pending:  # a server's user need not have the right to make tables
            connection.execute(_NOTED)
        for name in pending:
            for statement in MIGRATIONS[name]:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations (name) VALUES (%s)", (name,))


def pending_migrations(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    """Name the migrations that a database lacks.

    Raises:
        DatabaseTooNew: the database carries a migration that this version does not know.
    """
    is_noted = connection.execute("SELECT to_regclass('migrations')").fetchone() != (None,)
    text = "SELECT name FROM migrations ORDER BY name"
    applied = [name for (name,) in connection.execute(text)] if is_noted else []
    foreign = tuple(name for name in applied if name not in MIGRATIONS)
    if foreign:
        raise DatabaseTooNew(connection.info.dbname, foreign)
    return tuple(name for name in MIGRATIONS if name not in applied)
