"""The files of a workload: numbers, sessions, events, and what must become of the events.

They drive `maskline numbers import`, `maskline sessions batch` and `maskline feed` against any server, `maskline demo
--workload` and the benchmark `workload`.
"""

from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from engine.capacity.workload import Workload, arrivals, batch_items, proxy_numbers
from engine.core.model.records import Address

NAMES: Final = ("numbers.csv", "sessions.ndjson", "events.ndjson", "expected.json")


class WorkloadFiles:
    """A directory of them; reading raises OSError and, where they are no workload, msgspec.DecodeError."""

    def __init__(self, directory: Path) -> None:
        """Know their places."""
        self._numbers, self._sessions, self.events, self._expected = (directory / name for name in NAMES)
        self._directory = directory

    def write(self, wanted: Workload) -> None:
        """Write them, the same for a seed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._numbers.write_text("number\n" + "".join(f"{one}\n" for one in proxy_numbers(wanted)), "ascii")
        with self._sessions.open("wb") as file:
            file.writelines(msgspec.json.encode(item) + b"\n" for item in batch_items(wanted))
        endings: Counter[str] = Counter()
        with self.events.open("wb") as file:
            for one in arrivals(wanted):
                file.write(msgspec.json.encode({**one.record, "at": round(one.at, 6)}) + b"\n")
                endings[one.ending] += 1
        self._expected.write_bytes(msgspec.json.format(msgspec.json.encode(endings)) + b"\n")

    def numbers(self) -> list[Address]:
        """Read the numbers of the pool."""
        return self._numbers.read_text("ascii").split()[1:]

    def items(self) -> list[bytes]:
        """Read the sessions: items of a batch, a line each."""
        return self._sessions.read_bytes().splitlines()

    def expected(self) -> dict[str, int]:
        """Read how often each ending must come, named as `maskline feed` does."""
        return msgspec.json.decode(self._expected.read_bytes(), type=dict[str, int])
