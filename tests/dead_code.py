"""Name what no code uses (`make lint`); exits with 1 if there is anything that `ALLOWED` does not give a reason for.

Tests do not count as use. Fields and members of enumerations are left out: most are there for those who read the wire.
"""

import re
import sys
from fnmatch import fnmatch
from pathlib import Path

from vulture import Vulture  # type: ignore[import-untyped] # it ships no types

ROOT = Path(__file__).parents[1]
CODE = ("engine", "actors", "storage", "benchmarks")

REGISTERED = ("@*.command", "@*.group", "@migrations")
"""Decorators that have a function called."""

ALLOWED = {
    "connection_*": "asyncio calls it",
    "data_received": "asyncio calls it",
    "datagram_received": "asyncio calls it",
    "eof_received": "asyncio calls it",
    "on_*": "httptools calls it",
    "Start*Handler": "expat calls it",
    "keep_alive": "a flag of uvicorn's",
    "total_requests": "a count of uvicorn's",
    "disconnected": "a flag of uvicorn's",
    "should_exit": "a flag of uvicorn's",
    "capture_signals": "uvicorn calls it",
    "list_commands": "click calls it",
    "get_command": "click calls it",
    "load_config": "gunicorn calls it",
    "row_factory": "sqlite3 reads it",
    "dump": "psycopg calls it",
    "isolation_level": "psycopg reads it",
    "read_only": "likewise",
    "num_tickets": "ssl reads it",
    "_value_": "enum reads it",
    "write_data": "the other half of a codec; tests play the peer",
    "*bound_participant_sid": "the feed reads the fields of a route by their names",
    "Plane": "named in an annotation that is a string",
}
"""What looks unused and is not, by its name or a pattern, and why."""

TEMPLATES = ROOT / "engine" / "console" / "templates"


def main() -> int:
    """Print what is unused, one a line."""
    found = Vulture(ignore_decorators=list(REGISTERED))
    found.scavenge([str(ROOT / folder) for folder in CODE])
    unused = [one for one in found.get_unused_code(min_confidence=60) if one.typ != "variable"]
    written = {word for page in TEMPLATES.iterdir() for word in re.findall(r"\w+", page.read_text("utf-8"))}
    wanted = [one for one in unused if one.name not in written]
    dead = [one for one in wanted if not any(fnmatch(one.name, pattern) for pattern in ALLOWED)]
    stale = [pattern for pattern in ALLOWED if not any(fnmatch(one.name, pattern) for one in unused)]
    for one in dead:
        print(f"{one.filename.relative_to(ROOT)}:{one.first_lineno}: unused {one.typ} {one.name}")  # noqa: T201 - a command
    for pattern in stale:
        print(f"{Path(__file__).name}: nothing is called {pattern} any more")  # noqa: T201 - a command
    return 1 if dead or stale else 0


if __name__ == "__main__":
    sys.exit(main())
