"""How figures are shown: a table for people, JSON for machines, and a plot of the ratios as SVG."""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.report import Figure, Section, Surroundings

_PIPED_WIDTH = 180
_ROW, _TOP, _LEFT, _WIDE, _RIGHT = 22, 48, 470, 420, 260
"""Of the plot, in pixels: height of a line, of what is above; widths of the names, the bars, the peers."""
_LOWEST, _HIGHEST = 0.01, 100.0
"""Ratios at the ends of the axis."""


class Report(msgspec.Struct, frozen=True):
    """All that one run of benchmarks says."""

    surroundings: Surroundings
    sections: tuple[Section, ...]


def show_table(section: Section, where: Surroundings) -> None:
    """Print a table."""
    console = Console()
    table = Table(title=f"{section.title} ({where.machine})", title_justify="left")
    for column in ("what", "value", "unit", "x peer", "peer", "conditions"):
        table.add_column(column, justify="right" if column in {"value", "x peer"} else "left")
    for figure in section.figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(figure.what, _rounded(figure.value), figure.unit, ratio, figure.peer, figure.note)
    (console if console.is_terminal else Console(width=_PIPED_WIDTH)).print(table)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def write_files(report: Report, directory: Path) -> None:
    """Write `bench.json` and `bench.svg` into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    (directory / "bench.svg").write_text(ratios_svg(report), "utf-8")


def ratios_svg(report: Report) -> str:
    """Draw every ratio as a bar from 1, to the right where ours is faster; the axis is logarithmic."""
    rows: list[str] = []
    line = 0
    for section in report.sections:
        compared = [figure for figure in section.figures if figure.ratio is not None]
        if compared:
            rows.append(_text(8, line, section.title, "heading"))
            rows += [_bar(line + place, figure) for place, figure in enumerate(compared, 1)]
            line += len(compared) + 1
    height = _TOP + _ROW * (line + 1)
    width = _LEFT + _WIDE + _RIGHT
    where = report.surroundings
    title = f"Rates beside a peer in the same run: {where.machine}, commit {where.commit}"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
            "<style>text{font-size:12px}.heading{font-weight:bold}.peer{fill:#666}.axis{stroke:#999}</style>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<text x="8" y="18" class="heading">{escape(title)}</text>',
            *_axis(height),
            *rows,
            "</svg>\n",
        )
    )


def _axis(height: int) -> Sequence[str]:
    marks = (0.01, 0.1, 1.0, 10.0, 100.0)
    return [
        f'<line class="axis" x1="{_at(mark):.0f}" x2="{_at(mark):.0f}" y1="{_TOP - 8}" y2="{height - 8}" '
        f'stroke-dasharray="{"none" if mark == 1.0 else "2 4"}"/>'
        f'<text x="{_at(mark):.0f}" y="{_TOP - 12}" text-anchor="middle">{mark:g} x</text>'
        for mark in marks
    ]


def _bar(line: int, figure: Figure) -> str:
    ratio = figure.ratio or 0.0
    start, end = sorted((_at(1.0), _at(ratio)))
    colour = "#2a7" if ratio >= 1.0 else "#c73"
    y = _TOP + _ROW * line + 5
    return (
        f'<rect x="{start:.1f}" y="{y}" width="{max(end - start, 1):.1f}" height="{_ROW - 8}" fill="{colour}"/>'
        + _text(20, line, figure.what, "what")
        + _text(_LEFT + _WIDE + 8, line, f"{ratio:.2f} x {figure.peer}", "peer")
    )


def _text(x: int, line: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{_TOP + _ROW * line + 16}">{escape(text)}</text>'


def _at(ratio: float) -> float:
    """Return the x of a ratio."""
    share = math.log(min(max(ratio, _LOWEST), _HIGHEST) / _LOWEST) / math.log(_HIGHEST / _LOWEST)
    return _LEFT + _WIDE * share
