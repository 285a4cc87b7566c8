"""Programs of peers: found where they are, or installed from Debian's packages where this process may."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_PLACES = ("/usr/lib/postgresql/*/bin",)
"""Where Debian has programs that are not on the path."""


def program(name: str, *, package: str) -> str | None:
    """Return the path of a program; None, and a line that says so, where there is none and none can be installed."""
    found = _find(name)
    if found is None and _may_install():
        command = ["apt-get", "install", "--yes", "--no-install-recommends", package]
        told = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own words
        found = _find(name) if told.returncode == 0 else None
    if found is None:
        print(f"{name} is not here (Debian package {package}): figures beside it are left out", file=sys.stderr)
    return found


def _find(name: str) -> str | None:
    on_path = shutil.which(name)
    if on_path is not None:
        return on_path
    elsewhere = sorted(found for place in _PLACES for found in Path("/").glob(f"{place[1:]}/{name}"))
    return str(elsewhere[-1]) if elsewhere else None


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None
