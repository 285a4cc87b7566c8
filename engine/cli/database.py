"""`maskline database`: make the tables in a PostgreSQL database, and see whether it is what it should be."""

import click
import msgspec
import psycopg

from engine.cli.options import admin_options
from engine.cli.output import show_json, show_table
from engine.cli.tree import REFUSED, Refusal
from engine.settings import Settings
from storage.postgres.checks import findings
from storage.postgres.connections import conninfo_of
from storage.postgres.errors import reading
from storage.postgres.schema import migrate, pending_migrations


class Initialised(msgspec.Struct, frozen=True):
    """What `init` did."""

    applied: tuple[str, ...]
    """Names of the migrations that the database lacked."""


@click.group()
def database() -> None:
    """PostgreSQL in place of a file: database_url, in the settings or MASKLINE_DATABASE_URL, names it."""


@database.command()
@admin_options
def init(*, settings: Settings, as_json: bool) -> None:
    """Make the tables, or bring them up to date; a server does so at its start, too, if its user may."""
    with reading(), _connected(settings) as connection:
        pending = pending_migrations(connection)
        migrate(connection)
    if as_json:
        show_json(Initialised(pending))
    else:
        click.echo(f"applied {', '.join(pending)}" if pending else "nothing was to be done")


@database.command()
@admin_options
def check(*, settings: Settings, as_json: bool) -> None:
    """Say what the database lacks to keep everything on two machines; exits with 1 if something.

    Whether Patroni runs with synchronous_mode_strict cannot be seen from here: it has to.
    """
    with reading(), _connected(settings) as connection:
        found = tuple(findings(connection, replicas=settings.database_replicas))
    if as_json:
        show_json(found)
    else:
        show_table(("what", "", ""), [(one.subject, "ok" if one.is_well else "LACKS", one.text) for one in found])
        click.echo(
            "not to be seen from here: whether Patroni has synchronous_mode_strict, without which the last standby"
        )
        click.echo("that goes takes the second copy with it")
    if not all(one.is_well for one in found):
        raise SystemExit(REFUSED)


def _connected(settings: Settings) -> "psycopg.Connection[tuple[object, ...]]":
    if not settings.database_url:
        raise Refusal("database_url is not set: the file in the data directory keeps everything")
    return psycopg.connect(conninfo_of(settings.database_url))
