"""`maskline numbers`: list the numbers of ours, and bring those that an account owns in from a CSV file."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.api.admin.list_shapes import NumberPage, NumberQuery
from engine.api.admin.shapes import NumberResult, NumbersImport, NumbersImported
from engine.cli.client import AdminClient, query_of, the_account, with_admin
from engine.cli.csvrows import BadRow, CsvRow, read_rows
from engine.cli.files import text_of
from engine.cli.options import admin_options
from engine.cli.output import console, show_json, show_table, yes_no
from engine.cli.tree import REFUSED, Refusal
from engine.core.model.sids import SidKind, is_sid
from engine.settings import Settings

ROWS_AT_ONCE = 250
"""Rows of one request: one commit each, and a step of the progress bar."""


class ImportedCode(msgspec.Struct, frozen=True):
    """A short code that is owned now."""

    line: int
    """Its line in the file, from 1."""
    number: str
    """Its digits."""
    sid: str
    """SC…, by which it is put into a pool."""


class ImportReport(msgspec.Struct, frozen=True):
    """What became of a file."""

    account: str
    """AC… that owns the numbers."""
    imported: int
    """Rows that are owned now, and pooled when a service was named."""
    rejected: tuple[BadRow, ...]
    """The others, in the order of the file."""
    short_codes: tuple[ImportedCode, ...]
    """Those of the file that are owned, in its order."""


@click.group()
def numbers() -> None:
    """Numbers that accounts own."""


@numbers.command("list")
@click.option("--account", metavar="SID|NAME", help="Of this account only.")
@click.option("--service", metavar="SID|NAME", help="In this service's pool only.")
@click.option("--reserved/--unreserved", "is_reserved", default=None, help="Only those reserved, or only the others.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Show at most this many.")
@click.option("--after", metavar="PN…", help="Go on behind this one.")
@admin_options
def list_numbers(
    *,
    account: str | None,
    service: str | None,
    settings: Settings,
    as_json: bool,
    **filters: Any,  # noqa: ANN401 - what click has parsed
) -> None:
    """List numbers and short codes of ours, with their SIDs, pools and how many active sessions use them."""
    query = query_of(NumberQuery(account_sid=account, service_sid=service, **filters))
    page = with_admin(settings, lambda admin: admin.call("GET", "/numbers", answer=NumberPage, query=query))
    if as_json:
        show_json(page)
        return
    show_table(
        ("SID", "number", "country", "account", "service", "in use", "reserved", "capabilities"),
        [
            (
                one.sid,
                one.number,
                one.country,
                one.account_sid,
                one.service_sid or "",
                "" if one.in_use is None else str(one.in_use),
                yes_no(one.is_reserved) if one.service_sid else "",
                " ".join(one.capabilities),
            )
            for one in page.numbers
        ],
        none="no numbers found",
    )
    if page.after is not None:
        click.echo(f"there are more: --after {page.after}")


@numbers.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--account", metavar="SID|NAME", help="Who owns them; may be left out while there is only one account.")
@click.option("--service", metavar="SID|NAME", help="Put them into this service's pool too, also those owned already.")
@admin_options
def import_numbers(*, file: Path, account: str | None, service: str | None, settings: Settings, as_json: bool) -> None:
    """Own the numbers of a CSV file: number, capabilities, country, reserved; rejected rows are named by line."""
    rows = _read(file)
    if not rows:
        raise Refusal(f"nothing in it: {file} has no row")

    async def work(admin: AdminClient) -> ImportReport:
        owner = await the_account(admin, account)
        return await _import(admin, owner, service, rows, is_quiet=as_json)

    report = with_admin(settings, work)
    if as_json:
        show_json(report)
    else:
        for code in report.short_codes:
            click.echo(f"line {code.line}: short code {code.number} is {code.sid}")
        for bad in report.rejected:
            click.echo(f"line {bad.line}: {bad.message}")
        click.echo(f"{report.imported} imported, {len(report.rejected)} rejected")
    if report.rejected:
        raise SystemExit(REFUSED)


def _read(file: Path) -> list[CsvRow | BadRow]:
    try:
        return list(read_rows(io.StringIO(text_of(file), newline="")))
    except (ValueError, csv.Error) as problem:
        raise Refusal(f"cannot read {file}: {problem}") from problem


async def _import(
    admin: AdminClient, owner: str, service: str | None, rows: Sequence[CsvRow | BadRow], *, is_quiet: bool
) -> ImportReport:
    rejected = [row for row in rows if isinstance(row, BadRow)]
    good = [row for row in rows if isinstance(row, CsvRow)]
    short_codes: list[ImportedCode] = []
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(is_error=True)
    is_hidden = is_quiet or not screen.is_terminal
    with Progress(*columns, console=screen, transient=True, disable=is_hidden) as progress:
        task = progress.add_task("importing", total=len(good))
        for chunk in _chunks(good):
            body = NumbersImport(rows=tuple(row.row for row in chunk), service=service)
            answer = await admin.call("POST", f"/accounts/{owner}/numbers", answer=NumbersImported, body=body)
            rejected += _rejected(chunk, answer.results)
            short_codes += _short_codes(chunk, answer.results)
            progress.advance(task, len(chunk))
    rejected.sort(key=lambda bad: bad.line)
    return ImportReport(owner, len(rows) - len(rejected), tuple(rejected), tuple(short_codes))


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


def _short_codes(chunk: Sequence[CsvRow], results: Sequence[NumberResult]) -> list[ImportedCode]:
    return [
        ImportedCode(asked.line, asked.row.number, result.number_sid)
        for asked, result in zip(chunk, results, strict=True)
        if result.number_sid is not None and is_sid(result.number_sid, SidKind.SHORT_CODE)
    ]
