"""`maskline database`: a PostgreSQL database made, looked at, filled from the file of a server, and brought back."""

import click
import msgspec

from engine.cli.options import admin_options
from engine.cli.output import show_answer, show_json, show_table
from engine.cli.progress import progress
from engine.cli.tree import REFUSED, Refusal
from engine.settings import Settings
from storage.postgres.checks import findings
from storage.postgres.connections import connect, conninfo_of
from storage.postgres.errors import reading
from storage.postgres.schema import migrate, pending_migrations
from storage.transfer import Copied, export_file, import_file


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
    with reading(), connect(conninfo_of(_url(settings)), autocommit=False) as connection:
        pending = pending_migrations(connection)
        migrate(connection)
    text = f"applied {', '.join(pending)}" if pending else "nothing was to be done"
    show_answer(Initialised(pending), text, as_json=as_json)


@database.command()
@admin_options
def check(*, settings: Settings, as_json: bool) -> None:
    """Say what the database lacks to keep everything on two machines, and who serves on it; exits with 1 if something.

    Takes some seconds, to see which nodes and hosts are silent.

    Whether Patroni runs with synchronous_mode_strict cannot be seen from here: it has to.
    """
    with reading(), connect(conninfo_of(_url(settings)), autocommit=False) as connection:
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


@database.command("import")
@admin_options
def import_command(*, settings: Settings, as_json: bool) -> None:
    """Copy what the data directory of a stopped server holds into an empty database, and compare every table.

    The data directory stays as it is. Killed at any moment, no server starts on the database until this is run again.
    """
    with progress() as on_progress:
        copied = import_file(settings.data_dir, _url(settings), on_progress, lease_seconds=settings.owner_lease_seconds)
    _show(copied, as_json=as_json)
    if not as_json:
        click.echo(
            f"the database {copied.database} holds what {settings.data_dir} does, and owes {copied.pending:,} "
            "deliveries; never serve that directory again: its file owes them too"
        )


@database.command("export")
@admin_options
def export_command(*, settings: Settings, as_json: bool) -> None:
    """Copy what a database holds, no server being on it, into an empty data directory, and compare every table.

    The database stays as it is. Killed at any moment, no server starts on the directory until this is run again.
    """
    with progress() as on_progress:
        copied = export_file(_url(settings), settings.data_dir, on_progress, lease_seconds=settings.owner_lease_seconds)
    _show(copied, as_json=as_json)
    if not as_json:
        click.echo(
            f"{settings.data_dir} holds what the database {copied.database} does, and owes {copied.pending:,} "
            "deliveries; take database_url out of the settings, and never serve the database again: it owes them too"
        )


def _show(copied: Copied, *, as_json: bool) -> None:
    if as_json:
        show_json(copied)
    else:
        show_table(("table", "rows", "digest"), [(one.name, f"{one.rows:,}", one.digest) for one in copied.tables])


def _url(settings: Settings) -> str:
    if not settings.database_url:
        raise Refusal("database_url is not set: the file in the data directory keeps everything")
    return settings.database_url
