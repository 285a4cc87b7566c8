"""One version: what the command says, what is installed, what the changelog tells of."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

from click.testing import CliRunner

from engine.cli import main

ROOT = Path(__file__).parent.parent


def test_command_package_and_changelog_name_one_version() -> None:
    """The newest release of the changelog, below what is not released."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    releases = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    said = CliRunner().invoke(main, ["--version"]).output.strip()

    assert said == f"maskline {declared}"
    assert version("maskline") == declared
    assert releases[:2] == ["Unreleased", declared]
