"""Numbers as operators keep them: CSV rows to the admin API's shapes, each with its line number or what is wrong.

Columns by header, in any order: `number` (also `phone_number`, `e164`), `capabilities`, `country`, `reserved`, `name`,
`stop_filtering` (yes unless it says no).
Without a header: number, capabilities, country, reserved.
"""

import csv
from collections.abc import Iterable, Iterator

import msgspec

from engine.api.admin.shapes import NumberRow
from engine.core.model.texts import check_text
from engine.core.numbers.e164 import mask_address

CAPABILITIES = frozenset(f"{kind}{way}" for kind in ("voice", "sms", "mms") for way in ("", "_inbound", "_outbound"))
"""Words of the capabilities column, separated by spaces, commas, semicolons or bars."""

_NAMES = {
    "number": "number",
    "phone_number": "number",
    "e164": "number",
    "e.164": "number",
    "capabilities": "capabilities",
    "country": "country",
    "iso_country": "country",
    "reserved": "reserved",
    "is_reserved": "reserved",
    "name": "name",
    "friendly_name": "name",
    "stop_filtering": "stop_filtering",
}
_WITHOUT_HEADER = ["number", "capabilities", "country", "reserved"]
_TRUTHS = {
    "": False,
    "no": False,
    "false": False,
    "0": False,
    "n": False,
    "yes": True,
    "true": True,
    "1": True,
    "y": True,
}


class CsvRow(msgspec.Struct, frozen=True):
    """One row that may be imported."""

    line: int
    """Its line in the file, from 1."""
    row: NumberRow
    """What is asked for."""


class BadRow(msgspec.Struct, frozen=True):
    """One row that may not."""

    line: int
    """Its line in the file, from 1."""
    message: str
    """What to correct, numbers masked."""


def read_rows(lines: Iterable[str]) -> Iterator[CsvRow | BadRow]:
    """Read a file's rows; empty lines are skipped. Raises ValueError for a header that names no `number`."""
    reader = csv.reader(lines, skipinitialspace=True)
    columns: list[str] | None = None
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if columns is None:
            cells[0] = cells[0].removeprefix("\ufeff")
            columns = _columns(cells)
            if columns is not _WITHOUT_HEADER:
                continue
        yield _row(reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=False)))


def _columns(first: list[str]) -> list[str]:
    names = [cell.strip().lower().replace(" ", "_") for cell in first]
    if names[0][:1] in {"+", *"0123456789"}:
        return _WITHOUT_HEADER
    unknown = [name for name in names if name not in _NAMES]
    if unknown or "number" not in {_NAMES[name] for name in names}:
        wanted = "number, capabilities, country, reserved, name, stop_filtering"
        raise ValueError(f"the header must name its columns {wanted} (number is needed); found {', '.join(names)}")
    return [_NAMES[name] for name in names]


def _row(line: int, cells: dict[str, str]) -> CsvRow | BadRow:
    for name, cell in cells.items():
        try:
            check_text(cell)
        except ValueError as problem:
            return BadRow(line, f"{name} {problem}")
    reserved = _TRUTHS.get(cells.get("reserved", "").lower())
    words = cells.get("capabilities", "").lower().replace("-", "_").translate(_SEPARATORS).split()
    if not cells.get("number"):
        return BadRow(line, "no number")
    if reserved is None:
        return BadRow(line, f"reserved must be yes or no, not {mask_address(cells['reserved'])!r}")
    filters = _TRUTHS.get(cells.get("stop_filtering", "").lower() or "yes")
    if filters is None:
        return BadRow(line, f"stop_filtering must be yes or no, not {mask_address(cells['stop_filtering'])!r}")
    unknown = [mask_address(word) for word in words if word not in CAPABILITIES]
    if unknown:
        return BadRow(line, f"unknown capability {', '.join(unknown)}; known are {', '.join(sorted(CAPABILITIES))}")
    return CsvRow(
        line,
        NumberRow(
            number=cells["number"],
            country=cells.get("country", "").upper() or None,
            capabilities=tuple(words) or None,
            friendly_name=cells.get("name") or None,
            is_reserved=reserved,
            stop_filtering=filters,
        ),
    )


_SEPARATORS = str.maketrans(dict.fromkeys(",;|/", " "))
