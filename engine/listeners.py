"""Listening sockets and the uvicorn servers on them, started and stopped by the composition root.

The sockets are bound before anything else is opened, so that a port in use is told at once.
"""

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from engine.channels.sockets import CannotListen

_log = logging.getLogger("maskline.engine")

_ADMIN_SOCKET = "maskline.sock"
_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_PRIVATE_UMASK = 0o177
_LONGEST_UNIX_PATH = 100
"""Octets; systems take 103 or 107."""
_OPEN_DIRECTORIES = Path("/proc/self/fd")


def admin_socket(data_dir: Path) -> Path:
    """Say where a running server of a data directory takes the operator's commands."""
    return data_dir / _ADMIN_SOCKET


class Listener(uvicorn.Server):
    """A uvicorn server that leaves signals and lifespan to the composition root."""

    def __init__(self, app: ASGIApp, *, grace_seconds: int, protocol: Callable[..., object] | None = None) -> None:
        """Serve `app` behind `protocol`, or uvicorn's own; requests in flight get `grace_seconds` when it stops."""
        config = uvicorn.Config(
            app,
            http=protocol or "httptools",  # type: ignore[arg-type] # it is called, and no more
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=grace_seconds,
        )
        super().__init__(config)
        self._is_listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self, bound: socket.socket) -> None:
        """Accept connections on a bound socket from now on."""
        self._task = asyncio.create_task(self.serve(sockets=[bound]), name="listener")
        listening = asyncio.create_task(self._is_listening.wait())
        await asyncio.wait((self._task, listening), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        """Accept no more, let requests in flight end, then close."""
        self.should_exit = True
        if self._task is not None:
            await self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell who waits in `open`."""
        await super().startup(sockets)
        self._is_listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def allow_descriptors(wanted: int) -> None:
    """Raise the process' limit of open files to what is wanted; warn where the system does not let us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning(
            "this process may open %d files, but may be asked for %d (max_http_connections and max_feed_connections);"
            " raise its limit (ulimit -n, LimitNOFILE of the systemd unit) or lower the settings",
            allowed,
            wanted,
        )


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Name a socket in a way that the system takes, however long its path is; good as long as the context.

    Where there is no /proc, a long path stays as it is, and the system refuses it.
    """
    if len(os.fsencode(path)) <= _LONGEST_UNIX_PATH or not _OPEN_DIRECTORIES.is_dir():
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(_OPEN_DIRECTORIES / str(directory) / path.name)
    finally:
        os.close(directory)


def bind_unix(path: Path) -> socket.socket:
    """Make a socket that only its owner may open, in place of one left behind; raises CannotListen."""
    bound = socket.socket(socket.AF_UNIX)
    umask = os.umask(_PRIVATE_UMASK)
    try:
        path.unlink(missing_ok=True)
        with short_path(path) as short:
            bound.bind(short)
    except OSError as failure:
        bound.close()
        raise CannotListen(f"cannot make the admin socket {path}: {failure.strerror or failure}") from failure
    finally:
        os.umask(umask)
    return bound
