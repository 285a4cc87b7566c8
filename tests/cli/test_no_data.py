"""A command in the wrong directory: it says so, and makes nothing there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

SID = "0" * 32
COMMANDS = (
    ("account", "list"),
    ("account", "show", f"AC{SID}"),
    ("account", "set", f"AC{SID}", "--debugger-url", "https://shop.example"),
    ("apikey", "create", f"AC{SID}"),
    ("numbers", "import", "FILE"),
    ("sessions", "show", f"KC{SID}"),
    ("sessions", "batch", "--file", "FILE", "--service", f"KS{SID}"),
    ("service", "list"),
    ("explain", "--to", "+14155550100", "--from", "+12125550111"),
    ("alerts", "list", f"AC{SID}"),
    ("outbox", "list"),
    ("outbox", "replay", "--yes"),
    ("console",),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("exists", [True, False])
def test_no_command_makes_a_data_directory(run: Run, tmp_path: Path, *, command: tuple[str, ...], exists: bool) -> None:
    """Only `serve` and the first `account create` do; the others name the option with which to say where it is."""
    file, data_dir = tmp_path / "numbers.csv", tmp_path / "data"
    file.write_text("+12125550171\n")
    if exists:
        data_dir.mkdir()

    refused = run(*(str(file) if part == "FILE" else part for part in command), "--data-dir", data_dir)

    assert refused.exit_code == 2
    assert refused.output.startswith(f"maskline: there is no Maskline data in {data_dir}")
    assert "--data-dir" in refused.output
    assert data_dir.exists() is exists
    assert not exists or not [*data_dir.iterdir()]


def test_commands_on_a_stopped_servers_data_leave_no_file_beside_it(run: Run, tmp_path: Path) -> None:
    """A log of whoever runs them, as root maybe, would keep the server's user out."""
    file, data_dir = tmp_path / "numbers.csv", tmp_path / "data"
    file.write_text("+12125550171\n")
    run("account", "create", "--data-dir", data_dir)
    files = sorted(path.name for path in data_dir.iterdir())

    left = {}
    for command in COMMANDS:
        run(*(str(file) if part == "FILE" else part for part in command), "--data-dir", data_dir)
        left[command] = sorted(path.name for path in data_dir.iterdir())

    assert left == dict.fromkeys(COMMANDS, files)


def test_the_first_account_makes_the_data_directory_and_says_so(run: Run, tmp_path: Path) -> None:
    """On standard error, once."""
    first, second = (run("account", "create", "--data-dir", tmp_path / "data") for _ in range(2))

    assert first.stderr == f"made the data directory {tmp_path / 'data'}\n"
    assert (first.exit_code, second.exit_code, second.stderr) == (0, 0, "")


def test_a_command_on_a_directory_whose_database_is_away_says_so(run: Run, tmp_path: Path) -> None:
    """And makes none in its place."""
    run("account", "create", "--data-dir", tmp_path)
    (tmp_path / "maskline.db").unlink()

    refused = run("account", "create", "--data-dir", tmp_path)

    assert refused.exit_code == 2
    assert "maskline.db is missing or empty" in refused.output
    assert not (tmp_path / "maskline.db").exists()
