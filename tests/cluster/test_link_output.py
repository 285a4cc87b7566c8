"""What a command answers stands on standard output alone, whatever Ray has to say meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import contextlib, os
from engine.cluster.link import sparing_stdout

print("before")
with sparing_stdout():
    print("of Python")
    with contextlib.suppress(OSError):  # there may be no such descriptor
        os.write(1, b"of C++\\n")
print("{}")
"""


def run(*, closed: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script, with a descriptor closed."""
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, SCRIPT]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words


def test_what_is_written_meanwhile_goes_to_standard_error() -> None:
    """By Python and by what lies below it."""
    done = run()

    assert (done.stdout, done.returncode) == ("before\n{}\n", 0)
    assert set(done.stderr.splitlines()) == {"of Python", "of C++"}


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-"])
def test_without_somewhere_to_write_to_nothing_fails(closed: str) -> None:
    """As a service without streams is started."""
    assert run(closed=closed).returncode == 0


def test_what_a_server_leads_to_a_file_is_found_there(tmp_path: Path) -> None:
    """Behind what stands there; its own streams lead to where they led, and back again afterwards."""
    file = tmp_path / "ray.log"
    file.write_text("of the head\n")
    script = f"""
import os, pathlib, sys
from engine.cli.serve import own
from engine.cluster.link import output_in

out = own(sys.stdout)
with output_in(pathlib.Path({str(file)!r})):
    print("of Python")
    os.write(2, b"of C++\\n")
    print("ours", file=out)
print("after")
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603 - our own words

    assert (done.stdout, done.stderr, done.returncode) == ("ours\nafter\n", "", 0)
    first, *rest = file.read_text().splitlines()
    assert (first, set(rest)) == ("of the head", {"of Python", "of C++"})
