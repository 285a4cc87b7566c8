"""`maskline bench run` takes long: it says so and asks first."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.__main__ import BENCHMARKS, duration
from engine.cli import main

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), f"{len(BENCHMARKS)} of {len(BENCHMARKS)} benchmarks take about "),
        (("feed", "route"), f"2 of {len(BENCHMARKS)} benchmarks take about 10 minutes"),
        (("--quick",), f"take about {len(BENCHMARKS)} minutes"),
        (("soak", "--minutes", "3"), "`soak` takes 3 minutes"),
    ],
)
def test_it_says_how_long_it_takes(arguments: tuple[str, ...], said: str) -> None:
    """By what is asked for."""
    assert said in duration(arguments)


def test_nothing_is_run_when_the_answer_is_no(tmp_path: Path) -> None:
    """No figure, no file."""
    said = CliRunner().invoke(main, ["bench", "run", "feed", "--out", str(tmp_path / "out")], input="n\n")

    assert said.exit_code == 1
    assert "Go on? [y/N]" in said.output
    assert not (tmp_path / "out").exists()


def test_help_asks_nothing(run: Run) -> None:
    """It ends with the options of the benchmarks."""
    said = run("bench", "run", "--help")

    assert said.exit_code == 0
    assert "--quick" in said.output
    assert "Go on?" not in said.output
