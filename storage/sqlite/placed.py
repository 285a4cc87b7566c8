"""Whether the files of an open database still have their names: what is written to others is lost at the next start.

A file gets, loses or changes its name with its directory's time of modification, so one look at the directory tells of
both. That time is coarse, on some file systems a second or two: until it is old, the files themselves are looked at.
"""

import os
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Final, final

from storage.sqlite.datadir import DATABASE, LOG

COARSE_SECONDS: Final = 3.0
"""For as long after its last modification a directory may be modified again without looking so."""

TRUSTED_SECONDS: Final = 1.0
"""How long its time is gone by: something may be mounted over a file."""

_AWAY: Final = (FileNotFoundError, NotADirectoryError)


@final
class Placed:
    """Knows the database and its log as they were when it first saw them."""

    def __init__(self, data_dir: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Look at the files in a directory; a log that is not there yet may come later."""
        self._directory = str(data_dir)
        self._paths = tuple((name, str(data_dir / name)) for name in (DATABASE, LOG))
        self._monotonic = monotonic
        self._known: dict[str, tuple[int, int]] = {}
        self._seen: os.stat_result | None = None
        """The directory as it was."""
        self._modified = 0
        """The same in nanoseconds, which comparing the whole leaves out."""
        self._trusted_from = self._trusted_until = -inf
        """When that is gone by."""
        self.moved()

    def moved(self) -> str | None:
        """Name the file that is away, or is another one now; a few microseconds."""
        now = self._monotonic()
        try:
            seen = os.stat(self._directory)  # noqa: PTH116 - asked at every commit
        except OSError:
            seen = None
        if seen is None or seen.st_mtime_ns != self._modified or seen != self._seen:
            self._seen, self._trusted_from = seen, now + COARSE_SECONDS
            self._modified = 0 if seen is None else seen.st_mtime_ns
        if not self._trusted_from <= now < self._trusted_until:
            away = self._away()
            if away is not None:
                self._seen = None
                return away
            self._trusted_until = now + TRUSTED_SECONDS
        return None

    def _away(self) -> str | None:
        for name, path in self._paths:
            found: tuple[int, int] | None = None
            try:
                stat = os.stat(path)  # noqa: PTH116 - likewise, at times
                found = (stat.st_dev, stat.st_ino)
            except _AWAY:
                pass
            except OSError:
                continue  # the disk: SQLite will say so
            known = self._known.get(name)
            if known is not None and known != found:
                return name
            if found is not None:
                self._known[name] = found
        return None
