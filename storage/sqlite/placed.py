"""Whether the files of an open database still have their names: what is written to others is lost at the next start."""

import os
from pathlib import Path
from typing import Final, final

from storage.sqlite.datadir import DATABASE, LOG

_AWAY: Final = (FileNotFoundError, NotADirectoryError)


@final
class Placed:
    """Knows the database and its log as they were when it first saw them."""

    def __init__(self, data_dir: Path) -> None:
        """Look at the files in a directory; a log that is not there yet may come later."""
        self._paths = tuple((name, str(data_dir / name)) for name in (DATABASE, LOG))
        self._known: dict[str, tuple[int, int]] = {}
        self.moved()

    def moved(self) -> str | None:
        """Name the file that is away, or is another one now; a few microseconds."""
        for name, path in self._paths:
            found: tuple[int, int] | None = None
            try:
                stat = os.stat(path)  # noqa: PTH116 - asked at every commit
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
