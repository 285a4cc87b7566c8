"""The data directory: made, locked against a second process, and what lies in it."""

import errno
import fcntl
import os
import struct
from pathlib import Path

from engine.core.model.errors import StoreUnavailable
from storage.sqlite.errors import DataDirBusy

DATABASE = "maskline.db"
LOG = f"{DATABASE}-wal"
"""SQLite's write-ahead log beside it."""
LOCK = "maskline.lock"

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600
_MAX_PID_BYTES = 32
_OUR_OCTET = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0x4000_0000 + 0x1000, 1, 0)
"""A `struct flock`: one octet, well behind those that SQLite locks (https://www.sqlite.org/lockingv3.html)."""
_IS_LOCKED = frozenset({errno.EAGAIN, errno.EACCES})


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
        self._descriptor = self._database_descriptor = -1
        try:
            data_dir.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            self._descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        except OSError as failure:
            raise unusable(data_dir, failure) from failure
        try:
            self._take(data_dir)
            if makes_database or self.database.exists():
                self._take_database(data_dir, makes_database=makes_database)
        except OSError as failure:
            self.release()
            raise unusable(data_dir, failure) from failure
        except DataDirBusy:
            self.release()
            raise

    def release(self) -> None:
        """Let another process have it; to be called when SQLite has closed the database.

        To close a descriptor of a file takes away the locks that SQLite has on it in this process.
        """
        for descriptor in (self._database_descriptor, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)

    def _take(self, data_dir: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, _MAX_PID_BYTES, 0).decode("ascii", "replace").strip()
            raise DataDirBusy(data_dir, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def _take_database(self, data_dir: Path, *, makes_database: bool) -> None:
        """Lock the database itself too, at an octet that SQLite leaves alone: lock files get tidied away."""
        flags = os.O_RDWR | (os.O_CREAT if makes_database else 0)
        self._database_descriptor = os.open(self.database, flags, PRIVATE_FILE)
        if makes_database:
            self.database.chmod(PRIVATE_FILE)
        if not hasattr(fcntl, "F_OFD_SETLK"):
            return  # macOS: what Python can lock there is in SQLite's way
        try:
            fcntl.fcntl(self._database_descriptor, fcntl.F_OFD_SETLK, _OUR_OCTET)
        except OSError as failure:
            if failure.errno in _IS_LOCKED:
                raise DataDirBusy(data_dir, "") from None
            if failure.errno != errno.EINVAL:  # a file system without such locks
                raise


def unusable(data_dir: Path, failure: OSError) -> StoreUnavailable:
    """Return the message for the operator about a directory that the system does not let us use."""
    code = failure.errno or errno.EIO
    reason = os.strerror(errno.ENOTDIR if code == errno.EEXIST else code)  # what exists there is a file
    return StoreUnavailable(
        f"The data directory {data_dir} cannot be used ({reason}); "
        "it must be a directory with free space, writable for the user that runs Maskline"
    )
