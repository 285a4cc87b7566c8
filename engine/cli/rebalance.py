"""`maskline rebalance`: move the data of a stopped cluster, or of a stopped server, to another number of hosts."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from engine.cli.client import demand_file
from engine.cli.options import admin_options
from engine.cli.output import show_answer, show_json, show_table
from engine.cli.progress import progress
from engine.settings import Settings
from storage.sqlite.errors import hosts_text
from storage.sqlite.rebalance import Move, Survey, TableMoved, drop, kept_files, rebalance, survey
from storage.sqlite.rebalance.files import megabytes

_MOST_COLUMNS = 8
"""Hosts whose rows are shown one by one."""


class _Dropped(msgspec.Struct, frozen=True):
    """What `--drop-old` came to."""

    dropped: tuple[str, ...]
    """Names of the directories."""
    freed_bytes: int


@click.command("rebalance")
@click.option("--hosts", type=int, metavar="N", help="How many hosts the data is to be laid out for; 1 = embedded.")
@click.option("--check", "is_check", is_flag=True, help="Only count, digest and say what would go where.")
@click.option("--drop-old", "is_drop", is_flag=True, help="Remove the old files that earlier moves kept.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask before removing.")
@admin_options
def rebalance_command(
    *, hosts: int | None, is_check: bool, is_drop: bool, is_sure: bool, settings: Settings, as_json: bool
) -> None:
    """Move a stopped cluster's data to another number of hosts, and compare every table before and after.

    The old files are kept beside the new ones until --drop-old. Killed at any moment, the data is as it was, or the
    next run finishes; without --hosts, that is all it does.
    """
    demand_file(settings, "the records of all hosts lie in one database, and need not be moved")
    data_dir = settings.data_dir
    if is_drop:
        if hosts is not None or is_check:
            raise click.UsageError("--drop-old goes alone: first look whether all is well on the new hosts")
        _drop_old(data_dir, is_sure=is_sure, as_json=as_json)
        return
    with progress() as on_progress:
        done = survey(data_dir, hosts, on_progress) if is_check else rebalance(data_dir, hosts, on_progress)
    if as_json:
        show_json(done)
    elif isinstance(done, Survey):
        _show_survey(done)
    else:
        _show_move(done)


def _drop_old(data_dir: Path, *, is_sure: bool, as_json: bool) -> None:
    found = kept_files(data_dir)
    if found and not is_sure:
        names = ", ".join(f"{kept.path.name} ({megabytes(kept.size_bytes)})" for kept in found)
        click.confirm(f"remove {names} from {data_dir} for good?", abort=True, err=True)
    freed = sum(kept.size_bytes for kept in found)
    for kept in found:
        drop(kept)
    text = f"removed {megabytes(freed)}" if found else "no old files are kept"
    show_answer(_Dropped(tuple(kept.path.name for kept in found), freed), text, as_json=as_json)


def _show_survey(found: Survey) -> None:
    _show_tables(found.tables, found.hosts)
    _show_registry(found)
    click.echo(
        f"laid out for {hosts_text(found.hosts_before)}; moving to {hosts_text(found.hosts)} would need "
        f"{megabytes(found.needed_bytes)}, {megabytes(found.free_bytes)} are free"
    )


def _show_move(move: Move) -> None:
    if not move.is_changed:
        click.echo(f"nothing to move: the data is laid out for {hosts_text(move.hosts)} already")
        return
    _show_tables(move.tables, move.hosts)
    _show_registry(move)
    what = "finished the interrupted move" if move.is_resumed else "moved"
    click.echo(
        f"{what} from {hosts_text(move.hosts_before)} to {hosts_text(move.hosts)}; the old files are kept in "
        f"{move.kept_in} until maskline rebalance --drop-old"
    )


def _show_registry(found: Survey | Move) -> None:
    registry = found.registry
    if registry is None or not (registry.behind or registry.different):
        return
    for places, how in ((registry.behind, "of an older version"), (registry.different, "not the same")):
        if places:
            names = ", ".join(f"host-{place}" for place in places)
            click.echo(
                f"accounts, keys, services and numbers: the copy of {names} was {how}; that of host-{registry.place} "
                f"(version {registry.version}) counts"
            )


def _show_tables(tables: Sequence[TableMoved], hosts: int) -> None:
    if not tables:
        return
    shown = range(hosts) if hosts <= _MOST_COLUMNS else range(0)
    show_table(
        ("table", "rows", "digest", *(f"host-{place}" for place in shown)),
        [(one.name, f"{one.rows:,}", one.digest, *(f"{one.per_host[place]:,}" for place in shown)) for one in tables],
    )
