"""Stopping a cluster from outside the `maskline serve` that watches over it, or when nobody does."""

import fcntl
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from actors.cluster.hosted import ClusterUnreachable
from engine.cluster.head import HeadWatch, RayLink, read_link, stop_head
from engine.cluster.link import NoCluster, running_cluster
from engine.core.model.errors import MasklineError
from engine.settings import Settings
from engine.telemetry.logs import ROOT

if TYPE_CHECKING:
    from actors.ray.cluster import RayCluster

_log = logging.getLogger(f"{ROOT}.cluster")

LOCK: Final = "serve.lock"

_HOST_SECONDS: Final = 4.0
"""What hosts are given to commit and close, beyond the grace of requests."""
_RAY_SECONDS: Final = 20.0
"""What Ray is given to end."""
_POLL_SECONDS: Final = 0.1
_MAX_PID_BYTES: Final = 32
_PRIVATE: Final = 0o600


class StillServing(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The process that watches over the cluster does not end."""


def stop_cluster(settings: Settings) -> None:
    """Stop the hosts in order and end the Ray that was started for them; through `maskline serve` where one watches.

    Raises:
        NoCluster: none runs.
        StillServing: it does not end in time.
        ClusterUnreachable: Ray does not answer.
    """
    server = serving_process(settings.data_dir)
    if server is not None:
        os.kill(server, signal.SIGTERM)
        _await_end(settings.data_dir, server, settings.shutdown_grace_seconds + _HOST_SECONDS + _RAY_SECONDS)
        return
    link = None if settings.ray_address else read_link(settings.data_dir)
    try:
        with running_cluster(settings) as cluster:
            stop_hosts(cluster, settings, HeadWatch(link or RayLink(address=settings.ray_address)))
    except NoCluster:
        if link is None or not link.is_ours:
            raise
    finally:
        if link is not None and link.is_ours:
            stop_head(settings.data_dir, link)


def stop_hosts(cluster: "RayCluster", settings: Settings, head: HeadWatch) -> None:
    """Stop the hosts of a cluster in order; where its supervisor does not answer, end them. Raises HeadEnded."""
    _log.info("stopping the cluster: finishing what is in flight")
    try:
        cluster.stop(timeout_seconds=settings.shutdown_grace_seconds + _HOST_SECONDS)
    except ClusterUnreachable as problem:
        if not head.answers():
            _log.warning("%s, nor does Ray's head: Ray ends the hosts when it stays away", problem)
            return
        _log.warning("%s; its hosts are ended", problem)
        cluster.kill_all()
    _log.info("stopped")


def serving_process(data_dir: Path) -> int | None:
    """Return the process that watches over the cluster of a data directory."""
    try:
        descriptor = os.open(data_dir / LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, _MAX_PID_BYTES, 0))
    finally:
        os.close(descriptor)
    return None


def take_lock(data_dir: Path) -> int:
    """Become that process, until the descriptor returned is closed; raises BlockingIOError when there is one."""
    descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, _PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return descriptor


def _await_end(data_dir: Path, server: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if serving_process(data_dir) != server:
            return
        time.sleep(_POLL_SECONDS)
    raise StillServing(
        f"process {server}, which watches over the cluster of {data_dir}, did not end in {seconds:g} seconds"
    )
