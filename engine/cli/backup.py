"""`maskline backup` and `maskline restore`: whole copies of a data directory, and the way back."""

from importlib.metadata import version
from pathlib import Path

import click

from engine.cli.client import demand_file
from engine.cli.options import admin_options
from engine.cli.output import show_json
from engine.cli.progress import progress
from engine.formats.values import format_date
from engine.runtime import clock
from engine.settings import Settings
from storage.sqlite.backup import Backup, make_backup
from storage.sqlite.errors import hosts_text
from storage.sqlite.rebalance.files import megabytes
from storage.sqlite.restore import restore


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@admin_options
def backup(*, target: Path, settings: Settings, as_json: bool) -> None:
    """Copy the data into a new directory TARGET, while servers run or not; their work goes on.

    Each host's database is copied as of one moment, those of one machine within milliseconds. Where a cluster has
    several machines, do it on each.
    """
    demand_file(
        settings, "back the database up with its own tools, such as pg_basebackup with archived WAL, or pgBackRest"
    )
    with progress() as on_progress:
        made = make_backup(settings.data_dir, target, version=version("maskline"), now=clock(), on_progress=on_progress)
    if as_json:
        show_json(made)
        return
    size = megabytes(sum(file.size_bytes for file in made.files))
    click.echo(f"backed up {_counted(made)}, {size}, to {target}")
    _tell_elsewhere(made)


@click.command("restore")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--release-deliveries", "is_released", is_flag=True, help="Let callbacks and messages leave at once.")
@admin_options
def restore_command(*, source: Path, is_released: bool, settings: Settings, as_json: bool) -> None:
    """Check the backup SOURCE and put it into an empty data directory.

    A server on it answers, but no callback, message or hang-up leaves until `maskline outbox release`: to look at a
    backup calls nobody.
    """
    demand_file(settings, "restore the database with the tool that made its backup")
    with progress() as on_progress:
        done = restore(source, settings.data_dir, is_held=not is_released, on_progress=on_progress)
    if as_json:
        show_json(done)
        return
    made = done.backup
    click.echo(
        f"restored {_counted(made)} into {settings.data_dir}, as of {format_date(made.made_at)} ({made.made_by})"
    )
    if done.removed:
        click.echo(f"removed what was stale there: {', '.join(done.removed)}")
    if done.is_held:
        click.echo(f"{done.pending} deliveries are held, and all new ones, until maskline outbox release")
    _tell_elsewhere(made)


def _counted(made: Backup) -> str:
    if not made.elsewhere:
        return hosts_text(made.hosts)
    return f"{len(made.files)} of {hosts_text(made.hosts)}"


def _tell_elsewhere(made: Backup) -> None:
    if made.elsewhere:
        names = ", ".join(f"host-{place}" for place in made.elsewhere)
        click.echo(f"NOT HERE: {names}; back up the machines where these lie, too", err=True)
