"""`maskline sessions batch`: make, change and close the sessions of an NDJSON file."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from engine.api.admin.batch_shapes import SessionsBatched
from engine.api.batch_shapes import MAX_ITEM_BYTES
from engine.cli.client import AdminClient, service_named, with_admin
from engine.cli.csvrows import BadRow
from engine.cli.files import past_mark
from engine.cli.options import admin_options
from engine.cli.output import console, show_json
from engine.cli.tree import REFUSED, Refusal
from engine.settings import Settings

LINES_AT_ONCE = 200
"""Lines of one request: a step of the progress bar, a few megabytes at the most."""


class BatchReport(msgspec.Struct, kw_only=True):
    """What became of a file."""

    service: str
    """KS… whose sessions they are."""
    done: int = 0
    """Lines that were carried out, now or before."""
    repeated: int = 0
    """Those of them whose key was used before."""
    refused: list[BadRow] = []
    """The other lines that are not empty, in the order of the file."""


class _Line(msgspec.Struct, frozen=True):
    number: int
    """In the file, from 1."""
    text: bytes


@click.command()
@click.option("--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="NDJSON.")
@click.option("--service", metavar="SID|NAME", required=True, help="Whose sessions they are.")
@admin_options
def batch(*, file: Path, service: str, settings: Settings, as_json: bool) -> None:
    """Make, change and close the sessions of an NDJSON file, an item a line; refused lines are named."""

    async def work(admin: AdminClient) -> BatchReport:
        try:
            with file.open("rb") as lines:
                owner = await admin.sid(service_named(service))
                return await _send(admin, owner, past_mark(lines, name=file), is_quiet=as_json)
        except OSError as problem:
            raise Refusal(f"cannot read {file}: {problem.strerror}") from problem

    report = with_admin(settings, work)
    if not (report.done or report.refused):
        raise Refusal(f"nothing in it: {file} has no line")
    if as_json:
        show_json(report)
    else:
        for bad in report.refused:
            click.echo(f"line {bad.line}: {bad.message}")
        click.echo(f"{report.done} done, {report.repeated} of them before, {len(report.refused)} refused")
    if report.refused:
        raise SystemExit(REFUSED)


async def _send(admin: AdminClient, service: str, file: BinaryIO, *, is_quiet: bool) -> BatchReport:
    report = BatchReport(service=service)
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    screen = console(is_error=True)
    is_hidden = is_quiet or not screen.is_terminal
    with Progress(*columns, console=screen, transient=True, disable=is_hidden) as progress:
        task = progress.add_task("sending", total=os.fstat(file.fileno()).st_size)
        lines = _lines(file)
        while some := list(islice(lines, LINES_AT_ONCE)):
            await _send_some(admin, report, some)
            progress.update(task, completed=file.tell())
    return report


def _lines(file: BinaryIO) -> Iterator[_Line]:
    """Walk the lines that are not empty."""
    number = 0
    while text := file.readline():
        number += 1
        if stripped := text.strip():
            yield _Line(number, stripped)


async def _send_some(admin: AdminClient, report: BatchReport, lines: list[_Line]) -> None:
    bad = {line.number: problem for line in lines if (problem := _problem(line.text)) is not None}
    good = [line for line in lines if line.number not in bad]
    body = [msgspec.Raw(line.text) for line in good]
    answer = await admin.call("POST", f"/services/{report.service}/sessions", answer=SessionsBatched, body=body)
    for line, result in zip(good, answer.results, strict=True):
        if result.session is None:
            bad[line.number] = f"{result.message} (code {result.code})"
        report.repeated += result.repeated
    report.done += len(lines) - len(bad)
    report.refused += [BadRow(number, bad[number]) for number in sorted(bad)]


def _problem(text: bytes) -> str | None:
    """Tell what keeps a line from being an item at all."""
    if len(text) > MAX_ITEM_BYTES:
        return f"it is longer than {MAX_ITEM_BYTES} bytes"
    try:
        msgspec.json.decode(text.decode(), type=dict[str, msgspec.Raw])
    except (ValueError, msgspec.DecodeError, RecursionError) as problem:
        return f"it is no JSON object: {problem}"
    return None
