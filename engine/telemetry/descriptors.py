"""Whether the process may open one more file or connection: past its limit, the event loop closes connections unheard.

libuv accepts and closes what comes while there is no descriptor left, so that it does not spin; nobody else is told.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Callable

INTERVAL_SECONDS = 1.0
"""Between two looks."""

LOG_SECONDS = 60.0
"""Between two log lines while it goes on."""

_log = logging.getLogger("maskline.engine")


def can_open() -> bool:
    """Try to open a file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as problem:
        if problem.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        return False
    return True


async def watch_descriptors(
    lacked: Callable[[], None],
    monotonic: Callable[[], float],
    *,
    can_open: Callable[[], bool] = can_open,
    interval_seconds: float = INTERVAL_SECONDS,
) -> None:
    """Tell, until cancelled, of each look that finds none left; log the first, one a minute, and the end."""
    said_at: float | None = None
    while True:
        await asyncio.sleep(interval_seconds)
        if can_open():
            if said_at is not None:
                _log.warning("there are descriptors again: connections are accepted")
                said_at = None
            continue
        lacked()
        now = monotonic()
        if said_at is None or now >= said_at + LOG_SECONDS:
            said_at = now
            _log.error(
                "no descriptor is left: connections are closed unheard and files cannot be opened; raise the limit"
                " (ulimit -n, LimitNOFILE of the systemd unit) or see who holds so many connections"
            )
