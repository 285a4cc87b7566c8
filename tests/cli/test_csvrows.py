"""CSV files of numbers as operators write them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.admin.shapes import NumberRow
from engine.cli.csvrows import BadRow, CsvRow, read_rows


def test_columns_are_found_by_name_in_any_order() -> None:
    """Other spellings of the header are understood, and a byte order mark does no harm."""
    lines = ["\ufeffCountry,Reserved,Phone Number,Capabilities\n", "us,yes,+12125550171,voice sms\n"]

    rows = list(read_rows(lines))

    assert rows == [
        CsvRow(2, NumberRow(number="+12125550171", country="US", capabilities=("voice", "sms"), is_reserved=True))
    ]


def test_without_a_header_the_order_is_fixed() -> None:
    """Number, capabilities, country, reserved; what is missing gets its default."""
    rows = list(read_rows(["+12125550171;x\n".replace(";x", ""), '+442079460171,"voice,sms_inbound",GB,no\n']))

    assert rows == [
        CsvRow(1, NumberRow(number="+12125550171")),
        CsvRow(2, NumberRow(number="+442079460171", country="GB", capabilities=("voice", "sms_inbound"))),
    ]


def test_a_number_may_leave_stop_words_to_the_application() -> None:
    """Its filter is on unless the column says no."""
    rows = list(read_rows(["number,stop_filtering\n", "+12125550171,no\n", "+12125550172,\n", "+12125550173,maybe\n"]))

    assert [isinstance(row, CsvRow) and row.row.stop_filtering for row in rows[:2]] == [False, True]
    assert rows[2] == BadRow(4, "stop_filtering must be yes or no, not 'maybe'")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (",voice,US,no", "no number"),
        ("+12125550171,telex,US,no", "unknown capability telex"),
        ("+12125550171,voice,US,perhaps", "reserved must be yes or no, not 'perhaps'"),
    ],
)
def test_a_bad_row_is_named_by_its_line(row: str, complaint: str) -> None:
    """Empty lines count as lines, and the rows around a bad one are read."""
    first, bad, last = read_rows(
        ["number,capabilities,country,reserved\n", "+12125550172\n", "\n", row, "+12125550173\n"]
    )

    assert isinstance(bad, BadRow)
    assert bad.line == 4
    assert complaint in bad.message
    assert isinstance(first, CsvRow)
    assert isinstance(last, CsvRow)


def test_a_number_in_the_wrong_column_is_masked() -> None:
    """What is repeated in an error never holds a whole number."""
    (bad,) = read_rows(["+12125550171,+12125550172,US,no"])

    assert isinstance(bad, BadRow)
    assert "0172" not in bad.message


def test_a_control_character_is_named_by_its_column() -> None:
    """It would stand in logs and lists."""
    (bad,) = read_rows(["number,name", '+12125550171,"a\x1bb"'][1:])
    _, named = read_rows(["number,name", "+12125550171,Line 1", "+12125550172,a\0b"])

    assert isinstance(bad, BadRow)
    assert named == BadRow(3, "name holds the control character U+0000")


@pytest.mark.parametrize("header", ["capabilities,country", "number,colour", "a,b,c"])
def test_a_header_that_cannot_be_understood_is_refused(header: str) -> None:
    """A misspelt column would silently lose what it says."""
    with pytest.raises(ValueError, match="number is needed"):
        list(read_rows([header]))


@given(st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=5), max_size=5))
def test_whatever_a_spreadsheet_writes_is_read_or_named(cells: list[list[str]]) -> None:
    """Any cells below a good header give one result a row and no exception."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["number", "capabilities", "country", "reserved", "name"], *cells])
    file.seek(0)

    rows = list(read_rows(file))

    filled = [row for row in cells if any(cell.strip() for cell in row)]
    assert len(rows) == len(filled)


def test_a_byte_order_mark_is_no_part_of_the_first_number() -> None:
    """Where no header stands before it."""
    (row,) = read_rows(["\ufeff+12125550171\n"])

    assert row == CsvRow(1, NumberRow(number="+12125550171"))
