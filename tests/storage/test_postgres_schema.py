"""The tables in PostgreSQL: made once, by one at a time, never taken back, and sorted by bytes."""

import re
import threading

import psycopg
import pytest

from storage.errors import DatabaseTooNew
from storage.postgres.codec import KINDS
from storage.postgres.schema import MIGRATIONS, migrate, pending_migrations
from tests.postgres import Server

_ROWS_ONLY = {"migrations", "hosts", "nodes", "cluster", "registry_changes"}
"""Tables that are not written by rows of records."""


def test_migrations_run_once(database: str) -> None:
    """A database that is up to date lacks none, and is left alone."""
    with psycopg.connect(database) as connection:
        before = pending_migrations(connection)
        migrate(connection)
        rows = connection.execute("SELECT name FROM migrations ORDER BY name").fetchall()

    assert before == ()
    assert [name for (name,) in rows] == list(MIGRATIONS)


def test_what_a_newer_version_wrote_is_refused(database: str) -> None:
    """It says so, and changes nothing."""
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO migrations (name) VALUES ('9999_of_tomorrow')")
        connection.commit()

        with pytest.raises(DatabaseTooNew, match="9999_of_tomorrow"):
            migrate(connection)


def test_hosts_that_start_at_once_migrate_in_turn(postgres_server: Server) -> None:
    """Whoever comes second finds the tables made."""
    with postgres_server.database() as conninfo:
        failures: list[Exception] = []
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

        def start() -> None:
            try:
                with psycopg.connect(conninfo) as connection:
                    migrate(connection)
            except psycopg.Error as failure:
                failures.append(failure)

        hosts = [threading.Thread(target=start) for _ in range(4)]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join(30)

        with psycopg.connect(conninfo) as connection:
            assert (failures, pending_migrations(connection)) == ([], ())


def test_every_text_sorts_by_its_bytes(database: str) -> None:
    """Names, addresses and destinations come in one order, whatever the language of the database is."""
    with psycopg.connect(database) as connection:
        others = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type IN ('text', 'character varying') AND collation_name IS DISTINCT FROM 'C'"
        ).fetchall()

    assert others == []


def test_every_column_is_encoded_as_what_it_is(database: str) -> None:
    """A column added to a table needs a kind, of the type that it has there."""
    with psycopg.connect(database) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, udt_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()

    aliases = {"int2": "smallint", "int4": "integer", "int8": "bigint", "bool": "boolean"}
    wrong = [
        (table, column)
        for table, column, type_name in columns
        if table not in _ROWS_ONLY and KINDS[column].name != aliases.get(type_name, type_name)
    ]
    assert wrong == []


def test_a_touch_changes_no_column_that_is_in_an_index(database: str) -> None:
    """So it is written in place: half of all that traffic writes."""
    touched = {"status", "date_started", "date_last_interaction", "idle_since", "date_updated"}
    with psycopg.connect(database) as connection:
        indexes = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'sessions'").fetchall()

    named = {word for (text,) in indexes for word in re.findall(r"\w+", text)}
    assert named & touched == set()
