"""How answers are shown: tables and lines for people, JSON for machines."""

import json
import re
import sys
from collections.abc import Iterable, Sequence

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_PIPED_WIDTH = 200
"""Columns of lines and pictures when nobody looks; tables are as wide as they are."""

_BETWEEN = 2
"""Spaces between columns."""

_LEAST = 24
"""Columns to which the last one of a table may shrink, if its longest word is longer: a date fits."""


def console(*, is_error: bool = False) -> Console:
    """Make a console on standard output (or error) as it is now."""
    stream = sys.stderr if is_error else sys.stdout
    return Console(stderr=is_error, width=None if stream.isatty() else _PIPED_WIDTH, highlight=False)


def show_answer(answer: object, text: str, *, as_json: bool) -> None:
    """Write an answer for machines, or what it is in words."""
    if as_json:
        show_json(answer)
    else:
        click.echo(text)


def show_json(answer: object) -> None:
    """Write an answer as indented JSON."""
    text = msgspec.json.format(msgspec.json.encode(answer)).decode()
    if (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8":
        text = _NOT_ASCII.sub(_escaped, text)
    click.echo(text)


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, none: str = "", screen: Console | None = None
) -> None:
    """Write rows under their columns; text of applications is never read as markup.

    Nothing is cut: on a terminal that is too narrow the last column goes on in further lines, the others stay whole.
    Where there is no row, `none` is written instead.
    """
    cells = [tuple(columns), *map(tuple, rows)]
    if none and len(cells) == 1:
        click.echo(none)
        return
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    screen = screen or console()
    if screen.is_terminal:
        longest = max(cell_len(word) for row in cells for word in (row[-1].split() or [""]))
        left = screen.width - sum(widths[:-1]) - _BETWEEN * len(widths)
        widths[-1] = min(widths[-1], max(left, min(longest, _LEAST)))
    screen.width = sum(widths) + _BETWEEN * len(widths)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, width=width, overflow="fold")
    for row in cells[1:]:
        table.add_row(*(_plain(cell) for cell in row))
    screen.print(table)


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
