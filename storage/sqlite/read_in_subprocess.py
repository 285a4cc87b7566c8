"""Reading the active sessions in a process of its own, where there are many: half of a long start is that.

The other process writes them to its standard output: chunks of MessagePack, each behind its length in four bytes,
big-endian; a length of 0 tells that these were all.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Final, cast

import msgspec

from engine.core.model.errors import StoreUnavailable
from engine.core.sessions.bindings import ActiveSession
from storage.active import sessions_of
from storage.chunk import Chunk
from storage.sqlite.active import chunks_in

FEWEST_SESSIONS: Final = 50_000
"""With fewer, a process takes longer to start than it saves."""

_LENGTH_BYTES: Final = 4
_PIPE_BYTES: Final = 1 << 20
_MOST_BYTES: Final = 1 << 26
"""Far more than a chunk has; what says more is no length."""
_decoder: Final = msgspec.msgpack.Decoder(Chunk)

_log = logging.getLogger("maskline.storage")


def is_worth_it(sessions: int) -> bool:
    """Tell whether n sessions should be read in another process: there has to be a core for it."""
    return sessions >= FEWEST_SESSIONS and _cores() > 1


def active_sessions(database: Path) -> Iterator[ActiveSession]:
    """Walk the active sessions as another process reads them, or as this one does where the other cannot begin.

    Raises:
        StoreUnavailable: it ended before it had read them all.
    """
    command = [sys.executable, "-c", f"from {__name__} import write; write()", str(database.absolute())]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ExitStack() as stack:
        try:
            # In a session of its own: whoever stops the server by its terminal has us stop this process.
            process = subprocess.Popen(  # noqa: S603 - ourselves
                command, env=environ, stdin=DEVNULL, stdout=PIPE, pipesize=_PIPE_BYTES, start_new_session=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            chunks = _received(cast("IO[bytes]", process.stdout))
            read = sessions_of(chain((next(chunks),), chunks))
        except (OSError, StoreUnavailable) as problem:
            _log.warning("The sessions are not read in a process of their own: %s", problem)
            read = sessions_of(chunks_in(database))
        yield from read


def _received(stream: IO[bytes]) -> Iterator[Chunk]:
    while length := int.from_bytes(_exactly(stream, _LENGTH_BYTES)):
        try:
            yield _decoder.decode(_exactly(stream, length))
        except msgspec.DecodeError as problem:  # whatever else writes to standard output, at the start of a Python
            raise StoreUnavailable(
                f"The process that reads the active sessions cannot be understood: {problem}"
            ) from problem


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size) if size <= _MOST_BYTES else b""
    if len(data) < size:
        raise StoreUnavailable("The process that reads the active sessions ended before it had read them all")
    return data


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write() -> None:
    """Be the other process: write the active sessions of the database that is the command's argument."""
    encode = msgspec.msgpack.Encoder().encode
    with suppress(BrokenPipeError), sys.stdout.buffer as out:  # a pipe that is broken: nobody reads any more
        try:
            for chunk in chunks_in(Path(sys.argv[1])):
                encoded = encode(chunk)
                out.write(len(encoded).to_bytes(_LENGTH_BYTES))
                out.write(encoded)
        except StoreUnavailable as problem:
            sys.exit(str(problem))
        out.write(bytes(_LENGTH_BYTES))
