"""Figures as files: what is written is what was measured, and the plot is well-formed."""

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks.report import Figure, Section, Surroundings
from benchmarks.show import Report, ratios_svg, write_files

WHERE = Surroundings(machine="2 cores", processor="a < b", versions={"maskline": "1"}, commit="abc", load_average=0.5)
FASTER = Figure(what="a & b", value=2.0, unit="events/s", peer="<other>", ratio=4.0)
SLOWER = Figure(what="c", value=1.0, unit="events/s", peer="other", ratio=0.25)
ALONE = Figure(what="d", value=1.0, unit="s")
REPORT = Report(WHERE, (Section("one", (FASTER, SLOWER, ALONE)), Section("two", (ALONE,))))


def bars(report: Report) -> list[tuple[float, float, str]]:
    """Return left end, right end and colour of each bar."""
    rects = ET.fromstring(ratios_svg(report)).findall("{*}rect")[1:]  # noqa: S314 - our own
    return [
        (float(one.attrib["x"]), float(one.attrib["x"]) + float(one.attrib["width"]), one.attrib["fill"])
        for one in rects
    ]


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Into a directory that is made."""
    write_files(REPORT, tmp_path / "new")

    assert msgspec.json.decode((tmp_path / "new" / "bench.json").read_bytes(), type=Report) == REPORT
    assert (tmp_path / "new" / "bench.svg").read_text("utf-8") == ratios_svg(REPORT)


def test_the_plot_has_a_bar_for_every_ratio_and_none_else() -> None:
    """Faster ones to the right of 1, slower ones to the left, as far as their logarithms say."""
    (from_one, four, good), (quarter, to_one, bad) = bars(REPORT)

    assert from_one == pytest.approx(to_one, abs=0.2)
    assert four - from_one == pytest.approx(to_one - quarter, abs=0.3)
    assert good != bad


def test_a_ratio_off_the_axis_ends_with_it() -> None:
    """A thousandfold is drawn as a hundredfold."""
    thousand, hundred = (
        Report(WHERE, (Section("one", (Figure(what="x", value=1.0, unit="s", peer="p", ratio=ratio),)),))
        for ratio in (1_000.0, 100.0)
    )

    assert bars(thousand) == bars(hundred)
