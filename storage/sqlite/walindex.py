"""SQLite's write-ahead log and its index as files: how many frames count, and what a damaged log had behind them.

At a start SQLite takes the log up to the first frame whose checksum is wrong, and says nothing of what lies behind it.
Source: https://www.sqlite.org/fileformat2.html section 4 and https://www.sqlite.org/walformat.html section 2.
"""

import os
import struct
import sys
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from storage.sqlite.datadir import DATABASE, LOG

INDEX: Final = f"{DATABASE}-shm"

_MAGIC: Final = {0x377F_0682: "little", 0x377F_0683: "big"}
"""Of the log, each with the byte order of its checksums."""
_LOG_HEADER: Final = struct.Struct(">6I8s")
"""Magic, version, page size, checkpoints, both salts, checksum."""
_FRAME: Final = struct.Struct(">4I8x")
"""Page, pages of the database where it ends a transaction, both salts, checksum."""
_INDEX_HEADER: Final = struct.Struct("=3I2BH4I8s8s")
"""Version, nothing, changes, whether set up, byte order, page size, frames, pages, a checksum, salts, checksum."""
_INDEX_VERSION: Final = 3_007_000
_FRAMES_AT: Final = 16
_MOVED_AT: Final = 96
"""Where the index tells how many frames are in the database file already."""
_WORD: Final = 0xFFFF_FFFF


class LogFound(msgspec.Struct, frozen=True):
    """A log as it lay there before SQLite opened it."""

    page_bytes: int = 0
    is_header_sound: bool = True
    """Else SQLite takes nothing of it."""
    ends: tuple[int, ...] = ()
    """The frames, counted from 1, that end a transaction and belong to the log as it was last begun."""
    known: int = 0
    """Frames that the last process knew of, 0 where its index is lost."""
    moved: int = 0
    """Those of them that are in the database file."""


class LogCut(msgspec.Struct, frozen=True):
    """What was cut off."""

    frames: int
    """At least; a frame is a page that was changed."""
    transactions: int | None
    """None: they are away, and cannot be counted."""


def found_log(data_dir: Path) -> LogFound:
    """Look at what a process left that was killed; to be called before SQLite opens it. Raises OSError."""
    known, moved, salts = _left_index(data_dir / INDEX)
    try:
        with (data_dir / LOG).open("rb") as log:
            found = _read(log)
            log.seek(_SALTS_AT)
            if found.is_header_sound and log.read(_SALT_BYTES) not in {b"", salts}:
                known = moved = 0  # the index is of another log
    except FileNotFoundError:
        found = LogFound()
    return msgspec.structs.replace(found, known=known, moved=moved)


def cut_off(found: LogFound, *, taken: int) -> LogCut | None:
    """Tell what SQLite has left of a log of which it took so many frames; None where nothing is missing."""
    taken = taken or found.moved
    behind = sum(end > taken for end in found.ends)
    frames = max(found.known, found.ends[-1] if behind else 0) - taken
    if frames <= 0:
        return None
    return LogCut(frames, transactions=behind or None)


class LogIndex:
    """The index of a log that is open; kept open until SQLite has closed it, since closing it takes SQLite's locks."""

    def __init__(self, data_dir: Path) -> None:
        """Open it; raises OSError."""
        self._descriptor = os.open(data_dir / INDEX, os.O_RDONLY)

    @property
    def frames(self) -> int:
        """Count the frames of the log that count: the pages written since it was last begun."""
        return _word(os.pread(self._descriptor, 4, _FRAMES_AT))

    def close(self) -> None:
        """Let it go."""
        os.close(self._descriptor)


_SALTS_AT: Final = 16
_SALT_BYTES: Final = 8


def _left_index(path: Path) -> tuple[int, int, bytes]:
    """Read the frames, those moved and the salts of an index, zeros where it tells nothing."""
    try:
        data = path.read_bytes()[: _MOVED_AT + 4]
    except FileNotFoundError:
        data = b""
    size = _INDEX_HEADER.size
    if len(data) < _MOVED_AT + 4 or data[:size] != data[size : 2 * size]:
        return 0, 0, b""
    version, _, _, is_set_up, _, _, frames, _, _, _, salts, checksum = _INDEX_HEADER.unpack_from(data)
    body = data[: size - len(checksum)]
    if version != _INDEX_VERSION or not is_set_up or _checksum(body, sys.byteorder) != checksum:
        return 0, 0, b""
    return frames, _word(data[_MOVED_AT:]), salts


def _read(log: BinaryIO) -> LogFound:
    header = log.read(_LOG_HEADER.size)
    if len(header) < _LOG_HEADER.size:
        return LogFound()
    magic, _, page_bytes, _, *salts, checksum = _LOG_HEADER.unpack(header)
    order = _MAGIC.get(magic)
    is_sound = order is not None and _big_endian(_checksum(header[:24], order), order) == checksum
    if not 512 <= page_bytes <= 65_536:  # noqa: PLR2004 - what SQLite allows
        page_bytes = 4096
    ends, frame, belongs = [], 0, salts if is_sound else None
    while len(head := log.read(_FRAME.size)) == _FRAME.size:
        frame += 1
        _, pages, *of = _FRAME.unpack(head)
        belongs = of if belongs is None else belongs
        if pages and of == belongs:
            ends.append(frame)
        log.seek(page_bytes, os.SEEK_CUR)
    return LogFound(page_bytes, is_header_sound=is_sound, ends=tuple(ends))


def _checksum(data: bytes, order: str) -> bytes:
    """Compute SQLite's checksum; returns both words in the byte order in which they were read."""
    words = struct.unpack(f"{'<' if order == 'little' else '>'}{len(data) // 4}I", data)
    one = two = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & _WORD
        two = (two + odd + one) & _WORD
    return struct.pack(f"{'<' if order == 'little' else '>'}2I", one, two)


def _big_endian(checksum: bytes, order: str) -> bytes:
    """Return it as the log has it, whatever its words were made of."""
    return checksum if order == "big" else checksum[3::-1] + checksum[:3:-1]


def _word(data: bytes) -> int:
    return int.from_bytes(data[:4], sys.byteorder)
