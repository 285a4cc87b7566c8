"""The data directory: made, locked against a second process, and what lies in it."""

import errno
import fcntl
import os
from pathlib import Path

from engine.core.errors import StoreUnavailable
from storage.errors import DataDirBusy

DATABASE = "maskline.db"
LOCK = "maskline.lock"

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600
_MAX_PID_BYTES = 32


class DataDirLock:
    """A data directory that this process owns until `release`."""

    def __init__(self, data_dir: Path, *, makes_database: bool = True) -> None:
        """Make the directory (0700) and its database file (0600) where they are missing, and lock it.

        Without `makes_database`, only what is there already is locked.

        Raises:
            DataDirBusy: another process has it.
            StoreUnavailable: it cannot be made or written.
        """
        self.database = data_dir / DATABASE
        try:
            data_dir.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            self._descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        except OSError as failure:
            raise unusable(data_dir, failure) from failure
        try:
            self._take(data_dir)
            if makes_database:
                os.close(os.open(self.database, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
                self.database.chmod(PRIVATE_FILE)
        except OSError as failure:
            os.close(self._descriptor)
            raise unusable(data_dir, failure) from failure
        except DataDirBusy:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._descriptor)

    def _take(self, data_dir: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, _MAX_PID_BYTES, 0).decode("ascii", "replace").strip()
            raise DataDirBusy(data_dir, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)


def unusable(data_dir: Path, failure: OSError) -> StoreUnavailable:
    """Return what the operator is told about a directory that the system does not let us use."""
    reason = os.strerror(failure.errno or errno.EIO)
    return StoreUnavailable(
        f"The data directory {data_dir} cannot be used ({reason}); "
        "it must be a directory with free space, writable for the user that runs Maskline"
    )
