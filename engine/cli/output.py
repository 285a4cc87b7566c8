"""How answers are shown: tables and lines for people, JSON for machines."""

import sys
from collections.abc import Iterable, Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table

_PIPED_WIDTH = 200
"""Columns when nobody looks: wide enough that no SID is cut."""


def console(*, is_error: bool = False) -> Console:
    """Make a console on standard output (or error) as it is now."""
    stream = sys.stderr if is_error else sys.stdout
    return Console(stderr=is_error, width=None if stream.isatty() else _PIPED_WIDTH, highlight=False)


def show_json(answer: object) -> None:
    """Write an answer as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows under their columns; text of applications is never read as markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    console().print(table)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Write one fact a line, the names aligned; what is None is left out."""
    known = [(name, value) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        click.echo(f"{name:<{width}}  {yes_no(value) if isinstance(value, bool) else value}")


def yes_no(value: object) -> str:
    """Say a truth in a word."""
    return "yes" if value else "no"


def _plain(cell: str) -> str:
    return cell.replace("[", r"\[")
