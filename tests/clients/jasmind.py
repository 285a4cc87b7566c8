"""Jasmin's daemon with its lock in the directory where it runs; of its own it allows one for the whole machine.

The first argument is the script that it was installed as; the others are for that.
"""

import runpy
import sys
from pathlib import Path

import lockfile  # type: ignore[import-not-found] # it comes with Jasmin

_FILE_LOCK = lockfile.FileLock
lockfile.FileLock = lambda path: _FILE_LOCK(Path(path).name)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
