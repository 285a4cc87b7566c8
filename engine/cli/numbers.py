"""`maskline numbers import`: bring the numbers that an account owns in from a CSV file."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.cli.client import AdminClient, with_admin
from engine.cli.csvrows import BadRow, CsvRow, read_rows
from engine.cli.options import admin_options
from engine.cli.output import console, show_json
from engine.cli.tree import REFUSED, Refusal
from engine.settings import Settings
from engine.wire.admin import AccountList, NumberResult, NumbersImport, NumbersImported

ROWS_AT_ONCE = 250
"""Rows of one request: one commit each, and a step of the progress bar."""


class ImportReport(msgspec.Struct, frozen=True):
    """What became of a file."""

    account: str
    """AC… that owns the numbers."""
    imported: int
    """Rows that are owned now, and pooled when a service was named."""
    rejected: tuple[BadRow, ...]
    """The others, in the order of the file."""


@click.group()
def numbers() -> None:
    """Numbers that accounts own."""


@numbers.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--account", metavar="SID", help="Who owns them; may be left out while there is only one account.")
@click.option("--service", metavar="SID|NAME", help="Put them into this service's pool as well.")
@admin_options
def import_numbers(*, file: Path, account: str | None, service: str | None, settings: Settings, as_json: bool) -> None:
    """Own the numbers of a CSV file: number, capabilities, country, reserved; rejected rows are named by line."""
    rows = _read(file)

    async def work(admin: AdminClient) -> ImportReport:
        owner = account or await _only_account(admin)
        return await _import(admin, owner, service, rows, is_quiet=as_json)

    report = with_admin(settings, work)
    if as_json:
        show_json(report)
    else:
        for bad in report.rejected:
            click.echo(f"line {bad.line}: {bad.message}")
        click.echo(f"{report.imported} imported, {len(report.rejected)} rejected")
    if report.rejected:
        raise SystemExit(REFUSED)


def _read(file: Path) -> list[CsvRow | BadRow]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return list(read_rows(lines))
    except (ValueError, OSError, csv.Error) as problem:
        raise Refusal(f"cannot read {file}: {problem}") from problem


async def _only_account(admin: AdminClient) -> str:
    accounts = (await admin.call("GET", "/accounts", answer=AccountList)).accounts
    if len(accounts) != 1:
        raise Refusal(f"there are {len(accounts)} accounts: say which one owns the numbers with --account")
    return accounts[0].sid


async def _import(
    admin: AdminClient, owner: str, service: str | None, rows: Sequence[CsvRow | BadRow], *, is_quiet: bool
) -> ImportReport:
    rejected = [row for row in rows if isinstance(row, BadRow)]
    good = [row for row in rows if isinstance(row, CsvRow)]
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(is_error=True)
    is_hidden = is_quiet or not screen.is_terminal
    with Progress(*columns, console=screen, transient=True, disable=is_hidden) as progress:
        task = progress.add_task("importing", total=len(good))
        for chunk in _chunks(good):
            body = NumbersImport(rows=tuple(row.row for row in chunk), service=service)
            answer = await admin.call("POST", f"/accounts/{owner}/numbers", answer=NumbersImported, body=body)
            rejected += _rejected(chunk, answer.results)
            progress.advance(task, len(chunk))
    rejected.sort(key=lambda bad: bad.line)
    return ImportReport(owner, len(rows) - len(rejected), tuple(rejected))


def _chunks(rows: Sequence[CsvRow]) -> Iterator[tuple[CsvRow, ...]]:
    remaining = iter(rows)
    while chunk := tuple(islice(remaining, ROWS_AT_ONCE)):
        yield chunk


def _rejected(chunk: Sequence[CsvRow], results: Sequence[NumberResult]) -> list[BadRow]:
    return [
        BadRow(asked.line, f"{result.message} (code {result.code})")
        for asked, result in zip(chunk, results, strict=True)
        if not result.is_ok
    ]
