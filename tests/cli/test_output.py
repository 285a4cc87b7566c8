"""How tables are written: nothing is cut, whoever looks."""

import io

import pytest
from rich.console import Console

from engine.cli.output import show_table

SID = "KC" + "0123456789abcdef" * 2
COLUMNS = ("SID", "level", "code", "what happened")
LONG = "A callback could not be delivered, and this sentence is longer than what is left of the line"
ROWS = [(SID, "warning", "80908", LONG), (SID, "error", "80902", "[bold]short[/bold]")]


def test_nothing_is_cut_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each row, however long: other programs read them."""
    wide = (*ROWS, (SID, "error", "80902", "x" * 500))

    show_table(COLUMNS, wide)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(wide)
    for line, row in zip(lines[1:], wide, strict=True):
        assert line.rstrip().split(maxsplit=3) == list(row)


def test_a_table_without_rows_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Bare headings leave it open whether something is lacking."""
    show_table(COLUMNS, [], none="nothing happened")

    assert capsys.readouterr() == ("nothing happened\n", "")


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_on_a_terminal_only_the_last_column_shrinks(width: int) -> None:
    """It goes on below; SIDs, levels and codes stay whole, and no word is lost."""
    seen = io.StringIO()

    show_table(COLUMNS, ROWS, screen=Console(file=seen, force_terminal=True, width=width, color_system=None))

    lines = seen.getvalue().splitlines()
    assert [line.split(maxsplit=3)[:3] for line in lines if line.startswith("KC")] == [list(row[:3]) for row in ROWS]
    said = " ".join(line[len(SID) :].strip() for line in lines[1:])
    assert all(word in said for word in LONG.split())
    assert max(map(len, lines)) <= max(width, 80)
